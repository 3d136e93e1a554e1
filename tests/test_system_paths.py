from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet_cli.errors import DiskError
from resnet_cli.system.caches import evict
from resnet_cli.system.locks import locked
from resnet_cli.system.paths import (
    atomic_path,
    cache_dir,
    check_space,
    check_writable,
    checkpoints_dir,
    data_dir,
    disk_errors,
    features_dir,
    make_dir,
    shorten_home,
    write_bytes,
    write_text,
)

linux_only = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where nobody can make files")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    if sys.platform == "win32":
        pytest.skip("Windows has no umask")
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_written_file_holds_the_bytes_and_nothing_stays_beside_it(old: Path) -> None:
    write_bytes(old, b"new")
    assert old.read_bytes() == b"new"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_body_that_fails_leaves_the_old_file_and_no_other(old: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), atomic_path(old) as temporary:
        temporary.write_text("half of the ne")
        raise failure
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_a_full_disk_is_a_disk_error_and_leaves_the_old_file(old: Path) -> None:
    with pytest.raises(DiskError, match="No space left") as caught, atomic_path(old) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 6 and str(old) in caught.value.message
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(old: Path) -> None:
    with atomic_path(old) as temporary:
        temporary.write_text("new")
        assert old.read_text() == "old"
        assert temporary.parent == old.parent
    assert old.read_text() == "new"


def test_the_data_is_on_the_disk_before_the_name_is(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def spy(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any) -> None:
            calls.append(name)
            real(*args)

        monkeypatch.setattr(os, name, call)

    spy("fsync")
    spy("replace")
    write_bytes(old, b"new")
    assert calls[:2] == ["fsync", "replace"]


def test_the_mode_is_what_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    for name in ("fresh", "again"):
        write_bytes(tmp_path / name, b"x")
        write_bytes(tmp_path / name, b"y")
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask
    now = os.umask(umask)
    assert now == umask


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "grün\n猫\n")
    assert (tmp_path / "a.txt").read_bytes() == "grün\n猫\n".encode()


def test_a_file_name_that_is_not_utf8_is_written_as_its_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "names.txt", os.fsdecode(b"caf\xe9.jpg"))
    assert (tmp_path / "names.txt").read_bytes() == b"caf\xe9.jpg"


def test_a_target_that_cannot_be_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "gone" / "a", tmp_path / "file" / "a", tmp_path / "folder", tmp_path / ("n" * 300)):
        with pytest.raises(DiskError):
            write_bytes(path, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "file.csv")
    assert list(tmp_path.iterdir()) == []


@linux_only
def test_a_name_that_is_too_long_is_found_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="too long"):
        check_writable(tmp_path / f"{'a' * 300}.onnx")


@linux_only
def test_a_folder_that_nobody_can_write_is_a_disk_error() -> None:
    with pytest.raises(DiskError, match="cannot write /proc/file") as error:
        check_writable(Path("/proc/file"))
    assert error.value.hint == "choose another place with --out"
    with pytest.raises(DiskError, match="cannot write in /proc"):
        write_bytes(Path("/proc/file"), b"x")
    with pytest.raises(DiskError, match="cannot create the folder /proc/new"):
        make_dir(Path("/proc/new"))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_disk_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DiskError, match="Permission denied"):
        write_bytes(tmp_path / "file", b"x")


def test_a_folder_is_made_with_its_parents_and_may_be_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert make_dir(path) == path and path.is_dir()
    assert make_dir(path) == path
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="cannot create"):
        make_dir(tmp_path / "file")


def test_our_caches_lie_below_resnet_cli_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    assert data_dir().parent == features_dir().parent == tmp_path
    monkeypatch.setenv("RESNET_CLI_CACHE", "~/mine")
    assert cache_dir() == Path.home() / "mine"


@pytest.mark.parametrize("unset", [False, True], ids=["empty", "unset"])
def test_without_it_they_lie_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, unset: bool) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", "")
    if unset:
        monkeypatch.delenv("RESNET_CLI_CACHE")
    assert "resnet-cli" in cache_dir().parts


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TORCH_HOME": "/somewhere/torch"},
        {"TORCH_HOME": "~/torch"},
        {"XDG_CACHE_HOME": "/somewhere/cache"},
        {"XDG_CACHE_HOME": "~/cache"},
        {"TORCH_HOME": "/somewhere/torch", "XDG_CACHE_HOME": "/elsewhere"},
    ],
    ids=str,
)
def test_weights_lie_where_torch_hub_looks_for_them(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert checkpoints_dir() == Path(torch.hub.get_dir()) / "checkpoints"


def test_an_error_of_the_disk_names_the_path_and_what_was_done_with_it(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"cannot read .*: No such file") as caught, disk_errors(tmp_path, "read"):
        (tmp_path / "gone").read_bytes()
    assert str(tmp_path) in caught.value.message


def test_space_is_checked_before_a_folder_is_made(tmp_path: Path) -> None:
    check_space(tmp_path / "new" / "folder", 1, "the copy")
    with pytest.raises(DiskError, match=r"free, but the copy needs 1,000,000 TB"):
        check_space(tmp_path / "new" / "folder", 10**18, "the copy", hint="another disk")
    assert not (tmp_path / "new").exists()


def test_the_least_recently_used_files_are_evicted(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abcd"]
    for age, path in enumerate(paths):
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - age, 1000 - age))
    evict([*paths, tmp_path / "gone"], 25)
    assert [path.exists() for path in paths] == [True, True, False, False]


def test_a_lock_is_free_again_after_its_holder_has_died(tmp_path: Path) -> None:
    holder = f"""
import os
from pathlib import Path
from resnet_cli.system.locks import locked
with locked(Path({str(tmp_path / "lock")!r})):
    os._exit(7)
"""
    assert subprocess.run([sys.executable, "-c", holder], check=False).returncode == 7
    with locked(tmp_path / "lock"):
        pass
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="cannot lock"), locked(tmp_path / "file" / "lock"):
        pass


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/home/me/pets", "~/pets"),
        ("/home/me", "~"),
        ("in /home/me.", "in ~."),
        ("resnet-cli eval '/home/me/my run' /home/me/x", "resnet-cli eval ~/'my run' ~/x"),
        ("/home/me-too/pets", "/home/me-too/pets"),
        ("/home/me.too", "/home/me.too"),
        ("/mnt/home/me/pets", "/mnt/home/me/pets"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths as POSIX writes them")
def test_the_home_folder_and_nothing_else_is_shortened(text: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert shorten_home(text) == wanted
    monkeypatch.setenv("HOME", "/")
    assert shorten_home(text) == text
