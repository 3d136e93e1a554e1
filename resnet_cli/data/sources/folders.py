"""Folders of images: one folder per class, one folder per split with such folders, or file names with the class."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset, Split
from resnet_cli.data.sources.labeled import SPLIT_NAMES, Ignored, LabeledImage, build_dataset
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


def read_folder(folder: Path, options: DataConfig | None = None, *, spec: str | None = None) -> Dataset:
    """Reads a folder of classes, or a folder of splits with the same classes.

    Classes are the union over the splits, sorted by name; labels follow this order in every split.

    Args:
        folder: An existing folder.
        options: How labels and links are read.
        spec: Specification that opens the same images again; None for the folder's absolute path.

    Raises:
        DataError: There are no images, or two folders denote the same split.
    """
    options = options or DataConfig()
    tree = Tree(folder, follow_links=options.follow_links)
    top = tree.unwrapped(folder)
    notes: list[str] = []
    splits = _split_folders(tree, folder, top, notes, by_name=options.label_regex is not None)
    empty: list[Path] = []
    found: list[LabeledImage] = []
    num_others = num_unlabelled = 0
    for split, root in splits or [("train", top)]:
        labels = _by_regex(tree, root, options.label_regex) if options.label_regex else _by_folder(tree, root, empty)
        for path, label in labels:
            if not is_image_name(path):
                num_others += 1
            elif label is None:
                num_unlabelled += 1
            else:
                found.append(LabeledImage(name_below(path, folder), path, label, split))
    notes += [f"the folder {path.relative_to(folder).as_posix()} contains no images" for path in empty]
    if not found:
        _explain_empty(tree, folder, options, spec or str(folder))
    if tree.num_links:
        reason = "they lead to an enclosing folder" if options.follow_links else "--follow-links follows them"
        notes.append(f"links were not followed: {tree.num_links} ({reason})")
    ignored = Ignored(num_others, tree.num_hidden, tree.num_links, num_unlabelled)
    absolute = folder.resolve()
    return build_dataset(
        found,
        name=absolute.name or "data",
        spec=spec or str(absolute),
        max_pixels=options.max_pixels,
        ignored=ignored,
        notes=notes,
        split_note="from the folders" if splits else "",
    )


def name_below(path: Path, folder: Path) -> str:
    """The path of a file below a folder, with ``/`` on every system."""
    # Strings are twenty times faster than Path.relative_to; a relative folder `.` is no prefix of its files.
    return str(path).removeprefix(os.path.join(folder, "") if folder.parts else "").replace(os.sep, "/")


def _split_folders(tree: Tree, folder: Path, top: Path, notes: list[str], *, by_name: bool) -> list[tuple[Split, Path]]:
    """The folders that denote splits; empty if the class folders are directly in ``top``.

    A folder named `train` or `test` that contains images and no folders is a class like any other, unless file names
    give the classes.
    """
    children = tree.folders(top)
    found = [
        (SPLIT_NAMES[child.name.lower()], child)
        for child in children
        if child.name.lower() in SPLIT_NAMES and (by_name or tree.folders(child))
    ]
    names = [split for split, _ in found]
    twice = next((split for split in names if names.count(split) > 1), None)
    if twice:
        both = ", ".join(child.name for split, child in found if split == twice)
        raise DataError(f"{folder}: {both} both denote the {twice} split", hint="rename or remove one of them")
    beside = [child.name for child in children if child not in [root for _, root in found]]
    if found and beside:
        notes.append(f"folders beside {found[0][1].name} were ignored: {', '.join(beside[:5])}")
    return found


def _by_folder(tree: Tree, root: Path, empty: list[Path]) -> Iterator[tuple[Path, str | None]]:
    """Yields each file below the class folders with its class, and images beside these folders with None.

    Class folders without images are appended to ``empty``.
    """
    root = tree.unwrapped(root)
    for entry in tree.images_in(root):
        yield entry, None
    for class_folder in tree.folders(root):
        num_images = 0
        for path in tree.files_below(class_folder):
            num_images += is_image_name(path)
            yield path, class_folder.name
        if not num_images:
            empty.append(class_folder)


def _by_regex(tree: Tree, root: Path, label_regex: str) -> Iterator[tuple[Path, str | None]]:
    """Yields each file with the class in its name, in whichever folder it is.

    Source: fastai's ``RegexLabeller``: the first group of the first match.
    """
    pattern = re.compile(label_regex)
    for path in tree.files_below(root):
        match = pattern.search(path.name)
        yield path, (match[1] or "").strip() or None if match else None


def _explain_empty(tree: Tree, folder: Path, options: DataConfig, spec: str) -> NoReturn:
    layout = "DATA/cat/1.jpg, DATA/dog/2.jpg, or the same under DATA/train and DATA/val"
    if tree.num_links and not options.follow_links:
        raise DataError(
            f"{spec}: contains only links ({tree.num_links}) that point outside",
            hint="to follow them, if you trust their targets: --follow-links",
        )
    if options.label_regex:
        example = next((path.name for path in tree.files_below(folder) if is_image_name(path)), None)
        if example:
            raise DataError(
                f"--label-regex {options.label_regex}: matches no name of an image, such as {example}",
                hint="its first group must match the class: '^([a-z]+)' for cat.1234.jpg",
            )
    loose = len(tree.images_in(folder))
    if loose:
        raise DataError(
            f"{spec}: {loose} images but no class folders",
            hint=f"sort them into one folder per class: {layout}; or take the classes from file names or a table: "
            "--label-regex '^([a-z]+)', or a table with the columns image,label",
        )
    raise DataError(f"{spec}: contains no images", hint=f"expected {layout}")
