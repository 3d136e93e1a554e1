"""Lists the folders and files of DATA without leaving it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name
from resnet_cli.system.paths import LATEST, RUNS

#: Folders of operating systems and editors, ignored without a note.
IGNORED_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir"})
#: Number of enclosing folders that are skipped at most.
MAX_WRAPPERS = 4
#: Nesting of folders; anything deeper is a loop or a mistake.
MAX_DEPTH = 64


class Listing(NamedTuple):
    """Names of what is directly in a folder, each list sorted.

    Attributes:
        images: Files with the name of an image.
        others: Other files; hidden ones are not listed.
        folders: Folders; hidden ones and those of systems are not listed.
        num_hidden: Number of files and folders whose names begin with a dot.
    """

    images: tuple[str, ...]
    others: tuple[str, ...]
    folders: tuple[str, ...]
    num_hidden: int


class Tree:
    """Lists folders without leaving them: a link that leads outside is counted, not followed.

    Args:
        root: The data folder.
        follow_links: Whether to follow such links; a link to an enclosing folder is never followed.
    """

    def __init__(self, root: Path, *, follow_links: bool) -> None:
        self._root = os.path.realpath(root)
        self.follow_links = follow_links
        self._links: set[str] = set()

    @property
    def num_links(self) -> int:
        """Number of links to folders and images that were not followed."""
        return len(self._links)

    def listing(self, folder: str | Path) -> Listing:
        """What is directly in a folder, in one look.

        Raises:
            DataError: The folder cannot be listed.
        """
        images: list[str] = []
        others: list[str] = []
        folders: list[str] = []
        num_hidden = 0
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        num_hidden += 1
                    elif self._is_file(entry):
                        (images if is_image_name(entry.name) else others).append(entry.name)
                    elif self._is_folder(entry):
                        folders.append(entry.name)
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror or error}") from error
        return Listing(tuple(sorted(images)), tuple(sorted(others)), tuple(sorted(folders)), num_hidden)

    def files_in(self, folder: Path) -> list[Path]:
        """The files directly in a folder, sorted."""
        found = self.listing(folder)
        return [folder / name for name in sorted(found.images + found.others)]

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        if entry.name.lower() in IGNORED_FOLDERS:
            return False
        if not entry.is_symlink():
            return entry.is_dir(follow_symlinks=False)
        if not os.path.isdir(entry.path):
            return False
        target = os.path.realpath(entry.path)
        here = os.path.realpath(os.path.dirname(entry.path))
        if entry.name == LATEST.name and os.path.basename(here) == RUNS.name and os.path.dirname(target) == here:
            # This tool's link to the newest run.
            return False
        is_around = os.path.join(here, "").startswith(os.path.join(target, ""))
        if self.follow_links and not is_around:
            return True
        self._links.add(entry.path)
        return False

    def _is_file(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return entry.is_file(follow_symlinks=False)
        if not os.path.isfile(entry.path):
            # A broken link with the name of an image is reported like a damaged image.
            return not os.path.exists(entry.path) and is_image_name(entry.name)
        if self.follow_links or os.path.realpath(entry.path).startswith(os.path.join(self._root, "")):
            return True
        if is_image_name(entry.name):
            self._links.add(entry.path)
        return False


def name_below(path: Path, folder: Path) -> str:
    """The path of a file below a folder, with ``/`` on every system."""
    # Strings are twenty times faster than Path.relative_to; a relative folder `.` is not a prefix of its files.
    return str(path).removeprefix(os.path.join(folder, "") if folder.parts else "").replace(os.sep, "/")
