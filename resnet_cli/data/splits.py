"""Who trains, who chooses, who judges: split assignment that is stratified, seeded and repeatable."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from resnet_cli.data.dataset import SPLITS, Dataset, Split
from resnet_cli.errors import DataError

_COLUMNS = ["path", "label", "split"]


def complete_splits(
    dataset: Dataset, *, val_fraction: float, seed: int, together: Iterable[Sequence[int]] = ()
) -> Dataset:
    """Gives a data set the splits that training needs; the ones it has are kept as they are.

    A set without a validation split gives up ``val_fraction`` of each class of its train split. Where the
    source has no splits at all, as much again becomes the test split. Every class keeps at least one image
    to train on and one to validate with. Images of one group stay together.

    Args:
        dataset: Items whose split says what the source said; all ``train`` where it said nothing.
        val_fraction: Of each class, in (0, 0.5).
        seed: Changes which images are chosen.
        together: Positions of items that must not be torn apart either, such as copies of one image.

    Raises:
        DataError: One class only, a class without train images or too small to be split, a group that the
            source's own splits tear apart, or a class that is all one group.
    """
    found = {item.split for item in dataset.items}
    if len(dataset.classes) < 2:
        raise DataError(
            f"{dataset.name}: only one class, '{dataset.classes[0]}'",
            hint="it takes a folder for each of two or more",
        )
    for label, count in enumerate(dataset.counts()["train"]):
        if count < 2:
            raise DataError(
                f"{dataset.name}: the class '{dataset.classes[label]}' has {count or 'no'} image to train on; "
                "two are the least" + _perhaps_meant(dataset, label),
                hint=f"add images to it, or leave it out: --classes {_others(dataset, label)}",
            )
    _refuse_torn_groups(dataset)
    if "val" in found:
        return dataset
    holdout_test = found == {"train"}
    parts: list[Split] = ["val", "test"] if holdout_test else ["val"]
    chosen = _hold_out(dataset, _blocks(dataset, together, seed), parts, val_fraction)
    items = tuple(
        dataclasses.replace(item, split=chosen.get(index, item.split)) for index, item in enumerate(dataset.items)
    )
    share = f"{val_fraction:.0%} of each class"
    note = f"{share} to validate" + (f", {share} to test" if holdout_test else ", taken from train")
    grouped = ", groups kept whole" if any(item.group for item in items) else ""
    return dataclasses.replace(dataset, items=items, split_note=f"{note} (split seed {seed}{grouped})")


def _blocks(dataset: Dataset, together: Iterable[Sequence[int]], seed: int) -> list[list[int]]:
    """Positions of train items that must stay together, in an order that depends on seed and names alone.

    The name of a group stands for its images: one image more does not move it.
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
    """Position of each train item that is held out -> its new split."""
    items = dataset.items
    sizes = [Counter(items[index].label for index in block) for block in blocks]
    by_label: dict[int, list[int]] = defaultdict(list)
    for number, size in enumerate(sizes):
        for label in size:
            by_label[label].append(number)
    left = {"train": Counter(items[index].label for block in blocks for index in block)}
    left |= {part: Counter() for part in parts}
    place: dict[int, Split] = {}

    def move(number: int, part: Split) -> None:
        place[number] = part
        left["train"].subtract(sizes[number])
        left[part].update(sizes[number])

    def can_go(number: int) -> bool:
        # The last image of a class always trains.
        return number not in place and all(left["train"][label] > count for label, count in sizes[number].items())

    # All of one part first: what one class gives to the test split may be all that another has to validate with.
    for part in parts:
        for label, numbers in sorted(by_label.items()):
            num_left = left["train"][label] + left[part][label]
            wanted = max(1, round(val_fraction * (num_left if part == "val" else num_left / (1 - val_fraction))))
            for number in numbers:
                missing = wanted - left[part][label]
                # A block may overshoot only as far as leaving it out would fall short.
                if missing > 0 and sizes[number][label] <= 2 * missing and can_go(number):
                    move(number, part)
            if part == "val" and not left[part][label]:
                smallest = min(filter(can_go, numbers), key=lambda number: sizes[number][label], default=None)
                if smallest is None:
                    raise DataError(
                        f"{dataset.name}: the images of the class '{dataset.classes[label]}' are all of one group, "
                        "or copies of one image, or in groups with all of another class: none can validate",
                        hint="add images of another group, or give train/ and val/ folders",
                    )
                move(smallest, part)
    return {index: part for number, part in place.items() for index in blocks[number]}


def _refuse_torn_groups(dataset: Dataset) -> None:
    splits: dict[str, Split] = {}
    for item in dataset.items:
        if item.group and splits.setdefault(item.group, item.split) != item.split:
            raise DataError(
                f"{dataset.name}: the group '{item.group}' is in {splits[item.group]} and in {item.split}",
                hint="move its images into one split, or group by something else with --group-by",
            )


def _perhaps_meant(dataset: Dataset, label: int) -> str:
    """A class that differs only in case, blanks, dashes or underscores: most likely the same one, misspelt."""
    close = [name for name in dataset.classes if plain_name(name) == plain_name(dataset.classes[label])]
    others = [name for name in close if name != dataset.classes[label]]
    return f" (the same as '{others[0]}'?)" if others else ""


def plain_name(name: str) -> str:
    """A class name without what people type differently from one day to the next."""
    return "".join(char for char in name.casefold() if char.isalnum()) or name


def limit_train(dataset: Dataset, limit: int, *, seed: int) -> Dataset:
    """Keeps ``limit`` train images, spread over the classes in proportion; other splits stay whole.

    A smaller limit keeps a subset of what a larger one keeps.

    Raises:
        DataError: Fewer images than classes are asked for.
    """
    if limit < len(dataset.classes):
        raise DataError(f"--limit {limit}: fewer images than the {len(dataset.classes)} classes of {dataset.name}")
    ranked: list[tuple[float, int, int]] = []
    for label, indices in _train_indices_by_class(dataset, seed).items():
        # A class's i-th image of n stands at (i + 1/2) / n: cutting the merged order keeps proportions;
        # its first image stands before all, so that no class is left empty.
        ranked += [((i + 0.5) / len(indices) if i else 0.0, label, index) for i, index in enumerate(indices)]
    kept = {index for _, _, index in sorted(ranked)[:limit]}
    items = tuple(item for index, item in enumerate(dataset.items) if item.split != "train" or index in kept)
    return dataclasses.replace(dataset, items=items)


def split_csv(dataset: Dataset) -> str:
    """The split as CSV text: ``path,label,split``, labels by name."""
    text = io.StringIO()
    write_rows(text, [_COLUMNS, *([item.name, dataset.classes[item.label], item.split] for item in dataset.items)])
    return text.getvalue()


def write_rows(text: TextIO, rows: Iterable[Sequence[str]]) -> None:
    """Writes CSV that any name survives."""
    # A carriage return alone would be left unquoted, and ends a row all the same.
    plain, quoted = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in rows:
        (quoted if "\r" in "".join(row) else plain).writerow(row)


def apply_split_csv(dataset: Dataset, path: Path, *, judged: str | None = "all") -> Dataset:
    """Gives each item the split that a run wrote down; items the run never saw are left out.

    Args:
        dataset: As its source has it now.
        path: The run's ``split.csv``.
        judged: The split that must be whole, or ``all``; None: test, else val, else all.

    Raises:
        DataError: The file is damaged, or an image it names has another label, or one of ``judged`` is gone.
    """
    rows = _read_split_csv(path)
    written = {split for _, split in rows.values()}
    judged = judged or next((split for split in ("test", "val") if split in written), "all")
    items = []
    for item in dataset.items:
        if item.name not in rows:
            continue
        label, split = rows.pop(item.name)
        known = [name for name in SPLITS if name == split]
        if label != dataset.classes[item.label] or not known:
            raise DataError(f"{path}: '{item.name}' was {label} ({split}), now it is {dataset.classes[item.label]}")
        items.append(dataclasses.replace(item, split=known[0]))
    gone = [name for name, (_, split) in rows.items() if judged in {"all", split}]
    if gone:
        raise DataError(
            f"images of this run are gone from {dataset.spec}: {len(gone)}, such as {gone[0]}",
            hint="put them back, or name other data: resnet-cli eval MODEL DATA",
        )
    return dataclasses.replace(dataset, items=tuple(items), split_note=f"as written in {path}")


def read_split_names(path: Path, split: Split) -> set[str]:
    """The names of the images that a run put into a split.

    Raises:
        DataError: The file is damaged.
    """
    return {name for name, (_, written) in _read_split_csv(path).items() if written == split}


def _read_split_csv(path: Path) -> dict[str, tuple[str, str]]:
    """Name -> label and split."""
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
    """Class label -> positions of its train items, in an order that depends on seed and names alone."""
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(dataset.items):
        if item.split == "train":
            by_class[item.label].append(index)

    return {
        label: sorted(indices, key=lambda index: _rank(seed, dataset.items[index].name))
        for label, indices in by_class.items()
    }


def _rank(seed: int, name: str) -> bytes:
    # Hashing names, not shuffling positions: one new image does not reshuffle all the others.
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()


def _others(dataset: Dataset, label: int) -> str:
    return ",".join(name for index, name in enumerate(dataset.classes) if index != label) or "..."
