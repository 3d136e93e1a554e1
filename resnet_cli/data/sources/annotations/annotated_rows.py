"""Turns what an annotation file says about images into rows with their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.annotations.documents import IMAGE_MAP
from resnet_cli.data.sources.annotations.items import Annotated, Annotation, Malformed, class_text, labeled
from resnet_cli.data.sources.rows.references import Locator
from resnet_cli.data.sources.rows.row import Row
from resnet_cli.data.sources.tables.columns import ROLES, plain_column
from resnet_cli.data.sources.tables.label_tables import label_table
from resnet_cli.data.sources.tables.resolved import resolve
from resnet_cli.data.sources.tables.table import checked_text
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.text import counted

_OTHER_TOOLS = (
    "this is data for detection or segmentation; to learn which of its classes an image shows: --multi-label; to "
    "classify the objects, crop each one to a file of its own, in one folder per class"
)
_ONE_LABEL = (
    "several annotators or records give them; for one label per image, keep one of them in the file; to join them: "
    "--multi-label"
)

#: Images from which on classes must repeat; a map may hold checksums or captions.
_MANY = 10


class Listed(NamedTuple):
    """The rows of an annotation file.

    Attributes:
        rows: One row per image.
        notes: Observations for the user.
        are_sets: Whether images may have several labels or none.
        are_objects: Whether the labels are the classes of boxes and outlines.
    """

    rows: list[Row]
    notes: tuple[str, ...] = ()
    are_sets: bool = False
    are_objects: bool = False


def rows_of(annotated: Annotated, options: DataConfig, locator: Locator) -> Listed:
    """The rows of an annotation file.

    Args:
        annotated: The file.
        options: How DATA is read.
        locator: Finds the images of DATA.

    Raises:
        ConfigError: A flag names an attribute or column that does not exist, or has no effect on this format.
        DataError: The labels may be meant in several ways, the file has several attributes, or labels no whole image.
    """
    if annotated.table is not None:
        table = label_table(annotated.path, annotated.table, options, locator)
        resolved = resolve([table], options, are_finished=False)
        return Listed(resolved.rows[0], (*table.choice.notes, *resolved.notes))
    if options.image_column not in (None, annotated.image_key):
        raise ConfigError(f"--image-column has no effect: {_called(annotated)} names its images in one way only")
    if options.split_column is not None:
        raise ConfigError(f"--split-column has no effect: {_called(annotated)} is not a table")
    attribute = _attribute(annotated, options.label_column)
    return _labeled_rows(annotated, _merged(annotated, attribute), options)


def _called(annotated: Annotated) -> str:
    return f"{annotated.path.name} ({annotated.format})"


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
            is_agreed = earlier.is_agreed and one.is_agreed and set(earlier.labels) == set(one.labels)
            if earlier.split and one.split and earlier.split != one.split:
                raise DataError(f"{annotated.path}: {one.image} is in two splits: {earlier.split} and {one.split}")
            one = earlier._replace(
                labels=tuple(dict.fromkeys(earlier.labels + one.labels)),
                split=earlier.split or one.split,
                num_shapes=earlier.num_shapes + one.num_shapes,
                objects=tuple(dict.fromkeys(earlier.objects + one.objects)),
                empty="negative" if one.empty == "negative" else earlier.empty,
                is_agreed=is_agreed,
            )
        found[one.image] = one
    return list(found.values())


def _labeled_rows(annotated: Annotated, annotations: Sequence[Annotation], options: DataConfig) -> Listed:
    """One row per image, with its labels; with ``--multi-label``, objects label the images if nothing else does."""
    path, notes = annotated.path, []
    if options.multi_label and not any(one.labels for one in annotations):
        annotations = [one._replace(labels=labeled(one.objects)) for one in annotations]
    num_shaped = sum(one.num_shapes > 0 for one in annotations)
    if not any(one.labels for one in annotations):
        raise _no_labels(annotated, annotations)
    if not options.multi_label:
        _refuse_unclear(annotated, annotations)
    num_classes = len({one.labels for one in annotations})
    if annotated.format == IMAGE_MAP and 2 * num_classes > len(annotations) >= _MANY and not _has_lists(annotations):
        raise DataError(
            f"{path}: {num_classes:,} different values for {len(annotations):,} images are not classes",
            hint="write a map of each image to the name of its class",
        )
    rows = [_row(path, number, one, options) for number, one in enumerate(annotations, 1)]
    are_objects = num_shaped > 0 and any(map(_names_objects, annotations))
    if are_objects:
        have = "image has" if num_shaped == 1 else "images have"
        several, one = "the labels are the classes of an image's objects", "their category is the label of the image"
        what = several if _has_lists(annotations) else one
        notes.append(f"{path.name}: {num_shaped:,} {have} boxes or outlines; {what}")
    return Listed(rows, tuple(notes), options.multi_label or _has_lists(annotations), are_objects)


def _names_objects(one: Annotation) -> bool:
    """Whether all labels of an image are the classes of its objects."""
    return bool(one.objects) and {name for _, name in one.labels} == set(one.objects)


def _has_lists(annotations: Sequence[Annotation]) -> bool:
    return any(len(one.labels) > 1 for one in annotations)


def _row(path: Path, number: int, one: Annotation, options: DataConfig) -> Row:
    if not one.image:
        raise DataError(f"{path}: record {number} names no image")
    labels = tuple(checked_text(path, number, "label", label) for _, label in one.labels)
    is_skipped = one.empty == "unlabeled" or (one.empty == "unclear" and options.on_missing_label == "skip")
    return Row(
        checked_text(path, number, "image", one.image),
        None if is_skipped and not labels and not one.unknown else labels,
        one.split,
        _group(path, number, one.fields.get(options.group_by)) if options.group_by else "",
        number,
        unknown=one.unknown,
    )


def _no_labels(annotated: Annotated, annotations: Sequence[Annotation]) -> DataError:
    path = annotated.path
    if num_shapes := sum(one.num_shapes for one in annotations):
        return DataError(
            f"{path}: {annotated.format} with {num_shapes:,} boxes, outlines or points, but no label per image",
            hint=_OTHER_TOOLS,
        )
    return DataError(f"{path}: no image that it lists has a label ({counted(len(annotations), 'image')})")


def _refuse_unclear(annotated: Annotated, annotations: Sequence[Annotation]) -> None:
    """Refuses images with several labels that need not be labels of the whole image, or that nobody gave together.

    Raises:
        DataError: There are some.
    """
    several = [one for one in annotations if len(one.labels) > 1]
    of_objects, apart = [one for one in several if _names_objects(one)], [one for one in several if not one.is_agreed]
    for found, hint in ((of_objects, _OTHER_TOOLS), (apart, _ONE_LABEL)):
        if found:
            example = ", ".join(name for _, name in found[0].labels[:4])
            raise DataError(
                f"{annotated.path}: images with several labels: {len(found):,} of {len(annotations):,}, such as "
                f"{found[0].image}: {example}",
                hint=hint,
            )


def _group(path: Path, number: int, value: Any) -> str:
    try:
        return checked_text(path, number, "group", class_text(value))
    except Malformed as error:
        raise DataError(f"{path}: record {number}: {error}".replace("the label", "the group")) from error
