"""Lists of one class and one split each, which say of every image whether it shows the class: Pascal VOC's.

Source: the development kits of the PASCAL Visual Object Classes challenges (host.robots.ox.ac.uk/pascal/VOC), section
"Classification task": ``ImageSets/Main/<class>_<split>.txt`` with -1 for no, 1 for yes, and 0 for images that show only
difficult objects of the class, which the evaluation leaves out.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.lists.images import ImageNames
from resnet_cli.data.sources.reading import ROW_FLAGS, Reading
from resnet_cli.data.sources.rows.labeled_rows import read_rows
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.rows.text import lines_of, quoted, row_error
from resnet_cli.data.sources.survey import Folder, Survey
from resnet_cli.errors import DataError

_NAME = re.compile(r"(.+)_(train|val|trainval|test)\.txt")
_LINE = re.compile(r"(\S+)\s+(-1|0|1)")
_UNKNOWN, _YES = "0", "1"
#: Folder of the images, beside the folder with the folder of the lists.
_IMAGES = "JPEGImages"


def read_class_lists(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads the lists of Pascal VOC's classification task, of one or several years; None if there are none.

    The class of an image whose list does not name it is unknown, too.

    Raises:
        DataError: A list is damaged.
    """
    files: list[RowFile] = []
    classes: set[str] = set()
    names = ImageNames(survey)
    num_missing = num_unknown = 0
    for folder in survey.folders.values():
        paths = _lists(folder, survey)
        rows: list[Row] = []
        for split in _used({split for splits in paths.values() for split in splits}):
            found, missing = _rows(folder, paths, split, names)
            rows += found
            num_missing += missing
        if rows:
            files.append(RowFile(survey.path(folder.name), rows, image_folder=survey.root))
            classes.update(paths)
            num_unknown += sum(len(row.unknown) for row in rows)
    if not files:
        return None
    where = ", ".join(file.path.relative_to(survey.root).as_posix() for file in files)
    notes = [f"listed images that do not exist: {num_missing:,}"] if num_missing else []
    if num_unknown:
        notes.append(f"values of 0 (difficult objects), which count neither as yes nor as no: {num_unknown:,}")
    options = options.model_copy(update={"multi_label": True})
    what = f"lists of each class in {where}"
    reading = read_rows(files, survey, options, what=what, notes=notes, classes=sorted(classes))
    return dataclasses.replace(reading, split_note="from the lists", no_effect=ROW_FLAGS)


def _lists(folder: Folder, survey: Survey) -> Mapping[str, Mapping[str, Path]]:
    """Class -> split -> list, for the lists in a folder; empty unless there are several classes with such lists."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for name in folder.others:
        if match := _NAME.fullmatch(name):
            found[match[1]][match[2]] = survey.path(folder.name) / name
    if len(found) < 2 or not all(_is_list(next(iter(splits.values()))) for splits in found.values()):
        return {}
    return found


def _is_list(path: Path) -> bool:
    try:
        first = next((line for _, line in lines_of(path) if line.strip()), "")
    except DataError:
        return False
    return _LINE.fullmatch(first.strip()) is not None


def _used(splits: set[str]) -> Sequence[str]:
    """The splits that overlap in no image: `trainval` only without `train`."""
    return sorted(splits - {"trainval"} if "train" in splits else splits)


def _rows(
    folder: Folder, paths: Mapping[str, Mapping[str, Path]], split: str, names: ImageNames
) -> tuple[list[Row], int]:
    """One row per image of a split that exists, and the number of the others."""
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for name, splits in paths.items():
        for image, value in _entries(splits[split]) if split in splits else ():
            values[image][name] = value
    located = _located(folder, list(values), split, names)
    rows = []
    for line, ((_, of_image), path) in enumerate(zip(values.items(), located, strict=True), 1):
        if path:
            labels = tuple(name for name, value in of_image.items() if value == _YES)
            unknown = tuple(name for name in paths if of_image.get(name, _UNKNOWN) == _UNKNOWN)
            rows.append(Row(path, labels, "train" if split == "trainval" else split, line=line, unknown=unknown))
    return rows, sum(not path for path in located)


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in lines_of(path):
        if line.strip():
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise row_error(path, number, f"not an image and -1, 0 or 1: {quoted(line.strip())}")
            yield match[1], match[2]


def _located(folder: Folder, images: Sequence[str], split: str, names: ImageNames) -> list[str]:
    """The images below DATA; empty texts for those that do not exist."""
    top = PurePosixPath(folder.name).parent.parent / _IMAGES
    direct = [f"{top.as_posix()}/{image}.jpg" for image in images]
    if any(name in names.names for name in direct):
        return [name if name in names.names else "" for name in direct]
    return names.locate(images, split=split)
