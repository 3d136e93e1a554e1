"""The splits for training, and what makes training impossible: one check for ``inspect`` and ``finetune``."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inspection.compact import Groups, NearPairs
from resnet_cli.data.inspection.inspect import Finding, Inspection
from resnet_cli.data.splits import complete_splits
from resnet_cli.data.trainable import refuse_untrainable
from resnet_cli.errors import DataError

#: The default of ``finetune``, whose config `inspect` does not load.
VAL_FRACTION = 0.1
#: Pairs that are listed at once.
_BLOCK = 4096


def split_for_training(inspection: Inspection, *, val_fraction: float, seed: int) -> tuple[Dataset, list[Finding]]:
    """The data set with all splits that training needs; copies and near duplicates stay together where possible.

    Args:
        inspection: An inspection without unreadable images.
        val_fraction: Share of each class, as for :func:`~resnet_cli.data.splits.complete_splits`.
        seed: Random seed for the choice of images.

    Returns:
        The data set, and a finding if near duplicates are in different splits.

    Raises:
        DataError: The data cannot be trained on.
    """
    near = inspection.near.ends()
    of_film = np.array([not inspection.films.isdisjoint(one.labels) for one in inspection.kinds.examples], bool)
    is_frame = of_film[inspection.kinds.of_image[near]].any(axis=1)
    # Frames of one video cannot stay together, since some must be in the validation split; other near-duplicates do.
    for pairs, others in ((near, near[:0]), (near[~is_frame], near[is_frame]), (near[:0], near)):
        together = itertools.chain(inspection.exact, _in_blocks(pairs))
        try:
            dataset = complete_splits(inspection.dataset, val_fraction=val_fraction, seed=seed, together=together)
        except DataError:
            if not len(pairs):
                raise
        else:
            return dataset, _separated(inspection, others)
    raise AssertionError


def _in_blocks(pairs: NDArray[np.int32]) -> Iterator[list[int]]:
    for start in range(0, len(pairs), _BLOCK):
        yield from pairs[start : start + _BLOCK].tolist()


def check_training(inspection: Inspection) -> list[Finding]:
    """What :func:`split_for_training` would say about the readable images in a ``finetune`` without flags.

    Raises:
        DataError: The data cannot be trained on.
    """
    images = inspection.images
    left = np.flatnonzero(images.is_readable)
    if not len(left):
        # The finding about unreadable images says why.
        return []
    if len(left) < len(images):
        new = np.cumsum(images.is_readable, dtype=np.int32) - 1
        exact, near = inspection.exact, inspection.near
        inspection = dataclasses.replace(
            inspection,
            dataset=dataclasses.replace(inspection.dataset, items=inspection.dataset.packed.take(left)),
            images=images.take(left),
            exact=Groups(new[exact.members], exact.starts),
            near=NearPairs(new[near.first], new[near.second], near.score),
        )
    refuse_untrainable(inspection.dataset)
    if _can_be_split(inspection):
        return []
    return split_for_training(inspection, val_fraction=VAL_FRACTION, seed=0)[1]


def _can_be_split(inspection: Inspection) -> bool:
    """Whether two training images of each class, and two without it, need not stay with others.

    If not, only a split shows whether one can be made.

    Making the split takes as long as writing the report of a large set.
    """
    kinds = inspection.kinds
    is_free = ~kinds.is_grouped
    is_free[inspection.exact.members] = is_free[inspection.near.ends()] = False
    num_free = 0
    having: Counter[int] = Counter()
    known: Counter[int] = Counter()
    for item, num in zip(kinds.examples, kinds.sums(is_free.astype(np.int64)), strict=True):
        if item.split == "train":
            num_free += num
            having.update(dict.fromkeys(item.labels, num))
            known.update(dict.fromkeys((*item.labels, *item.unknown), num))
    labels = range(len(inspection.dataset.classes))
    return all(having[label] >= 2 and num_free - known[label] >= 2 for label in labels)


def _separated(inspection: Inspection, pairs: NDArray[np.int32]) -> list[Finding]:
    if not len(pairs):
        return []
    names = " and ".join(inspection.dataset.items[position].name for position in pairs[0].tolist())
    return [
        Finding(
            "similar_class",
            f"all images of a class look alike, so similar images are in different splits, such as {names}: "
            "the metrics will look better than they are",
            "add other images, or make train/ and val/ folders",
        )
    ]
