"""Lists of one split each, such as Food-101's ``meta/train.txt`` and ``meta/test.txt``, and the labels in them.

A line names an image, often without its extension, and possibly its class. Otherwise the class is the image's folder,
or the beginning of its name.

Source: the files of Food-101, MIT Indoor 67, DTD, SUN397, Stanford Dogs, Oxford-IIIT Pet, FGVC-Aircraft and Places365,
as torchvision/datasets reads them, and Datumaro's ImageNet text format.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.list_images import IMAGE_FOLDERS, ImageNames, folder_labels, top_folders
from resnet_cli.data.sources.list_lines import Entry, find_names, read_entries, sniff
from resnet_cli.data.sources.mat_lists import is_file_list, read_file_list
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError

#: Folders in which published data sets keep their lists, beside the folder of images.
LIST_FOLDERS = ("meta", "labels", "annotations", "lists", "splits", "split", "partitions", "imagesets", "devkit")
#: Number of folders around ImageNet's folders in which its lists are.
_NUM_ABOVE = {"cls-loc": 3, "ilsvrc": 1}
#: Lists in deeper folders of DATA are not looked for.
MAX_LIST_DEPTH = 4
#: Lists that name a smaller part of the images around those that they name do not describe the data set.
MIN_SHARE = 0.2
_SPLIT = re.compile(
    r"(?<![a-z])(train_?val|training|train|validation|valid|val|testing|test)"
    r"(?=(?:sets?|lists?|images?|files?|data|split|labels?)?(?![a-z]))"
)
_SPLIT_NAMES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}
#: FGVC-Aircraft labels each image on three levels; its benchmark, and torchvision's default, is this one.
_PREFERRED_LEVEL = "variant"


@dataclass(frozen=True)
class LocatedList:
    """One list whose images were looked for.

    Attributes:
        path: The file, for messages.
        split: Name of the split; empty if the file does not denote one.
        entries: The entries whose images exist; ``image`` is the image's path below DATA.
        num_missing: Number of entries whose images do not exist.
    """

    path: Path
    split: str
    entries: Sequence[Entry]
    num_missing: int = 0


@dataclass(frozen=True)
class OfficialSet:
    """What the lists of a data set say.

    Attributes:
        lists: Lists with a label for each entry.
        notes: How they were understood.
    """

    lists: tuple[LocatedList, ...]
    notes: tuple[str, ...] = ()


def list_folders(survey: Survey) -> Iterator[tuple[Path, Sequence[str]]]:
    """The folders that may contain lists, with the names of their files that are not images.

    If DATA is the folder of images of a data set, the folder around it and those of :data:`LIST_FOLDERS` are included.
    """
    for folder in survey.folders.values():
        if folder.others and folder.name.count("/") < MAX_LIST_DEPTH:
            yield survey.path(folder.name), folder.others
    if survey.within is not None:
        return
    root = survey.root.absolute()
    above = list(root.parents)[: _NUM_ABOVE.get(root.name.lower(), 0)]
    if root.name.lower() in IMAGE_FOLDERS:
        above = [root.parent, *(root.parent / name for name in LIST_FOLDERS)]
    for folder_path in above:
        with contextlib.suppress(OSError), os.scandir(folder_path) as files:
            yield folder_path, sorted(file.name for file in files if file.is_file())


def locate_list(path: Path, split: str, entries: Sequence[Entry], images: ImageNames) -> LocatedList:
    """Looks for the images of a list."""
    located = images.locate([entry.image for entry in entries])
    found = [entry._replace(image=name) for entry, name in zip(entries, located, strict=True) if name]
    return LocatedList(path, split, found, len(entries) - len(found))


def split_of_list(stem: str) -> tuple[str, str, int] | None:
    """What the name of a list denotes.

    Returns:
        The split (``train``, ``val``, ``test`` or ``trainval``), the rest of the name, and the number of the fold
        (0 without one); None if it does not denote one split.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem).lower().replace("-", "_").removesuffix("_standard")
    found = list(_SPLIT.finditer(name))
    if len(found) != 1:
        return None
    word = found[0][1].replace("_", "")
    rest = f"{name[: found[0].start()]}*{name[found[0].end() :]}"
    fold = re.search(r"\d{1,2}$", rest)
    return _SPLIT_NAMES.get(word, word), rest[: fold.start()] if fold else rest, int(fold[0]) if fold else 0


def read_split_lists(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    """Reads the lists of a data set that has one per split.

    Raises:
        DataError: A list is damaged, or lists label the same images in several ways.
    """
    usable: dict[str, OfficialSet] = {}
    for (_, rest), folds in _families(survey).items():
        fold = min(folds)
        paths = dict(folds[fold])
        if "train" in paths:
            paths.pop("trainval", None)
        lists = _load(paths, images)
        if lists and (found := _labeled(lists, survey, images)):
            notes = [f"fold {fold} of {len(folds)} is used"] if len(folds) > 1 else []
            if "trainval" in paths:
                notes.append(f"{paths['trainval'].name} is used for training and validation")
            usable[_level(rest)] = OfficialSet(found.lists, (*notes, *found.notes))
    level = options.label_column or (_PREFERRED_LEVEL if _PREFERRED_LEVEL in usable else "")
    if not usable or (options.label_column and level not in usable):
        return None
    if len(usable) == 1 or level in usable:
        chosen = usable[level] if level in usable else next(iter(usable.values()))
        others = [f"--label-column {other}" for other in usable if other != level and len(usable) > 1]
        note = [f"the classes are those of the level '{level}'; others: {', '.join(others)}"] if others else []
        return OfficialSet(chosen.lists, (*note, *chosen.notes))
    shown = " or ".join(str(found.lists[0].path) for found in usable.values())
    raise DataError(f"{survey.root}: several lists label its images", hint=f"give one of them as DATA: {shown}")


def _level(rest: str) -> str:
    words = [word for word in re.findall(r"[a-z0-9]+", rest) if word not in ("images", "image", "list", "lists")]
    return "_".join(words)


def _families(survey: Survey) -> dict[tuple[Path, str], dict[int, dict[str, Path]]]:
    """The lists by folder and the rest of their names, by fold, by split."""
    found: dict[tuple[Path, str], dict[int, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    for folder, names in list_folders(survey):
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in (".txt", ".mat") or not (denoted := split_of_list(stem)):
                continue
            split, rest, fold = denoted
            path = folder / name
            if is_file_list(path) if suffix.lower() == ".mat" else sniff(path):
                found[folder, rest][fold].setdefault(split, path)
    return found


def _load(paths: Mapping[str, Path], images: ImageNames) -> list[LocatedList]:
    """The lists that name images of DATA; the test list of a benchmark may name images that are not published."""
    lists = []
    for split, path in sorted(paths.items(), key=lambda pair: "trainval test".find(pair[0])):
        is_text = path.suffix.lower() == ".txt"
        if is_text and not any(images.locate([entry.image for entry in sniff(path)])):
            continue
        entries = list(read_entries(path)) if is_text else read_file_list(path)
        located = locate_list(path, "train" if split == "trainval" else split, entries, images)
        if located.entries:
            lists.append(located)
    return lists


def _labeled(lists: Sequence[LocatedList], survey: Survey, images: ImageNames) -> OfficialSet | None:
    """The lists with labels; None, with the reason in ``survey.refusals``, if they do not describe the data set."""
    labeled = label_lists(lists, [lists[0].path.parent, lists[0].path.parent.parent])
    found = labeled.lists if labeled else ()
    shown = " and ".join(listed.path.name for listed in lists)
    if labeled is None or not found:
        survey.refusals.append(DataError(f"{lists[0].path}: names images without their classes"))
        return None
    names = [entry.image for listed in found for entry in listed.entries]
    folders = {name.rpartition("/")[0] for name in names}
    num_around = sum(name.rpartition("/")[0] in folders for name in images.names)
    # A single list that says what the folders say adds nothing to them.
    is_same = len(found) == 1 and top_folders(names) == [entry.label for entry in found[0].entries]
    if len(names) < num_around * MIN_SHARE or is_same:
        if len(names) < num_around:
            survey.refusals.append(
                DataError(
                    f"{shown}: {len(names):,} of {num_around:,} images are listed",
                    hint=f"to read only these: give {lists[0].path} as DATA",
                )
            )
        return None
    if len(found) == 1:
        found = (LocatedList(found[0].path, "", found[0].entries, found[0].num_missing),)
    return OfficialSet(found, labeled.notes)


def label_lists(lists: Sequence[LocatedList], name_folders: list[Path]) -> OfficialSet | None:
    """Gives each entry the name of its class.

    Text after an image is its class. A number is replaced by the image's folder if the two agree, by the name in a
    file of class names, or by the beginning of the image's name if the two agree; numbers that only count the lines,
    as in ImageNet's ``train_cls.txt``, are no labels. Without any text the folder is the class.

    Args:
        lists: Lists of one data set.
        name_folders: Folders in which a file of class names may be.

    Returns:
        The lists without entries that have no class; None if no entry has one.
    """
    names = [entry.image for listed in lists for entry in listed.entries]
    texts = [entry.label for listed in lists for entry in listed.entries]
    folders = folder_labels(names)
    labels, notes = _choose_labels(names, texts, folders, name_folders)
    label = iter(labels)
    result = []
    for listed in lists:
        entries = [entry._replace(label=next(label)) for entry in listed.entries]
        entries = [entry for entry in entries if entry.label]
        if len(entries) < len(listed.entries):
            notes.append(f"{listed.path.name} lists images without a class: {len(listed.entries) - len(entries):,}")
        if entries:
            result.append(LocatedList(listed.path, listed.split, entries, listed.num_missing))
    return OfficialSet(tuple(result), tuple(notes)) if result else None


def _choose_labels(
    names: list[str], texts: list[str], folders: list[str], name_folders: list[Path]
) -> tuple[list[str], list[str]]:
    given = [text for text in texts if text]
    is_numbered = bool(given) and all(text.isdecimal() and text.isascii() and len(text) < 10 for text in given)
    if is_numbered and all(folders) and len(set(folders)) < len(given) and len(set(given)) == len(given):
        given = []
    if not given:
        return folders, []
    if not is_numbered:
        return [text or folder for text, folder in zip(texts, folders, strict=True)], []
    numbers = {int(text) for text in given}
    if all(folders) and _agree(texts, folders):
        return folders, []
    if found := find_names(name_folders, numbers):
        of_number, note = found
        return [of_number[int(text)] if text else "" for text in texts], [note]
    starts = [re.sub(r"[ _-]?\d+$", "", os.path.splitext(name.rpartition("/")[2])[0]) for name in names]
    if all(starts) and len(numbers) > 1 and _agree(texts, starts):
        return starts, ["class names are the beginnings of the images' names"]
    return texts, ["classes are numbers; a classes.txt with one name per line names them"]


def _agree(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether each value in one sequence always has the same counterpart in the other."""
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))
