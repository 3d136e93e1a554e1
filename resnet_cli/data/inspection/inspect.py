"""What is wrong with a data set, or worth knowing about it, before training."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Dataset, Item, Split
from resnet_cli.data.inspection.compact import Groups, Made, NearPairs, Numbers, Positions, connected_with
from resnet_cli.data.inspection.duplicates import find_near, find_near_by_features
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.kinds import Kinds, count_labels
from resnet_cli.data.inspection.label_sets import LabelSets, contradict
from resnet_cli.data.inspection.looks import find_looks
from resnet_cli.data.inspection.pair_search import Table
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.system.events import Progress

#: Share that a center square cuts away, above which an image counts as long.
LONG_SHARE = 0.5

#: Properties of files that decoding changes: name -> whether each image has it.
KINDS: dict[str, Callable[[ScannedImages], NDArray[np.bool_]]] = {
    "rotated": lambda images: images.rows["orientation"] != 1,
    "gray": lambda images: images.has_mode(lambda mode: mode in {"1", "L", "LA", "La"} or mode.startswith("I")),
    "transparent": lambda images: images.rows["transparent"],
    "sixteen_bit": lambda images: images.has_mode(lambda mode: mode.startswith("I") or mode.endswith(";16")),
    "cmyk": lambda images: images.has_mode(lambda mode: mode == "CMYK"),
}


class Finding(NamedTuple):
    """Something the user should know before training.

    Attributes:
        code: Name for programs: ``unreadable``, ``leaks``, ...
        message: One sentence with numbers.
        fix: What to do about it; empty for a note, which says how the data was read.
    """

    code: str
    message: str
    fix: str


class WideImages(NamedTuple):
    """The 16-bit images of a data set.

    Attributes:
        num: Their number.
        bit_depth: Bits that their largest value needs: 8, 10, 12, 14 or 16; 0 if there are none.
    """

    num: int = 0
    bit_depth: int = 0

    @classmethod
    def among(cls, images: ScannedImages) -> WideImages:
        """Those among scanned images."""
        depths = images.rows["bit_depth"]
        return cls(int(np.count_nonzero(depths)), int(depths.max(initial=0)))


NO_WIDE_IMAGES = WideImages()


class Leak(NamedTuple):
    """One image (or two that look the same) in several splits, or with different labels.

    Attributes:
        positions: Positions of the items.
        is_exact: Whether the items have the same bytes; if not, they look the same.
    """

    positions: tuple[int, ...]
    is_exact: bool


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Everything that was found in a data set.

    Attributes:
        dataset: The inspected data set.
        images: One record per item.
        exact: Positions of images with the same bytes, two or more in each group.
        near: Pairs that look the same, without exact copies.
        near_by: How near duplicates were found: ``look``, ``look and features``, or empty if they were not searched.
    """

    dataset: Dataset
    images: ScannedImages
    exact: Groups
    near: NearPairs
    near_by: str

    @property
    def unreadable(self) -> Sequence[tuple[Item, str]]:
        """The images that cannot be read, each with the reason."""
        bad, items = np.flatnonzero(~self.images.is_readable), self.dataset.items
        return Made(len(bad), lambda index: (items[int(bad[index])], self.images.error(int(bad[index]))))

    @functools.cached_property
    def wide(self) -> WideImages:
        """The 16-bit images."""
        return WideImages.among(self.images)

    @functools.cached_property
    def leaks(self) -> Sequence[Leak]:
        """Images that occur in several splits."""
        return self._shared(lambda one, other: one.split != other.split)

    @functools.cached_property
    def label_conflicts(self) -> Sequence[Leak]:
        """Images whose copies have different labels."""
        return self._shared(contradict)

    @functools.cached_property
    def label_sets(self) -> LabelSets:
        """Which labels the images have."""
        return LabelSets.of(self.dataset)

    @functools.cached_property
    def looks(self) -> dict[str, Numbers]:
        """``tiny``, ``flat``, ``dark``, ``bright``, ``blurred`` -> positions of the images that look so."""
        return find_looks(self.images)

    @functools.cached_property
    def films(self) -> frozenset[int]:
        """Labels of classes whose training images are all connected by similarity, like the frames of a film."""
        ends = np.concatenate([self.exact.pairs(), self.near.ends()])
        if not len(ends):
            return frozenset()
        tied = np.unique(ends)
        block = connected_with(len(self.images), ends[:, 0], ends[:, 1])[tied]
        in_train = self.dataset.counts()["train"]
        counted = count_labels(self.kinds, block, tied)
        return frozenset(label for (_, label), count in counted.items() if count == in_train[label])

    @functools.cached_property
    def kinds(self) -> Kinds:
        """The kinds of the images: images of one kind have equal splits and labels."""
        return Kinds.of(self.dataset)

    def separated_groups(self) -> dict[str, list[Split]]:
        """Groups that occur in several splits."""
        splits: dict[str, set[Split]] = defaultdict(set)
        for position in np.flatnonzero(self.kinds.is_grouped).tolist():
            item = self.dataset.items[position]
            splits[item.group].add(item.split)
        return {
            group: [split for split in SPLITS if split in found] for group, found in splits.items() if len(found) > 1
        }

    def with_mode(self, name: str) -> Numbers:
        """Positions of the images with a property that decoding changes.

        Args:
            name: ``rotated``, ``gray``, ``transparent``, ``sixteen_bit`` or ``cmyk``.
        """
        return Numbers(np.flatnonzero(self.images.is_readable & KINDS[name](self.images)))

    @functools.cached_property
    def sides(self) -> NDArray[np.int32]:
        """Width and height of each readable image in pixels, int32 [m x 2]."""
        rows = self.images.rows[["width", "height"]][self.images.is_readable]
        return np.stack([rows["width"], rows["height"]], axis=1)

    def sizes(self) -> dict[str, Any]:
        """Minimum, median and maximum of sides (pixels) and aspect ratios, and the share lost in a center square."""
        if not len(self.sides):
            return {}
        shorter, longer = self.sides.min(axis=1), self.sides.max(axis=1)
        cut = 1 - shorter / longer
        return {
            "shorter_side_px": _spread(shorter),
            "longer_side_px": _spread(longer),
            "aspect": _spread(self.sides[:, 0] / self.sides[:, 1]),
            "cut_by_centre_square": {
                "median": round(_median(cut), 4),
                "max": round(cut.max().item(), 4),
                "num_over_half": int(np.count_nonzero(cut > LONG_SHARE)),
            },
        }

    def num_bytes(self) -> dict[Split, list[int]]:
        """Split -> number of bytes of each class; an image with several labels counts for each of them."""
        counted: Counter[tuple[Split, int]] = Counter()
        for item, num in zip(self.kinds.examples, self._bytes_of_kinds, strict=True):
            for label in item.labels:
                counted[item.split, label] += num
        return {split: [counted[split, label] for label in range(len(self.dataset.classes))] for split in SPLITS}

    def totals(self) -> dict[Split, tuple[int, int]]:
        """Split -> number of images and of bytes; an image with several labels counts once."""
        num_bytes: Counter[Split] = Counter()
        for item, num in zip(self.kinds.examples, self._bytes_of_kinds, strict=True):
            num_bytes[item.split] += num
        return {split: (num, num_bytes[split]) for split, num in self.dataset.sizes().items()}

    @functools.cached_property
    def _bytes_of_kinds(self) -> list[int]:
        return self.kinds.sums(self.images.rows["num_bytes"])

    @functools.cached_property
    def _group_of(self) -> NDArray[np.int32]:
        return self.exact.group_of(len(self.images))

    def copies(self, position: int) -> tuple[int, ...]:
        """The positions of all exact copies of an image, its own among them."""
        group = int(self._group_of[position])
        return (position,) if group < 0 else self.exact.at(group)

    def _shared(self, differ: Callable[[Item, Item], bool]) -> Sequence[Leak]:
        groups = np.array(self.kinds.groups_apart(self.exact, differ), np.int32)
        # A pair represents all copies of its two images.
        pairs = np.array([*self.kinds.pairs_apart(self.near, self.exact, differ)], np.int32).reshape(-1, 2)

        def leak(index: int) -> Leak:
            if index < len(groups):
                return Leak(self.exact.at(int(groups[index])), True)
            return Leak(tuple(pairs[index - len(groups)].tolist()), False)

        return Made(len(groups) + len(pairs), leak)


def apart(items: Sequence[Item], differ: Callable[[Item, Item], bool]) -> tuple[Item, Item] | None:
    """The first two of some images that differ in their splits or labels; None if no two of them do."""
    different: dict[object, Item] = {}
    for item in items:
        different.setdefault((item.split, item.labels, item.unknown), item)
    return next((pair for pair in itertools.combinations(different.values(), 2) if differ(*pair)), None)


def inspect_images(
    dataset: Dataset,
    images: Sequence[ScannedImage],
    *,
    near: bool = True,
    features: Table | None = None,
    on_progress: Progress | None = None,
) -> Inspection:
    """Finds problems of a data set.

    Args:
        dataset: The data set to inspect.
        images: Records from :func:`~resnet_cli.data.inspection.scan.scan`, one per item.
        near: Whether to search for images that look the same.
        features: Features [n x 2048] of a backbone. They find some pairs that signatures do not, such as mirrored
            copies, and miss others, so both are used. Rows of unreadable images are ignored.
        on_progress: Called with (images compared, images in all) during the search for near duplicates.
    """
    images = ScannedImages.of(images)
    # Unreadable images are reported as such; truncated files often share their first bytes.
    exact = images.copies()
    is_different = images.is_readable
    # The first copy represents all of them.
    is_different[exact.members] = False
    is_different[exact.members[exact.starts[:-1]]] = True
    different = np.flatnonzero(is_different)
    found = [NearPairs.of(())]
    if near and len(different):
        found.append(find_near(_At(images.signatures, different), on_progress=on_progress))
        if features is not None:
            found.append(find_near_by_features(_At(features, different), on_progress=on_progress))
    first, second = (different[np.concatenate([getattr(pairs, end) for pairs in found])] for end in ("first", "second"))
    score = np.concatenate([pairs.score for pairs in found])
    return Inspection(
        dataset=dataset,
        images=images,
        exact=exact,
        near=NearPairs.ranked(first, second, score, -score),
        near_by="" if not near else "look" if features is None else "look and features",
    )


class _At:
    """Some rows of a table, by their place among them.

    Args:
        table: One row per image, or what gives rows by positions.
        positions: The positions of m images, int [m].
    """

    def __init__(self, table: Table, positions: NDArray[np.intp]) -> None:
        self._table, self._positions = table, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, places: slice | Positions) -> NDArray[Any]:
        return np.asarray(self._table[self._positions[places]])


def _spread(values: NDArray[Any]) -> dict[str, float]:
    low, middle, high = values.min().item(), _median(values), values.max().item()
    return {"min": round(low, 4), "median": round(middle, 4), "max": round(high, 4)}


def _median(values: NDArray[Any]) -> float:
    """The middle value, a whole number of whole numbers; the mean of both if there are two."""
    middle = len(values) // 2
    if len(values) % 2:
        return np.partition(values, middle)[middle].item()  # type: ignore[no-any-return]
    low, high = np.partition(values, [middle - 1, middle])[middle - 1 : middle + 1].tolist()
    return (low + high) / 2  # type: ignore[no-any-return]
