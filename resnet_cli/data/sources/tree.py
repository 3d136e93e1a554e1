"""Lists the folders and files of DATA without leaving it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name

#: Folders of operating systems and editors, ignored without a note.
IGNORED_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir"})
#: Number of enclosing folders that are skipped at most.
MAX_WRAPPERS = 4
#: Nesting of folders; anything deeper is a loop or a mistake.
MAX_DEPTH = 64


class Tree:
    """Lists folders without leaving them: a link that leads outside is counted, not followed.

    Args:
        root: The data folder.
        follow_links: Whether to follow such links; a link to an enclosing folder is never followed.
    """

    def __init__(self, root: Path, *, follow_links: bool) -> None:
        self._root = os.path.realpath(root)
        self._follow_links = follow_links
        self._links: set[str] = set()
        self.num_hidden = 0

    @property
    def num_links(self) -> int:
        """Number of links to folders and images that were not followed."""
        return len(self._links)

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder that may contain images, sorted."""
        return [Path(entry.path) for entry in self._entries(folder) if self._is_folder(entry)]

    def files_in(self, folder: Path) -> list[Path]:
        """The files directly in a folder, sorted."""
        return [Path(entry.path) for entry in self._entries(folder) if self._is_file(entry)]

    def images_in(self, folder: Path) -> list[Path]:
        """The images directly in a folder, sorted."""
        return [path for path in self.files_in(folder) if is_image_name(path)]

    def files_below(self, folder: Path) -> Iterator[Path]:
        """All files below a folder, sorted; hidden ones are only counted, and no folder is visited twice."""
        return self._files_below(folder, 0, {os.path.realpath(folder)})

    def _files_below(self, folder: Path, depth: int, seen: set[str]) -> Iterator[Path]:
        if depth > MAX_DEPTH:
            raise DataError(
                f"{folder}: folders are nested more than {MAX_DEPTH} deep", hint="check for a loop of links"
            )
        entries = self._entries(folder)
        for entry in entries:
            if entry.name.startswith("."):
                self.num_hidden += 1
            elif self._is_file(entry):
                yield Path(entry.path)
        for entry in entries:
            if self._is_folder(entry):
                if self._follow_links:
                    target = os.path.realpath(entry.path)
                    if target in seen:
                        continue
                    seen.add(target)
                yield from self._files_below(Path(entry.path), depth + 1, seen)

    def unwrapped(self, folder: Path) -> Path:
        """Descends while a folder contains nothing but one folder of folders, as in unpacked archives."""
        for _ in range(MAX_WRAPPERS):
            children = self.folders(folder)
            if len(children) != 1 or self.images_in(folder):
                return folder
            (child,) = children
            # The only split of a data set is not skipped, unless it is inside a folder of the same name.
            is_split = child.name.lower() in SPLIT_NAMES and child.name != folder.name
            if is_split or not self.folders(child) or self.images_in(child):
                return folder
            folder = child
        return folder

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror or error}") from error

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith(".") or entry.name.lower() in IGNORED_FOLDERS:
            return False
        if not entry.is_symlink():
            return entry.is_dir(follow_symlinks=False)
        if not os.path.isdir(entry.path):
            return False
        target = os.path.realpath(entry.path)
        here = os.path.realpath(os.path.dirname(entry.path))
        is_around = os.path.join(here, "").startswith(os.path.join(target, ""))
        if self._follow_links and not is_around:
            return True
        self._links.add(entry.path)
        return False

    def _is_file(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return entry.is_file(follow_symlinks=False)
        if not os.path.isfile(entry.path):
            # A broken link with the name of an image is reported like a damaged image.
            return not os.path.exists(entry.path) and is_image_name(Path(entry.path))
        if self._follow_links or os.path.realpath(entry.path).startswith(os.path.join(self._root, "")):
            return True
        if is_image_name(Path(entry.path)):
            self._links.add(entry.path)
        return False


def name_below(path: Path, folder: Path) -> str:
    """The path of a file below a folder, with ``/`` on every system."""
    # Strings are twenty times faster than Path.relative_to; a relative folder `.` is no prefix of its files.
    return str(path).removeprefix(os.path.join(folder, "") if folder.parts else "").replace(os.sep, "/")
