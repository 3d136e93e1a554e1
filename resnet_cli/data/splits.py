"""Assignment of images to the train, validation and test splits: stratified, seeded and reproducible."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from resnet_cli.data.class_names import as_flag, plain_name
from resnet_cli.data.dataset import SPLITS, Dataset, Split
from resnet_cli.errors import DataError

_COLUMNS = ["path", "label", "split"]
#: Number of class names in a hint.
MAX_LISTED = 50


def complete_splits(
    dataset: Dataset, *, val_fraction: float, seed: int, together: Iterable[Sequence[int]] = ()
) -> Dataset:
    """Adds the splits that training needs; existing ones are kept.

    If there is no validation split, ``val_fraction`` of each class of the train split becomes one. If the source has
    no splits at all, the same share becomes the test split. Every class keeps at least one image for training and one
    for validation. Images of one group stay together.

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
    chosen = _hold_out(dataset, _blocks(dataset, together, seed), parts, val_fraction)
    items = tuple(
        dataclasses.replace(item, split=chosen.get(index, item.split)) for index, item in enumerate(dataset.items)
    )
    share = f"{val_fraction:.0%} of each class"
    note = f"{share} for validation" + (f", {share} for test" if holdout_test else ", taken from train")
    grouped = ", groups kept together" if any(item.group for item in items) else ""
    return dataclasses.replace(dataset, items=items, split_note=f"{note} (split seed {seed}{grouped})")


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
                    raise DataError(
                        f"{dataset.name}: the images of the class '{dataset.classes[label]}' are all in one group, "
                        "or copies of one image, or in groups with all of another class: none is left for validation",
                        hint="add images of another group, or provide train/ and val/ folders",
                    )
                move(smallest, part)
    return {index: part for number, part in chosen.items() for index in blocks[number]}


def refuse_untrainable(dataset: Dataset) -> None:
    """Rejects data that no split makes trainable.

    Raises:
        DataError: There is only one class, a class has fewer than two training images, or a group is in two splits.
    """
    if len(dataset.classes) < 2:
        raise DataError(
            f"{dataset.name}: only one class, '{dataset.classes[0]}'",
            hint="training needs two or more classes, each in its own folder",
        )
    train = dataset.counts()["train"]
    if not any(train):
        raise DataError(
            f"{dataset.name}: no image is for training; all {len(dataset.items):,} are in val or test",
            hint="put images of each class into a train folder, or give the folder above; eval takes these data as "
            "they are",
        )
    small = [label for label, count in enumerate(train) if count < 2]
    if small:
        first, count = dataset.classes[small[0]], train[small[0]]
        others = [name for label, name in enumerate(dataset.classes) if label not in small]
        them = "it" if len(small) == 1 else "them"
        # A list of a thousand classes does not help.
        omitted = f"--classes {as_flag(others)}" if 2 <= len(others) <= MAX_LISTED else "--classes"
        raise DataError(
            f"{dataset.name}: the class '{first}' has {count or 'no'} training image; at least two are needed"
            + _perhaps_meant(dataset, small[0])
            + (f"; other classes with too few: {len(small) - 1:,}" if len(small) > 1 else ""),
            hint=f"add images to {them}, or omit {them}: {omitted}" if len(others) > 1 else f"add images to {them}",
        )
    _refuse_separated_groups(dataset)


def _refuse_separated_groups(dataset: Dataset) -> None:
    splits: dict[str, Split] = {}
    for item in dataset.items:
        if item.group and splits.setdefault(item.group, item.split) != item.split:
            raise DataError(
                f"{dataset.name}: the group '{item.group}' is in {splits[item.group]} and in {item.split}",
                hint="move its images into one split, or choose other groups with --group-by",
            )


def _perhaps_meant(dataset: Dataset, label: int) -> str:
    """Suggests a class that differs only in case, spaces, dashes or underscores: most likely a misspelling."""
    close = [name for name in dataset.classes if plain_name(name) == plain_name(dataset.classes[label])]
    others = [name for name in close if name != dataset.classes[label]]
    return f" (the same as '{others[0]}'?)" if others else ""


def limit_train(dataset: Dataset, limit: int, *, seed: int) -> Dataset:
    """Keeps ``limit`` training images, distributed over the classes in proportion; other splits are not changed.

    A smaller limit keeps a subset of what a larger one keeps.

    Raises:
        DataError: ``limit`` is smaller than the number of classes.
    """
    if limit < len(dataset.classes):
        raise DataError(f"--limit {limit}: fewer images than the {len(dataset.classes)} classes of {dataset.name}")
    ranked: list[tuple[float, int, int]] = []
    for label, indices in _train_indices_by_class(dataset, seed).items():
        # The i-th of n images of a class has rank (i + 1/2) / n: cutting the merged order keeps proportions.
        # The first image of each class has rank 0, so that no class is left empty.
        ranked += [((i + 0.5) / len(indices) if i else 0.0, label, index) for i, index in enumerate(indices)]
    kept = {index for _, _, index in sorted(ranked)[:limit]}
    items = tuple(item for index, item in enumerate(dataset.items) if item.split != "train" or index in kept)
    return dataclasses.replace(dataset, items=items)


def split_csv(dataset: Dataset) -> str:
    """The splits as CSV text: ``path,label,split``, with labels by name."""
    text = io.StringIO()
    write_rows(text, [_COLUMNS, *([item.name, dataset.classes[item.label], item.split] for item in dataset.items)])
    return text.getvalue()


def write_rows(text: TextIO, rows: Iterable[Sequence[str]]) -> None:
    """Writes CSV in which any name is quoted correctly."""
    # The writer does not quote a lone carriage return, which nevertheless ends a row.
    plain, quoted = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in rows:
        (quoted if "\r" in "".join(row) else plain).writerow(row)


def apply_split_csv(dataset: Dataset, path: Path, *, complete: str | None = "all") -> Dataset:
    """Gives each item the split that a run recorded; items that the run did not use are omitted.

    Args:
        dataset: The data set as its source is now.
        path: The run's ``split.csv``.
        complete: The split that must be complete, or ``all``; None for test, else val, else all.

    Raises:
        DataError: The file is damaged, or an image in it has a different label, or an image of ``complete`` is missing.
    """
    rows = read_split_csv(path)
    written = {split for _, split in rows.values()}
    complete = complete or next((split for split in ("test", "val") if split in written), "all")
    items = []
    for item in dataset.items:
        if item.name not in rows:
            continue
        label, split = rows.pop(item.name)
        known = [name for name in SPLITS if name == split]
        if label != dataset.classes[item.label] or not known:
            raise DataError(f"{path}: '{item.name}' was {label} ({split}), now it is {dataset.classes[item.label]}")
        items.append(dataclasses.replace(item, split=known[0]))
    missing = [name for name, (_, split) in rows.items() if complete in {"all", split}]
    if missing:
        raise DataError(
            f"images of this run are missing in {dataset.spec}: {len(missing)}, such as {missing[0]}",
            hint="restore them, or give other data: resnet-cli eval MODEL DATA",
        )
    return dataclasses.replace(dataset, items=tuple(items), split_note=f"from {path}")


def read_split_csv(path: Path) -> dict[str, tuple[str, str]]:
    """Name of each image of a run -> its label and split, in the order of the run.

    Raises:
        DataError: The file is damaged.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *lines = csv.reader(file)
        rows = {name: (label, split) for name, label, split in lines}
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a split file (path,label,split): {error}") from error
    if header != _COLUMNS or not rows:
        raise DataError(f"{path}: not a split file (path,label,split)")
    return rows


def _train_indices_by_class(dataset: Dataset, seed: int) -> dict[int, list[int]]:
    """Class label -> positions of its train items, in an order that depends only on the seed and names."""
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(dataset.items):
        if item.split == "train":
            by_class[item.label].append(index)

    return {
        label: sorted(indices, key=lambda index: _rank(seed, dataset.items[index].name))
        for label, indices in by_class.items()
    }


def _rank(seed: int, name: str) -> bytes:
    # Hashes of names instead of shuffled positions: a new image does not change the order of the others.
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
