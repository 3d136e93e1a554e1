"""Published data sets whose official splits and labels are in lists beside the images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.folder_names import IMAGE_FOLDERS
from resnet_cli.data.sources.lists.class_lists import read_class_lists
from resnet_cli.data.sources.lists.images import ImageNames, folder_labels
from resnet_cli.data.sources.lists.labels import LocatedList, OfficialSet, label_lists, locate_list, with_class_folders
from resnet_cli.data.sources.lists.lines import Entry, clean, read_entries, sniff
from resnet_cli.data.sources.lists.mat_sets import read_flowers, read_imagenet_devkit, read_stanford_cars
from resnet_cli.data.sources.lists.split_lists import LIST_FOLDERS, list_folders, read_plain_list, read_split_lists
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.rows.labeled_rows import read_rows
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.split_names import read_split
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.formats import lines_of, row_error
from resnet_cli.data.sources.tables.table import read_table
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name

_Reader: TypeAlias = Callable[[Survey, ImageNames, DataConfig], OfficialSet | None]
#: Lists (lower case) that say nothing without others beside them.
_PARTS = frozenset({"images.txt", "image_class_labels.txt", "train_test_split.txt", "imagelabels.mat", "setid.mat"})


def read_official_lists(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads a published data set with the splits and labels of its lists.

    Raises:
        DataError: A list is damaged, or contradicts itself or another one.
    """
    # Other flags ask for a table, or for class folders.
    if options.image_column or options.split_column or options.image_folder or options.classes_at:
        return None
    if survey.file is not None:
        return _read_given(survey, options)
    if not options.label_column and (reading := read_class_lists(survey, options)):
        return reading
    return _read_set(survey, options, (read_split_lists,) if options.label_column else READERS)


def read_plain_lists(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads a flat folder with the labels of a text list whose name denotes no split.

    Raises:
        DataError: The list is damaged, or several lists label the images.
    """
    return None if survey.file is not None else _read_set(survey, options, (read_plain_list,))


def with_listed_splits(reading: Reading, survey: Survey) -> Reading:
    """Gives a reading without splits those of lists that name its images without labels, as for NIH ChestX-ray14."""
    splits = survey.listed_splits
    num_listed = sum(image.name in splits for image in reading.images) if splits else 0
    if reading.split_note or not num_listed:
        return reading
    if num_listed < len(reading.images):
        note = f"lists of splits were not used: they name {num_listed:,} of {len(reading.images):,} images"
        return dataclasses.replace(reading, notes=(*reading.notes, note))
    images = [image._replace(split=read_split(splits[image.name], image.name)) for image in reading.images]
    return dataclasses.replace(reading, images=images, split_note="from the lists")


def _read_set(survey: Survey, options: DataConfig, readers: Sequence[_Reader]) -> Reading | None:
    images = ImageNames(survey)
    found = next((found for reader in readers if (found := reader(survey, images, options))), None)
    return _reading(found, survey, images, options) if found else None


def _read_given(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads one list, or the data set of a list that says nothing alone; None for a table, and for other texts."""
    path = survey.file
    if path is None or options.label_column:
        return None
    if path.name.lower() in _PARTS and (reading := _read_set(survey, options, (_read_joined, read_flowers))):
        return reading
    if path.suffix.lower() != ".txt":
        return None
    folder = survey.root.absolute()
    beside = None
    if folder.name.lower() in LIST_FOLDERS and survey.within is None:
        beside = next((name for name in sorted(os.listdir(folder.parent)) if name.lower() in IMAGE_FOLDERS), None)
    if beside:
        survey = Survey(folder.parent / beside, spec=survey.spec, follow_links=options.follow_links)
    elif _is_plain(path):
        return None
    images = ImageNames(survey)
    if not any(images.locate([entry.image for entry in sniff(path)])):
        return None
    found = label_lists([locate_list(path, "", list(read_entries(path)), images)], survey)
    if found is None:
        raise DataError(f"{path}: names images without their classes", hint="write each line as: path label")
    return _reading(found, survey, images, options, given=folder)


def _is_plain(path: Path) -> bool:
    """Whether the first lines of a list are those of a table: a path with its extension, and one word."""
    for entry in sniff(path):
        _, line = next((pair for pair in lines_of(path) if pair[0] == entry.line), (0, ""))
        text = line.strip()
        image, _, label = text.rpartition("\t" if "\t" in text else " ")
        if (clean(image), label) != entry[:2] or not is_image_name(Path(entry.image)):
            return False
    return True


def _reading(
    found: OfficialSet, survey: Survey, images: ImageNames, options: DataConfig, *, given: Path | None = None
) -> Reading:
    """Makes a Reading of labeled entries, and counts what the lists and the folders do not have in common.

    Args:
        found: The lists.
        survey: The folder of the images.
        images: Its images.
        options: How DATA is read.
        given: Folder of the list if DATA is one list, which may name a part of the images.
    """
    files = [
        RowFile(
            listed.path,
            [
                Row(image=entry.image, labels=(entry.label,) if entry.label else None, line=entry.line)
                for entry in listed.entries
            ],
            listed.split,
            survey.root,
        )
        for listed in found.lists
    ]
    top = survey.root.absolute()
    reading = read_rows(files, survey, options, what=_describe(found.lists, top if given is None else given))
    notes = [*found.notes, *reading.notes]
    outside = [listed.path for listed in found.lists if not listed.path.absolute().is_relative_to(top)]
    if outside and given is None:
        in_folders = any("/" in entry.image for listed in found.lists for entry in listed.entries)
        way_out = "; to read the folders alone: --classes-at 1" if in_folders else ""
        notes.append(f"DATA is one folder of a data set; the lists around it are used, such as {outside[0]}{way_out}")
    num_missing = sum(listed.num_missing for listed in found.lists)
    if num_missing:
        notes.append(f"listed images that do not exist: {num_missing:,}")
    has_splits = any(listed.split for listed in found.lists)
    return dataclasses.replace(
        reading, split_note="from the lists" if has_splits else reading.split_note, notes=tuple(notes)
    )


def _describe(lists: Sequence[LocatedList], root: Path) -> str:
    """``class folders in train and the list val/val_annotations.txt``."""
    paths = dict.fromkeys((Path(os.path.relpath(each.path, root)).as_posix(), each.path.is_dir()) for each in lists)
    files = [shown for shown, is_folder in paths if not is_folder]
    folders = [shown for shown, is_folder in paths if is_folder]
    parts = ["class folders" if shown == "." else f"class folders in {shown}" for shown in folders]
    return " and ".join([*parts, f"the {'list' if len(files) == 1 else 'lists'} {', '.join(files)}"])


def _read_joined(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    """Reads lists that are joined by the images' IDs.

    Source: the README files of CUB-200-2011 and NABirds.
    """
    folder = next((path for path, names in list_folders(survey) if {"images.txt", _LABELS} <= set(names)), None)
    if folder is None:
        return None
    path_of, label_of = _joined(folder / "images.txt"), _joined(folder / _LABELS)
    splits = folder / "train_test_split.txt"
    is_train = _joined(splits) if splits.is_file() else dict.fromkeys(path_of, ("", 0))
    for name, column in ((_LABELS, label_of), (splits.name, is_train)):
        if absent := path_of.keys() - column.keys():
            raise DataError(
                f"{folder / name}: {len(absent):,} of the {len(path_of):,} images in images.txt are not in it",
                hint="it is damaged or belongs to other images; download it again",
            )
    lists = []
    for value, split in {"1": "train", "0": "test", "": ""}.items():
        ids = [(key, image) for key, image in path_of.items() if is_train[key][0] == value]
        entries = [Entry(clean(image), label_of[key][0], line) for key, (image, line) in ids]
        lists.append(locate_list(splits if split else folder / "images.txt", split, entries, images))
    return label_lists([listed for listed in lists if listed.entries], survey)


_LABELS = "image_class_labels.txt"


def _joined(path: Path) -> dict[str, tuple[str, int]]:
    """The ID -> the value on its line, and the line's number."""
    found: dict[str, tuple[str, int]] = {}
    for line, text in lines_of(path):
        key, blank, value = text.strip().partition(" ")
        if not key:
            continue
        if not blank or key in found:
            raise row_error(path, line, "not a new ID and its value", hint="the list is damaged; download it again")
        found[key] = (value.strip(), line)
    return found


@dataclasses.dataclass(frozen=True)
class _HeldOut:
    """A data set whose training images are in class folders, and whose other split is a flat folder with a list.

    Attributes:
        list_name: Name of the list.
        split: Split of the images that it names.
        train: Folders of the training images, as the end of their paths.
        columns: Columns of the image and the label if the list is a table.
        class_of: Makes the name of a class folder of a label.
    """

    list_name: str
    split: str
    train: tuple[str, ...]
    columns: tuple[str, str] | None = None
    class_of: Callable[[str], str] = str


# Source: the files of Tiny ImageNet (cs231n.stanford.edu), of ImageNet's challenge on Kaggle, and of GTSRB.
_HELD_OUT = (
    _HeldOut("val_annotations.txt", "val", ("train",)),
    _HeldOut(
        "LOC_val_solution.csv",
        "val",
        ("train",),
        ("ImageId", "PredictionString"),
        lambda label: label.partition(" ")[0],
    ),
    _HeldOut(
        "GT-final_test.csv",
        "test",
        ("Final_Training/Images", "Training"),
        ("Filename", "ClassId"),
        lambda label: label.zfill(5),
    ),
)


def _read_held_out(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    for kind in _HELD_OUT:
        path = next((path / kind.list_name for path, names in list_folders(survey) if kind.list_name in names), None)
        if path is None:
            continue
        held_out = locate_list(path, kind.split, list(_held_out_entries(path, kind)), images)
        if not held_out.entries:
            survey.refusals.append(DataError(f"{path}: none of the images that it names is in {survey.root}"))
            continue
        return with_class_folders(held_out, kind.train, survey)
    return None


def _held_out_entries(path: Path, kind: _HeldOut) -> Iterator[Entry]:
    if kind.columns is None:
        yield from read_entries(path)
        return
    image_column, label_column = kind.columns
    for row in read_table(path, image_column=image_column, label_column=label_column).rows:
        yield Entry(clean(row.image), kind.class_of(row.label), row.line)


def _read_class_paths(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    """Reads SUN397, whose ``ClassName.txt`` lists class folders of one or two levels: ``/b/bakery/shop``."""
    folder = next((folder for folder in survey.folders.values() if "ClassName.txt" in folder.others), None)
    if folder is None or not folder.folders or any(len(name) > 1 for name in folder.folders):
        return None
    names = list(survey.images(folder.name))
    entries = [Entry(name, label, 0) for name, label in zip(names, folder_labels(names), strict=True) if label]
    path = survey.path(folder.name) / "ClassName.txt"
    listed = {entry.image for entry in read_entries(path)}
    found = {name.removeprefix(f"{folder.name}/").rpartition("/")[0] for name in names}
    notes = [f"class folders that ClassName.txt does not list: {len(found - listed)}"] if found - listed else []
    return OfficialSet((LocatedList(path, "", entries),), tuple(notes)) if entries else None


#: Kinds of data sets, from the most to the least definite.
READERS: tuple[_Reader, ...] = (
    _read_joined,
    _read_held_out,
    read_imagenet_devkit,
    read_flowers,
    read_stanford_cars,
    read_split_lists,
    _read_class_paths,
)
