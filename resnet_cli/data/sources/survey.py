"""What is in DATA: its folders, images and other files, listed once and without opening any of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from resnet_cli.data.sources.image_index import ImageIndex
from resnet_cli.data.sources.own_runs import contains_runs, is_run
from resnet_cli.data.sources.tree import MAX_DEPTH, Listing, Tree
from resnet_cli.errors import DataError, ResnetCliError
from resnet_cli.system.paths import RUNS

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
        num_hidden: Number of its hidden files and folders.
    """

    name: str
    images: tuple[str, ...]
    others: tuple[str, ...]
    folders: tuple[str, ...]
    num_hidden: int = 0

    def child(self, name: str) -> str:
        """The path below the root of something in this folder."""
        return f"{self.name}/{name}" if self.name else name


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
        own_runs: Names of folders with results of this tool, as far as they were seen.
        refusals: Why files that might have labeled the images were not used, in the order in which readers saw them.
        listed_splits: Image -> split, from lists that give splits without labels.
    """

    def __init__(self, path: Path, *, spec: str, follow_links: bool = False, within: Path | None = None) -> None:
        self.file = None if path.is_dir() else path
        self.root = path if self.file is None else path.parent
        self.spec = spec
        self.within = within
        self.tree = Tree(self.root, follow_links=follow_links)
        self.refusals: list[ResnetCliError] = []
        self.listed_splits: dict[str, str] = {}
        self.own_runs: set[str] = set()
        self._listed: dict[str, Folder] = {}
        self._num_files = 0

    def folder(self, name: str = "") -> Folder:
        """What is directly in a folder of DATA.

        Raises:
            DataError: The folder cannot be listed.
        """
        found = self._listed.get(name)
        if found is None:
            try:
                listing = self.tree.listing(self.path(name))
            except DataError:
                # Beside a table there may be folders that are not part of DATA.
                if self.file is None:
                    raise
                listing = Listing((), (), (), 0)
            found = self._listed[name] = Folder(name, *listing)
            self._num_files += len(found.images) + len(found.others)
            if self.file is not None and self._num_files > MAX_BESIDE:
                raise DataError(
                    f"{self.root}: more than {MAX_BESIDE:,} files beside {self.file.name}",
                    hint="name the folder of its images: --image-folder FOLDER",
                )
        return found

    @functools.cached_property
    def folders(self) -> dict[str, Folder]:
        """Every folder by its name, parents before children, in sorted order.

        Raises:
            DataError: A folder cannot be listed, or folders are nested too deeply.
        """
        return {folder.name: folder for folder in self.below()}

    @functools.cached_property
    def has_images(self) -> bool:
        """Whether any folder contains images."""
        return any(folder.images for folder in self.below())

    @functools.cached_property
    def image_index(self) -> ImageIndex:
        """All images by name, for references that are not paths."""
        return ImageIndex(self.images())

    def below(self, name: str = "", *, without: Container[str] = ()) -> Iterator[Folder]:
        """The folder of that name and all folders below it; where links are followed, each real folder only once.

        Runs of this tool are only recorded.

        Args:
            name: A folder.
            without: Names of folders that are passed over, with everything below them.

        Raises:
            DataError: A folder cannot be listed, or folders are nested too deeply.
        """
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            folder = self.folder(waiting.pop())
            if self.tree.follow_links:
                target = os.path.realpath(self.path(folder.name))
                if target in seen:
                    continue
                seen.add(target)
            if folder.name.count("/") - name.count("/") > MAX_DEPTH:
                raise DataError(
                    f"{self.path(folder.name)}: folders are nested more than {MAX_DEPTH} deep",
                    hint="check for a loop of links",
                )
            if folder.name != name and self.is_own_run(folder):
                continue
            yield folder
            children = map(folder.child, reversed(folder.folders))
            waiting.extend(child for child in children if child not in without)

    def is_own_run(self, folder: Folder) -> bool:
        """Whether a folder contains results of this tool; it is recorded."""
        last = folder.name.rpartition("/")[2]
        found = is_run(folder.others)
        if not found and last == RUNS.name and not folder.images:
            inner = [self.folder(folder.child(name)) for name in folder.folders]
            found = contains_runs([(run.others, run.folders) for run in inner])
        if found:
            self.own_runs.add(folder.name)
        return found

    def images(self, name: str = "") -> Iterator[str]:
        """The images in and below a folder: paths below the root, with ``/``."""
        for folder in self.below(name):
            yield from map(folder.child, folder.images)

    def others(self, *suffixes: str, name: str = "") -> Iterator[str]:
        """The other files in and below a folder, by extension (lower case, with the dot); without any: all."""
        for folder in self.below(name):
            for other in folder.others:
                if not suffixes or PurePosixPath(other).suffix.lower() in suffixes:
                    yield folder.child(other)

    def path(self, name: str) -> Path:
        """The path of a file or folder of DATA."""
        return self.root / name if name else self.root
