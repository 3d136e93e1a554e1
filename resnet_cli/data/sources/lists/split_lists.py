"""Lists of one split each, such as Food-101's ``meta/train.txt`` and ``meta/test.txt``, and the labels in them.

A line names an image, often without its extension, and possibly its class. Otherwise the class is the image's folder,
or the beginning of its name.

Source: the files of Food-101, MIT Indoor 67, DTD, SUN397, Stanford Dogs, Oxford-IIIT Pet, FGVC-Aircraft and Places365,
as torchvision/datasets reads them, and Datumaro's ImageNet text format.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.folder_names import IMAGE_FOLDERS
from resnet_cli.data.sources.lists.images import ImageNames, folder_labels, top_folders
from resnet_cli.data.sources.lists.labels import LocatedList, OfficialSet, label_lists, locate_list
from resnet_cli.data.sources.lists.lines import Entry, read_entries, sniff
from resnet_cli.data.sources.lists.mat_lists import is_file_list, read_file_list
from resnet_cli.data.sources.reading import NotUsed
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.reader import read_tables
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
_ORDER = ("train", "trainval", "val", "test")
#: Text files of DATA that may be lists at most.
MAX_PLAIN_LISTS = 30
#: FGVC-Aircraft labels each image on three levels; its benchmark, and torchvision's default, is this one.
_PREFERRED_LEVEL = "variant"


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
        with contextlib.suppress(OSError):
            beside = [name for name in sorted(os.listdir(root.parent)) if name.lower() in LIST_FOLDERS]
            above = [root.parent, *(root.parent / name for name in beside)]
    for folder_path in above:
        with contextlib.suppress(OSError), os.scandir(folder_path) as files:
            yield folder_path, sorted(file.name for file in files if file.is_file())


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
        if lists and (found := _labeled(lists, survey, images, options)):
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
    for split, path in sorted(paths.items(), key=lambda pair: _ORDER.index(pair[0])):
        is_text = path.suffix.lower() == ".txt"
        if is_text and not any(images.locate([entry.image for entry in sniff(path)], split=split)):
            continue
        entries = list(read_entries(path)) if is_text else read_file_list(path)
        located = locate_list(path, "train" if split == "trainval" else split, entries, images)
        if located.entries:
            lists.append(located)
    return lists


def _labeled(
    lists: Sequence[LocatedList], survey: Survey, images: ImageNames, options: DataConfig
) -> OfficialSet | None:
    """The lists with labels; None, with the reason in ``survey.refusals``, if they do not describe the data set."""
    path = lists[0].path
    try:
        labeled = label_lists(lists, survey)
    except DataError as error:
        survey.refusals.append(error)
        return None
    # Lists that only name images say less about the classes than a table of these images.
    are_names = labeled is not None and not any(listed.has_folders for listed in lists)
    if labeled is None or (are_names and read_tables(survey, options) is not None):
        if len(lists) > 1:
            survey.listed_splits |= {entry.image: listed.split for listed in lists for entry in listed.entries}
        survey.refusals.append(
            DataError(f"{path}: names images without their classes", hint="write each line as: path label")
        )
        return None
    if rest := _rest_as_train(labeled.lists, survey, images):
        shown = " and ".join(listed.path.name for listed in labeled.lists)
        note = f"images that {shown} do not list are the training images: {len(rest.entries):,}"
        return OfficialSet((rest, *labeled.lists), (note, *labeled.notes))
    found = labeled.lists
    names = [entry.image for listed in found for entry in listed.entries]
    folders = {name.rpartition("/")[0] for name in names}
    num_around = sum(name.rpartition("/")[0] in folders for name in images.names)
    num_missing = sum(listed.num_missing for listed in found)
    is_same = _repeats_folders(found)
    if len(names) < num_around * MIN_SHARE or is_same:
        if len(names) < num_around or num_missing:
            missing = f"; listed images that do not exist: {num_missing:,}" if num_missing else ""
            survey.refusals.append(
                NotUsed(
                    f"{', '.join(listed.path.name for listed in found)}: not used; listed images: {len(names):,} of "
                    f"{num_around:,}{missing}",
                    hint=f"to read only these: give {path} as DATA",
                )
            )
        return None
    if len(found) == 1:
        found = (dataclasses.replace(found[0], split=""),)
    return OfficialSet(found, labeled.notes)


def _repeats_folders(lists: Sequence[LocatedList]) -> bool:
    """Whether lists say only what the folders say anyway: the classes, and the splits if there are several lists."""
    entries = [(entry, listed.split) for listed in lists for entry in listed.entries]
    labels = [entry.label for entry, _ in entries]
    if len(lists) == 1:
        return top_folders([entry.image for entry, _ in entries]) == labels
    return all(
        entry.image.split("/")[-2:-1] == [entry.label] and _split_of_folder(entry.image) == split
        for entry, split in entries
    )


def _split_of_folder(image: str) -> str | None:
    return next((split for part in image.split("/")[:-2] if (split := split_of(part))), None)


def _rest_as_train(lists: Sequence[LocatedList], survey: Survey, images: ImageNames) -> LocatedList | None:
    """The other images in the class folders, if lists name the validation and the test images.

    Source: the README of Speech Commands, whose ``validation_list.txt`` and ``testing_list.txt`` are meant so.
    """
    if {listed.split for listed in lists} != {"val", "test"}:
        return None
    entries = [entry for listed in lists for entry in listed.entries]
    names = [entry.image for entry in entries]
    others = sorted(images.names.difference(names))
    labels = folder_labels([*names, *others])
    if labels[: len(names)] != [entry.label for entry in entries]:
        return None
    classes = {entry.label for entry in entries}
    rest = [Entry(name, label, 0) for name, label in zip(others, labels[len(names) :], strict=True) if label in classes]
    return LocatedList(survey.root, "train", rest) if rest else None


def read_plain_list(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    """Reads a list of ``path label`` lines without a split, such as ``labels.txt`` beside a flat folder of images.

    Raises:
        DataError: A list is damaged, or several lists label the images.
    """
    usable: dict[Path, OfficialSet] = {}
    paths = [folder / name for folder, names in list_folders(survey) for name in names if name.lower().endswith(".txt")]
    # More are annotations of one image or one class each.
    for path in paths if len(paths) <= MAX_PLAIN_LISTS else []:
        # `list_eval_partition.txt` of CelebA numbers the splits.
        if split_of_list(path.stem) or re.search("partition|split|fold", path.stem, re.IGNORECASE):
            continue
        entries = sniff(path)
        if not entries or not all(entry.label for entry in entries):
            continue
        if sum(map(bool, images.locate([entry.image for entry in entries]))) * 2 < len(entries):
            continue
        listed = locate_list(path, "", list(read_entries(path)), images)
        if len(listed.entries) < len(images.names) * MIN_SHARE or len({entry.label for entry in listed.entries}) < 2:
            continue
        folders = folder_labels([entry.image for entry in listed.entries])
        if all(folders) and len(set(folders)) > 1:
            survey.refusals.append(
                NotUsed(
                    f"{path}: labels images that are in class folders, and was not used",
                    hint=f"to use it: give {path} as DATA",
                )
            )
        elif found := _labeled([listed], survey, images, options):
            usable[path] = found
    if len(usable) > 1:
        shown = " or ".join(map(str, usable))
        raise DataError(f"{survey.root}: several lists label its images", hint=f"give one of them as DATA: {shown}")
    return next(iter(usable.values()), None)
