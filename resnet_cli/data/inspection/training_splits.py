"""The splits for training, and what makes training impossible: one check for ``inspect`` and ``finetune``."""

from __future__ import annotations

import dataclasses
from collections import Counter

from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inspection.inspect import Finding, Inspection
from resnet_cli.data.splits import complete_splits
from resnet_cli.data.trainable import refuse_untrainable
from resnet_cli.errors import DataError

#: The default of ``finetune``, whose config `inspect` does not load.
VAL_FRACTION = 0.1


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
    films = inspection.films
    near = [pair[:2] for pair in inspection.near]
    # Frames of one video cannot stay together, since some must be in the validation split; other near-duplicates do.
    for pairs in (near, [pair for pair in near if films.isdisjoint(_labels(inspection, pair))], []):
        try:
            dataset = complete_splits(
                inspection.dataset, val_fraction=val_fraction, seed=seed, together=[*inspection.exact, *pairs]
            )
        except DataError:
            if not pairs:
                raise
        else:
            return dataset, _separated(inspection, set(near).difference(pairs))
    raise AssertionError


def check_training(inspection: Inspection) -> list[Finding]:
    """What :func:`split_for_training` would say about the readable images in a ``finetune`` without flags.

    Raises:
        DataError: The data cannot be trained on.
    """
    left = [position for position, image in enumerate(inspection.images) if not image.error]
    if not left:
        # The finding about unreadable images says why.
        return []
    if len(left) < len(inspection.images):
        new = {old: position for position, old in enumerate(left)}
        inspection = dataclasses.replace(
            inspection,
            dataset=dataclasses.replace(inspection.dataset, items=tuple(inspection.dataset.items[at] for at in left)),
            images=inspection.images.take(left),
            exact=tuple(tuple(new[at] for at in group) for group in inspection.exact),
            near=tuple(pair._replace(first=new[pair.first], second=new[pair.second]) for pair in inspection.near),
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
    items = inspection.dataset.items
    tied = {position for block in inspection.together for position in block}
    free = [
        item for position, item in enumerate(items) if item.split == "train" and not item.group and position not in tied
    ]
    having = Counter(label for item in free for label in item.labels)
    known = Counter(label for item in free for label in (*item.labels, *item.unknown))
    labels = range(len(inspection.dataset.classes))
    return all(having[label] >= 2 and len(free) - known[label] >= 2 for label in labels)


def _separated(inspection: Inspection, pairs: set[tuple[int, int]]) -> list[Finding]:
    if not pairs:
        return []
    names = " and ".join(inspection.dataset.items[position].name for position in min(pairs))
    return [
        Finding(
            "similar_class",
            f"all images of a class look alike, so similar images are in different splits, such as {names}: "
            "the metrics will look better than they are",
            "add other images, or make train/ and val/ folders",
        )
    ]


def _labels(inspection: Inspection, positions: tuple[int, int]) -> set[int]:
    return {label for position in positions for label in inspection.dataset.items[position].labels}
