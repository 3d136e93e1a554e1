"""What is wrong with a data set, or worth knowing about it, before training."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Dataset, Item, Split
from resnet_cli.data.inspection.compact import NearPair
from resnet_cli.data.inspection.duplicates import find_near, find_near_by_features
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.label_sets import LabelSets, contradict
from resnet_cli.data.inspection.looks import find_looks
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.splits import connected
from resnet_cli.system.events import Progress

#: Share that a center square cuts away, above which an image counts as long.
LONG_SHARE = 0.5

#: Properties of files that decoding changes: name -> test of a record.
KINDS: dict[str, Callable[[ScannedImage], bool]] = {
    "rotated": lambda image: image.orientation != 1,
    "gray": lambda image: image.mode in {"1", "L", "LA", "La"} or image.mode.startswith("I"),
    "transparent": lambda image: image.transparent,
    "sixteen_bit": lambda image: image.mode.startswith("I") or image.mode.endswith(";16"),
    "cmyk": lambda image: image.mode == "CMYK",
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
    def among(cls, images: Sequence[ScannedImage]) -> WideImages:
        """Those among scanned images."""
        depths = [image.bit_depth for image in images if image.bit_depth]
        return cls(len(depths), max(depths, default=0))


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
    exact: tuple[tuple[int, ...], ...]
    near: tuple[NearPair, ...]
    near_by: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", ScannedImages.of(self.images))

    @property
    def unreadable(self) -> list[tuple[Item, str]]:
        """The images that cannot be read, each with the reason."""
        return [(self.dataset.items[position], reason) for position, reason in self.images.errors()]

    @functools.cached_property
    def wide(self) -> WideImages:
        """The 16-bit images."""
        return WideImages.among(self.images)

    @property
    def leaks(self) -> list[Leak]:
        """Images that occur in several splits."""
        return self._shared(lambda one, other: one.split != other.split)

    @property
    def label_conflicts(self) -> list[Leak]:
        """Images whose copies have different labels."""
        return self._shared(contradict)

    @functools.cached_property
    def label_sets(self) -> LabelSets:
        """Which labels the images have."""
        return LabelSets.of(self.dataset)

    @functools.cached_property
    def looks(self) -> dict[str, list[int]]:
        """``tiny``, ``flat``, ``dark``, ``bright``, ``blurred`` -> positions of the images that look so."""
        return find_looks(self.images)

    @property
    def together(self) -> list[tuple[int, ...]]:
        """Positions of images that belong in one split: exact copies, and pairs that look the same."""
        return [*self.exact, *((pair.first, pair.second) for pair in self.near)]

    @property
    def films(self) -> set[int]:
        """Labels of classes whose training images are all connected by similarity, like the frames of a film."""
        items, in_train = self.dataset.items, self.dataset.counts()["train"]
        found: set[int] = set()
        for block in connected(self.together):
            counted = Counter(label for at in block if items[at].split == "train" for label in items[at].labels)
            found |= {label for label, count in counted.items() if count == in_train[label]}
        return found

    def separated_groups(self) -> dict[str, list[Split]]:
        """Groups that occur in several splits."""
        splits: dict[str, set[Split]] = defaultdict(set)
        for item in self.dataset.items:
            if item.group:
                splits[item.group].add(item.split)
        return {
            group: [split for split in SPLITS if split in found] for group, found in splits.items() if len(found) > 1
        }

    def with_mode(self, name: str) -> list[Item]:
        """The images with a property that decoding changes.

        Args:
            name: ``rotated``, ``gray``, ``transparent``, ``sixteen_bit`` or ``cmyk``.
        """
        test = KINDS[name]
        pairs = zip(self.dataset.items, self.images, strict=True)
        return [item for item, image in pairs if not image.error and test(image)]

    def sizes(self) -> dict[str, Any]:
        """Minimum, median and maximum of sides (pixels) and aspect ratios, and the share lost in a center square."""
        sides = [(image.width, image.height) for image in self.images if not image.error]
        if not sides:
            return {}
        shorter = [min(side) for side in sides]
        cut = [1 - min(side) / max(side) for side in sides]
        return {
            "shorter_side_px": _spread(shorter),
            "longer_side_px": _spread([max(side) for side in sides]),
            "aspect": _spread([width / height for width, height in sides]),
            "cut_by_centre_square": {
                "median": round(statistics.median(cut), 4),
                "max": round(max(cut), 4),
                "num_over_half": sum(share > LONG_SHARE for share in cut),
            },
        }

    def num_bytes(self) -> dict[Split, list[int]]:
        """Split -> number of bytes of each class; an image with several labels counts for each of them."""
        counted: Counter[tuple[Split, int]] = Counter()
        for item, image in zip(self.dataset.items, self.images, strict=True):
            for label in item.labels:
                counted[item.split, label] += image.num_bytes
        return {split: [counted[split, label] for label in range(len(self.dataset.classes))] for split in SPLITS}

    def totals(self) -> dict[Split, tuple[int, int]]:
        """Split -> number of images and of bytes; an image with several labels counts once."""
        num_bytes: Counter[Split] = Counter()
        for item, image in zip(self.dataset.items, self.images, strict=True):
            num_bytes[item.split] += image.num_bytes
        return {split: (num, num_bytes[split]) for split, num in self.dataset.sizes().items()}

    @functools.cached_property
    def copies(self) -> dict[int, tuple[int, ...]]:
        """Position of each image that has exact copies -> the positions of all of them."""
        return {position: group for group in self.exact for position in group}

    def _shared(self, differ: Callable[[Item, Item], bool]) -> list[Leak]:
        items = self.dataset.items
        found = [Leak(group, True) for group in self.exact if apart([items[at] for at in group], differ)]
        for pair in self.near:
            # A pair represents all copies of its two images.
            differing = [
                (first, second)
                for first in self.copies.get(pair.first, (pair.first,))
                for second in self.copies.get(pair.second, (pair.second,))
                if differ(items[first], items[second])
            ]
            found += [Leak(both, False) for both in differing[:1]]
        return found


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
    features: NDArray[np.floating[Any]] | None = None,
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
    scores: dict[tuple[int, int], float] = {}
    if near and len(different):
        found = find_near(images.signatures(different), on_progress=on_progress)
        if features is not None:
            found += find_near_by_features(features[different], on_progress=on_progress)
        for first, second, score in found:
            pair = int(different[first]), int(different[second])
            scores[pair] = max(score, scores.get(pair, 0.0))
    return Inspection(
        dataset=dataset,
        images=images,
        exact=tuple(exact),
        near=tuple(NearPair(first, second, score) for (first, second), score in sorted(scores.items())),
        near_by="" if not near else "look" if features is None else "look and features",
    )


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"min": round(low, 4), "median": round(middle, 4), "max": round(high, 4)}
