"""A local copy of files that live elsewhere: goes on where it stopped, and is brought up to date by the next call."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath
from typing import Any

from resnet_cli.errors import DataError
from resnet_cli.network.retry import Failed, attempt, redact
from resnet_cli.network.transfer import OnProgress
from resnet_cli.system.paths import (
    MORE_ROOM,
    atomic_path,
    check_space,
    data_dir,
    disk_errors,
    locked,
    make_dir,
    write_text,
)

MAX_FILES = 2_000_000
NUM_THREADS = 8
#: Files that are handed to the threads at once; an interrupt waits for none of the others.
_BATCH_FILES = 1024
_MAX_NAME_CHARS = 60
#: Where filesystems say that a file changed, the surest first.
_STAMPS = (
    *("ETag", "etag", "e_tag", "md5Hash", "content_md5", "Content-MD5"),
    *("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteEntry:
    """One file elsewhere.

    Attributes:
        name: Where it lands: a path with ``/`` below the copy.
        address: What its filesystem calls it.
        size: In bytes; None where it is not known.
        stamp: Changes when the file does; empty where nothing is known.
    """

    name: str
    address: str
    size: int | None = None
    stamp: str = ""

    @classmethod
    def of(cls, name: str, address: str, info: Mapping[str, Any]) -> RemoteEntry:
        """From what an fsspec filesystem says about it."""
        size = info.get("size")
        stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
        return cls(name, address, size if isinstance(size, int) else None, stamp)


class RemoteCache:
    """The files below one folder of the cache, and beside it an index of what they were copied from.

    Args:
        spec: What the user typed; one copy for each.
        last: Its last part, for people.
    """

    def __init__(self, spec: str, last: str) -> None:
        self.shown = redact(spec)
        self.folder = cache_folder(spec, last)
        self._index = self.folder.with_name(f"{self.folder.name}.json")
        self.complete, self._known = _read_index(self._index)

    def bring(
        self,
        filesystem: Any,
        files: Sequence[RemoteEntry],
        *,
        on_progress: OnProgress | None = None,
        again: bool = False,
    ) -> list[str]:
        """Copies what is not here yet or has changed.

        Args:
            filesystem: An fsspec filesystem.
            files: What has to be here.
            on_progress: Called after each file with the bytes that are here and the total, None if not known.
            again: Copy even what is here, because nothing tells whether it changed.

        Returns:
            The names of those that are not there.

        Raises:
            NetworkError: One cannot be had.
            DiskError: The cache cannot be written or has no room.
        """
        todo = [file for file in files if again or not self._is_here(file)]
        report = on_progress or (lambda *_: None)
        sizes = [file.size for file in files]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        num_bytes = sum(size or 0 for size in sizes) - sum(file.size or 0 for file in todo)
        missing: list[str] = []
        if todo:
            make_dir(self.folder)
            check_space(self.folder, sum(file.size or 0 for file in todo), "the copy")
            self._save(complete=False)
        try:
            with ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="copy") as pool:
                for start in range(0, len(todo), _BATCH_FILES):
                    batch = todo[start : start + _BATCH_FILES]
                    sizes_here = pool.map(lambda file: self._bring_one(filesystem, file), batch)
                    for file, size in zip(batch, sizes_here, strict=True):
                        if size is None:
                            missing.append(file.name)
                        num_bytes += size or 0
                        report(num_bytes, total)
        finally:
            if todo:
                self._save(complete=False)
        return missing

    def finish(self, names: set[str]) -> None:
        """Marks the copy as whole and removes what is no longer elsewhere.

        Raises:
            DiskError: The cache cannot be written.
        """
        with disk_errors(self.folder, "remove old files from"):
            for root, _, files in os.walk(self.folder):
                for file in files:
                    path = Path(root, file)
                    if path.relative_to(self.folder).as_posix() not in names:
                        path.unlink()
        gone = self._known.keys() - names
        if gone or not self.complete:
            for name in gone:
                del self._known[name]
            self._save(complete=True)

    def _is_here(self, file: RemoteEntry) -> bool:
        try:
            size = (self.folder / file.name).stat().st_size
        except OSError:
            return False
        _, stamp = self._known.get(file.name, (0, ""))
        return file.size in (None, size) and ("" in (stamp, file.stamp) or stamp == file.stamp)

    def _bring_one(self, filesystem: Any, file: RemoteEntry) -> int | None:
        """The size of the file's new copy; None if the file is not there."""
        path = self.folder / file.name
        make_dir(path.parent)

        def transfer() -> int:
            with atomic_path(path) as temporary:
                try:
                    filesystem.get_file(file.address, str(temporary))
                    size = temporary.stat().st_size
                except OSError as error:
                    # atomic_path takes any OSError for the disk's.
                    raise Failed(error) from error
                if file.size not in (None, size):
                    raise Failed(OSError(f"{size} of {file.size} bytes came"))
            return size

        try:
            size = attempt(transfer, f"{self.shown}: {redact(file.name)}")
        except FileNotFoundError:
            return None
        self._known[file.name] = (size, file.stamp)
        return size

    def _save(self, *, complete: bool) -> None:
        make_dir(self._index.parent)
        write_text(self._index, json.dumps({"complete": complete, "files": self._known.copy()}))
        self.complete = complete


def _read_index(path: Path) -> tuple[bool, dict[str, tuple[int, str]]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = {str(name): (int(size), str(stamp)) for name, (size, stamp) in found["files"].items()}
        return found["complete"] is True, known
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # It only saves time: without it everything is compared by size.
        return False, {}


def cache_folder(spec: str, last: str) -> Path:
    """Where the copy of a spec lies: the hash keeps specs apart, the last part is for people."""
    key = hashlib.sha256(spec.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return data_dir() / "remote" / f"{key}-{safe_name(last)}"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One process at a time makes or updates a copy.

    Raises:
        DiskError: The cache cannot be written.
    """
    make_dir(folder.parent)
    lock = folder.with_name(f"{folder.name}.lock")
    with disk_errors(lock, "use", hint=MORE_ROOM), locked(lock):
        yield


def safe_name(name: str) -> str:
    """A name that every system takes for a file or folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[-_MAX_NAME_CHARS:] or "data"


def check_path(name: str, where: str) -> str:
    """A relative path with ``/`` that stays below the folder it is put into.

    Args:
        name: As a stranger wrote it.
        where: What is to blame.

    Raises:
        DataError: It would leave the folder, or no system can hold it.
    """
    parts = [part for part in name.split("/") if part != "."]
    if not parts or {"", ".."} & set(parts) or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        raise DataError(
            f"{where} names {name[:200]!a}, which is no path below its folder; refused",
            hint="paths must be relative, with '/' and without '..'",
        )
    return "/".join(parts)
