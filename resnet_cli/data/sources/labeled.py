"""From labeled images, as a source lists them, to a :class:`Dataset`."""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Dataset, Items, Split
from resnet_cli.data.packed_images import Fields, Kind, PackedImages
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


class LabeledImages(PackedImages[LabeledImage, str]):
    """Labeled images in little memory; each is made when it is asked for."""

    __slots__ = ()

    @staticmethod
    def _fields(image: LabeledImage) -> Fields[str]:
        return Fields(image.name, image.source, Kind(image.labels, image.unknown), image.split, image.group)

    @staticmethod
    def _image(fields: Fields[str]) -> LabeledImage:
        name, source, (labels, unknown, _), split, group = fields
        return LabeledImage(name, source, labels, split, group, unknown)  # type: ignore[arg-type]


def task_of(images: Iterable[LabeledImage]) -> TaskName:
    """The task that the labels imply: multi-label if an image has several, none, or unknown ones."""
    return "single-label" if all(len(image.labels) == 1 and not image.unknown for image in images) else "multi-label"


def negatives_note(images: Sequence[LabeledImage]) -> list[str]:
    """A note about the images that show none of the classes, if there are any."""
    kinds = LabeledImages.of(images).kind_counts()
    num = sum(count for kind, count in kinds if not kind.labels and not kind.unknown)
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
    # Few sets of classes for many images: each name is looked at once.
    found = LabeledImages.of(images).with_kinds(_with_clean_names)
    found = found.take(_in_order(found))
    of_images = {class_name for kind in found.kinds for class_name in (*kind.labels, *kind.unknown)}
    all_classes = tuple(sorted(of_images | set(map(_clean_name, classes))))
    label = {class_name: index for index, class_name in enumerate(all_classes)}
    limit = max_pixels or MAX_PIXELS
    items = found.to(Items).with_kinds(lambda kind: _with_indices(kind, label, limit))
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


def _with_clean_names(kind: Kind[str]) -> Kind[str]:
    labels, unknown = (tuple(map(_clean_name, names)) for names in (kind.labels, kind.unknown))
    return kind._replace(labels=labels, unknown=unknown)


def _with_indices(kind: Kind[Any], label: Mapping[str, int], max_pixels: int) -> Kind[int]:
    labels, unknown = (tuple(sorted({label[name] for name in names})) for names in (kind.labels, kind.unknown))
    return Kind(labels, unknown, max_pixels)


def _in_order(images: LabeledImages) -> NDArray[np.int64]:
    """The order of images by their classes, then by split, then by name."""
    labels = sorted({kind.labels for kind in images.kinds})
    rank: dict[Any, int] = {one: at for at, one in enumerate(itertools.product(labels, sorted(SPLITS)))}
    ranks = [[rank[kind.labels, split] for split in images.splits] for kind in images.kinds]
    together = np.array(ranks, dtype=np.int64).reshape(len(ranks), -1)[images.kind_of, images.split_of]
    order = np.argsort(together, kind="stable")
    starts = np.flatnonzero(np.diff(together[order], prepend=-1))
    # The names of a part of the images at a time.
    for start, end in itertools.pairwise([*starts.tolist(), len(order)]):
        part = order[start:end]
        names = list(images.take(part).names)
        order[start:end] = part[sorted(range(len(part)), key=names.__getitem__)]
    return order


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
    items, names = dataset.packed, dataset.packed.names
    if group_by == "parent":
        grouped = items.with_groups(str(PurePosixPath(name).parent) for name in names)
    else:
        try:
            pattern = re.compile(group_by)
        except re.error as error:
            raise ConfigError(
                f"--group-by {group_by}: not a regular expression: {error}",
                hint="name a column of the table, parent, or an expression such as 'patient([0-9]+)'",
            ) from error
        matches = map(pattern.search, names)
        grouped = items.with_groups((match[min(1, pattern.groups)] or "") if match else "" for match in matches)
    if not grouped.has_groups:
        raise DataError(
            f"--group-by {group_by}: matches no image of {dataset.name}, such as {dataset.items[0].name}",
            hint="name a column of the table, parent, or an expression such as 'patient([0-9]+)'",
        )
    return dataclasses.replace(dataset, items=grouped)
