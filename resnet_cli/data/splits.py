"""Assignment of images to the train, validation and test splits: stratified, seeded and reproducible."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.blocks import Blocks, blocks_of, order_by_names
from resnet_cli.data.dataset import Dataset, Split, targets_of
from resnet_cli.data.stratification import proportional_places, strata_of, stratify
from resnet_cli.data.trainable import refuse_untrainable
from resnet_cli.errors import DataError
from resnet_cli.task import YES, TaskName
from resnet_cli.text import first_of


def complete_splits(
    dataset: Dataset, *, val_fraction: float, seed: int, together: Iterable[Sequence[int]] = ()
) -> Dataset:
    """Adds the splits that training needs; existing ones are kept.

    If there is no validation split, ``val_fraction`` of each class of the train split becomes one. If the source has
    no splits at all, the same share becomes the test split. Every class keeps at least one image for training and one
    for validation; with several labels per image, the note names the classes for which that is impossible. Images of
    one group stay together.

    Args:
        dataset: Items with the splits of the source; all ``train`` if it has none.
        val_fraction: Share of each class, in (0, 0.5).
        seed: Random seed for the choice of images.
        together: Positions of further items that must stay in one split, such as copies of one image.

    Raises:
        DataError: There is only one class, a class has no training images or too few to be split, the source's own
            splits separate a group, or a class consists of one group.
    """
    refuse_untrainable(dataset)
    found = {split for split, num in dataset.sizes().items() if num}
    if "val" in found:
        return dataset
    holdout_test = found == {"train"}
    parts: list[Split] = ["val", "test"] if holdout_test else ["val"]
    items = dataset.packed
    blocks = blocks_of(items, together, seed)
    part_of = _HOLD_OUT[dataset.task](dataset, blocks, parts, val_fraction)[blocks.block_of()]
    # The splits of the source come first, then the new ones.
    split_of = items.split_of.astype(np.int8)
    is_chosen = part_of > 0
    split_of[blocks.members[is_chosen]] = len(items.splits) - 1 + part_of[is_chosen]
    items = items.with_splits([*items.splits, *parts], split_of)
    share = f"{100 * val_fraction:.0f} % of each class"
    note = f"{share} for validation" + (f", {share} for test" if holdout_test else ", taken from train")
    grouped = ", groups kept together" if items.has_groups else ""
    split = dataclasses.replace(dataset, items=items, split_note=f"{note} (split seed {seed}{grouped})")
    absent = [name for name, count in zip(dataset.classes, split.counts()["val"], strict=True) if not count]
    if absent:
        return dataclasses.replace(
            split, split_note=f"{split.split_note}; no image for validation has the label {first_of(absent, 5)}"
        )
    return split


def connected(together: Iterable[Sequence[int]]) -> list[list[int]]:
    """Joins all blocks of positions that share one; each result is sorted."""
    block_of: dict[int, list[int]] = {}
    for first, *others in together:
        for other in (first, *others):
            small, large = sorted((block_of.setdefault(first, [first]), block_of.setdefault(other, [other])), key=len)
            if small is not large:
                large += small
                block_of |= dict.fromkeys(small, large)
    return [sorted(block) for block in {id(block): block for block in block_of.values()}.values()]


def _hold_out(dataset: Dataset, blocks: Blocks, parts: Sequence[Split], val_fraction: float) -> NDArray[np.int64]:
    """The part of each block: 0 for training, or the number of a held-out part, from 1; int64 [number of blocks]."""
    num_classes = len(dataset.classes)
    labels = targets_of(dataset.packed.take(blocks.members), dataset.task, num_classes)
    # Number of images of each label in each block that has some, by label and then in the order of the blocks.
    pairs, counts = np.unique(labels * len(blocks) + blocks.block_of(), return_counts=True)
    label_of, number_of = np.divmod(pairs, max(1, len(blocks)))
    has_several = np.bincount(number_of, minlength=len(blocks)) > 1
    sizes: dict[int, Counter[int]] = defaultdict(Counter)
    for at in np.flatnonzero(has_several[number_of]).tolist():
        sizes[int(number_of[at])][int(label_of[at])] = int(counts[at])
    left = {0: Counter(dict(enumerate(np.bincount(labels, minlength=num_classes).tolist())))}
    left |= {part: Counter() for part in range(1, len(parts) + 1)}
    chosen = np.zeros(len(blocks), dtype=np.int64)

    def move(number: int, size: Mapping[int, int], part: int) -> None:
        chosen[number] = part
        left[0].subtract(size)
        left[part].update(size)

    def can_go(number: int, size: Mapping[int, int]) -> bool:
        # The last image of a class always stays in train.
        return not chosen[number] and all(left[0][label] > count for label, count in size.items())

    # One split after the other: a block that one class gives to test may be all that another class has for validation.
    for part, name in enumerate(parts, start=1):
        for label in np.unique(label_of).tolist():
            rows = slice(*np.searchsorted(label_of, (label, label + 1)).tolist())
            found = list(zip(number_of[rows].tolist(), counts[rows].tolist(), strict=True))
            num_left = left[0][label] + left[part][label]
            wanted = max(1, round(val_fraction * (num_left if name == "val" else num_left / (1 - val_fraction))))
            for number, count in found:
                missing = wanted - left[part][label]
                if missing <= 0:
                    break
                size = sizes.get(number) or {label: count}
                # A block may exceed the wanted number only as far as omitting it would fall short of it.
                if count <= 2 * missing and can_go(number, size):
                    move(number, size, part)
            if name == "val" and not left[part][label]:
                movable = (pair for pair in found if can_go(pair[0], sizes.get(pair[0]) or {label: pair[1]}))
                smallest = min(movable, key=lambda pair: pair[1], default=None)
                if smallest is None:
                    raise _none_for_validation(dataset, label)
                move(smallest[0], sizes.get(smallest[0]) or {label: smallest[1]}, part)
    return chosen


def _stratify(dataset: Dataset, blocks: Blocks, parts: Sequence[Split], val_fraction: float) -> NDArray[np.int64]:
    """As :func:`_hold_out`, for images with several labels."""
    targets = targets_of(dataset.packed.take(blocks.members), dataset.task, len(dataset.classes))
    block_of = blocks.block_of()
    for label, has_label in enumerate((targets == YES).T):
        if len(np.unique(block_of[has_label])) == 1:
            raise _none_for_validation(dataset, label)
    part_of = stratify(targets, blocks.numbered(), fraction=val_fraction, num_parts=1 + len(parts))
    return np.array(part_of, dtype=np.int64)


def _none_for_validation(dataset: Dataset, label: int) -> DataError:
    return DataError(
        f"{dataset.name}: the images of the class '{dataset.classes[label]}' are all in one group, "
        "or copies of one image, or in groups with all of another class: none is left for validation",
        hint="add images of another group, or provide train/ and val/ folders",
    )


#: How images are held out.
_HOLD_OUT: Mapping[TaskName, Callable[[Dataset, Blocks, Sequence[Split], float], NDArray[np.int64]]] = {
    "single-label": _hold_out,
    "multi-label": _stratify,
}


def limit_train(dataset: Dataset, limit: int, *, seed: int) -> Dataset:
    """Keeps ``limit`` training images, distributed over the classes in proportion; other splits are not changed.

    A smaller limit keeps a subset of what a larger one keeps.

    Raises:
        DataError: ``limit`` is smaller than :func:`fewest_train`: some images belong to each class, and with several
            labels per image, some do not.
    """
    positions, strata, places = _train_places(dataset, seed)
    fewest = _fewest(dataset, places)
    if limit < fewest:
        reason = f"fewer images than the {len(dataset.classes)} classes of {dataset.name}"
        if dataset.task == "multi-label":
            reason = f"it takes {fewest} images to have one with and one without each class of {dataset.name}"
        raise DataError(f"--limit {limit}: {reason}")
    items = dataset.packed
    is_kept = ~items.in_split("train")
    is_kept[positions[np.lexsort((positions, strata, places))[:limit]]] = True
    return dataclasses.replace(dataset, items=items.take(is_kept))


def fewest_train(dataset: Dataset, *, seed: int) -> int:
    """Fewest training images that :func:`limit_train` can keep."""
    return _fewest(dataset, _train_places(dataset, seed)[-1])


def _fewest(dataset: Dataset, places: NDArray[np.float64]) -> int:
    return max(len(dataset.classes), int(np.count_nonzero(places == 0)))


def _train_places(dataset: Dataset, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The positions of the train items, their strata, and their places in an order by seed and names."""
    items = dataset.packed
    train = np.flatnonzero(items.in_split("train"))
    positions = train[order_by_names(items.take(train).names, len(train), seed=seed)]
    targets = targets_of(items.take(positions), dataset.task, len(dataset.classes))
    return positions, strata_of(targets), proportional_places(targets)
