"""Reads one annotation file of any format, and JSON in particular."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.annotations.documents import DOCUMENT_FORMATS
from resnet_cli.data.sources.annotations.items import Annotated, Annotation, Malformed, ObjectFormat, text
from resnet_cli.data.sources.annotations.lines import read_label_studio_csv, read_list, read_vertex_csv, read_via_csv
from resnet_cli.data.sources.annotations.objects import OBJECT_FORMATS
from resnet_cli.data.sources.annotations.xml_files import VOC, read_xml
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.tables.formats import FORMATS, Record, TableFile
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name

#: Whether an object is a row of a table of images.
IsRow: TypeAlias = Callable[[dict[str, Any]], bool]
#: Larger files are not read: a document needs several times its size in memory.
MAX_JSON_BYTES = 1_000_000_000
#: Extensions of files that are only read as annotations.
DOCUMENT_EXTENSIONS = frozenset({".json", ".xml", ".manifest"})
#: Extensions of tables that may be annotations of a format of their own.
LINE_EXTENSIONS = frozenset({".jsonl", ".ndjson", ".csv", ".tsv", ".lst"})
ANNOTATION_EXTENSIONS = DOCUMENT_EXTENSIONS | LINE_EXTENSIONS
#: Values of documents that are large and say nothing about the class of an image.
_HEAVY = ("segmentation", "points", "imageData", "keypoints", "mask", "bitmap", "rle", "logits")
#: Characters; longer values are encoded images or masks.
_LONG_TEXT = 1_000


def read_annotation_file(path: Path, options: DataConfig, *, is_given: bool = False) -> Annotated | None:
    """Reads an annotation file; None if it is in no known format.

    Args:
        path: A file with one of ``ANNOTATION_EXTENSIONS``.
        options: How DATA is read.
        is_given: Whether the file was given as DATA; objects that name no image may then have ids.

    Raises:
        DataError: The file is in a known format, but damaged or too large.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".xml":
            found = read_xml(path)
            return Annotated(found[0], path, found[1], is_single=found[0] == VOC) if found else None
        if suffix == ".csv":
            return read_via_csv(path) or read_label_studio_csv(path) or read_vertex_csv(path)
        if suffix == ".tsv":
            return read_label_studio_csv(path)
        if suffix == ".lst":
            return read_list(path)
        if suffix == ".json":
            return _read_json(path, lambda first: is_given or _names_image(first, options.image_column))
        return _read_lines(path)
    except Malformed as error:
        raise DataError(f"{path}: {error}") from error


def _names_image(row: dict[str, Any], image_column: str | None) -> bool:
    return image_column in row or any(is_image_name(text(value)) for value in row.values())


def _read_json(path: Path, is_row: IsRow) -> Annotated | None:
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise DataError(
                f"{path}: {size / 1e9:.1f} GB; JSON files of more than {MAX_JSON_BYTES / 1e9:.0f} GB are not read"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        document = json.loads(data, object_hook=_slim)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _read_lines(path, is_table=True)
        raise DataError(f"{path}: not JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if isinstance(document, list):
        return _of_objects(path, document, is_row)
    if not isinstance(document, dict):
        return None
    for kind in DOCUMENT_FORMATS:
        if document and kind.matches(document):
            annotations = list(kind.read(document))
            return Annotated(kind.name, path, annotations, folder=kind.folder, container=kind.container)
    return _of_single_object(path, document) or _of_wrapped(path, document, is_row)


def _slim(value: dict[str, Any]) -> dict[str, Any]:
    """Frees what takes most of the memory while a document is read."""
    for key in _HEAVY:
        content = value.get(key)
        # Lists of names are not coordinates: `mask` may be a class.
        if isinstance(content, list) and content and not isinstance(content[0], str):
            value[key] = True
        elif isinstance(content, str) and len(content) > _LONG_TEXT:
            value[key] = True
    return value


def _annotated(kind: ObjectFormat, path: Path, annotations: Sequence[Annotation]) -> Annotated:
    return Annotated(kind.name, path, annotations, image_key=kind.image_key, container=kind.container)


def _of_single_object(path: Path, document: dict[str, Any]) -> Annotated | None:
    """A file that describes one image."""
    for kind in OBJECT_FORMATS:
        if kind.matches(document):
            annotation = kind.read(document)
            if not annotation.image:
                # Source: Supervisely names the file of ``1.jpg`` ``1.jpg.json``.
                annotation = annotation._replace(image=path.stem)
            return dataclasses.replace(_annotated(kind, path, [annotation]), is_single=True)
    return None


def _of_objects(path: Path, values: list[Any], is_row: IsRow) -> Annotated | None:
    first = values[0] if values else None
    if not isinstance(first, dict):
        return None
    for kind in OBJECT_FORMATS:
        if kind.matches(first):
            annotations = [_read_one(kind.read, kind.matches, one, number) for number, one in enumerate(values, 1)]
            return _annotated(kind, path, annotations)
    return Annotated("list of images", path, table=_table(path, values)) if is_row(first) else None


def _read_one(
    read: Callable[[dict[str, Any]], Annotation], matches: Callable[[dict[str, Any]], bool], one: Any, number: int
) -> Annotation:
    if not isinstance(one, dict) or not matches(one):
        raise Malformed(f"record {number} has another format than the first")
    try:
        return read(one)
    except Malformed as error:
        raise Malformed(f"record {number}: {error}") from error


def _table(path: Path, values: Iterable[Any]) -> TableFile:
    """Objects as the rows of a table."""
    records = [_flat(path, number, value) for number, value in enumerate(values, 1)]
    return TableFile(tuple(records[0][1]), lambda _: iter(records))


def _flat(path: Path, number: int, value: Any) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{path}: record {number} is not a JSON object: {ascii(value)[:60]}")
    # Source: Label Studio's JSON_MIN: several choices are {"choices": [...]}; a list of one label is this label.
    flat = {key: one.get("choices", one) if isinstance(one, dict) else one for key, one in value.items()}
    return number, {key: one[0] if isinstance(one, list) and len(one) == 1 else one for key, one in flat.items()}


def _of_wrapped(path: Path, document: dict[str, Any], is_row: IsRow) -> Annotated | None:
    """Objects inside an object: under one key, under each split, under each image, or as columns."""
    values = [*document.values()]
    if document and all(name.lower() in SPLIT_NAMES for name in document) and all(isinstance(v, list) for v in values):
        items = [(one, split) for split, v in document.items() for one in v]
        return _of_objects(
            path, [{**one, "split": split} if isinstance(one, dict) else one for one, split in items], is_row
        )
    if document and all(name.lower() in SPLIT_NAMES and isinstance(v, dict) for name, v in document.items()):
        pairs = [(image, one, split) for split, v in document.items() for image, one in v.items()]
        rows = [{"image": image, "label": one, "split": split} for image, one, split in pairs]
        return _of_objects(path, rows, is_row)
    if document and all(isinstance(value, dict) for value in values) and is_image_name(next(iter(document))):
        return _of_objects(path, [{"image": image, **value} for image, value in document.items()], is_row)
    lists = [value for value in values if isinstance(value, list) and value]
    if len(lists) == 1 and isinstance(lists[0][0], dict):
        return _of_objects(path, lists[0], is_row)
    # Source: pandas.DataFrame.to_json: columns of lists, or of objects that map row numbers to values.
    columns = {key: [*v.values()] if isinstance(v, dict) else v for key, v in document.items()}
    if len(columns) > 1 and all(isinstance(v, list) for v in columns.values()):
        lengths = {len(column) for column in columns.values()}
        if len(lengths) == 1 and lengths != {0}:
            rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
            return _of_objects(path, rows, is_row)
    return None


def _read_lines(path: Path, *, is_table: bool = False) -> Annotated | None:
    """Objects on lines; where tables are not looked for, objects in no known format are a table too."""
    source = FORMATS[".jsonl"](path)
    _, first = next(source.records(()), (0, {}))
    for kind in OBJECT_FORMATS:
        if kind.matches(first):
            annotations = [_read_one(kind.read, kind.matches, one, line) for line, one in source.records(())]
            return _annotated(kind, path, annotations)
    if is_table or path.suffix.lower() == ".manifest":
        return Annotated("list of images", path, table=source)
    return None
