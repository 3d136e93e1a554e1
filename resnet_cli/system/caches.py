"""What happens where a cache cannot be written, as in many containers: the work continues without it.

Files that the work needs (an unpacked archive, downloaded weights) are then written to a temporary folder of this
process.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import importlib
import os
import re
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from resnet_cli.errors import DiskError
from resnet_cli.system.locks import abandoned, new_locked_folder
from resnet_cli.system.paths import FULL_DISK, NO_HOME, cache_dir, is_scarce, make_dir

#: Where temporary files may be if no usual folder can be written: it is in memory, and writable in a container whose
#: own files are read-only. Source: ``docker run --shm-size``, 64 MB by default.
_SHARED_MEMORY = "/dev/shm"

#: What to do about a full disk of temporary files.
TEMPORARY_HINT = "free some space there, or set TMPDIR to another folder"
#: The names that :func:`_new_temporary` gives, and nobody else.
_TEMPORARY = re.compile(r"\.?resnet-cli-[a-z0-9_]{8}\.tmp")
_lock = threading.Lock()
_has_warned = False


class CacheWarning(UserWarning):
    """A cache cannot be written: the results are the same, but later commands compute or download again."""


def warn_unwritable(folder: Path, error: BaseException, *, variable: str | None = None) -> None:
    """Warns that a cache cannot be written: once in a process, and in one process of a training on each machine.

    Args:
        folder: The folder of the cache.
        error: Why it cannot be written.
        variable: The environment variable that moves it; None for that of our own caches, or of torch.hub's.
    """
    global _has_warned
    with _lock:
        if _has_warned or os.environ.get("LOCAL_RANK", "0") != "0":
            return
        _has_warned = True
    if variable is None:
        is_ours = cache_dir() in (folder, *folder.parents)
        variable, folder = ("RESNET_CLI_CACHE", cache_dir()) if is_ours else ("TORCH_HOME", folder)
    if NO_HOME in folder.parents:
        reason = "this user has no home folder for the cache"
    else:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = f"the cache folder {folder} cannot be written ({getattr(cause, 'strerror', None) or cause})"
    warnings.warn(
        f"{reason}: nothing is kept for later commands; to keep it, set {variable} to a writable folder",
        CacheWarning,
        stacklevel=2,
    )


def evict(files: Iterable[Path], max_bytes: int, *, keeps: Callable[[Path], bool] = lambda path: False) -> None:
    """Deletes the least recently modified files until the others fit into ``max_bytes``.

    Caches touch a file when they read it, so its modification time is when it was last used. Files that another
    process deletes meanwhile are ignored.

    Args:
        files: All files of the cache.
        max_bytes: Their size after that.
        keeps: Whether a file counts, but must not be deleted.
    """
    found = []
    for path in files:
        with contextlib.suppress(OSError):
            found.append((path.stat(), path))
    excess = sum(stat.st_size for stat, _ in found) - max_bytes
    for stat, path in sorted(found, key=lambda file: file[0].st_mtime):
        if excess <= 0:
            return
        if keeps(path):
            continue
        with contextlib.suppress(OSError):
            path.unlink()
        excess -= stat.st_size


def place_to_write(path: Path) -> Path:
    """Where a file or folder of a cache can be created: at its own path, else below :func:`scratch_dir`.

    Args:
        path: The file or folder; its parent folders are created.

    Raises:
        DiskError: Neither is possible.
    """
    try:
        make_dir(path.parent)
        # Tried, since permissions alone do not tell: the file system may be read-only.
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except (DiskError, OSError) as error:
        warn_unwritable(path.parent, error)
    return make_dir(scratch_dir() / path.parent.name) / path.name


@functools.cache
def scratch_dir() -> Path:
    """A temporary folder that is removed when this process ends.

    Raises:
        DiskError: No folder for temporary files can be written.
    """
    require_temporary_folder()
    return _until_the_end(Path(tempfile.gettempdir()), hidden=False)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields an empty folder that is removed at the end of the block.

    Raises:
        DiskError: No folder for temporary files can be written, or their disk is full.
    """
    require_temporary_folder()
    place = Path(tempfile.gettempdir())
    with _new_temporary(place) as folder:
        try:
            yield folder
        except OSError as error:
            if not _is_full(error, folder):
                raise
            raise DiskError(
                f"cannot write temporary files: {error.strerror} in {place}", hint=TEMPORARY_HINT
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _is_full(error: OSError, folder: Path) -> bool:
    """Whether an error is that of a full disk, and this disk is the one of the folder."""
    if error.errno not in FULL_DISK:
        return False
    if isinstance(error.filename, str | bytes):
        return folder in Path(os.fsdecode(error.filename)).parents
    # When a write fails, no file is named.
    return is_scarce(folder)


def find_temporary_folder(out: Path | None = None) -> bool:
    """If Python finds no folder for temporary files, chooses one for this process and its children.

    Args:
        out: A path that will be written: a temporary folder beside it is the last choice.

    Returns:
        Whether there is a folder.
    """
    with contextlib.suppress(OSError):
        tempfile.gettempdir()
        return True
    for folder in (str(cache_dir()), _SHARED_MEMORY):
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder):
            tempfile.tempdir = os.environ["TMPDIR"] = folder
            return True
    if out is None:
        return False
    beside = next(folder for folder in out.absolute().parents if folder.is_dir())
    with contextlib.suppress(OSError):
        tempfile.tempdir = os.environ["TMPDIR"] = str(_until_the_end(beside, hidden=True))
        return True
    return False


def require_temporary_folder(out: Path | None = None) -> None:
    """Finds a folder for temporary files before hours of work that need one at their end.

    Args:
        out: A path that will be written; None if it is not known yet.

    Raises:
        DiskError: No folder can be written.
    """
    if not find_temporary_folder(out):
        raise _no_temporary_folder(OSError(errno.EROFS, os.strerror(errno.EROFS)))


def _until_the_end(place: Path, *, hidden: bool) -> Path:
    """A folder that is removed when this process ends."""
    lock = contextlib.ExitStack()
    folder = lock.enter_context(_new_temporary(place, hidden=hidden))
    atexit.register(lock.close)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _new_temporary(place: Path, *, hidden: bool = False) -> contextlib.AbstractContextManager[Path]:
    """A new folder, locked within the block; those that killed processes have left in this place are removed first."""
    for left in abandoned(place, _TEMPORARY):
        shutil.rmtree(left, ignore_errors=True)
    prefix = ".resnet-cli-" if hidden else "resnet-cli-"
    return new_locked_folder(lambda: Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=place)))


@functools.cache
def import_matplotlib() -> None:
    """Imports matplotlib without its messages: where its own folder cannot be written, it uses a temporary one.

    Raises:
        DiskError: No folder for temporary files can be written.
    """
    import logging

    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # This module reads or makes the list of fonts in that folder.
        importlib.import_module("matplotlib.font_manager")
    except OSError as error:
        raise _no_temporary_folder(error) from error
    finally:
        logger.setLevel(level)


def _no_temporary_folder(error: OSError) -> DiskError:
    return DiskError(
        f"no folder for temporary files can be written: {error.strerror or error}",
        hint="set TMPDIR to a writable folder",
    )
