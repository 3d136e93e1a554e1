"""What is in DATA: its folders, images and other files, listed once and without opening any of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from resnet_cli.data.sources.image_index import ImageIndex
from resnet_cli.data.sources.tree import MAX_DEPTH, Tree, name_below
from resnet_cli.errors import DataError, ResnetCliError
from resnet_cli.images import is_image_name

#: Files beside a table that was given as DATA are listed up to this number; more is a home folder, not a data set.
MAX_BESIDE = 2_000_000


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of DATA.

    Attributes:
        name: Path below the root with ``/``; empty for the root itself.
        images: Names of the images directly in it, sorted.
        others: Names of its other files, sorted; hidden files are not listed.
        folders: Names of its folders, sorted; hidden and system folders are not listed.
    """

    name: str
    images: tuple[str, ...]
    others: tuple[str, ...]
    folders: tuple[str, ...]


class Survey:
    """The content of DATA, listed on demand and at most once.

    Args:
        path: A folder or a file.
        spec: Specification that opens the same data again, for messages.
        follow_links: As for :class:`~resnet_cli.data.sources.tree.Tree`.
        within: Folder that no file of DATA may leave; None for data that the user wrote.

    Attributes:
        root: The given folder, or the folder of the given file.
        file: The given file; None if DATA is a folder.
        refusals: Why files that might have labeled the images were not used, in the order in which readers saw them.
    """

    def __init__(self, path: Path, *, spec: str, follow_links: bool = False, within: Path | None = None) -> None:
        self.file = None if path.is_dir() else path
        self.root = path if self.file is None else path.parent
        self.spec = spec
        self.within = within
        self.tree = Tree(self.root, follow_links=follow_links)
        self.refusals: list[ResnetCliError] = []

    @functools.cached_property
    def folders(self) -> dict[str, Folder]:
        """Every folder by its name, parents before children, in sorted order.

        Raises:
            DataError: A folder cannot be listed, or folders are nested too deeply.
        """
        found: dict[str, Folder] = {}
        waiting = [self.root]
        num_files = 0
        while waiting:
            path = waiting.pop()
            try:
                folder, children = self._list(path)
            except DataError:
                # Beside a table there may be folders that are not part of DATA.
                if self.file is None:
                    raise
                continue
            found[folder.name] = folder
            num_files += len(folder.images) + len(folder.others)
            if self.file is not None and num_files > MAX_BESIDE:
                raise DataError(
                    f"{self.root}: more than {MAX_BESIDE:,} files beside {self.file.name}",
                    hint="name the folder of its images: --image-folder FOLDER",
                )
            if folder.name.count("/") > MAX_DEPTH:
                raise DataError(
                    f"{path}: folders are nested more than {MAX_DEPTH} deep", hint="check for a loop of links"
                )
            waiting.extend(reversed(children))
        return found

    def _list(self, path: Path) -> tuple[Folder, list[Path]]:
        children = self.tree.folders(path)
        images: list[str] = []
        others: list[str] = []
        for file in self.tree.files_in(path):
            if file.name.startswith("."):
                continue
            (images if is_image_name(file) else others).append(file.name)
        name = "" if path == self.root else name_below(path, self.root)
        return Folder(name, tuple(images), tuple(others), tuple(child.name for child in children)), children

    @functools.cached_property
    def image_index(self) -> ImageIndex:
        """All images by name, for references that are not paths."""
        return ImageIndex(self.images())

    def below(self, name: str) -> Iterator[Folder]:
        """The folder of that name and all folders below it."""
        prefix = f"{name}/" if name else ""
        return (folder for folder in self.folders.values() if folder.name == name or folder.name.startswith(prefix))

    def images(self, name: str = "") -> Iterator[str]:
        """The images in and below a folder: paths below the root, with ``/``."""
        for folder in self.below(name):
            start = f"{folder.name}/" if folder.name else ""
            for image in folder.images:
                yield start + image

    def others(self, *suffixes: str, name: str = "") -> Iterator[str]:
        """The other files in and below a folder, by extension (lower case, with the dot); without any: all."""
        for folder in self.below(name):
            start = f"{folder.name}/" if folder.name else ""
            for other in folder.others:
                if not suffixes or PurePosixPath(other).suffix.lower() in suffixes:
                    yield start + other

    def path(self, name: str) -> Path:
        """The path of a file or folder of DATA."""
        return self.root / name if name else self.root
