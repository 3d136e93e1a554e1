"""The order of an epoch in which small classes are as frequent as large ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def balanced_order(targets: ArrayLike, num: int, rng: np.random.Generator) -> list[int]:
    """Order of an epoch in which images are drawn for all classes equally often.

    With several labels per image, an image that is drawn for one class also shows its others, so that frequent classes
    stay somewhat more frequent. The images without any label count as one more class.

    Args:
        targets: Labels of the training images, int64 [n], or int8 [n x k] with 1 where an image has the label.
        num: Number of images in the epoch.
        rng: Random generator.

    Returns:
        Positions of images. The numbers of draws for two classes differ by at most one; each image of a class is drawn
        for it once, in random order, before any of them is drawn for it again.

    Source: several labels: class-aware sampling, Shen et al. 2016, https://arxiv.org/abs/1512.05830.
    """
    images_of = _images_of_classes(np.asarray(targets))
    present = rng.permutation(len(images_of))
    of_step = rng.permutation(np.resize(present, num))
    order = np.empty(num, dtype=np.int64)
    for place in present:
        images, steps = images_of[place], np.flatnonzero(of_step == place)
        rounds = -(-len(steps) // len(images))
        shuffled = [rng.permutation(images) for _ in range(rounds)]
        order[steps] = np.concatenate([*shuffled, images[:0]])[: len(steps)]
    found: list[int] = order.tolist()
    return found


def _images_of_classes(targets: NDArray[np.generic]) -> Sequence[NDArray[np.intp]]:
    """The positions of the images of each class that occurs, in the order of the classes."""
    if targets.ndim == 1:
        return [np.flatnonzero(targets == label) for label in np.unique(targets)]
    has_label = targets == 1
    columns = [*has_label.T, ~has_label.any(axis=1)]
    return [images for column in columns if len(images := np.flatnonzero(column))]
