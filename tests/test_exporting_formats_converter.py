"""Converters of other engines: silent, contained, and clear if they fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resnet_cli.errors import SetupError
from resnet_cli.exporting.formats.converter import run_converter


def test_what_a_converter_prints_is_shown_only_if_it_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    code = "import sys; print('working'); open(sys.argv[1], 'w').close(); print('no such layer\\n', file=sys.stderr)"
    run_converter([sys.executable, "-c", code, "made"], made, name="a converter 1.0")
    assert made.exists()
    # It says that it succeeded, but the file is not there.
    with pytest.raises(SetupError, match=r"a converter 1.0 .*: no such layer$"):
        run_converter([sys.executable, "-c", code, "made"], tmp_path / "other", name="a converter 1.0")
    with pytest.raises(SetupError, match=r"exit code 3\): it says nothing"):
        run_converter([sys.executable, "-c", "raise SystemExit(3)"], made, name="a converter 1.0")
    assert capfd.readouterr() == ("", "")


def test_a_relative_path_of_modules_means_the_same_in_the_folder_of_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "module_of_a_test.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "modules")
    made = tmp_path / "new" / "made"
    made.parent.mkdir()
    code = "import module_of_a_test; open('made', 'w').close()"
    run_converter([sys.executable, "-c", code], made, name="a converter 1.0")
    assert made.exists()
