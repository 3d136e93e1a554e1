"""From labeled images, as a source lists them, to a :class:`Dataset`."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.images import MAX_PIXELS, Pixels
from resnet_cli.task import TaskName


class LabeledImage(NamedTuple):
    """One image as its source describes it.

    Attributes:
        name: Name of the future item.
        source: The file, its bytes, or its pixels uint8 [h x w x 3].
        labels: Names of its classes: exactly one in a single-label data set, any number in a multi-label one.
        split: Name of the split; ``train`` if the source does not give one.
        group: Name of the group; empty if the source does not give one.
        unknown: Names of the classes of which nobody knows whether the image belongs to them; multi-label only.
    """

    name: str
    source: Path | bytes | Pixels
    labels: tuple[str, ...]
    split: Split = "train"
    group: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The only class of an image of a single-label data set.

        Raises:
            ValueError: There is none, or more than one.
        """
        (only,) = self.labels
        return only


def task_of(images: Iterable[LabeledImage]) -> TaskName:
    """The task that the labels imply: multi-label if an image has several, none, or unknown ones."""
    return "single-label" if all(len(image.labels) == 1 and not image.unknown for image in images) else "multi-label"


def negatives_note(images: Sequence[LabeledImage]) -> list[str]:
    """A note about the images that show none of the classes, if there are any."""
    num = sum(not image.labels and not image.unknown for image in images)
    return [f"images without any label, which show none of the classes: {num:,} of {len(images):,}"] if num else []


class Ignored(NamedTuple):
    """Numbers of files that were found and not used.

    Attributes:
        others: Number of files whose names are not those of images.
        hidden: Number of files whose names begin with a dot.
        links: Number of links that were not followed.
        unlabelled: Number of images without a class.
        unlisted: Number of images that no row labels; the reader adds a note about them.
    """

    others: int = 0
    hidden: int = 0
    links: int = 0
    unlabelled: int = 0
    unlisted: int = 0


def build_dataset(
    images: Iterable[LabeledImage],
    *,
    name: str,
    spec: str,
    max_pixels: int | None,
    ignored: Ignored,
    notes: Sequence[str] = (),
    split_note: str = "",
    reading: str = "",
    mirror_safe: bool = True,
    task: TaskName = "single-label",
    classes: Iterable[str] = (),
) -> Dataset:
    """Builds a data set: classes are the union over the splits, sorted by name; items are sorted too.

    Names that differ only in how an accent is encoded (macOS uses a different Unicode form), or in surrounding spaces,
    are one class.

    Args:
        images: Labeled images with unique names.
        name: Short name, for run folders.
        spec: Specification that opens the same images again.
        max_pixels: Larger images are reported as unreadable; None for the usual limit.
        ignored: Files that were not used; reported as notes.
        notes: Further notes for the user.
        split_note: Where the splits come from.
        reading: How DATA was understood, in a few words.
        mirror_safe: Whether a mirrored image still belongs to its class.
        task: Whether an image has one label or any number.
        classes: Further classes, which no image may have.
    """
    found = list(images)
    # Few sets for many images: each name is looked at once.
    sets = {names for image in found for names in (image.labels, image.unknown)}
    clean = {names: tuple(map(_clean_name, names)) for names in sets}
    for index, image in enumerate(found):
        labels, unknown = clean[image.labels], clean[image.unknown]
        if (labels, unknown) != (image.labels, image.unknown):
            found[index] = image._replace(labels=labels, unknown=unknown)
    found.sort(key=lambda image: (image.labels, image.split, image.name))
    all_classes = tuple(sorted({name for names in clean.values() for name in names} | set(map(_clean_name, classes))))
    label = {class_name: index for index, class_name in enumerate(all_classes)}
    # Equal sets are one object: a million images then take no more memory for them.
    indices = {names: tuple(sorted({label[name] for name in names})) for names in clean.values()}
    limit = max_pixels or MAX_PIXELS
    items = tuple(
        Item(
            image.name,
            image.source,
            indices[image.labels],
            image.split,
            image.group,
            limit,
            indices[image.unknown],
        )
        for image in found
    )
    all_notes = [*notes]
    if ignored.unlabelled:
        all_notes.append(f"images without a class were ignored: {ignored.unlabelled}")
    if ignored.others:
        all_notes.append(f"files that are not images were ignored: {ignored.others}")
    return Dataset(
        name=name,
        spec=spec,
        classes=all_classes,
        items=items,
        task=task,
        notes=tuple(all_notes),
        split_note=split_note,
        reading=reading,
        mirror_safe=mirror_safe,
        passed_over={key: count for key, count in ignored._asdict().items() if count},
    )


def _clean_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip() or name


def group_items(dataset: Dataset, group_by: str) -> Dataset:
    """Gives each item a group by its folder or by a regular expression.

    Args:
        dataset: Data set whose items get groups.
        group_by: ``parent``, or an expression to search in the item's name; its first capturing group (or else the
            whole match) is the group's name. Images that do not match are not grouped.

    Raises:
        ConfigError: ``group_by`` is neither ``parent`` nor a valid expression.
        DataError: The expression matches no image.
    """
    if group_by == "parent":
        groups: Mapping[str, str] = {item.name: str(PurePosixPath(item.name).parent) for item in dataset.items}
    else:
        try:
            pattern = re.compile(group_by)
        except re.error as error:
            raise ConfigError(
                f"--group-by {group_by}: not a regular expression: {error}",
                hint="name a column of the table, parent, or an expression such as 'patient([0-9]+)'",
            ) from error
        matches = {item.name: pattern.search(item.name) for item in dataset.items}
        groups = {name: match[min(1, pattern.groups)] or "" for name, match in matches.items() if match}
    if not any(groups.values()):
        raise DataError(
            f"--group-by {group_by}: matches no image of {dataset.name}, such as {dataset.items[0].name}",
            hint="name a column of the table, parent, or an expression such as 'patient([0-9]+)'",
        )
    items = tuple(dataclasses.replace(item, group=groups.get(item.name, "")) for item in dataset.items)
    return dataclasses.replace(dataset, items=items)
