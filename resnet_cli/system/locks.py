"""Locks of files, which the system releases when a process dies."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from resnet_cli.system.paths import MORE_ROOM, disk_errors


def try_lock(file: IO[bytes]) -> bool:
    """Locks an open file until it is closed or the process ends; False if another process has locked it.

    True also where there are no such locks: on Windows, which locks bytes for readers too, and on some file systems.
    """
    return _lock(file) is not False


def is_locked(path: Path) -> bool | None:
    """Whether a process has locked a file with :func:`try_lock`; None where there are no such locks.

    Raises:
        OSError: There is no such file, or it cannot be read.
    """
    try:
        # Network file systems lock only files that are open for writing.
        file: IO[bytes] = path.open("r+b")
    except PermissionError:
        file = path.open("rb")
    with file:
        is_free = _lock(file)
    return None if is_free is None else not is_free


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[bool | None]:
    """Tries to lock a folder within the block; the system releases the lock when the process dies.

    Yields:
        Whether no other process has locked it; None where there are no such locks.

    Raises:
        OSError: There is no such folder.
    """
    if sys.platform == "win32":
        yield None
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def new_locked_folder(make: Callable[[], Path]) -> Iterator[Path]:
    """Makes a folder, and locks it within the block; until then, it could be taken for an abandoned one.

    Args:
        make: Makes an empty folder; called again if another process has removed the first one before it was locked.
    """
    with contextlib.ExitStack() as stack:
        while True:
            folder = make()
            with contextlib.suppress(FileNotFoundError):
                if stack.enter_context(folder_lock(folder)) is not False and folder.is_dir():
                    break
        yield folder


def abandoned(place: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """The folders of :func:`new_locked_folder` whose processes were killed: nobody locks them any more.

    Each of them is locked until the next one is asked for, so that the caller can remove it.

    Args:
        place: The folder that they are in.
        name: Matches their whole names, and those of nothing else.
    """
    # Those of other users cannot be opened.
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for left in [Path(entry) for entry in entries if name.fullmatch(entry.name)]:
            with contextlib.suppress(OSError), folder_lock(left) as is_free:
                if is_free:
                    yield left


def _lock(file: IO[bytes] | int) -> bool | None:
    """Whether the lock was free and is taken now; None where there are no such locks."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True
    return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of one file; the system releases it when a process dies, so it is never stale.

    Raises:
        DiskError: The lock file cannot be written.
    """
    from filelock import FileLock

    lock = FileLock(path)
    with disk_errors(path, "lock", hint=MORE_ROOM):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
