"""Annotation formats with one image per line of a text: CSV files of VIA and Vertex AI, lists of SageMaker."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.annotations.documents import via_entry
from resnet_cli.data.sources.annotations.items import Annotated, Annotation, Malformed, labeled
from resnet_cli.data.sources.annotations.objects import ML_USES, is_label_studio_row, label_studio_row
from resnet_cli.data.sources.tables.formats import FORMATS, lines_of, open_table_file
from resnet_cli.errors import DataError

#: A line of a SageMaker or MXNet list: index, one or more numbers, path.
_LIST_LINE = re.compile(r"\d+(?:\t-?\d+(?:\.\d+)?)+\t[^\t]+")
#: Numbers that may be classes; more are boxes.
_MAX_NUMBERS = 5


def read_via_csv(path: Path) -> Annotated | None:
    """Reads a CSV export of VIA; None if it is not one.

    Raises:
        DataError: A row is damaged.

    Source: robots.ox.ac.uk/~vgg/software/via, export of annotations as CSV: one row per region.
    """
    _, header = next(lines_of(path), (0, ""))
    if "file_attributes" not in header or "filename" not in header:
        return None

    def read(record: dict[str, Any]) -> Annotation:
        try:
            attributes = json.loads(record.get("file_attributes") or "{}")
        except (ValueError, RecursionError) as error:
            raise Malformed(f"file_attributes is not JSON: {error}") from error
        regions = [True] * (str(record.get("region_count", "0")).strip() not in ("", "0"))
        return via_entry({**record, "file_attributes": attributes, "regions": regions})

    rows = FORMATS[".csv"](path).records(())
    annotations = [read(record) for _, record in rows]
    return Annotated("VIA annotations", path, annotations, container="file_attributes")


def read_label_studio_csv(path: Path) -> Annotated | None:
    """Reads a CSV or TSV export of Label Studio; None if it is not one.

    Raises:
        DataError: A row is damaged.

    Source: labelstud.io/guide/export.html: the columns are the keys of JSON_MIN; several choices are a JSON object.
    """
    _, header = next(lines_of(path), (0, ""))
    if "annotation_id" not in header or not is_label_studio_row(dict.fromkeys(open_table_file(path).columns)):
        return None

    def read(record: dict[str, Any]) -> Annotation:
        cells = {key: _choices(value) for key, value in record.items() if value}
        return label_studio_row(cells)

    annotations = [read(record) for _, record in FORMATS[path.suffix.lower()](path).records(())]
    return Annotated("Label Studio export", path, annotations, image_key="image")


def _choices(cell: str) -> Any:
    if not cell.startswith(("{", "[")):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def read_vertex_csv(path: Path) -> Annotated | None:
    """Reads an import file of Vertex AI; None if it is not one.

    Raises:
        DataError: The file is not a table.

    Source: cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data: [ml_use,]gs://path,label.
    """
    _, first = next(lines_of(path), (0, ""))
    head = [cell.strip() for cell in first.split(",")[:2]]
    if not any(cell.startswith("gs://") for cell in head) or not (head[0].startswith("gs://") or _is_ml_use(head[0])):
        return None

    def read(cells: Sequence[str]) -> Annotation:
        cells = [cell.strip() for cell in cells]
        split = ML_USES[cells[0].lower()] if _is_ml_use(cells[0]) else ""
        image, *labels = cells[1:] if _is_ml_use(cells[0]) or not cells[0] else cells
        if len(labels) > 8 and any(_is_number(cell) for cell in labels[1:]):
            return Annotation(image, (), split, 1)
        return Annotation(image, labeled(labels), split)

    return Annotated("Vertex AI import file", path, [read(cells) for cells in _rows(path) if len(cells) > 1])


def _is_ml_use(cell: str) -> bool:
    return cell.lower() in ML_USES


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-?[0-9.]+(?:e-?\d+)?", cell, re.IGNORECASE) is not None


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        yield from (cells for cells in csv.reader((line for _, line in lines_of(path)), strict=True) if cells)
    except csv.Error as error:
        raise DataError(f"{path}: not a table: {error}", hint="check for a double quote that is not closed") from error


def read_list(path: Path) -> Annotated | None:
    """Reads a list of SageMaker or MXNet; None if it is not one.

    If every line has several labels of 0 or 1, there is one for each class.

    Raises:
        DataError: A line differs from the others.

    Source: MXNet's im2rec and SageMaker's image classification: index, label, path; 1.000000 is the class 1.
    """
    rows: list[tuple[list[str], str]] = []
    for number, line in lines_of(path):
        content = line.strip(" \r\n")
        if not content:
            continue
        if not _LIST_LINE.fullmatch(content):
            if rows:
                raise DataError(f"{path}: line {number}: not an index, a label and a path, separated by tabs")
            return None
        _, *labels, image = content.split("\t")
        values = [str(int(float(label))) if float(label).is_integer() else label for label in labels]
        rows.append((values, image.strip()))
    if not rows:
        return None
    are_marks = len({len(values) for values, _ in rows}) == 1 and len(rows[0][0]) > 1
    are_marks = are_marks and all({"0", "1"}.issuperset(values) for values, _ in rows)
    annotations = [_marked(image, values) if are_marks else _numbered(image, values) for values, image in rows]
    return Annotated("SageMaker list", path, annotations)


def _marked(image: str, values: Sequence[str]) -> Annotation:
    classes = [number for number, value in enumerate(values) if value == "1"]
    return Annotation(image, labeled(classes), empty="negative")


def _numbered(image: str, values: Sequence[str]) -> Annotation:
    # Lists for detection have a header of sizes and boxes instead of one label.
    is_detection = len(values) > _MAX_NUMBERS
    # Several numbers may be anything.
    return Annotation(image, () if is_detection else labeled(values), "", int(is_detection), is_agreed=len(values) < 2)
