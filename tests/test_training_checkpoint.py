"""Checkpoints on a disk that fills up, cuts, flips bits, or loses power in the middle of a write."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_cli.errors import DiskError, ModelError
from resnet_cli.runs import list_checkpoints
from resnet_cli.training.checkpoint import Checkpoint, drop_after, prune, read_newest, write_checkpoint

VALUES = {"epoch": 3, "rate": 0.1, "history": [{"val_loss": 0.1 + 0.2, "l2": None}], "scaler": {"scale": 65536.0}}
TENSORS = {
    "network.weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "network.steps": torch.tensor(7),
    "optimizer.0.step": torch.tensor(3.0),
    "best.half": torch.ones(5, dtype=torch.bfloat16),
    "empty": torch.empty(0, 2),
    "flag": torch.tensor([True, False]),
}


def write(folder: Path, num_steps: int) -> Path:
    tensors = {**TENSORS, "network.steps": torch.tensor(num_steps)}
    return write_checkpoint(folder, Checkpoint(tensors, VALUES), num_steps=num_steps)


def newest_steps(folder: Path) -> int:
    found = read_newest(folder)
    assert found is not None
    return int(found[0].tensors["network.steps"])


def test_what_is_read_is_what_was_written_bit_by_bit(tmp_path: Path) -> None:
    strided = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    nans = torch.tensor([float("nan"), float("inf"), -0.0])
    tensors = {**TENSORS, "strided": strided, "nans": nans}
    write_checkpoint(tmp_path, Checkpoint(tensors, VALUES), num_steps=1)
    found = read_newest(tmp_path)
    assert found is not None and found[1] == ()
    assert found[0].values == VALUES
    assert found[0].tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        read = found[0].tensors[name]
        assert read.dtype == tensor.dtype and read.shape == tensor.shape
        assert torch.equal(read.reshape(-1).view(torch.uint8), tensor.contiguous().reshape(-1).view(torch.uint8))
    assert sorted(found[0].part("network.")) == ["steps", "weight"]


def test_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    paths = [write(tmp_path, num_steps) for num_steps in (1, 2, 10, 100)]
    assert list_checkpoints(tmp_path) == [paths[3], paths[2]]
    assert newest_steps(tmp_path) == 100
    assert sorted(tmp_path.iterdir()) == sorted(paths[2:])


def test_none_at_all_is_no_error(tmp_path: Path) -> None:
    assert read_newest(tmp_path) is None
    assert read_newest(tmp_path / "not there") is None


def test_later_ones_are_of_a_way_that_was_given_up(tmp_path: Path) -> None:
    for num_steps in (8, 9):
        write(tmp_path, num_steps)
    path = write(tmp_path, 5)
    assert list_checkpoints(tmp_path) == [path]
    write(tmp_path, 6)
    drop_after(tmp_path, 5)
    assert list_checkpoints(tmp_path) == [path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write(folder, 1)
    write(folder, 2)
    return folder


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_or_a_cut_anywhere_is_seen_and_the_one_before_is_used(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    for path in list_checkpoints(whole):
        shutil.copy(path, folder)
    newest = list_checkpoints(folder)[0]
    content = bytearray(newest.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[at:]
    newest.write_bytes(content)
    found = read_newest(folder)
    assert found is not None
    checkpoint, warnings = found
    if warnings:
        assert int(checkpoint.tensors["network.steps"]) == 1
        assert str(newest) in warnings[0]
    else:
        # Blanks that pad the header: nothing of what it says has changed.
        assert checkpoint.values == VALUES and int(checkpoint.tensors["network.steps"]) == 2
        assert all(torch.equal(x, checkpoint.tensors[n]) for n, x in TENSORS.items() if n != "network.steps")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 8, b"{}", None])
def test_all_damaged_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    for num_steps in (1, 2):
        path = write(tmp_path, num_steps)
        path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(ModelError, match="every checkpoint") as caught:
        read_newest(tmp_path)
    assert caught.value.exit_code == 3 and caught.value.hint
    assert len(list_checkpoints(tmp_path)) == 2


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1)
    full = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        full(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(DiskError, match="No space left") as caught:
        patch.setattr(Path, "write_bytes", half)
        write(tmp_path, 2)
    assert caught.value.exit_code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.safetensors"]
    assert newest_steps(tmp_path) == 1
    write(tmp_path, 2)
    assert newest_steps(tmp_path) == 2


def test_a_really_full_disk_leaves_the_one_before(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        write(tmp_path, 1)
        (tmp_path / "ballast").write_bytes(b"\0" * 200 * 1024)
        large = Checkpoint({"network.steps": torch.zeros(30_000)}, VALUES)
        with pytest.raises(DiskError, match="No space left"):
            write_checkpoint(tmp_path, large, num_steps=2)
        assert newest_steps(tmp_path) == 1
        (tmp_path / "ballast").unlink()
        write_checkpoint(tmp_path, large, num_steps=2)
        assert len(list_checkpoints(tmp_path)) == 2
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_disk_that_gives_back_other_bytes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1)
    read = Path.read_bytes
    with monkeypatch.context() as patch, pytest.raises(DiskError, match="other bytes"):
        patch.setattr(Path, "read_bytes", lambda self: read(self)[:-1] + b"?")
        write(tmp_path, 2)
    assert newest_steps(tmp_path) == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_a_process_killed_in_a_write_leaves_the_one_before_and_the_next_write_tidies_up(tmp_path: Path) -> None:
    write(tmp_path, 1)
    if (child := os.fork()) == 0:
        # The rename never comes: the process dies with the new file half written.
        def die(*_: object) -> None:
            os.kill(os.getpid(), 9)

        os.replace = die  # type: ignore[assignment]
        write(tmp_path, 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert len(list(tmp_path.iterdir())) == 2
    assert newest_steps(tmp_path) == 1
    write(tmp_path, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000000001.safetensors", "step-000000003.safetensors"}


def test_what_cannot_be_removed_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "step-000000001.safetensors").mkdir()
    write(tmp_path, 2)
    write(tmp_path, 3)
    prune(tmp_path, keep=1)
    assert newest_steps(tmp_path) == 3
