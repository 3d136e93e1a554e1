"""Unpacks a stranger's archive of images into a folder of the cache, whole or not at all.

No member is trusted: neither its name, nor its kind, nor the size that a header gives it. Members are read as
a stream into a hidden folder, which gets its name only once every checksum is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from resnet_cli.data.sources.archive_reader import Budget, Member, open_members, readable, refuse
from resnet_cli.errors import DiskError
from resnet_cli.network.transfer import OnProgress
from resnet_cli.system.paths import MORE_ROOM, atomic_folder, check_space, data_dir, disk_errors, locked, make_dir

#: More than ImageNet-1k's 1.4 million images; each file costs a block and an inode, however short it is.
MAX_FILES = 2_000_000
#: Folders in folders; what goes deeper is no layout of images.
MAX_DEPTH = 64
#: Source: NAME_MAX of Linux and macOS; the same in UTF-16 units on NTFS.
MAX_PART_BYTES = 255
#: Source: PATH_MAX of macOS, the shortest of the systems whose paths have a limit in bytes.
MAX_NAME_BYTES = 1024

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
# At most 192 bytes of UTF-8, so that the key and the ends of temporary names fit beside it in 255.
_MAX_STEM_CHARS = 48
_MAX_SHOWN_CHARS = 100
_ON_WINDOWS = os.name == "nt"
# Source: Microsoft, "Naming Files, Paths, and Namespaces".
_WINDOWS_CHARACTERS = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]+$')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)", re.I)

Wanted = Callable[[str], bool]


def is_archive_name(name: str) -> bool:
    """Whether a file's name says that it is an archive that can be unpacked (hidden files never are)."""
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def unpack(archive: Path, into: Path, *, wanted: Wanted | None = None, on_progress: OnProgress | None = None) -> int:
    """Unpacks the regular files of an archive into a new folder, all or nothing.

    Hidden files and what macOS adds are left out. Files get the mode and time of new files. On Windows, names
    that it cannot hold are made safe.

    Args:
        archive: A file that :func:`is_archive_name` knows.
        into: The folder to make; its parents are made too.
        wanted: Told a file's path in the archive, with ``/``; False passes the file over. Default: all.
        on_progress: Called after each file with the bytes written and the total, None where it is not known.

    Returns:
        How many files were passed over.

    Raises:
        DataError: Damaged, cut off, encrypted, too large, or with a member that is not a plain file inside.
        DiskError: ``into`` is there already, cannot be written, or there is no room.
    """
    with _alone(into):
        if os.path.lexists(into):
            raise DiskError(f"{into}: exists already", hint="choose another folder, or remove it first")
        return _fill(archive, into, wanted, on_progress)


def unpacked(archive: Path, *, wanted: Wanted | None = None, on_progress: OnProgress | None = None) -> Path:
    """The folder of the cache that holds an archive's files; unpacked once, until the archive changes.

    Args:
        archive: A file that :func:`is_archive_name` knows.
        wanted: As for :func:`unpack`. It is no part of what the cache knows, so it must always be the same.
        on_progress: As for :func:`unpack`; not called when the folder is there.

    Raises:
        DataError: As for :func:`unpack`, or the archive is not there.
        DiskError: The cache cannot be written, or has no room.
    """
    path = os.path.realpath(archive)
    with readable(archive):
        found = os.stat(path)
    key = hashlib.sha256(os.fsencode(f"{path}\n{found.st_size}\n{found.st_mtime_ns}")).hexdigest()[:16]
    suffix = max((end for end in _SUFFIXES if path.lower().endswith(end)), key=len, default="")
    stem = os.path.basename(path)[: -len(suffix) or None][:_MAX_STEM_CHARS]
    into = data_dir() / "unpacked" / f"{stem}-{key}"
    if not into.is_dir():
        with _alone(into):
            # Another process may have unpacked it while this one waited for the lock.
            if not into.is_dir():
                _fill(archive, into, wanted, on_progress)
    return into


@contextlib.contextmanager
def _alone(into: Path) -> Iterator[None]:
    make_dir(into.parent)
    with disk_errors(into, hint=MORE_ROOM), locked(into.with_name(f".{into.name}.lock")):
        yield


def _fill(archive: Path, into: Path, wanted: Wanted | None, on_progress: OnProgress | None) -> int:
    with atomic_folder(into) as temporary:
        return _write_all(archive, temporary, wanted, on_progress or (lambda *_: None))


def _write_all(archive: Path, folder: Path, wanted: Wanted | None, on_progress: OnProgress) -> int:
    with readable(archive):
        budget = Budget(archive, archive.stat().st_size)
    with open_members(budget) as members:
        files: Iterable[tuple[str | None, Member]] = _admitted(archive, members, wanted)
        total = None
        if isinstance(members, list):
            # Everything is named beforehand, so that nothing is written before all of it is checked.
            files = list(files)
            total = sum(member.num_bytes for name, member in files if name)
            budget.check(total)
            check_space(folder, total, f"unpacking {archive.name}")
        num_passed_over = num_written = 0
        for name, member in files:
            if name is None:
                num_passed_over += 1
            else:
                num_written += _write(archive, folder, name, member)
                on_progress(num_written, total)
    return num_passed_over


def _admitted(archive: Path, members: Iterable[Member], wanted: Wanted | None) -> Iterator[tuple[str | None, Member]]:
    """The files of an archive with the paths that they get; None for the path of one that is passed over."""
    for number, member in enumerate(members, start=1):
        if number > MAX_FILES:
            refuse(archive, f"it holds more than {MAX_FILES:,} files")
        parts = _parts(archive, member.name)
        is_clutter = any(part.startswith(".") or part.lower() == "__macosx" for part in parts)
        if is_clutter or member.kind == "folder":
            continue
        if member.kind != "file":
            refuse(archive, f"{member.name!r} is {member.kind}, not a plain file")
        if not parts:
            refuse(archive, f"{member.name!r} cannot be a file name")
        name = "/".join(parts)
        yield name if wanted is None or wanted(name) else None, member


def _parts(archive: Path, name: str) -> list[str]:
    """The folders and the file that a member's name means; none for the root itself."""
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    shown = repr(name[:_MAX_SHOWN_CHARS])
    if path.startswith("/") or re.match("[A-Za-z]:", path) or ".." in parts:
        refuse(archive, f"{shown} would leave the folder")
    try:
        lengths = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        refuse(archive, f"{shown} cannot be a file name on this system")
    if "\0" in path:
        refuse(archive, f"{shown} cannot be a file name")
    if len(parts) > MAX_DEPTH or max(lengths, default=0) > MAX_PART_BYTES or sum(lengths) > MAX_NAME_BYTES:
        refuse(archive, f"{shown} is too long, or deeper than {MAX_DEPTH} folders")
    return [_safe_on_windows(part) for part in parts] if _ON_WINDOWS else parts


def _safe_on_windows(part: str) -> str:
    part = _WINDOWS_CHARACTERS.sub("_", part)
    return f"_{part}" if _WINDOWS_DEVICES.match(part) else part


def _write(archive: Path, folder: Path, name: str, member: Member) -> int:
    path = folder / name
    num_bytes = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Mode x also sees a name that only this file system takes for the same.
        with path.open("xb") as file:
            for chunk in member.chunks():
                num_bytes += file.write(chunk)
    except (FileExistsError, NotADirectoryError):
        refuse(archive, f"{member.name!r} is there twice, or is both a file and a folder")
    return num_bytes
