"""Caches that cannot be written: no error, one warning, and a place for what the work needs."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

from resnet_cli.errors import DiskError, SetupError
from resnet_cli.system import caches, paths
from resnet_cli.system.caches import CacheWarning, place_to_write, scratch_dir, warn_unwritable
from resnet_cli.system.paths import NO_HOME, cache_dir, checkpoints_dir, make_dir, user_path

READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder, whose caches no variable moves."""
    for name in ("HOME", "USERPROFILE", "RESNET_CLI_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    # As for a user id without an entry in passwd.
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


def test_one_warning_in_a_process_names_the_folder_the_reason_and_the_variable() -> None:
    with pytest.warns(CacheWarning) as caught:
        workers = [threading.Thread(target=warn_unwritable, args=(cache_dir() / "data", READ_ONLY)) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    (warning,) = caught
    assert str(warning.message) == (
        f"the cache folder {cache_dir()} cannot be written (Read-only file system): nothing is kept for later "
        "commands; to keep it, set RESNET_CLI_CACHE to a writable folder"
    )


def test_a_cache_of_torch_hub_is_moved_by_its_own_variable() -> None:
    with pytest.warns(CacheWarning, match="set TORCH_HOME to"):
        warn_unwritable(checkpoints_dir(), READ_ONLY)


def test_of_several_processes_on_a_machine_one_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unwritable(cache_dir(), READ_ONLY)


def test_without_a_home_folder_nothing_can_be_written_by_accident(no_home: None) -> None:
    assert NO_HOME in cache_dir().parents and NO_HOME in checkpoints_dir().parents
    for folder in (cache_dir(), checkpoints_dir()):
        with pytest.raises(DiskError):
            make_dir(folder)
    with pytest.warns(CacheWarning, match=r"^this user has no home folder .* set RESNET_CLI_CACHE to"):
        place_to_write(cache_dir() / "data" / "file")


def test_without_a_home_folder_one_variable_moves_all_caches(
    no_home: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path))
    assert tmp_path in checkpoints_dir().parents


def test_a_tilde_that_means_nothing_is_an_error_and_no_folder(no_home: None) -> None:
    with pytest.raises(SetupError, match="no home folder"):
        user_path("~/runs")
    assert user_path("~notes/x") == Path("~notes/x")


def test_a_path_of_a_cache_is_its_own_where_it_can_be_written(tmp_path: Path) -> None:
    assert place_to_write(tmp_path / "new" / "file") == tmp_path / "new" / "file"
    assert list((tmp_path / "new").iterdir()) == []


def test_otherwise_it_is_the_same_temporary_one_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(CacheWarning, match="cannot be written"):
        first = place_to_write(tmp_path / "file" / "data" / "name")
    first.write_text("there")
    assert place_to_write(tmp_path / "file" / "data" / "name").read_text() == "there"
    assert first.parent.parent == scratch_dir()


def test_the_temporary_folder_ends_with_its_process() -> None:
    program = "from resnet_cli.system.caches import scratch_dir; (scratch_dir() / 'x').touch(); print(scratch_dir())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of folders")
def test_a_temporary_folder_that_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import os; from resnet_cli.system import caches; inner = caches.temporary_folder();"
        "(inner.__enter__() / 'x').touch(); caches.scratch_dir(); os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert len(os.listdir(tmp_path)) == 2
    # A folder of somebody who names it like that; and one that is in use.
    (tmp_path / "resnet-cli-checkout").mkdir()
    with caches.temporary_folder() as first, caches.temporary_folder() as second:
        assert sorted(os.listdir(tmp_path)) == sorted([first.name, second.name, "resnet-cli-checkout"])
    assert os.listdir(tmp_path) == ["resnet-cli-checkout"]


def test_without_temporary_folders_the_cache_or_shared_memory_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path))
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    caches.find_temporary_folder()
    assert (tempfile.tempdir, os.environ["TMPDIR"]) == (str(tmp_path), str(tmp_path))
    monkeypatch.setenv("RESNET_CLI_CACHE", "/nowhere/cache")
    monkeypatch.setattr(caches, "_SHARED_MEMORY", str(tmp_path / "memory"))
    caches.find_temporary_folder()
    assert os.environ["TMPDIR"] == str(tmp_path)
    (tmp_path / "memory").mkdir()
    caches.find_temporary_folder()
    assert os.environ["TMPDIR"] == str(tmp_path / "memory")


def test_matplotlib_without_a_folder_of_its_own_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    program = (
        "from resnet_cli.system.caches import import_matplotlib; import_matplotlib();"
        "import logging, matplotlib.font_manager; print(logging.getLogger('matplotlib').level)"
    )
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "file" / "folder")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(logging.NOTSET), "")


def test_paths_know_no_other_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RESNET_CLI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_HOME")
    if sys.platform == "linux":
        assert paths.cache_dir() == tmp_path / "resnet-cli"
    assert checkpoints_dir() == tmp_path / "torch" / "hub" / "checkpoints"
