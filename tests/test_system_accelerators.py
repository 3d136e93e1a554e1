"""Without torch, only a machine that certainly has no accelerator for the installed torch is told to have none."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from resnet_cli.system.accelerators import may_have_accelerator

#: Version of torch -> the kinds of drivers with which it may find an accelerator.
SEEN = {
    "2.14.1": {"nvidia", "amd", "wsl"},
    "2.14.1+cpu": set(),
    "2.14.1+cu130": {"nvidia", "wsl"},
    "2.14.1+rocm7.0": {"amd", "wsl"},
    "2.14.1+xpu": {"intel", "wsl"},
    "2.15.0a0+gitabc": {"nvidia", "amd", "intel", "wsl"},
}
FILES = {"nvidia": "dev/nvidia0", "amd": "dev/kfd", "intel": "dev/dri/renderD128", "wsl": "dev/dxg"}


@pytest.mark.parametrize("version", SEEN)
def test_a_driver_counts_if_the_installed_torch_can_use_it(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    bare = tmp_path / "bare"
    bare.mkdir()
    assert not may_have_accelerator(bare)
    for kind, file in FILES.items():
        root = tmp_path / kind
        (root / file).parent.mkdir(parents=True)
        (root / file).touch()
        assert may_have_accelerator(root) == (kind in SEEN[version]), kind


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_torch_is_asked(platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert may_have_accelerator(tmp_path)
