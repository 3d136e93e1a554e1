"""Optional packages that are missing, broken or of an untested version are refused with what to install."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from resnet_cli.errors import SetupError
from resnet_cli.system.extras import _numbers, is_installed, optional_import, require_version


@pytest.mark.parametrize(
    ("found", "fits"), [("2.13.9", False), ("2.14", True), ("2.14.1+cpu", True), ("2.15.9", True), ("2.16.0", False)]
)
def test_a_version_fits_from_the_oldest_on_and_below_the_first_unknown(
    found: str, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"torch": found}.__getitem__)
    if fits:
        require_version("torch", "2.14", "2.16", purpose="--format x", extra="x")
        return
    with pytest.raises(SetupError, match=r"--format x works with torch>=2.14,<2.16, and torch .* is installed"):
        require_version("torch", "2.14", "2.16", purpose="--format x", extra="x")


def test_patch_releases_count() -> None:
    numbers = [_numbers(version) for version in ("1.5", "1.5.0", "1.5.1", "1.5.1+cpu", "1.6.0.dev20261101")]
    assert numbers == [(1, 5), (1, 5, 0), (1, 5, 1), (1, 5, 1), (1, 6, 0)]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("whole", "--format x needs X, which is not installed"),
        ("whole.part", "--format x: X is installed but cannot be"),
    ],
)
def test_a_package_that_is_missing_is_told_from_one_that_is_broken(
    module: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(SetupError, match=message) as caught,
        optional_import("whole", name="X", purpose="--format x", hint="pip install x"),
    ):
        importlib.import_module(module)
    assert caught.value.hint == "pip install x"


def test_a_folder_with_the_name_of_a_package_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine_of_a_test").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert is_installed("json") and not is_installed("engine_of_a_test")
    with (
        pytest.raises(SetupError, match="--format x needs X, which is not installed"),
        optional_import("engine_of_a_test", name="X", purpose="--format x", hint="pip install x"),
    ):
        importlib.import_module("engine_of_a_test")
    assert "engine_of_a_test" not in sys.modules


def test_whatever_a_broken_package_raises_is_one_line() -> None:
    for error in (OSError("libx.so: cannot open\nshared object file"), TypeError("Descriptors cannot be created")):
        with (
            pytest.raises(SetupError) as caught,
            optional_import("whole", name="X", purpose="--format x", hint="pip install x"),
        ):
            raise error
        reason = " ".join(str(error).split())
        assert caught.value.message == f"--format x: X is installed but cannot be imported: {reason}"
