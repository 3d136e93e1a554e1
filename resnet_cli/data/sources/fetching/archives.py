"""Unpacks an untrusted archive of images into a cache folder, completely or not at all.

Neither the name nor the kind nor the size of a member is trusted. Members are streamed into a hidden folder, which is
renamed only after every checksum has been verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from resnet_cli.data.sources.fetching.archive_reader import Budget, Member, open_members, readable, refuse
from resnet_cli.errors import DiskError
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.system.caches import place_to_write
from resnet_cli.system.locks import locked
from resnet_cli.system.paths import MORE_ROOM, atomic_folder, check_space, data_dir, disk_errors, make_dir

#: More than ImageNet-1k's 1.4 million images; every file takes a block and an inode, however short it is.
MAX_FILES = 2_000_000
#: Nesting of folders; no layout of images is deeper.
MAX_DEPTH = 64
#: Source: NAME_MAX of Linux and macOS; the same in UTF-16 units on NTFS.
MAX_PART_BYTES = 255
#: Source: PATH_MAX of macOS, the shortest of the systems whose paths have a limit in bytes.
MAX_NAME_BYTES = 1024

#: Version of the files that are kept from archives and the Hub; raised when files of more kinds are.
WANTED_VERSION = 3

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
# At most 192 bytes of UTF-8, so that the key and temporary suffixes fit into 255 bytes too.
_MAX_STEM_CHARS = 48
_MAX_SHOWN_CHARS = 100
_ON_WINDOWS = os.name == "nt"
# Source: Microsoft, "Naming Files, Paths, and Namespaces".
_WINDOWS_CHARACTERS = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]+$')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)", re.I)

Wanted = Callable[[str], bool]


def is_archive_name(name: str) -> bool:
    """Whether a file has the extension of an archive that can be unpacked (hidden files never count)."""
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def unpack(archive: Path, into: Path, *, wanted: Wanted | None = None, on_progress: OnProgress | None = None) -> int:
    """Unpacks the regular files of an archive into a new folder, all or nothing.

    Hidden files and the extra files of macOS are skipped. Files get the mode and time of new files. On Windows,
    invalid characters in names are replaced.

    Args:
        archive: A file whose name :func:`is_archive_name` accepts.
        into: The folder to create, along with its parents.
        wanted: Called with a file's path in the archive, with ``/``; False skips the file. Default: all files.
        on_progress: Called after each file with the bytes written and the total, None if it is not known.

    Returns:
        Number of files that were skipped.

    Raises:
        DataError: The archive is damaged, truncated, encrypted or too large, or has a member that is not a plain file.
        DiskError: ``into`` exists already or cannot be written, or the disk is full.
    """
    with _alone(into):
        if os.path.lexists(into):
            raise DiskError(f"{into}: exists already", hint="choose another folder, or remove it first")
        return _fill(archive, into, wanted, on_progress)


def unpacked(archive: Path, *, wanted: Wanted | None = None, on_progress: OnProgress | None = None) -> Path:
    """The cache folder with an archive's files; unpacked once, and again only if the archive changes.

    Args:
        archive: A file whose name :func:`is_archive_name` accepts.
        wanted: As for :func:`unpack`. The cache key does not depend on it, so it must always be the same; where it
            changes, ``WANTED_VERSION`` does too.
        on_progress: As for :func:`unpack`; not called if the folder exists.

    Raises:
        DataError: As for :func:`unpack`, or the archive does not exist.
        DiskError: The cache cannot be written, or the disk is full.
    """
    path = os.path.realpath(archive)
    with readable(archive):
        found = os.stat(path)
    state = f"{path}\n{found.st_size}\n{found.st_mtime_ns}\n{WANTED_VERSION}"
    key = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    suffix = max((end for end in _SUFFIXES if path.lower().endswith(end)), key=len, default="")
    stem = os.path.basename(path)[: -len(suffix) or None][:_MAX_STEM_CHARS]
    into = data_dir() / "unpacked" / f"{stem}-{key}"
    if not into.is_dir():
        into = place_to_write(into)
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
            # A zip lists its members first, so everything is checked before anything is written.
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
    """Yields the files of an archive with their target paths; the path of a skipped file is None."""
    for number, member in enumerate(members, start=1):
        if number > MAX_FILES:
            refuse(archive, f"it contains more than {MAX_FILES:,} files")
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
    """The folders and the file in a member's name; empty for the root itself."""
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    quoted = repr(name[:_MAX_SHOWN_CHARS])
    if path.startswith("/") or re.match("[A-Za-z]:", path) or ".." in parts:
        refuse(archive, f"{quoted} would be outside the folder")
    try:
        lengths = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        refuse(archive, f"{quoted} cannot be a file name on this system")
    if "\0" in path:
        refuse(archive, f"{quoted} cannot be a file name")
    if len(parts) > MAX_DEPTH or max(lengths, default=0) > MAX_PART_BYTES or sum(lengths) > MAX_NAME_BYTES:
        refuse(archive, f"{quoted} is too long, or deeper than {MAX_DEPTH} folders")
    return [_safe_on_windows(part) for part in parts] if _ON_WINDOWS else parts


def _safe_on_windows(part: str) -> str:
    part = _WINDOWS_CHARACTERS.sub("_", part)
    return f"_{part}" if _WINDOWS_DEVICES.match(part) else part


def _write(archive: Path, folder: Path, name: str, member: Member) -> int:
    path = folder / name
    num_bytes = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Mode x also detects names that only this file system considers equal.
        with path.open("xb") as file:
            for chunk in member.chunks():
                num_bytes += file.write(chunk)
    except (FileExistsError, NotADirectoryError):
        refuse(archive, f"{member.name!r} occurs twice, or is both a file and a folder")
    return num_bytes
