"""An export is written in a hidden place: it gets its name whole or never, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.full_disk import small_disk

from resnet_cli.errors import ConfigError, DiskError
from resnet_cli.exporting.new_output import new_output
from resnet_cli.system.caches import temporary_folder
from resnet_cli.system.locks import folder_lock
from resnet_cli.system.paths import refuse_existing


def _allow() -> None:
    """Anything may be replaced."""


def test_a_file_has_its_own_name_from_the_beginning_and_replaces_the_old_one_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "pets.bin"
    out.write_text("old")
    with new_output(out, "model.onnx", is_folder=False, check=_allow) as made:
        made.write_text("new")
        assert made.name == "model.onnx" and out.read_text() == "old"
    assert out.read_text() == "new" and os.listdir(tmp_path) == ["pets.bin"]


def test_a_full_disk_is_named_with_the_file_that_was_asked_for_and_not_with_a_hidden_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200_000) as disk:
        out = disk / "m.onnx"
        out.write_text("old")
        with (
            pytest.raises(DiskError) as caught,
            new_output(out, "m.onnx", is_folder=False, check=_allow) as made,
        ):
            made.write_bytes(bytes(1_000_000))
        assert caught.value.message == f"cannot write {out}: No space left on device in {disk}"
        assert os.listdir(disk) == ["m.onnx"] and out.read_text() == "old"


def test_another_folder_that_is_full_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", 200_000) as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        out = tmp_path / "m.onnx"
        with (
            pytest.raises(DiskError) as caught,
            new_output(out, "m.onnx", is_folder=False, check=_allow),
            temporary_folder() as folder,
        ):
            (folder / "inputs.npz").write_bytes(bytes(1_000_000))
        reason = f"cannot write temporary files: No space left on device in {disk}"
        assert caught.value.message == f"cannot write {out}: {reason}" and "TMPDIR" in str(caught.value.hint)
        # A disk may be full in other ways than by bytes: the file that an error names tells which disk it is.
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(DiskError, match=f"Disk quota exceeded in {tmp_path}"), temporary_folder() as folder:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(folder / "inputs.npz"))
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        with pytest.raises(OSError, match="No space"), temporary_folder():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere/file")
        assert os.listdir(disk) == []


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_error_leaves_what_was_there(tmp_path: Path, is_folder: bool) -> None:
    def fail(made: Path) -> None:
        (made / "part" if is_folder else made).write_text("half")
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(DiskError, match="No space left"),
        new_output(tmp_path / "made", "m", is_folder=is_folder, check=_allow) as made,
    ):
        fail(made)
    assert os.listdir(tmp_path) == []


def test_what_has_been_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "litert"
    with (
        pytest.raises(ConfigError, match="exists already"),
        new_output(out, "litert", is_folder=True, check=lambda: refuse_existing(out)) as made,
    ):
        (made / "model").touch()
        out.mkdir()
    assert os.listdir(tmp_path) == ["litert"] and os.listdir(out) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of folders")
def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_not(tmp_path: Path) -> None:
    names = [f"m.onnx.{'1' * 32}", f"m.onnx.{'2' * 32}", f"n.int8.onnx.{'3' * 32}", "m.onnx.mine"]
    killed, alive, killed_too, of_a_user = (tmp_path / f".{name}.tmp" for name in names)
    for folder in (killed, alive, killed_too, of_a_user):
        folder.mkdir()
        (folder / "m.onnx").write_text("half")
    with (
        folder_lock(alive) as is_free,
        new_output(tmp_path / "m.onnx", "m.onnx", is_folder=False, check=_allow) as made,
    ):
        assert is_free
        made.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == sorted([alive.name, of_a_user.name, "m.onnx"])


@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(28, "No space left on device"), DiskError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_folder_is_replaced_as_a_whole_and_stays_if_that_fails_or_is_interrupted(
    error: BaseException, raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "litert"
    out.mkdir()
    (out / "old").touch()
    with monkeypatch.context() as patch:
        rename = Path.rename

        def fail(self: Path, target: Path) -> Path:
            if self.name == "made":
                raise error
            return rename(self, target)

        patch.setattr(Path, "rename", fail)
        with pytest.raises(raised), new_output(out, "made", is_folder=True, check=_allow):
            pass
    assert os.listdir(out) == ["old"] and os.listdir(tmp_path) == ["litert"]
    with new_output(out, "made", is_folder=True, check=_allow) as made:
        (made / "new").touch()
        assert os.listdir(out) == ["old"]
    assert os.listdir(out) == ["new"] and os.listdir(tmp_path) == ["litert"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of folders")
def test_a_folder_that_a_killed_process_was_replacing_comes_back_with_its_own_name(tmp_path: Path) -> None:
    # The names of the hidden folders begin alike, since they repeat only a part of such long names.
    names = [f"{'long' * 20}.{kind}" for kind in ("litert", "mnn")]
    for number, name in enumerate(names):
        old = tmp_path / f".{name[:50]}.{str(number) * 32}.tmp" / "replaced" / name
        old.mkdir(parents=True)
        (old / "old").touch()
    # This one was replaced again since then.
    (tmp_path / names[1]).mkdir()
    out = tmp_path / names[0]
    with pytest.raises(ConfigError), new_output(out, "litert", is_folder=True, check=lambda: refuse_existing(out)):
        pass
    assert sorted(os.listdir(tmp_path)) == names and [os.listdir(tmp_path / name) for name in names] == [["old"], []]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of folders")
def test_kill_9_between_the_two_renames_loses_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "litert"
    out.mkdir()
    (out / "old").touch()
    program = (
        "import os, sys; from pathlib import Path; from resnet_cli.exporting.new_output import new_output;"
        "out = Path(sys.argv[1]); rename = Path.rename;"
        "Path.rename = lambda self, to: os.kill(os.getpid(), 9) if to == out else rename(self, to);"
        "made = new_output(out, 'litert', is_folder=True, check=lambda: None); made.__enter__(); "
        "made.__exit__(None, None, None)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL and not out.exists()
    with new_output(tmp_path / "m.onnx", "m.onnx", is_folder=False, check=_allow) as made:
        made.touch()
    assert os.listdir(out) == ["old"] and sorted(os.listdir(tmp_path)) == ["litert", "m.onnx"]


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    out = tmp_path / f"{'ä' * 120}.onnx"
    with new_output(out, "m.onnx", is_folder=False, check=_allow) as made:
        made.touch()
    assert os.listdir(tmp_path) == [out.name]
