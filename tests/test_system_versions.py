"""Versions that were not tested are refused with those that work."""

from __future__ import annotations

import importlib.metadata

import pytest

from resnet_cli.errors import SetupError
from resnet_cli.system.versions import require_version


@pytest.mark.parametrize(
    ("found", "fits"), [("2.13.9", False), ("2.14", True), ("2.14.1+cpu", True), ("2.16.0", False)]
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
