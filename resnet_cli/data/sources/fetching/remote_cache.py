"""A local copy of remote files: an interrupted copy resumes, and each call updates it."""

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
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.network.retry import Failed, attempt, redact
from resnet_cli.system.locks import locked
from resnet_cli.system.paths import MORE_ROOM, atomic_path, check_space, data_dir, disk_errors, make_dir, write_text

MAX_FILES = 2_000_000
NUM_THREADS = 8
#: Number of files that are given to the threads at once; an interrupt waits for no others.
_BATCH_FILES = 1024
_MAX_NAME_CHARS = 60
#: Keys under which filesystems report changes of a file, the most reliable first.
_STAMPS = (
    *("ETag", "etag", "e_tag", "md5Hash", "content_md5", "Content-MD5"),
    *("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteEntry:
    """One remote file.

    Attributes:
        name: Path with ``/`` below the folder of the copy.
        address: Its path on the remote filesystem.
        size: Size in bytes; None if it is not known.
        stamp: A value that changes when the file does; empty if there is none.
    """

    name: str
    address: str
    size: int | None = None
    stamp: str = ""

    @classmethod
    def of(cls, name: str, address: str, info: Mapping[str, Any]) -> RemoteEntry:
        """An entry from the information of an fsspec filesystem."""
        size = info.get("size")
        stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
        return cls(name, address, size if isinstance(size, int) else None, stamp)


class RemoteCache:
    """The files below one cache folder, and beside it an index of the remote files that they were copied from.

    Args:
        spec: Specification as the user typed it; each has its own copy.
        last: Its last part, for a readable folder name.
    """

    def __init__(self, spec: str, last: str) -> None:
        self.display_name = redact(spec)
        self.folder = cache_folder(spec, last)
        self._index = self.folder.with_name(f"{self.folder.name}.json")
        self.complete, self._known = _read_index(self._index)

    def fetch(
        self,
        filesystem: Any,
        files: Sequence[RemoteEntry],
        *,
        on_progress: OnProgress | None = None,
        again: bool = False,
    ) -> list[str]:
        """Copies the files that are missing or have changed.

        Args:
            filesystem: An fsspec filesystem.
            files: The files that the copy must contain.
            on_progress: Called after each file with the bytes copied so far and the total, None if it is not known.
            again: Also copy files that are present, because nothing tells whether they have changed.

        Returns:
            Names of the files that do not exist.

        Raises:
            NetworkError: A file cannot be downloaded.
            DiskError: The cache cannot be written, or the disk is full.
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
                    sizes_here = pool.map(lambda file: self._fetch_one(filesystem, file), batch)
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
        """Marks the copy as complete and removes files that no longer exist remotely.

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

    def _fetch_one(self, filesystem: Any, file: RemoteEntry) -> int | None:
        """Copies one file and returns its size; None if the file does not exist."""
        path = self.folder / file.name
        make_dir(path.parent)

        def transfer() -> int:
            with atomic_path(path) as temporary:
                try:
                    filesystem.get_file(file.address, str(temporary))
                    size = temporary.stat().st_size
                except OSError as error:
                    # atomic_path would report any OSError as an error of the disk.
                    raise Failed(error) from error
                if file.size not in (None, size):
                    raise Failed(OSError(f"received {size} of {file.size} bytes"))
            return size

        try:
            size = attempt(transfer, f"{self.display_name}: {redact(file.name)}")
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
        # The index only saves time: without it, files are compared by size.
        return False, {}


def cache_folder(spec: str, last: str) -> Path:
    """The cache folder of a spec: a hash makes it unique, and the last part makes it readable."""
    key = hashlib.sha256(spec.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return data_dir() / "remote" / f"{key}-{safe_name(last)}"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the lock of a cache folder, so that one process at a time creates or updates it.

    Raises:
        DiskError: The cache cannot be written.
    """
    make_dir(folder.parent)
    lock = folder.with_name(f"{folder.name}.lock")
    with disk_errors(lock, "use", hint=MORE_ROOM), locked(lock):
        yield


def safe_name(name: str) -> str:
    """A name that is valid for a file or folder on every system."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[-_MAX_NAME_CHARS:] or "data"


def check_path(name: str, where: str) -> str:
    """Checks that a name is a relative path with ``/`` that stays inside its folder, and normalizes it.

    Args:
        name: An untrusted name.
        where: Source of the name, for the message.

    Raises:
        DataError: The path would leave the folder, or is not valid on every system.
    """
    parts = [part for part in name.split("/") if part != "."]
    if not parts or {"", ".."} & set(parts) or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        raise DataError(
            f"{where} names {name[:200]!a}, which is not a path below its folder; refused",
            hint="paths must be relative, with '/' and without '..'",
        )
    return "/".join(parts)
