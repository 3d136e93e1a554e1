"""Which labels the images of a data set have: how many, which ones together, and which classes cannot be learned."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from resnet_cli.data.dataset import Dataset, Item

#: With fewer images of a class, it is chance that all of them have another label too.
MIN_IMPLIED = 10


class Pair(NamedTuple):
    """Two classes that images have together.

    Attributes:
        first: Index of one class.
        second: Index of the other.
        num_images: Number of images that have both.
    """

    first: int
    second: int
    num_images: int


@dataclasses.dataclass(frozen=True)
class LabelSets:
    """The labels of n images of k classes; of single-label data, each image has one.

    Attributes:
        num_images: n.
        positives: Number of images of each class.
        unknown: Number of images for which it is unknown whether they have each class.
        per_image: Number of labels -> number of images with this number of labels, in rising order.
        together: Pairs of classes that images have together, the most common first.
    """

    num_images: int
    positives: tuple[int, ...]
    unknown: tuple[int, ...]
    per_image: Mapping[int, int]
    together: tuple[Pair, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> LabelSets:
        """The label sets of all images of a data set."""
        items, labels = dataset.items, range(len(dataset.classes))
        # Few sets for many images.
        sets = Counter(item.labels for item in items)
        pairs: Counter[tuple[int, int]] = Counter()
        for one, count in sets.items():
            pairs.update(dict.fromkeys(itertools.combinations(one, 2), count))
        positives, unknown = _per_class(sets), _per_class(Counter(item.unknown for item in items))
        sizes: Counter[int] = Counter()
        for one, count in sets.items():
            sizes[len(one)] += count
        return cls(
            num_images=len(items),
            positives=tuple(positives[label] for label in labels),
            unknown=tuple(unknown[label] for label in labels),
            per_image=dict(sorted(sizes.items())),
            together=tuple(Pair(*pair, count) for pair, count in sorted(pairs.items(), key=lambda pair: -pair[1])),
        )

    @property
    def is_single(self) -> bool:
        """Whether every image has exactly one label, all of them known."""
        return self.per_image.keys() <= {1} and not any(self.unknown)

    @property
    def num_negatives(self) -> int:
        """Number of images without any label."""
        return self.per_image.get(0, 0)

    @property
    def mean(self) -> float:
        """Mean number of labels per image; 0 without images."""
        return sum(self.positives) / max(1, self.num_images)

    @property
    def never(self) -> list[int]:
        """Classes that no image has."""
        return [label for label, count in enumerate(self.positives) if not count]

    @property
    def always(self) -> list[int]:
        """Classes that every image has, as far as it is known."""
        pairs = enumerate(zip(self.positives, self.unknown, strict=True))
        return [label for label, (yes, unknown) in pairs if yes and yes + unknown == self.num_images]

    @property
    def implied(self) -> list[Pair]:
        """Pairs where every image of the first class has the second too, the most common first.

        A second class that every image has is not implied by anything.
        """
        found = []
        always = set(self.always)
        for first, second, count in self.together:
            for one, other in ((first, second), (second, first)):
                if count == self.positives[one] >= MIN_IMPLIED and other not in always:
                    found.append(Pair(one, other, count))
        return found


def contradict(first: Item, second: Item) -> bool:
    """Whether two copies of an image have different labels, leaving out what is unknown for either of them."""
    return any(
        not set(one.labels).issubset((*other.labels, *other.unknown))
        for one, other in ((first, second), (second, first))
    )


def _per_class(sets: Mapping[tuple[int, ...], int]) -> Counter[int]:
    counted: Counter[int] = Counter()
    for labels, count in sets.items():
        for label in labels:
            counted[label] += count
    return counted
