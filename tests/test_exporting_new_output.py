"""An export is written in a hidden place: it gets its name whole or never, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from resnet_cli.errors import ConfigError, DiskError
from resnet_cli.exporting.new_output import new_output
from resnet_cli.system.locks import folder_lock


def test_a_file_has_its_own_name_from_the_beginning_and_replaces_the_old_one_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "pets.bin"
    out.write_text("old")
    with new_output(out, "model.onnx", is_folder=False) as made:
        made.write_text("new")
        assert made.name == "model.onnx" and out.read_text() == "old"
    assert out.read_text() == "new" and os.listdir(tmp_path) == ["pets.bin"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_error_leaves_what_was_there(tmp_path: Path, is_folder: bool) -> None:
    def fail(made: Path) -> None:
        (made / "part" if is_folder else made).write_text("half")
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(DiskError, match="No space left"),
        new_output(tmp_path / "made", "m", is_folder=is_folder) as made,
    ):
        fail(made)
    assert os.listdir(tmp_path) == []


def test_a_folder_never_replaces_another_one(tmp_path: Path) -> None:
    out = tmp_path / "litert"
    with pytest.raises(ConfigError, match="exists already"), new_output(out, "litert", is_folder=True) as made:
        (made / "model").touch()
        out.mkdir()
    assert os.listdir(tmp_path) == ["litert"] and os.listdir(out) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of folders")
def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_not(tmp_path: Path) -> None:
    abandoned, alive, other = (tmp_path / f".{name}.tmp" for name in ("m.onnx.1", "m.onnx.2", "n.onnx.3"))
    for folder in (abandoned, alive, other):
        folder.mkdir()
        (folder / "m.onnx").write_text("half")
    with folder_lock(alive) as is_free, new_output(tmp_path / "m.onnx", "m.onnx", is_folder=False) as made:
        assert is_free
        made.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == sorted([alive.name, other.name, "m.onnx"])
