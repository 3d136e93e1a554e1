"""Assignment of images to the train, validation and test splits: stratified, seeded and reproducible."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

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
    found = {item.split for item in dataset.items}
    if "val" in found:
        return dataset
    holdout_test = found == {"train"}
    parts: list[Split] = ["val", "test"] if holdout_test else ["val"]
    chosen = _HOLD_OUT[dataset.task](dataset, _blocks(dataset, together, seed), parts, val_fraction)
    items = tuple(
        dataclasses.replace(item, split=chosen.get(index, item.split)) for index, item in enumerate(dataset.items)
    )
    share = f"{val_fraction:.0%} of each class"
    note = f"{share} for validation" + (f", {share} for test" if holdout_test else ", taken from train")
    grouped = ", groups kept together" if any(item.group for item in items) else ""
    split = dataclasses.replace(dataset, items=items, split_note=f"{note} (split seed {seed}{grouped})")
    absent = [name for name, count in zip(dataset.classes, split.counts()["val"], strict=True) if not count]
    if absent:
        return dataclasses.replace(
            split, split_note=f"{split.split_note}; no image for validation has the label {first_of(absent, 5)}"
        )
    return split


def _blocks(dataset: Dataset, together: Iterable[Sequence[int]], seed: int) -> list[list[int]]:
    """Positions of train items that must stay together, in an order that depends only on the seed and names.

    A group is ordered by its name, so that an additional image does not change its position.
    """
    items = dataset.items
    groups: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        if item.group:
            groups[item.group].append(index)
    alone = ([index] for index in range(len(items)))
    joined = connected([*groups.values(), *together, *alone])
    blocks = [train for block in joined if (train := [index for index in block if items[index].split == "train"])]
    names = [item.group or item.name for item in items]
    return sorted(blocks, key=lambda block: min(_rank(seed, names[index]) for index in block))


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


def _hold_out(
    dataset: Dataset, blocks: list[list[int]], parts: Sequence[Split], val_fraction: float
) -> dict[int, Split]:
    """Position of each held-out train item -> its new split."""
    items = dataset.items
    sizes = [Counter(items[index].label for index in block) for block in blocks]
    by_label: dict[int, list[int]] = defaultdict(list)
    for number, size in enumerate(sizes):
        for label in size:
            by_label[label].append(number)
    left = {"train": Counter(items[index].label for block in blocks for index in block)}
    left |= {part: Counter() for part in parts}
    chosen: dict[int, Split] = {}

    def move(number: int, part: Split) -> None:
        chosen[number] = part
        left["train"].subtract(sizes[number])
        left[part].update(sizes[number])

    def can_go(number: int) -> bool:
        # The last image of a class always stays in train.
        return number not in chosen and all(left["train"][label] > count for label, count in sizes[number].items())

    # One split after the other: a block that one class gives to test may be all that another class has for validation.
    for part in parts:
        for label, numbers in sorted(by_label.items()):
            num_left = left["train"][label] + left[part][label]
            wanted = max(1, round(val_fraction * (num_left if part == "val" else num_left / (1 - val_fraction))))
            for number in numbers:
                missing = wanted - left[part][label]
                # A block may exceed the wanted number only as far as omitting it would fall short of it.
                if missing > 0 and sizes[number][label] <= 2 * missing and can_go(number):
                    move(number, part)
            if part == "val" and not left[part][label]:
                smallest = min(filter(can_go, numbers), key=lambda number: sizes[number][label], default=None)
                if smallest is None:
                    raise _none_for_validation(dataset, label)
                move(smallest, part)
    return {index: part for number, part in chosen.items() for index in blocks[number]}


def _stratify(
    dataset: Dataset, blocks: list[list[int]], parts: Sequence[Split], val_fraction: float
) -> dict[int, Split]:
    """As :func:`_hold_out`, for images with several labels."""
    positions = [index for block in blocks for index in block]
    row = {index: number for number, index in enumerate(positions)}
    targets = targets_of([dataset.items[index] for index in positions], dataset.task, len(dataset.classes))
    rows = [[row[index] for index in block] for block in blocks]
    block_of = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    for label, has_label in enumerate((targets == YES).T):
        if len(np.unique(block_of[has_label])) == 1:
            raise _none_for_validation(dataset, label)
    part_of = stratify(targets, rows, fraction=val_fraction, num_parts=1 + len(parts))
    return {index: parts[part - 1] for block, part in zip(blocks, part_of, strict=True) if part for index in block}


def _none_for_validation(dataset: Dataset, label: int) -> DataError:
    return DataError(
        f"{dataset.name}: the images of the class '{dataset.classes[label]}' are all in one group, "
        "or copies of one image, or in groups with all of another class: none is left for validation",
        hint="add images of another group, or provide train/ and val/ folders",
    )


#: How images are held out.
_HOLD_OUT: Mapping[TaskName, Callable[[Dataset, list[list[int]], Sequence[Split], float], dict[int, Split]]] = {
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
    kept = set(positions[np.lexsort((positions, strata, places))[:limit]].tolist())
    items = tuple(item for index, item in enumerate(dataset.items) if item.split != "train" or index in kept)
    return dataclasses.replace(dataset, items=items)


def fewest_train(dataset: Dataset, *, seed: int) -> int:
    """Fewest training images that :func:`limit_train` can keep."""
    return _fewest(dataset, _train_places(dataset, seed)[-1])


def _fewest(dataset: Dataset, places: NDArray[np.float64]) -> int:
    return max(len(dataset.classes), int(np.count_nonzero(places == 0)))


def _train_places(dataset: Dataset, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The positions of the train items, their strata, and their places in an order by seed and names."""
    items = dataset.items
    positions = [index for index, item in enumerate(items) if item.split == "train"]
    positions.sort(key=lambda index: _rank(seed, items[index].name))
    targets = targets_of([items[index] for index in positions], dataset.task, len(dataset.classes))
    return np.array(positions, dtype=np.int64), strata_of(targets), proportional_places(targets)


def _rank(seed: int, name: str) -> bytes:
    # Hashes of names instead of shuffled positions: a new image does not change the order of the others.
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
