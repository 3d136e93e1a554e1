"""From what a user types as DATA to a :class:`Dataset`: the one door for every kind of source."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from resnet_cli.data import named
from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name
from resnet_cli.paths import user_path
from resnet_cli.registry import DATASETS

#: Folder names (lower case) that mean a split rather than a class.
SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "training_set": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validation_set": "val",
    "test": "test",
    "testing": "test",
    "test_set": "test",
}
#: What operating systems and editors leave in folders; not worth a word.
IGNORED_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir"})
#: Folders around a data set that are looked through.
MAX_WRAPPERS = 4

Progress = Callable[[int, int | None], None]


def open_dataset(
    spec: str,
    *,
    classes: Sequence[str] | None = None,
    offline: bool = False,
    on_download: Progress | None = None,
) -> Dataset:
    """Opens a data set with the splits its source has; a source without splits is all ``train``.

    Args:
        spec: A folder, or the name of a set in the registry.
        classes: Keep only these, in this order.
        offline: Never download.
        on_download: Called with (bytes done, bytes in all).

    Raises:
        DataError: Nothing there, or not a usable layout.
        NetworkError: A named set has to be downloaded and cannot be.
    """
    folder = user_path(spec)
    # os.path and not Path: a name that is too long is a folder that is not there, not an OSError.
    if spec in DATASETS and not os.path.isdir(folder):
        dataset = named.open_named(spec, offline=offline, on_download=on_download)
    elif os.path.isdir(folder):
        dataset = read_folder(folder)
    else:
        raise DataError(
            f"DATA {spec}: no such folder" + (" (a file is there)" if os.path.exists(folder) else ""),
            hint=f"give a folder with one sub-folder a class, or a name: {', '.join(DATASETS)}",
        )
    return dataset.select(classes) if classes else dataset


def read_folder(folder: Path) -> Dataset:
    """Reads a folder of classes, or a folder of splits that each hold the same classes.

    Classes are the union over the splits, sorted by name; labels follow the name, whatever the order in
    each split.

    Raises:
        DataError: No pictures, or two folders that mean the same split.
    """
    root_folder = _unwrapped(folder)
    found: list[tuple[str, Split, Path]] = []
    # A folder called `train` or `test` that holds pictures and no folders is a class like any other.
    split_folders = [
        (SPLIT_FOLDERS[child.name.lower()], child)
        for child in _folders(root_folder)
        if child.name.lower() in SPLIT_FOLDERS and _folders(child)
    ]
    has_splits = bool(split_folders)
    notes: list[str] = []
    num_others = 0
    if has_splits:
        names = [split for split, _ in split_folders]
        twice = next((split for split in names if names.count(split) > 1), None)
        if twice:
            both = ", ".join(d.name for split, d in split_folders if split == twice)
            raise DataError(f"{folder}: {both} both mean the {twice} split", hint="rename or remove one of them")
        beside = [child.name for child in _folders(root_folder) if child not in [root for _, root in split_folders]]
        if beside:
            notes.append(f"folders beside {split_folders[0][1].name} were passed over: {', '.join(beside[:5])}")
    for split, root in split_folders if has_splits else [("train", root_folder)]:
        for class_folder in _folders(_unwrapped(root)):
            pictures = 0
            for path in _files(class_folder):
                if is_image_name(path):
                    found.append((class_folder.name, split, path))  # type: ignore[arg-type]
                    pictures += 1
                elif not path.name.startswith("."):
                    num_others += 1
            if not pictures:
                notes.append(f"the folder {class_folder.relative_to(folder).as_posix()} holds no pictures")
    if not found:
        _explain_empty(folder)
    loose = 0 if has_splits else sum(is_image_name(path) for path in _entries(root_folder) if path.is_file())
    if loose:
        notes.append(f"pictures in no class folder were passed over: {loose}")
    if num_others:
        notes.append(f"files that are not pictures were passed over: {num_others}")
    classes = tuple(sorted({name for name, _, _ in found}))
    label = {name: index for index, name in enumerate(classes)}
    items = tuple(
        Item(path.relative_to(folder).as_posix(), path, label[name], split) for name, split, path in sorted(found)
    )
    absolute = folder.resolve()
    return Dataset(
        name=absolute.name or "data",
        spec=str(absolute),
        classes=classes,
        items=items,
        notes=tuple(notes),
        split_note="as the folders say" if has_splits else "",
    )


def find_images(specs: Sequence[str], *, stdin: BinaryIO) -> list[Item]:
    """The pictures that a user means by files, folders, patterns and ``-``, in that order.

    A folder stands for the pictures below it; a name with ``*``, ``?`` or ``[`` that is no file is a pattern
    (for shells that do not expand them); ``-`` is one picture on stdin.

    Args:
        specs: As typed.
        stdin: Read once for ``-``.

    Returns:
        Items without labels; files that do not exist are among them, to be reported like damaged ones.

    Raises:
        DataError: A folder or pattern without pictures.
    """
    items: list[Item] = []
    for spec in specs:
        path = user_path(spec)
        if spec == "-":
            items.append(Item("-", stdin.read()))
            continue
        paths = [path]
        if os.path.isdir(path):
            paths = [file for file in _files(path) if is_image_name(file)]
        elif not os.path.exists(path) and glob.has_magic(spec):
            paths = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name))
        if not paths:
            raise DataError(f"{spec}: no pictures there", hint="name files, folders or patterns such as 'images/*.jpg'")
        items += [Item(str(file), file) for file in paths]
    return items


def _explain_empty(folder: Path) -> NoReturn:
    layout = "DATA/cat/1.jpg, DATA/dog/2.jpg, or the same under DATA/train and DATA/val"
    loose = sum(is_image_name(path) for path in _entries(folder) if path.is_file())
    if loose:
        raise DataError(
            f"{folder}: {loose} pictures but no class folders",
            hint=f"sort them into one folder a class: {layout}",
        )
    raise DataError(f"{folder}: no pictures in it", hint=f"expected {layout}")


def _unwrapped(folder: Path) -> Path:
    """Goes down while a folder holds nothing but one folder of folders, as unpacked archives do."""
    for _ in range(MAX_WRAPPERS):
        children = _folders(folder)
        if len(children) != 1 or any(is_image_name(path) for path in _entries(folder)):
            return folder
        (child,) = children
        # The one split of a data set is no wrapper, unless it is inside a folder of its own name.
        is_split = child.name.lower() in SPLIT_FOLDERS and child.name != folder.name
        if is_split or not _folders(child) or any(is_image_name(path) for path in _entries(child)):
            return folder
        folder = child
    return folder


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in _entries(folder)
        if path.is_dir() and not path.name.startswith(".") and path.name.lower() not in IGNORED_FOLDERS
    )


def _files(folder: Path) -> Iterator[Path]:
    """All files below a class folder; folder links are not followed, so there are no loops."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root) / name for name in sorted(files))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from error


def describe(dataset: Dataset) -> str:
    """One line of counts: ``245 train, 153 val``."""
    counts = dataset.counts()
    return ", ".join(f"{sum(per_class):,} {split}" for split, per_class in counts.items() if sum(per_class))
