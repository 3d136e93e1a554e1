"""Walks folders and file patterns: sorted folder by folder, never as one list.

While a folder is walked, only its names are in memory: about 30 MB for a million files.
"""

from __future__ import annotations

import fnmatch
import glob
import heapq
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from resnet_cli.data.packed_text import PackedText, TextView
from resnet_cli.data.sources.tree import IGNORED_FOLDERS, MAX_DEPTH
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name

#: Names of one folder that are sorted at once.
_BLOCK_FILES = 50_000


class Listing(NamedTuple):
    """Names in one folder, sorted."""

    files: Iterable[str]
    folders: list[str]


def images_below(folder: str, *, recursive: bool = True, patient: bool = False) -> Iterator[str]:
    """Yields the images of a folder, then those of its subfolders; hidden ones are skipped.

    Links are followed only to files inside the folder itself. A broken link with the name of an image counts, so that
    it is reported.

    Args:
        folder: An existing folder.
        recursive: Whether to include the subfolders.
        patient: Whether to skip folders that have vanished or cannot be read, as while somebody changes them.

    Raises:
        DataError: A folder cannot be read, or folders are nested too deep.
    """
    return _below(
        folder,
        os.path.join(os.path.realpath(folder), ""),
        MAX_DEPTH if recursive else 0,
        recursive=recursive,
        patient=patient,
    )


def _below(folder: str, root: str, depth_left: int, *, recursive: bool, patient: bool) -> Iterator[str]:
    try:
        names = _list(folder, root)
    except OSError as error:
        if patient:
            return
        raise DataError(f"{folder}: {error.strerror or error}") from error
    for name in names.files:
        yield os.path.join(folder, name)
    if not recursive:
        return
    if names.folders and not depth_left:
        raise DataError(f"{folder}: folders are nested more than {MAX_DEPTH} deep")
    for name in names.folders:
        yield from _below(os.path.join(folder, name), root, depth_left - 1, recursive=recursive, patient=patient)


def _list(folder: str, root: str) -> Listing:
    """The images and the folders in a folder."""
    files: list[str] = []
    folders: list[str] = []
    # Sorted blocks of a large folder; packed, since a string takes three times as much memory as its characters.
    blocks: list[TextView] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name.lower() not in IGNORED_FOLDERS:
                    folders.append(entry.name)
            elif is_image_name(entry.name) and _is_inside(entry, root):
                files.append(entry.name)
                if len(files) == _BLOCK_FILES:
                    blocks.append(PackedText(sorted(files)).all())
                    files.clear()
    return Listing(heapq.merge(*blocks, sorted(files)), sorted(folders))


def _is_inside(entry: os.DirEntry[str], root: str) -> bool:
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    if not os.path.exists(entry.path):
        return True
    return os.path.isfile(entry.path) and os.path.realpath(entry.path).startswith(root)


def is_pattern(spec: str) -> bool:
    """Whether a name contains ``*``, ``?`` or ``[``."""
    return glob.has_magic(spec)


def matching(pattern: str) -> Iterator[str]:
    r"""Yields the files that match a pattern, sorted folder by folder; ``**`` matches any number of folders.

    As in a shell, ``*`` does not match names that begin with a dot.

    Args:
        pattern: Pattern with ``/``, on Windows also with ``\\``.
    """
    drive, rest = os.path.splitdrive(pattern)
    rest = rest.replace(os.sep, "/")
    top = drive + (os.sep if rest.startswith("/") else "")
    parts = [part for part in rest.split("/") if part]
    return _match(top, parts)


def _match(folder: str, parts: list[str]) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        # Files in this folder, then in every folder below.
        yield from _match(folder, rest or ["*"])
        for name in _names(folder, folders=True, hidden=False):
            yield from _match(os.path.join(folder, name), parts)
        return
    if not glob.has_magic(first):
        names = [first]
    else:
        found = _names(folder, folders=False, hidden=first.startswith("."))
        names = [name for name in found if fnmatch.fnmatchcase(os.path.normcase(name), os.path.normcase(first))]
    for name in names:
        path = os.path.join(folder, name)
        if rest:
            if os.path.isdir(path):
                yield from _match(path, rest)
        elif os.path.isfile(path):
            yield path


def _names(folder: str, *, folders: bool, hidden: bool) -> list[str]:
    """Sorted names in a folder; empty if it cannot be read, as in a shell."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            return sorted(
                entry.name
                for entry in entries
                # ** follows no links: one to an enclosing folder would never end.
                if (not folders or entry.is_dir(follow_symlinks=False)) and (hidden or not entry.name.startswith("."))
            )
    except OSError:
        return []
