"""Nested subsets of the train split of a learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.stratification import proportional_places
from resnet_cli.errors import DataError
from resnet_cli.task import YES

#: Number of subset sizes, in equal ratios from the smallest to all images; each is about twice the one before.
NUM_SIZES = 6
#: The smallest subset is this share of all images, but has at least this many images per class.
SMALLEST_SHARE = 1 / 32
MIN_PER_CLASS = 2
#: Least ratio of all images to the smallest subset; with less there is no curve.
MIN_RANGE = 4
#: Most images in the largest subset: with more, a curve takes hours and its end is flat.
MAX_IMAGES = 20_000


def num_used_classes(targets: NDArray[np.integer[Any]]) -> int:
    """Number of classes that occur in the targets of either task."""
    return len(np.unique(targets)) if targets.ndim == 1 else int((targets == YES).any(axis=0).sum())


def part_sizes(num_images: int, num_classes: int) -> list[int]:
    """The subset sizes, from few images to all.

    Args:
        num_images: Number of images in the train split.
        num_classes: Number of classes that occur in it.

    Raises:
        DataError: There are too few images for a curve.
    """
    largest = min(num_images, MAX_IMAGES)
    smallest = max(MIN_PER_CLASS * num_classes, round(SMALLEST_SHARE * largest))
    if not num_images or largest < MIN_RANGE * smallest:
        raise DataError(
            f"{num_images:,} training images of {num_classes:,} classes are too few for a learning curve",
            hint=f"it needs at least {MIN_RANGE * MIN_PER_CLASS} images per class; with fewer, more images help",
        )
    return [int(size) for size in np.unique(np.geomspace(smallest, largest, NUM_SIZES).round())]


def nested_order(targets: NDArray[np.integer[Any]], groups: Sequence[str], *, seed: int) -> NDArray[np.intp]:
    """Positions in an order in which every prefix has the class proportions of the whole.

    The first image of each class comes before all others. The images of a group with the same label are consecutive
    within their class.

    Args:
        targets: Labels of the images: class indices [n], or int8 [n x k] of a multi-label data set.
        groups: Group of each image [n], or empty; an empty name means no group.
        seed: Random seed of the order.
    """
    rng = np.random.default_rng(seed)
    chance = rng.random(len(targets))
    if any(groups):
        names, inverse = np.unique(
            [f"group {group}" if group else f"image {at}" for at, group in enumerate(groups)], return_inverse=True
        )
        chance = rng.permutation(len(names))[inverse] + chance
    place = np.empty(len(targets))
    at_random = np.argsort(chance)
    place[at_random] = proportional_places(targets[at_random])
    return np.lexsort((chance, place))
