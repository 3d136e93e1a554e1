"""A cleaned table of a data set: files are not changed, and the table omits what is wrong."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset, Item, Items
from resnet_cli.data.inspection.compact import Made
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.label_sets import contradict
from resnet_cli.data.sources.own_tables import CLEANED_COLUMN, CLEANED_SETS
from resnet_cli.data.split_files import write_rows
from resnet_cli.data.splits import connected
from resnet_cli.errors import DataError
from resnet_cli.system.paths import atomic_path
from resnet_cli.task import TaskName
from resnet_cli.text import join_labels

#: Priority of the splits: of copies in several splits, the one in test is kept, else the one in val.
_WORTH = {"train": 0, "val": 1, "test": 2}
#: Columns of the labels, and of those that are not known.
_LABEL_COLUMNS: dict[TaskName, tuple[str, ...]] = {"single-label": ("label",), "multi-label": CLEANED_SETS}
#: Number of searches for images that still look the same in two splits; after these, connected images are treated as
#: one, such as a film of thousands of frames.
MAX_ROUNDS = 4


class _Faults:
    """Why images are omitted.

    Args:
        num: Number of images.

    Attributes:
        is_omitted: Whether each image is, bool [n].
    """

    def __init__(self, num: int) -> None:
        self._reasons = [""]
        self._reason_of = np.zeros(num, np.int32)

    def omit(self, positions: Sequence[int], reason: str) -> None:
        """Omits images, for the last reason that is given."""
        self._reason_of[list(positions)] = len(self._reasons)
        self._reasons.append(reason)

    def __contains__(self, position: int) -> bool:
        return bool(self._reason_of[position])

    def __getitem__(self, position: int) -> str:
        return self._reasons[int(self._reason_of[position])]

    @property
    def is_omitted(self) -> NDArray[np.bool_]:
        return self._reason_of > 0


def clean_items(inspection: Inspection) -> tuple[Items, Sequence[tuple[Item, str]]]:
    """The items to keep, and the items to omit with the reasons.

    Unreadable images are omitted, and all copies of an image with different labels, since the right ones are not known.
    Of other copies one is kept, the one in the split with the highest priority (test, val, train), and of those the one
    with the most known labels. The same holds for groups in several splits and for images that look the same. Images of
    one split that look the same get one group, so that they stay together in later splits.
    """
    rounds: list[Sequence[tuple[Item, str]]] = []
    for round_number in itertools.count(1):
        dataset, images = inspection.dataset, inspection.images
        why = _faults(inspection, transitive=round_number > MAX_ROUNDS)
        rounds.append(_omitted(dataset.packed, why))
        groups = _groups(inspection, why)
        left = np.flatnonzero(~why.is_omitted)
        kept = dataset.packed.take(left).with_groups(groups.get(at, "") for at in left.tolist())
        if all(leak.is_exact for leak in inspection.leaks):
            break
        # An image with very many near duplicates was paired with the closest only: now the others are found.
        inspection = inspect_images(dataclasses.replace(dataset, items=kept), images.take(left))
    return kept, rounds[0] if len(rounds) == 1 else [pair for omitted in rounds for pair in omitted]


def _omitted(items: Items, why: _Faults) -> Sequence[tuple[Item, str]]:
    positions = np.flatnonzero(why.is_omitted)

    def pair(index: int) -> tuple[Item, str]:
        position = int(positions[index])
        return items[position], why[position]

    return Made(len(positions), pair)


def _faults(inspection: Inspection, *, transitive: bool) -> _Faults:
    """The images to omit, and the reasons.

    Args:
        inspection: The inspection of the data set.
        transitive: Whether images that are connected through others count as looking the same too.
    """
    items, kinds = inspection.dataset.items, inspection.kinds
    why = _Faults(len(items))
    for position, error in inspection.images.errors():
        why.omit([position], error)
    contradictory = set(kinds.groups_apart(inspection.exact, contradict))
    worth = [(_WORTH[one.split], -len(one.unknown)) for one in kinds.examples]
    for index, group in enumerate(inspection.exact):
        if index in contradictory:
            why.omit(group, "the same image has different labels")
        else:
            of_group = kinds.of_image[list(group)].tolist()
            # Of equal ones, the first.
            _, place = max((worth[kind], -place) for place, kind in enumerate(of_group))
            kept = group[-place]
            why.omit([other for other in group if other != kept], f"a copy of {items[kept].name}")

    def keep_strictest(block: Sequence[int], reason: Callable[[Item], str]) -> None:
        best = max(block, key=lambda at: _WORTH[items[at].split])
        why.omit([at for at in block if items[at].split != items[best].split], reason(items[best]))

    for members in _source_groups(inspection, why):
        keep_strictest(members, lambda best: f"its group '{best.group}' is in {best.split} too")
    pairs: Iterable[Sequence[int]] = (pair[:2] for pair in inspection.near)
    for pair in connected(pairs) if transitive else pairs:
        if both := _kept(inspection, pair, why):
            keep_strictest(both, lambda best: f"looks the same as {best.name}")
    return why


def _groups(inspection: Inspection, why: _Faults) -> dict[int, str]:
    """Position -> group; groups with images that look the same become one.

    Frames of a film get no group, since some of them are needed for validation.
    """
    items, films = inspection.dataset.items, inspection.films
    near = [pair[:2] for pair in inspection.near if films.isdisjoint(_labels(items, pair[:2]))]
    alike = [_kept(inspection, pair, why) for pair in near]
    together = [*(both for both in alike if len(both) > 1), *_source_groups(inspection, why)]
    names: dict[int, str] = {}
    for block in connected(together):
        name = next((items[at].group for at in block if items[at].group), f"like {items[block[0]].name}")
        names |= dict.fromkeys(block, name)
    return names


def _labels(items: Sequence[Item], positions: Sequence[int]) -> set[int]:
    return {label for at in positions for label in items[at].labels}


def _source_groups(inspection: Inspection, why: _Faults) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for position in np.flatnonzero(inspection.kinds.is_grouped & ~why.is_omitted).tolist():
        groups[inspection.dataset.items[position].group].append(position)
    return list(groups.values())


def _kept(inspection: Inspection, positions: Sequence[int], why: _Faults) -> list[int]:
    """The images that are kept: each itself, or else one of its copies."""
    copies = map(inspection.copies, positions)
    return [left[0] for group in copies if (left := [at for at in group if at not in why])]


def _label_cells(item: Item, dataset: Dataset) -> tuple[str, str]:
    """The cells of the columns of labels: the only label as it is, or several with a separator."""
    labels, unknown = ([dataset.classes[label] for label in of_item] for of_item in (item.labels, item.unknown))
    cell = labels[0] if dataset.task == "single-label" else join_labels(labels)
    return cell, join_labels(unknown)


def refuse_unnamed(dataset: Dataset) -> None:
    """Rejects a data set whose images no table can list.

    Raises:
        DataError: Its images are in memory, not in files.
    """
    if not all(isinstance(item.source, Path) for item in dataset.items):
        raise DataError(
            f"{dataset.name} does not consist of files, so no table can list its images",
            hint="finetune can use it as it is; --on-bad-image skip omits unreadable images",
        )


def clean_table(inspection: Inspection, path: Path) -> Sequence[tuple[Item, str]]:
    """Writes the cleaned data set as CSV, and returns the omitted items with the reasons.

    Its columns are ``image,label,split,group,cleaned_by``; the last one marks it as a table of this tool. In
    multi-label data, the second one is ``labels``, with several of them in a cell, and ``unknown`` follows if some are
    not known.

    Args:
        inspection: Inspection of a data set of files.
        path: Path of the table; images below its folder are listed relative to it.

    Raises:
        DataError: The data set is in memory, or nothing is left of it.
        DiskError: The table cannot be written.
    """
    refuse_unnamed(inspection.dataset)
    kept, dropped = clean_items(inspection)
    if not kept:
        raise DataError(f"{inspection.dataset.name}: nothing would be left")
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        write_rows(file, _table_rows(inspection.dataset, kept, path))
    return dropped


def _table_rows(dataset: Dataset, kept: Items, path: Path) -> Iterator[list[str]]:
    has_splits = not kept.in_split("train").all()
    folder = os.path.realpath(path.parent)
    has_unknown = any(kind.unknown for kind, _ in kept.kind_counts())
    label_columns = _LABEL_COLUMNS[dataset.task][: 2 if has_unknown else 1]
    yield ["image", *label_columns, "split", "group", CLEANED_COLUMN]
    for item in kept:
        assert isinstance(item.source, Path)
        file = os.path.realpath(item.source)
        listed = os.path.relpath(file, folder) if file.startswith(os.path.join(folder, "")) else file
        cells = _label_cells(item, dataset)[: len(label_columns)]
        yield [Path(listed).as_posix(), *cells, item.split if has_splits else "", item.group, "resnet-cli"]
