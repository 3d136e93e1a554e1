"""Folders of images: one folder per class, one folder per split with such folders, or file names with the class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset, Split
from resnet_cli.data.sources.labeled import Ignored, LabeledImage, build_dataset
from resnet_cli.data.sources.misnamed import ContentLooks, find_misnamed
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tree import Tree, name_below
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name


def read_folder(folder: Path, options: DataConfig | None = None, *, spec: str | None = None) -> Dataset:
    """Reads a folder by its folders alone, whatever else is in it; see :func:`read_folders`.

    Args:
        folder: An existing folder.
        options: How labels and links are read.
        spec: Specification that opens the same images again; None for the folder's absolute path.

    Raises:
        DataError: There are no images, or two folders denote the same split.
    """
    options = options or DataConfig()
    absolute = folder.resolve()
    survey = Survey(folder, spec=spec or str(absolute), follow_links=options.follow_links)
    reading = read_folders(survey, options)
    return build_dataset(
        reading.images,
        name=absolute.name or "data",
        spec=survey.spec,
        max_pixels=options.max_pixels,
        ignored=reading.ignored,
        notes=reading.notes,
        split_note=reading.split_note,
        reading=reading.what,
    )


def read_folders(survey: Survey, options: DataConfig) -> Reading:
    """Reads a folder of classes, or a folder of splits with the same classes.

    Classes are the union over the splits.

    Args:
        survey: The content of DATA, which is a folder.
        options: How labels and links are read.

    Raises:
        DataError: There are no images, or two folders denote the same split.
    """
    folder, tree = survey.root, survey.tree
    top = tree.unwrapped(folder)
    notes: list[str] = []
    splits = _split_folders(tree, folder, top, notes, by_name=options.label_regex is not None)
    empty: list[Path] = []
    found: list[LabeledImage] = []
    num_others = num_unlabelled = 0
    looks = ContentLooks()
    for split, root in splits or [("train", top)]:
        labels = _by_regex(tree, root, options.label_regex) if options.label_regex else _by_folder(tree, root, empty)
        for path, label in labels:
            if not is_image_name(path):
                num_others += 1
                looks.add(path)
            elif label is None:
                num_unlabelled += 1
            else:
                found.append(LabeledImage(name_below(path, folder), path, label, split))
    notes += [f"the folder {path.relative_to(folder).as_posix()} contains no images" for path in empty]
    if not found:
        _explain_empty(tree, folder, options, survey.spec)
    if looks.found:
        notes.append(f"{looks.found.describe(folder)}, and were ignored; {looks.found.hint(folder)}")
    if tree.num_links:
        reason = "they lead to an enclosing folder" if options.follow_links else "--follow-links follows them"
        notes.append(f"links were not followed: {tree.num_links} ({reason})")
    return Reading(
        found,
        "classes from file names" if options.label_regex else "one folder per class",
        "from the folders" if splits else "",
        tuple(notes),
        Ignored(num_others, tree.num_hidden, tree.num_links, num_unlabelled),
    )


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
    misnamed = find_misnamed(folder)
    if misnamed:
        raise DataError(f"{spec}: {misnamed.describe(folder)}", hint=misnamed.hint(folder))
    raise DataError(f"{spec}: contains no images", hint=f"expected {layout}")
