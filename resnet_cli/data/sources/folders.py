"""Folders of images: one folder a class, or splits of such, or names that tell the class."""

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

#: What operating systems and editors leave in folders; not worth a word.
IGNORED_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir"})
#: Folders around a data set that are looked through.
MAX_WRAPPERS = 4
#: Folders in folders; deeper is a loop or a mistake.
MAX_DEPTH = 64


class Tree:
    """Lists folders without leaving them: a link to elsewhere is counted, not followed.

    Args:
        root: The data folder.
        follow_links: Follow them all the same; a link to a folder around it is never followed.
    """

    def __init__(self, root: Path, *, follow_links: bool) -> None:
        self._root = os.path.realpath(root)
        self._follow_links = follow_links
        self._links: set[str] = set()
        self.num_hidden = 0

    @property
    def num_links(self) -> int:
        """Links to folders and images that were met and not followed."""
        return len(self._links)

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder that may hold images, sorted."""
        return [Path(entry.path) for entry in self._entries(folder) if self._is_folder(entry)]

    def files_in(self, folder: Path) -> list[Path]:
        """The files directly in a folder, sorted."""
        return [Path(entry.path) for entry in self._entries(folder) if self._is_file(entry)]

    def images_in(self, folder: Path) -> list[Path]:
        """The images directly in a folder, sorted."""
        return [path for path in self.files_in(folder) if is_image_name(path)]

    def files_below(self, folder: Path) -> Iterator[Path]:
        """All files below a folder, sorted, hidden ones left out but counted; through links, no folder twice."""
        return self._files_below(folder, 0, {os.path.realpath(folder)})

    def _files_below(self, folder: Path, depth: int, seen: set[str]) -> Iterator[Path]:
        if depth > MAX_DEPTH:
            raise DataError(f"{folder}: folders in folders more than {MAX_DEPTH} deep", hint="is it a loop of links?")
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
        """Goes down while a folder holds nothing but one folder of folders, as unpacked archives do."""
        for _ in range(MAX_WRAPPERS):
            children = self.folders(folder)
            if len(children) != 1 or self.images_in(folder):
                return folder
            (child,) = children
            # The one split of a data set is no wrapper, unless it is inside a folder of its own name.
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
            # A link to nothing with an image's name: to be reported like a damaged image.
            return not os.path.exists(entry.path) and is_image_name(Path(entry.path))
        if self._follow_links or os.path.realpath(entry.path).startswith(os.path.join(self._root, "")):
            return True
        if is_image_name(Path(entry.path)):
            self._links.add(entry.path)
        return False


def read_folder(folder: Path, options: DataConfig | None = None, *, spec: str | None = None) -> Dataset:
    """Reads a folder of classes, or a folder of splits that each hold the same classes.

    Classes are the union over the splits, sorted by name; labels follow the name, whatever the order in
    each split.

    Args:
        folder: Exists.
        options: How labels and links are read.
        spec: What opens the same images again; the folder's absolute path if not given.

    Raises:
        DataError: No images, or two folders that mean the same split.
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
    notes += [f"the folder {path.relative_to(folder).as_posix()} holds no images" for path in empty]
    if not found:
        _explain_empty(tree, folder, options, spec or str(folder))
    if tree.num_links:
        way_out = "they lead to a folder around them" if options.follow_links else "--follow-links follows them"
        notes.append(f"links were not followed: {tree.num_links} ({way_out})")
    ignored = Ignored(num_others, tree.num_hidden, tree.num_links, num_unlabelled)
    absolute = folder.resolve()
    return build_dataset(
        found,
        name=absolute.name or "data",
        spec=spec or str(absolute),
        max_pixels=options.max_pixels,
        ignored=ignored,
        notes=notes,
        split_note="as the folders say" if splits else "",
    )


def name_below(path: Path, folder: Path) -> str:
    """The path of a file below a folder, with ``/`` on every system."""
    # Text alone, twenty times faster than Path.relative_to; a relative folder `.` is no prefix of what it holds.
    return str(path).removeprefix(os.path.join(folder, "") if folder.parts else "").replace(os.sep, "/")


def _split_folders(tree: Tree, folder: Path, top: Path, notes: list[str], *, by_name: bool) -> list[tuple[Split, Path]]:
    """The folders that mean splits; none where classes lie directly in ``top``.

    A folder called `train` or `test` that holds images and no folders is a class like any other, unless
    classes are told by names.
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
        raise DataError(f"{folder}: {both} both mean the {twice} split", hint="rename or remove one of them")
    beside = [child.name for child in children if child not in [root for _, root in found]]
    if found and beside:
        notes.append(f"folders beside {found[0][1].name} were passed over: {', '.join(beside[:5])}")
    return found


def _by_folder(tree: Tree, root: Path, empty: list[Path]) -> Iterator[tuple[Path, str | None]]:
    """Each file below the class folders with its class; images beside the folders with None.

    Class folders without images go into ``empty``.
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
    """Each file with the class that its own name tells, wherever it lies.

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
            f"{spec}: nothing but links ({tree.num_links}) that lead out of it",
            hint="--follow-links follows them, if you trust where they lead",
        )
    if options.label_regex:
        example = next((path.name for path in tree.files_below(folder) if is_image_name(path)), None)
        if example:
            raise DataError(
                f"--label-regex {options.label_regex}: matches no image's name, such as {example}",
                hint="its first bracket must match the class: '^([a-z]+)' for cat.1234.jpg",
            )
    loose = len(tree.images_in(folder))
    if loose:
        raise DataError(
            f"{spec}: {loose} images but no class folders",
            hint=f"sort them into one folder a class: {layout}; or name the classes by their file names or a table: "
            "--label-regex '^([a-z]+)', or a table with the columns image,label",
        )
    raise DataError(f"{spec}: no images in it", hint=f"expected {layout}")
