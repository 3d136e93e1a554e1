"""Turns what an annotation file says about images into rows with one label each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.annotations.documents import IMAGE_MAP
from resnet_cli.data.sources.annotations.items import Annotated, Annotation, Malformed, class_text
from resnet_cli.data.sources.rows.references import Locator
from resnet_cli.data.sources.rows.row import Row
from resnet_cli.data.sources.tables.columns import ROLES, find_column, plain_column
from resnet_cli.data.sources.tables.label_tables import label_table
from resnet_cli.data.sources.tables.table import checked_text
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.text import counted

_OTHER_TOOLS = (
    "this is data for detection or segmentation; to classify the objects, crop each one to a file of its own, in one "
    "folder per class"
)
_ONE_LABEL = (
    "the model learns one label per image: keep one of them in the file, or write a table with the columns image,label"
)

#: Images from which on classes must repeat; a map may hold checksums or captions.
_MANY = 10


class Listed(NamedTuple):
    """The rows of an annotation file.

    Attributes:
        rows: One row per image; a row without a label has an empty one.
        notes: Observations for the user.
    """

    rows: list[Row]
    notes: tuple[str, ...] = ()


def rows_of(annotated: Annotated, options: DataConfig, locator: Locator) -> Listed:
    """The rows of an annotation file.

    Args:
        annotated: The file.
        options: How DATA is read.
        locator: Finds the images of DATA.

    Raises:
        ConfigError: A flag names an attribute or column that does not exist, or has no effect on this format.
        DataError: Images have several labels, the file has several attributes, or labels no whole image.
    """
    if annotated.table is not None:
        _refuse_lists(annotated, options)
        table = label_table(annotated.path, annotated.table, options, locator)
        return Listed(list(table.rows()), table.choice.notes)
    if options.image_column not in (None, annotated.image_key):
        raise ConfigError(f"--image-column has no effect: {_called(annotated)} names its images in one way only")
    if options.split_column is not None:
        raise ConfigError(f"--split-column has no effect: {_called(annotated)} is not a table")
    attribute = _attribute(annotated, options.label_column)
    return _single_labels(annotated, _merged(annotated, attribute), options.group_by)


def _called(annotated: Annotated) -> str:
    return f"{annotated.path.name} ({annotated.format})"


def _refuse_lists(annotated: Annotated, options: DataConfig) -> None:
    """Refuses a table whose rows have lists of labels."""
    assert annotated.table is not None
    wanted = (options.label_column,) if options.label_column else ROLES["label"][1]
    column = find_column(annotated.table.columns, wanted)
    if column is None:
        return
    values = [record.get(column) for _, record in annotated.table.records((column,))]
    several = [value for value in values if isinstance(value, list) and len(value) > 1]
    if several:
        raise DataError(
            f"{annotated.path}: images with several labels: {len(several):,} of {len(values):,}, such as "
            f"{ascii(several[0])[:60]}",
            hint=_ONE_LABEL,
        )


def _attribute(annotated: Annotated, wanted: str | None) -> str | None:
    """The attribute that gives the classes; None to use all labels."""
    counts = Counter(name for one in annotated.annotations for name, _ in one.labels)
    hint = f"its attributes: {', '.join(counts)[:300]}"
    if wanted is not None and wanted != annotated.container:
        if not any(counts):
            raise ConfigError(f"--label-column has no effect: the labels of {_called(annotated)} have no names")
        if wanted not in counts:
            raise ConfigError(f"--label-column {wanted}: {annotated.path} has no such attribute", hint=hint)
        return wanted
    if len(counts) < 2:
        return None
    known = [name for name in counts if plain_column(name) in ROLES["label"][1]]
    if len(known) == 1:
        return known[0]
    raise DataError(
        f"{annotated.path}: images have labels of {len(counts)} attributes: "
        + ", ".join(f"'{name}' ({count:,})" for name, count in counts.most_common(5)),
        hint="name the one that gives the classes: "
        + ", or ".join(f"--label-column '{name}'" for name, _ in counts.most_common(3)),
    )


def _merged(annotated: Annotated, attribute: str | None) -> list[Annotation]:
    """One annotation per image, with the labels of one attribute."""
    found: dict[str, Annotation] = {}
    for one in annotated.annotations:
        chosen = tuple(("", name) for key, name in one.labels if attribute is None or key == attribute)
        one = one._replace(labels=tuple(dict.fromkeys(chosen)))
        earlier = found.get(one.image)
        if earlier is not None:
            labels = tuple(dict.fromkeys(earlier.labels + one.labels))
            shapes = earlier.num_shapes + one.num_shapes
            if earlier.split and one.split and earlier.split != one.split:
                raise DataError(f"{annotated.path}: {one.image} is in two splits: {earlier.split} and {one.split}")
            one = earlier._replace(labels=labels, split=earlier.split or one.split, num_shapes=shapes)
        found[one.image] = one
    return list(found.values())


def _single_labels(annotated: Annotated, annotations: Sequence[Annotation], group_by: str | None) -> Listed:
    path = annotated.path
    num_shaped = sum(one.num_shapes > 0 for one in annotations)
    num_labeled = sum(bool(one.labels) for one in annotations)
    several = [one for one in annotations if len(one.labels) > 1]
    if several:
        example = ", ".join(name for _, name in several[0].labels[:4])
        raise DataError(
            f"{path}: images with several labels: {len(several):,} of {len(annotations):,}, such as "
            f"{several[0].image}: {example}",
            hint=_OTHER_TOOLS if num_shaped else _ONE_LABEL,
        )
    if not num_labeled:
        if num_shaped:
            num_shapes = sum(one.num_shapes for one in annotations)
            raise DataError(
                f"{path}: {annotated.format} with {num_shapes:,} boxes, outlines or points, but no label per image",
                hint=_OTHER_TOOLS,
            )
        raise DataError(f"{path}: no image that it lists has a label ({counted(len(annotations), 'image')})")
    num_classes = len({one.labels for one in annotations})
    if annotated.format == IMAGE_MAP and 2 * num_classes > len(annotations) >= _MANY:
        raise DataError(
            f"{path}: {num_classes:,} different values for {len(annotations):,} images are not classes",
            hint="write a map of each image to the name of its class",
        )
    rows = []
    for number, one in enumerate(annotations, 1):
        if not one.image:
            raise DataError(f"{path}: record {number} names no image")
        labels = tuple(checked_text(path, number, "label", label) for _, label in one.labels[:1] if label) or None
        image = checked_text(path, number, "image", one.image)
        group = _group(path, number, one.fields.get(group_by)) if group_by else ""
        rows.append(Row(image, labels, one.split, group, number))
    if annotated.format.startswith("COCO") and num_shaped:
        have = "image has" if num_shaped == 1 else "images have"
        note = f"{path.name}: {num_shaped:,} {have} boxes or outlines; their category is the label of the image"
        return Listed(rows, (note,))
    return Listed(rows)


def _group(path: Path, number: int, value: Any) -> str:
    try:
        return checked_text(path, number, "group", class_text(value))
    except Malformed as error:
        raise DataError(f"{path}: record {number}: {error}".replace("the label", "the group")) from error
