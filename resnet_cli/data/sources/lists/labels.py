"""The classes that lists give to images: as text, as numbers, through folders, or through the images' names."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_cli.data.sources.lists.images import ImageNames, folder_labels, num_common
from resnet_cli.data.sources.lists.lines import Entry
from resnet_cli.data.sources.rows.label_maps import LISTS, class_names
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError

_NAME_LISTS = LISTS | {"categories_places365.txt"}
_WNID = re.compile(r"n\d{8}\b")
#: With fewer texts after images than this, most of them may be different.
MIN_TEXTS = 8


@dataclass(frozen=True)
class LocatedList:
    """One list whose images were looked for.

    Attributes:
        path: The file, for messages.
        split: Name of the split; empty if the file does not denote one.
        entries: The entries whose images exist; ``image`` is the image's path below DATA.
        num_missing: Number of entries whose images do not exist.
        has_folders: Whether an entry names a folder or a label, and not just an image.
    """

    path: Path
    split: str
    entries: Sequence[Entry]
    num_missing: int = 0
    has_folders: bool = True


@dataclass(frozen=True)
class OfficialSet:
    """What the lists of a data set say.

    Attributes:
        lists: Lists with a label for each entry.
        notes: How they were understood.
    """

    lists: tuple[LocatedList, ...]
    notes: tuple[str, ...] = ()


def locate_list(path: Path, split: str, entries: Sequence[Entry], images: ImageNames) -> LocatedList:
    """Looks for the images of a list."""
    located = images.locate([entry.image for entry in entries], split=split)
    found = [entry._replace(image=name) for entry, name in zip(entries, located, strict=True) if name]
    has_folders = any("/" in entry.image or entry.label for entry in entries)
    return LocatedList(path, split, found, len(entries) - len(found), has_folders)


def with_class_folders(held_out: LocatedList, ends: Sequence[str], survey: Survey) -> OfficialSet:
    """Adds the training images in class folders to a list of held-out images.

    Args:
        held_out: The list.
        ends: Ends of the paths that the folder of the class folders may have; of several, the one that has most in
            common with the path of the held-out images is chosen.
        survey: The content of DATA.

    Returns:
        Both; the list alone, without a split, if there are no training images.
    """
    image = held_out.entries[0].image.split("/")
    found = [name for name in survey.folders if any(f"/{name}".endswith(f"/{end}") for end in ends)]
    folder = max(found, key=lambda name: num_common([name.split("/"), image]), default=None)
    start = len(folder or "") + 1
    names = survey.images(folder) if folder is not None else ()
    entries = [Entry(name, name[start:].partition("/")[0], 0) for name in names if "/" in name[start:]]
    if not entries:
        return OfficialSet((dataclasses.replace(held_out, split=""),))
    return OfficialSet((LocatedList(survey.path(folder or ""), "train", entries), held_out))


def label_lists(lists: Sequence[LocatedList], survey: Survey) -> OfficialSet | None:
    """Gives each entry the name of its class.

    Text after an image is its class. A number is replaced by the image's folder if the two agree, by the name in a
    file of class names, or by the beginning of the image's name if the two agree; numbers that only count the lines,
    as in ImageNet's ``train_cls.txt``, are not labels. Without any text the folder is the class.

    Args:
        lists: Lists of one data set.
        survey: The content of DATA, which may have a file of class names.

    Returns:
        The lists without entries that have no class; None if no entry has one.

    Raises:
        DataError: The text after the images is not a class.
    """
    names = [entry.image for listed in lists for entry in listed.entries]
    texts = [entry.label for listed in lists for entry in listed.entries]
    if not names:
        return None
    folders = folder_labels(names)
    try:
        if all(folders) and all(_count_lines(listed) for listed in lists):
            texts = [""] * len(names)
        labels, notes = _choose_labels(names, texts, folders, lambda numbers: _names(numbers, lists[0].path, survey))
    except DataError as error:
        raise DataError(f"{lists[0].path}: {error.message}", hint=error.hint) from error
    nested = next(
        (label for label, folder in zip(labels, folders, strict=True) if "/" in label and label == folder), ""
    )
    notes += [f"classes are named by folders of several levels, such as {nested}"] if nested else []
    notes += _differences(labels, folders)
    label = iter(labels)
    result = []
    for listed in lists:
        entries = [entry._replace(label=next(label)) for entry in listed.entries]
        entries = [entry for entry in entries if entry.label]
        if len(entries) < len(listed.entries):
            notes.append(f"images without a class in {listed.path.name}: {len(listed.entries) - len(entries):,}")
        if entries:
            result.append(LocatedList(listed.path, listed.split, entries, listed.num_missing))
    return OfficialSet(tuple(result), tuple(notes)) if result else None


def _choose_labels(
    names: list[str],
    texts: list[str],
    folders: list[str],
    names_of: Callable[[set[str]], tuple[Mapping[str, str], str]],
) -> tuple[list[str], list[str]]:
    given = [text for text in texts if text]
    rows = [text.split() for text in given]
    if len(given) >= MIN_TEXTS and len(set(given)) > len(given) / 2:
        raise DataError(
            f"most of the texts after its images are different, such as '{given[0][:40]}'; they are not classes",
            hint="write each line as: path label",
        )
    if not all(word.isdecimal() and word.isascii() and len(word) < 10 for row in rows for word in row):
        return [text or folder for text, folder in zip(texts, folders, strict=True)], []
    if {"-1", "1"} <= set(given) <= {"-1", "0", "1"}:
        raise DataError(
            "1 and -1 after an image say whether it shows one object; they are not classes",
            hint="write each line as: path label",
        )
    if not given:
        # One folder holds images of any class.
        return (folders if len(set(folders)) > 1 else [""] * len(folders)), []
    starts = [re.sub(r"[ _-]?\d+$", "", os.path.splitext(name.rpartition("/")[2])[0]) for name in names]
    if max(map(len, rows)) > 1:
        texts = [text.partition(" ")[0] for text in texts]
        if not all(texts) or len(set(starts)) < 2 or not _agree(texts, starts):
            raise DataError(
                f"several numbers follow an image, such as '{given[0][:40]}'", hint="write each line as: path label"
            )
    placed = [(text, folder) for text, folder in zip(texts, folders, strict=True) if folder and text]
    folder_of = dict(placed)
    if len(folder_of) > 1 and _agree(*zip(*placed, strict=True)) and folder_of.keys() >= set(texts) - {""}:
        # Flat images, such as those of ImageNet's validation split, have the classes of the others' folders.
        return [folder_of.get(text, folder) for text, folder in zip(texts, folders, strict=True)], []
    numbers = set(texts) - {""}
    of_number, note = names_of(numbers)
    if of_number:
        return [of_number.get(text, "") for text in texts], [note]
    if all(starts) and len(numbers) > 1 and _agree(texts, starts):
        return starts, ["the class is the beginning of an image's name"]
    return texts, [note or "classes are numbers; a classes.txt with one name per line names them"]


def _names(numbers: set[str], path: Path, survey: Survey) -> tuple[Mapping[str, str], str]:
    """The names of numbered classes as folders have them, and where they come from."""
    names, note = class_names(numbers, path, survey, lists=_NAME_LISTS)
    if names and all(_WNID.match(name) for name in names.values()):
        # `n01440764 tench, Tinca tinca`
        names = {number: name[:9] for number, name in names.items()}
    # Places365 writes /b/balcony/exterior: the first folder is only the initial.
    return {number: re.sub(r"^/(\w)/(?=\1)", "", name) for number, name in names.items()}, note


def _count_lines(listed: LocatedList) -> bool:
    """Whether the texts after a list's images are numbers that are all different."""
    texts = [entry.label for entry in listed.entries]
    return len(set(texts)) == len(texts) > 2 and all(text.isdecimal() for text in texts)


def _agree(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether each value in one sequence always has the same counterpart in the other."""
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


def _differences(labels: Sequence[str], folders: Sequence[str]) -> list[str]:
    """A note about images in class folders to which the lists give other classes."""
    if not all(folders) or _agree(labels, folders):
        return []
    pairs = Counter(zip(folders, labels, strict=True))
    most = Counter[str]()
    for (folder, _), number in pairs.items():
        most[folder] = max(most[folder], number)
    num_classes, num_folders = len(set(labels)), len(most)
    if num_classes == 1 or num_folders == 1:
        return []
    num_different = len(labels) - most.total()
    return [
        f"the lists give {num_classes} classes to {num_folders} class folders; images with another class than most "
        f"images in their folder: {num_different:,}"
    ]
