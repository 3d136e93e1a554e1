"""The kinds of images in a data set: images of one kind have equal splits and labels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.inspection.compact import Groups, NearPairs


@dataclasses.dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of n images: few, however many images there are.

    Attributes:
        of_image: The kind of each image, int32 [n].
        examples: An image of each kind.
        is_grouped: Whether each image has a group, bool [n].
    """

    of_image: NDArray[np.int32]
    examples: tuple[Item, ...]
    is_grouped: NDArray[np.bool_]

    @classmethod
    def of(cls, dataset: Dataset) -> Kinds:
        """The kinds of the images of a data set."""
        items = dataset.packed
        codes = items.kind_of * np.int32(len(items.splits)) + items.split_of
        _, first, of_image = np.unique(codes, return_index=True, return_inverse=True)
        is_grouped = np.array([bool(group) for group in items.groups], bool)[items.group_of]
        return cls(of_image.astype(np.int32), tuple(items[at] for at in first.tolist()), is_grouped)

    def sums(self, values: NDArray[np.int64]) -> list[int]:
        """The sum of one number per image, int64 [n], for each kind."""
        found = np.zeros(len(self.examples), np.int64)
        np.add.at(found, self.of_image, values)
        return [int(one) for one in found]

    def groups_apart(self, groups: Groups, differ: Callable[[Item, Item], bool]) -> list[int]:
        """Indices of the groups of which two images differ."""
        if not len(groups):
            return []
        kinds, starts = self.of_image[groups.members], groups.starts[:-1]
        mixed = np.flatnonzero(np.minimum.reduceat(kinds, starts) != np.maximum.reduceat(kinds, starts))
        known: dict[frozenset[int], bool] = {}
        found = []
        for index in mixed.tolist():
            present = frozenset(kinds[groups.starts[index] : groups.starts[index + 1]].tolist())
            if present not in known:
                known[present] = any(self._differ(one, other, differ) for one in present for other in present)
            if known[present]:
                found.append(index)
        return found

    def pairs_apart(
        self, near: NearPairs, groups: Groups, differ: Callable[[Item, Item], bool]
    ) -> Iterator[tuple[int, int]]:
        """The first two images that differ among the copies of both images of each pair; nothing if none do.

        Args:
            near: Pairs of images, each of which represents all of its copies.
            groups: The images that have copies.
            differ: Whether two images differ.
        """
        group_of = groups.group_of(len(self.of_image))
        lowest, highest = self.of_image.copy(), self.of_image.copy()
        if len(groups):
            kinds, starts, sizes = self.of_image[groups.members], groups.starts[:-1], np.diff(groups.starts)
            lowest[groups.members] = np.repeat(np.minimum.reduceat(kinds, starts), sizes)
            highest[groups.members] = np.repeat(np.maximum.reduceat(kinds, starts), sizes)
        low = np.minimum(lowest[near.first], lowest[near.second])
        mixed = np.flatnonzero(low != np.maximum(highest[near.first], highest[near.second]))
        known: dict[tuple[int, int], bool] = {}
        for index in mixed.tolist():
            both = [
                groups.at(int(group_of[at])) if group_of[at] >= 0 else (at,)
                for at in (int(near.first[index]), int(near.second[index]))
            ]
            others = dict(zip(reversed(self.of_image[list(both[1])].tolist()), reversed(both[1]), strict=True))
            for first in both[0]:
                kind = int(self.of_image[first])
                for other in others:
                    if (kind, other) not in known:
                        known[kind, other] = differ(self.examples[kind], self.examples[other])
                differing = [second for other, second in others.items() if known[kind, other]]
                if differing:
                    yield first, min(differing)
                    break

    def _differ(self, one: int, other: int, differ: Callable[[Item, Item], bool]) -> bool:
        return one < other and differ(self.examples[one], self.examples[other])


def count_labels(kinds: Kinds, keys: NDArray[np.integer], positions: NDArray[np.integer]) -> Counter[tuple[int, int]]:
    """Number of training images with each label among those with each key.

    Args:
        kinds: The kinds of all images.
        keys: A number for each position, int [m].
        positions: Some images, int [m].

    Returns:
        (key, label) -> number.
    """
    pairs = np.stack([keys.astype(np.int32), kinds.of_image[positions]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    counted: Counter[tuple[int, int]] = Counter()
    for (key, kind), count in zip(found.tolist(), counts.tolist(), strict=True):
        item = kinds.examples[kind]
        for label in item.labels if item.split == "train" else ():
            counted[key, label] += count
    return counted
