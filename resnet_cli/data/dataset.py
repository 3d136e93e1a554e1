"""A data set: named images with labels and splits, whatever their source."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.fingerprint import fingerprint
from resnet_cli.data.packed_images import Fields, Kind, PackedImages
from resnet_cli.errors import DataError, ImageError
from resnet_cli.images import MAX_PIXELS, Pixels, decode, from_pixels, read_image
from resnet_cli.task import TASKS, TaskName
from resnet_cli.text import counted, first_of

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image.

    Attributes:
        name: Name in messages and in ``split.csv``: the path below the data folder, with ``/``.
        source: The file, its bytes, or the pixels uint8 [h x w x 3] of a data set in memory.
        labels: Indices into the data set's classes: exactly one in a single-label data set, any number in a multi-label
            one, none for an image that is only predicted.
        split: The image's split.
        group: Name of its group, such as a patient or a scene, which stays in one split; empty for no group.
        max_pixels: Larger images are reported as unreadable.
        unknown: Indices of the classes for which it is unknown whether the image belongs to them; multi-label only.
    """

    name: str
    source: Path | bytes | Pixels
    labels: tuple[int, ...] = ()
    split: Split = "train"
    group: str = ""
    max_pixels: int = MAX_PIXELS
    unknown: tuple[int, ...] = ()

    @property
    def label(self) -> int:
        """The only label of an image of a single-label data set.

        Raises:
            ValueError: There is none, or more than one.
        """
        (only,) = self.labels
        return only

    @property
    def location(self) -> str:
        """The file, for messages; the name if there is no file."""
        return str(self.source) if isinstance(self.source, Path) else self.name

    def open(self, bit_depth: int | None = 16) -> Image.Image:
        """The upright RGB image.

        Args:
            bit_depth: Bits that the values of 16-bit files use: that of the model's preprocessing; None for the fewest
                that this image needs.

        Raises:
            ImageError: The image cannot be read.
        """
        if isinstance(self.source, Path):
            return read_image(self.source, max_pixels=self.max_pixels, bit_depth=bit_depth)
        if isinstance(self.source, bytes):
            return decode(self.source, self.name, max_pixels=self.max_pixels, bit_depth=bit_depth)
        return from_pixels(self.source)

    def content_hash(self) -> bytes:
        """SHA-256 of the file's bytes, or of the pixels and their shape: the key of everything that is cached.

        Raises:
            ImageError: The file cannot be read.
        """
        if isinstance(self.source, bytes):
            return hashlib.sha256(self.source).digest()
        if not isinstance(self.source, Path):
            return hashlib.sha256(repr(self.source.shape).encode() + self.source.tobytes()).digest()
        try:
            return hashlib.sha256(self.source.read_bytes()).digest()
        except OSError as error:
            raise ImageError(str(self.source), error.strerror or str(error)) from error


class Items(PackedImages[Item, int]):
    """Items in little memory; each is made when it is asked for."""

    __slots__ = ()

    @staticmethod
    def _fields(image: Item) -> Fields[int]:
        kind = Kind(image.labels, image.unknown, image.max_pixels)
        return Fields(image.name, image.source, kind, image.split, image.group)

    @staticmethod
    def _image(fields: Fields[int]) -> Item:
        name, source, (labels, unknown, max_pixels), split, group = fields
        return Item(name, source, labels, split, group, max_pixels, unknown)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Items of up to three splits with one list of classes.

    Attributes:
        name: Short name, for run folders: ``ants_bees``, ``cifar10``.
        spec: What the user typed, made absolute: opening it again gives the same images.
        classes: Class names in index order.
        items: Images in a fixed order; their labels are indices into ``classes``. They are kept as :class:`Items`.
        task: Whether an image has one label or any number.
        mirror_safe: Whether a mirrored image still belongs to its class (digits do not).
        notes: Observations about the source, for the user.
        split_note: Where the splits come from.
        reading: How DATA was understood, in a few words: ``one folder per class``, ``table train.csv of ids``.
        passed_over: Kind of files that were found and not used (``others``, ``hidden``, ``links``, ``unlabelled``,
            ``unlisted``) -> number.
    """

    name: str
    spec: str
    classes: tuple[str, ...]
    items: Sequence[Item]
    task: TaskName = "single-label"
    mirror_safe: bool = True
    notes: tuple[str, ...] = ()
    split_note: str = ""
    reading: str = ""
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", Items.of(self.items))

    @property
    def packed(self) -> Items:
        """The items with what is known about all of them as arrays."""
        return Items.of(self.items)

    def fingerprint(self, hashes: Sequence[bytes] | NDArray[np.uint8]) -> str:
        """Hash of the content, whatever its layout: the classes, and each image with its label and split.

        Args:
            hashes: Content hash of each item; as an array, uint8 [n x 32] with zeros for a file that cannot be opened.
        """
        items = self.packed.with_used_kinds()
        # The rows of single-label data are those of version 0.1.0, whose runs recorded this hash.
        is_single = self.task == "single-label"
        told = [kind.labels[0] if is_single else (kind.labels, kind.unknown) for kind in items.kinds]
        return fingerprint(self.classes, hashes, told, items)

    def split(self, name: Split) -> Items:
        """The items of one split, in order."""
        return self.packed.take(self.packed.in_split(name))

    def counts(self) -> dict[Split, list[int]]:
        """Split -> number of images of each class; an image with several labels counts for each of them."""
        return self._per_class(lambda kind: kind.labels)

    def counts_without(self) -> dict[Split, list[int]]:
        """Split -> number of images that do not belong to each class; images for which this is unknown do not count."""
        counts, unknown = self.counts(), self._per_class(lambda kind: kind.unknown)
        return {
            split: [num - yes - open_ for yes, open_ in zip(counts[split], unknown[split], strict=True)]
            for split, num in self.sizes().items()
        }

    def _per_class(self, classes_of: Callable[[Kind[int]], tuple[int, ...]]) -> dict[Split, list[int]]:
        found = {}
        for split in SPLITS:
            counts = [0] * len(self.classes)
            for kind, num in self.packed.kind_counts(self.packed.in_split(split)):
                for label in classes_of(kind):
                    counts[label] += num
            found[split] = counts
        return found

    def sizes(self) -> dict[Split, int]:
        """Split -> number of images."""
        return {split: int(np.count_nonzero(self.packed.in_split(split))) for split in SPLITS}

    def describe(self) -> str:
        """What the data set is: ``one folder per class: 2 classes, 398 images (245 train, 153 val)``."""
        sizes = {split: num for split, num in self.sizes().items() if num}
        splits = f" ({', '.join(f'{num:,} {split}' for split, num in sizes.items())})" if len(sizes) > 1 else ""
        facts = [
            "1 class" if len(self.classes) == 1 else f"{len(self.classes):,} classes",
            ("1 image" if len(self.items) == 1 else f"{len(self.items):,} images") + splits,
        ]
        if without := self.passed_over.get("unlabelled", 0) + self.passed_over.get("unlisted", 0):
            facts.append(f"{without:,} {'without a label' if self.task == 'single-label' else 'not listed'}")
        return (f"{self.reading}: " if self.reading else "") + ", ".join([*facts, *self.label_facts()])

    def label_text(self, item: Item) -> str:
        """The classes of an image, ``cat`` or ``cat + dog``; ``no label`` if there are none."""
        return " + ".join(self.classes[label] for label in item.labels) or "no label"

    def label_facts(self) -> list[str]:
        """The labels of a multi-label data set in a few words; empty for other data."""
        if self.task == "single-label":
            return []
        kinds = self.packed.kind_counts()
        per_image = sum(num * len(kind.labels) for kind, num in kinds) / max(1, len(self.items))
        facts = ["multi-label", f"{per_image:.1f} labels per image"]
        if without := sum(num for kind, num in kinds if not kind.labels):
            facts.append(f"{counted(without, 'image')} without a label")
        if unknown := sum(num * len(kind.unknown) for kind, num in kinds):
            facts.append(counted(unknown, "unknown value"))
        return facts

    def select(self, classes: Sequence[str]) -> Dataset:
        """Keeps only the named classes, in the order given.

        The images of other classes are omitted; in a multi-label data set, only their other labels are.

        Raises:
            DataError: A class does not exist or is named twice, or too few are left.
        """
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise DataError(
                f"--classes: '{missing[0]}' is not a class of {self.name}",
                hint=f"its classes: {first_of(self.classes, 20)}",
            )
        fewest = TASKS[self.task].min_classes
        if len(set(classes)) != len(classes) or len(classes) < fewest:
            wanted = "at least two different classes" if fewest > 1 else "different classes"
            raise DataError(
                f"--classes {','.join(classes)}: name {wanted}",
                hint=f"its classes: {first_of(self.classes, 20)}",
            )
        new_label = {self.classes.index(name): label for label, name in enumerate(classes)}
        items = self.packed
        if self.task == "single-label":
            is_kept = [not new_label.keys().isdisjoint(kind.labels) for kind in items.kinds]
            items = items.take(np.array(is_kept, dtype=bool)[items.kind_of])
        emptied = sum(
            num for kind, num in items.kind_counts() if kind.labels and new_label.keys().isdisjoint(kind.labels)
        )
        items = items.with_kinds(lambda kind: _with_labels(kind, new_label))
        notes = (
            (*self.notes, f"images without any of the chosen labels, which count as negatives: {emptied:,}")
            if emptied
            else self.notes
        )
        return dataclasses.replace(self, classes=tuple(classes), items=items, notes=notes)

    def relabel(self, classes: Sequence[str]) -> Dataset:
        """Aligns the labels with a model's classes, by name.

        Of a class that a multi-label data set does not have, it is unknown whether its images belong to it.

        Raises:
            DataError: The data has a class that the model does not have.
        """
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            num = "a class" if len(unknown) == 1 else f"{len(unknown)} classes"
            raise DataError(
                f"{self.name} has {num} that the model does not have: {', '.join(unknown[:5])}",
                hint=f"the model's classes: {first_of(classes, 20)}; choose with --classes, or rename the folders",
            )
        place = {name: label for label, name in enumerate(classes)}
        new_label = {label: place[name] for label, name in enumerate(self.classes)}
        absent = [label for label, name in enumerate(classes) if name not in self.classes]

        def changed(kind: Kind[int]) -> Kind[int]:
            kind = _with_labels(kind, new_label)
            is_open = self.task == "multi-label" and absent
            return kind._replace(unknown=tuple(sorted((*kind.unknown, *absent)))) if is_open else kind

        return dataclasses.replace(self, classes=tuple(classes), items=self.packed.with_kinds(changed))


def targets_of(items: Sequence[Item], task: TaskName, num_classes: int) -> NDArray[np.integer[Any]]:
    """The labels of images as training and metrics take them.

    Args:
        items: n images of a data set.
        task: Whether an image has one label or any number.
        num_classes: Number of classes, k.

    Returns:
        int64 [n], or int8 [n x k] of 1 (yes), 0 (no) and -1 (unknown).
    """
    if not isinstance(items, Items):
        return TASKS[task].encode([item.labels for item in items], [item.unknown for item in items], num_classes)
    packed = items.with_used_kinds()
    kinds = packed.kinds
    targets = TASKS[task].encode([kind.labels for kind in kinds], [kind.unknown for kind in kinds], num_classes)
    return np.asarray(targets[packed.kind_of])


def _with_labels(kind: Kind[int], new_label: Mapping[int, int]) -> Kind[int]:
    """Other indices of the same classes; classes without a new index are omitted."""
    labels, unknown = (
        tuple(sorted(new_label[label] for label in of_kind if label in new_label))
        for of_kind in (kind.labels, kind.unknown)
    )
    return kind._replace(labels=labels, unknown=unknown)
