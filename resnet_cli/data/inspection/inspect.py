"""What is wrong, or worth knowing, about a data set before anything is trained on it."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Dataset, Item, Split
from resnet_cli.data.inspection.duplicates import NearPair, find_near, find_near_by_features
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.splits import connected
from resnet_cli.system.events import Progress

#: An image of which a centre square cuts away more than this is long.
LONG_SHARE = 0.5

#: What decoding changes: name -> how a record shows it.
KINDS: dict[str, Callable[[ScannedImage], bool]] = {
    "rotated": lambda image: image.orientation != 1,
    "gray": lambda image: image.mode in {"1", "L", "LA", "La"} or image.mode.startswith("I"),
    "transparent": lambda image: image.transparent,
    "sixteen_bit": lambda image: image.mode.startswith("I") or image.mode.endswith(";16"),
    "cmyk": lambda image: image.mode == "CMYK",
}


class Leak(NamedTuple):
    """One image (or two that look the same) in several splits, or under several labels.

    Attributes:
        positions: Of the items.
        is_exact: The same bytes; else they look the same.
    """

    positions: tuple[int, ...]
    is_exact: bool


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Everything that one look at a data set showed.

    Attributes:
        dataset: What was looked at.
        images: One record an item.
        exact: Positions of images with the same bytes, two or more in each group.
        near: Pairs that look the same, without the exact ones.
        near_by: What near duplicates were found with: ``look``, ``look and features``, or empty (not looked for).
    """

    dataset: Dataset
    images: tuple[ScannedImage, ...]
    exact: tuple[tuple[int, ...], ...]
    near: tuple[NearPair, ...]
    near_by: str

    @property
    def unreadable(self) -> list[tuple[Item, str]]:
        """The images that cannot be read, each with the reason."""
        return [(item, image.error) for item, image in zip(self.dataset.items, self.images, strict=True) if image.error]

    @property
    def leaks(self) -> list[Leak]:
        """Images that are in several splits."""
        return self._shared(lambda item: item.split)

    @property
    def label_conflicts(self) -> list[Leak]:
        """Images that have several labels."""
        return self._shared(lambda item: item.label)

    @property
    def together(self) -> list[tuple[int, ...]]:
        """Positions of images that one split should hold: copies, and those that look the same."""
        return [*self.exact, *((pair.first, pair.second) for pair in self.near)]

    @property
    def films(self) -> set[int]:
        """Labels of classes whose train images all hang together by their looks, as the frames of a film do."""
        items, in_train = self.dataset.items, self.dataset.counts()["train"]
        found: set[int] = set()
        for block in connected(self.together):
            counted = Counter(items[at].label for at in block if items[at].split == "train")
            found |= {label for label, count in counted.items() if count == in_train[label]}
        return found

    def torn_groups(self) -> dict[str, list[Split]]:
        """Groups that are in several splits."""
        splits: dict[str, set[Split]] = defaultdict(set)
        for item in self.dataset.items:
            if item.group:
                splits[item.group].add(item.split)
        return {
            group: [split for split in SPLITS if split in found] for group, found in splits.items() if len(found) > 1
        }

    def with_mode(self, name: str) -> list[Item]:
        """The images of a kind that decoding changes.

        Args:
            name: ``rotated``, ``gray``, ``transparent``, ``sixteen_bit`` or ``cmyk``.
        """
        test = KINDS[name]
        pairs = zip(self.dataset.items, self.images, strict=True)
        return [item for item, image in pairs if not image.error and test(image)]

    def sizes(self) -> dict[str, Any]:
        """Minimum, median and maximum of sides (pixels) and aspects, and what a centre square cuts away."""
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
        """Split -> bytes of each class."""
        counted: Counter[tuple[Split, int]] = Counter()
        for item, image in zip(self.dataset.items, self.images, strict=True):
            counted[item.split, item.label] += image.num_bytes
        return {split: [counted[split, label] for label in range(len(self.dataset.classes))] for split in SPLITS}

    @functools.cached_property
    def copies(self) -> dict[int, tuple[int, ...]]:
        """Position of each image that has exact copies -> the positions of all of them."""
        return {position: group for group in self.exact for position in group}

    def _shared(self, key: Callable[[Item], object]) -> list[Leak]:
        items = self.dataset.items
        found = [Leak(group, True) for group in self.exact if len({key(items[position]) for position in group}) > 1]
        for pair in self.near:
            # A pair stands for all the copies of its two images.
            apart = [
                (first, second)
                for first in self.copies.get(pair.first, (pair.first,))
                for second in self.copies.get(pair.second, (pair.second,))
                if key(items[first]) != key(items[second])
            ]
            found += [Leak(both, False) for both in apart[:1]]
        return found


def inspect_images(
    dataset: Dataset,
    images: Sequence[ScannedImage],
    *,
    near: bool = True,
    features: NDArray[np.floating[Any]] | None = None,
    on_progress: Progress | None = None,
) -> Inspection:
    """Looks for what is wrong with a data set.

    Args:
        dataset: Any.
        images: From :func:`~resnet_cli.data.inspection.scan.scan`, one an item.
        near: Also look for images that look the same.
        features: Of a backbone, [n x 2048]; they find some that the look alone does not, such as mirrored ones, and
            miss others, so both are asked. Rows of unreadable images are not looked at.
        on_progress: Called with (compared, to compare) while near duplicates are looked for.
    """
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for position, image in enumerate(images):
        # What cannot be read is reported for that; cut files are often the same first bytes.
        if not image.error:
            by_content[image.sha256].append(position)
    # The first of its copies stands for all of them.
    different = np.array([group[0] for group in by_content.values()], dtype=np.intp)
    scores: dict[tuple[int, int], float] = {}
    if near and len(different):
        signatures = np.frombuffer(b"".join(images[position].signature for position in different), dtype=np.uint8)
        found = find_near(signatures.reshape(len(different), -1), on_progress=on_progress)
        if features is not None:
            found += find_near_by_features(features[different], on_progress=on_progress)
        for first, second, score in found:
            pair = int(different[first]), int(different[second])
            scores[pair] = max(score, scores.get(pair, 0.0))
    return Inspection(
        dataset=dataset,
        images=tuple(images),
        exact=tuple(tuple(group) for group in by_content.values() if len(group) > 1),
        near=tuple(NearPair(first, second, score) for (first, second), score in sorted(scores.items())),
        near_by="" if not near else "look" if features is None else "look and features",
    )


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"min": round(low, 4), "median": round(middle, 4), "max": round(high, 4)}
