"""Tables whose columns are pixels: MNIST and its imitations as CSV, HAM10000's small copies, and FER2013."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import SPLITS, Split
from resnet_cli.data.sources.arrays.pixel_arrays import MIN_SIDE_PX, is_mirror_safe, labeled_images, to_pixels
from resnet_cli.data.sources.labeled import Ignored, LabeledImage
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.rows.label_maps import name_classes
from resnet_cli.data.sources.split_names import read_split, split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.columns import find_column
from resnet_cli.data.sources.tables.formats import lines_of, row_error
from resnet_cli.errors import ConfigError, DataError

#: Tables of pixels in one folder.
_MAX_FILES = 40
#: ``pixel0``, ``pixel_0001``, and ``1x1`` of "MNIST in CSV".
_PIXEL = re.compile(r"pixel[_ ]?\d+|\d+x\d+", re.IGNORECASE)
_MNIST_CELLS = 1 + 28 * 28
_LABELS = ("label", "class", "emotion", "category", "target", "y")
#: Source: https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge/data.
_FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_FER_SPLITS: dict[str, Split] = {"training": "train", "publictest": "val", "privatetest": "test"}


@dataclass(frozen=True)
class _Columns:
    """The columns of a table of pixels.

    Attributes:
        label: Index of the column of labels; None if there is none.
        split: Index of the column of splits; None if there is none.
        start: Index of the first column of pixels.
        stop: Index after the last one.
        has_header: Whether the first line names the columns.
        is_fer: Whether the labels are those of FER2013.
    """

    label: int | None
    split: int | None
    start: int
    stop: int
    has_header: bool = True
    is_fer: bool = False


def read_pixel_tables(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads the given table of pixels, or those of a folder without images.

    Raises:
        ConfigError: A column that a flag names does not exist.
        DataError: A table is damaged, or several tables have the same split.
    """
    if options.image_column is not None:
        return None
    if survey.file is not None:
        paths = [survey.file] if survey.file.suffix.lower() == ".csv" else []
    elif survey.has_images:
        return None
    else:
        paths = [survey.path(name) for name in survey.others(".csv")]
    found = [(path, columns) for path in paths[:_MAX_FILES] if (columns := _columns(path, options))]
    labeled = [(path, columns) for path, columns in found if columns.label is not None]
    if not labeled:
        if found and survey.file is not None:
            raise DataError(
                f"{survey.file}: a table of pixels without a column of labels",
                hint="name it with --label-column COLUMN",
            )
        return None
    return _read(survey, labeled, [path for path, columns in found if columns.label is None])


def _read(survey: Survey, found: Sequence[tuple[Path, _Columns]], unlabeled: Sequence[Path]) -> Reading:
    by_name: list[Split | None] = [split_of(path.stem) if len(found) > 1 else None for path, _ in found]
    if len(found) > 1 and (None in by_name or len(set(by_name)) < len(found)):
        raise DataError(
            f"{survey.spec}: several tables of pixels: {', '.join(path.name for path, _ in found)}",
            hint=f"give one of them as DATA: {found[0][0]}",
        )
    images: list[LabeledImage] = []
    notes = []
    for (path, columns), split in zip(found, by_name, strict=True):
        images += _images(path, columns, split or "train")
        if columns.is_fer:
            notes.append(f"the numbers in {path.name} get the class names of FER2013: {', '.join(_FER_CLASSES)}")
    mirror_safe = is_mirror_safe(images, survey.spec)
    images, names_note = name_classes(images, found[0][0], survey)
    names = ", ".join(path.name for path, _ in found)
    has_splits = len(found) > 1 or any(columns.split is not None for _, columns in found)
    return Reading(
        images,
        f"{'table' if len(found) == 1 else 'tables'} {names} of pixels",
        "from the table" if has_splits else "",
        (*notes, *names_note),
        Ignored(unlabelled=sum(sum(1 for _ in _rows(path)) - 1 for path in unlabeled)),
        mirror_safe=mirror_safe,
        no_effect=("image_folder", "on_missing_label", "multi_label"),
    )


def _columns(path: Path, options: DataConfig) -> _Columns | None:
    """The columns of a table of pixels; None if the table is of another kind."""
    try:
        _, cells = next(_rows(path), (0, []))
    except DataError:
        return None
    names = [cell.strip() for cell in cells]
    pixels = [index for index, name in enumerate(names) if _PIXEL.fullmatch(name)]
    if not pixels and (alone := find_column(names, ("pixels",))) is not None:
        pixels = [names.index(alone)]
        if "emotion" not in map(str.lower, names) and options.label_column is None:
            return None
    elif len(pixels) < MIN_SIDE_PX**2 or pixels != list(range(pixels[0], pixels[-1] + 1)):
        return _headless(names)
    label = find_column(names, _LABELS if options.label_column is None else (options.label_column,))
    split = find_column(names, ("usage", "split") if options.split_column is None else (options.split_column,))
    for flag, asked, column in (("label", options.label_column, label), ("split", options.split_column, split)):
        if asked is not None and column is None:
            raise ConfigError(f"--{flag}-column {asked}: {path} has no such column")
    return _Columns(
        label=None if label is None else names.index(label),
        split=None if split is None else names.index(split),
        start=pixels[0],
        stop=pixels[-1] + 1,
        is_fer=len(pixels) == 1 and label is not None and label.lower() == "emotion",
    )


def _headless(cells: Sequence[str]) -> _Columns | None:
    """MNIST's table without a header: the label, then the pixels, all of them numbers up to 255.

    Source: https://pjreddie.com/projects/mnist-in-csv. Other such tables have the label at the end.
    """
    if len(cells) != _MNIST_CELLS:
        return None
    is_bytes = all(cell.isascii() and cell.isdigit() and len(cell) <= 3 and int(cell) <= 255 for cell in cells)
    return _Columns(0, None, 1, len(cells), has_header=False) if is_bytes else None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        reader = csv.reader((line for _, line in lines_of(path)), strict=True)
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}: not a table of pixels: {error}") from error


def _images(path: Path, columns: _Columns, split: Split) -> list[LabeledImage]:
    values = bytearray()
    labels: list[str] = []
    splits: list[Split] = []
    num_values = 0
    rows = _rows(path)
    if columns.has_header:
        next(rows)
    for line, cells in rows:
        if len(cells) < columns.stop:
            raise row_error(path, line, f"{len(cells)} cells, fewer than there are columns")
        texts = (
            cells[columns.start].split() if columns.stop == columns.start + 1 else cells[columns.start : columns.stop]
        )
        try:
            pixels = bytes(map(int, texts))
        except ValueError as error:
            raise row_error(path, line, "a pixel is not a whole number from 0 to 255") from error
        num_values = num_values or len(pixels)
        if len(pixels) != num_values:
            raise row_error(path, line, f"{len(pixels):,} pixels, but {num_values:,} in the first row")
        values += pixels
        labels.append(_label(path, line, cells[columns.label or 0].strip(), columns))
        splits.append(_split(path, line, cells[columns.split].strip()) if columns.split is not None else split)
    if not labels:
        raise DataError(f"{path}: the table has no rows")
    pixels_of_all, _ = to_pixels(_shaped(path, values, len(labels)), len(labels), str(path))
    return [
        image
        for part in SPLITS
        if (chosen := [index for index, other in enumerate(splits) if other == part])
        for image in labeled_images(
            pixels_of_all[chosen] if len(chosen) < len(labels) else pixels_of_all,
            [labels[index] for index in chosen],
            part,
        )
    ]


def _shaped(path: Path, values: bytearray, num_images: int) -> NDArray[np.uint8]:
    """Square gray images, or colored ones if the name of the file says RGB, as HAM10000's do."""
    num_values = len(values) // num_images
    array = np.frombuffer(values, np.uint8).reshape(num_images, num_values)
    side = math.isqrt(num_values // 3)
    if 3 * side * side == num_values and "rgb" in path.stem.lower():
        return array.reshape(num_images, side, side, 3)
    return array


def _label(path: Path, line: int, text: str, columns: _Columns) -> str:
    if not text:
        raise row_error(path, line, "no label")
    if not columns.is_fer:
        return text
    if not (text.isascii() and text.isdigit() and int(text) < len(_FER_CLASSES)):
        raise row_error(path, line, f"the emotion {ascii(text)[:60]} is not a number from 0 to {len(_FER_CLASSES) - 1}")
    return _FER_CLASSES[int(text)]


def _split(path: Path, line: int, text: str) -> Split:
    return _FER_SPLITS.get(text.lower()) or read_split(text, f"{path}, line {line}")
