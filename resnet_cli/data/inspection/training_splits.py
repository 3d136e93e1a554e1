"""The splits that a training gets, and what makes a training impossible: one check for ``inspect`` and ``finetune``."""

from __future__ import annotations

import dataclasses

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inspection.inspect import Finding, Inspection
from resnet_cli.data.splits import complete_splits
from resnet_cli.errors import DataError

#: The default of ``finetune``.
VAL_FRACTION = FinetuneConfig.model_fields["val_fraction"].default


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


def split_readable(inspection: Inspection) -> tuple[Dataset, list[Finding]]:
    """What :func:`split_for_training` makes of the readable images, as a default ``finetune`` would.

    Raises:
        DataError: The data cannot be trained on.
    """
    left = [position for position, image in enumerate(inspection.images) if not image.error]
    if not left:
        raise DataError(
            f"{inspection.dataset.name}: none of the {len(inspection.images):,} images can be read",
            hint="replace them; each is listed with the reason",
        )
    if len(left) < len(inspection.images):
        new = {old: position for position, old in enumerate(left)}
        inspection = dataclasses.replace(
            inspection,
            dataset=dataclasses.replace(inspection.dataset, items=tuple(inspection.dataset.items[at] for at in left)),
            images=tuple(inspection.images[at] for at in left),
            exact=tuple(tuple(new[at] for at in group) for group in inspection.exact),
            near=tuple(pair._replace(first=new[pair.first], second=new[pair.second]) for pair in inspection.near),
        )
    return split_for_training(inspection, val_fraction=VAL_FRACTION, seed=0)


def _separated(inspection: Inspection, pairs: set[tuple[int, int]]) -> list[Finding]:
    if not pairs:
        return []
    names = " and ".join(inspection.dataset.items[position].name for position in min(pairs))
    return [
        Finding(
            "similar_class",
            f"a whole class looks the same, so that similar images are in different splits, such as {names}: "
            "the metrics will look better than they are",
            "add other images, or make train/ and val/ folders",
        )
    ]


def _labels(inspection: Inspection, positions: tuple[int, int]) -> set[int]:
    return {inspection.dataset.items[position].label for position in positions}
