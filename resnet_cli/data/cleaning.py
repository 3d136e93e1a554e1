"""A cleaned table of a data set: the files stay as they are, the table leaves out what is wrong."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.duplicates import NearPair
from resnet_cli.data.inspection import Inspection, connected, inspect_pictures
from resnet_cli.errors import DataError

#: Which copy of a picture in several splits is worth most: what judges stays whole.
_WORTH = {"train": 0, "val": 1, "test": 2}


def clean_items(inspection: Inspection) -> tuple[list[Item], list[tuple[Item, str]]]:
    """What is left of a data set without what is wrong with it, and what was left out and why.

    Unreadable pictures go, and all copies of a picture with several labels (nobody knows the right one). Of other
    copies one stays: the one in the split that judges most strictly. Of a group in several splits, and of pictures
    that look the same, those in the strictest split stay. Pictures of one split that look the same get one group, so
    that no later split tears them apart.
    """
    dropped: list[tuple[Item, str]] = []
    while True:
        dataset, pictures = inspection.dataset, inspection.pictures
        why = _faults(inspection)
        dropped += [(dataset.items[position], reason) for position, reason in sorted(why.items())]
        groups = _groups(inspection, why)
        left = [position for position in range(len(pictures)) if position not in why]
        kept = [dataclasses.replace(dataset.items[at], group=groups.get(at, "")) for at in left]
        if all(leak.is_exact for leak in inspection.leaks):
            return kept, dropped
        # A picture with very many look-alikes was paired with the closest alone: the others show now.
        inspection = inspect_pictures(dataclasses.replace(dataset, items=tuple(kept)), [pictures[at] for at in left])


def _faults(inspection: Inspection) -> dict[int, str]:
    """Position of each picture that has to go -> the reason."""
    items = inspection.dataset.items
    why = {position: picture.error for position, picture in enumerate(inspection.pictures) if picture.error}
    for group in inspection.exact:
        if len({items[position].label for position in group}) > 1:
            why |= dict.fromkeys(group, "the same picture has several labels")
        else:
            kept = max(group, key=lambda position: (_WORTH[items[position].split], -position))
            why |= {other: f"a copy of {items[kept].name}" for other in group if other != kept}
    for members in _source_groups(inspection, why):
        strictest = max((items[at].split for at in members), key=lambda split: _WORTH[split])
        why |= {
            at: f"its group '{items[at].group}' is in {strictest} too" for at in members if items[at].split != strictest
        }
    for pair in inspection.near:
        if both := _standing(inspection, pair, why):
            worse, better = sorted(both, key=lambda position: _WORTH[items[position].split])
            if items[worse].split != items[better].split:
                why[worse] = f"looks the same as {items[better].name}"
    return why


def _groups(inspection: Inspection, why: Container[int]) -> dict[int, str]:
    """Position -> group; groups that share a look become one."""
    items = inspection.dataset.items
    alike = [both for pair in inspection.near if (both := _standing(inspection, pair, why))]
    names: dict[int, str] = {}
    for block in connected([*alike, *_source_groups(inspection, why)]):
        name = next((items[at].group for at in block if items[at].group), f"like {items[block[0]].name}")
        names |= dict.fromkeys(block, name)
    return names


def _source_groups(inspection: Inspection, why: Container[int]) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for position, item in enumerate(inspection.dataset.items):
        if item.group and position not in why:
            groups[item.group].append(position)
    return list(groups.values())


def _standing(inspection: Inspection, pair: NearPair, why: Container[int]) -> tuple[int, int] | None:
    """What is left of a pair: each picture, or else a copy of it; None if nothing is left of one of them."""
    copies = inspection.copies
    found = [
        next((position for position in copies.get(end, (end,)) if position not in why), None)
        for end in (pair.first, pair.second)
    ]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def refuse_unnamed(dataset: Dataset) -> None:
    """Refuses a data set of which no table can name the pictures.

    Raises:
        DataError: It lives in memory.
    """
    if not all(isinstance(item.source, Path) for item in dataset.items):
        raise DataError(
            f"{dataset.name} is no set of files, so no table can name its pictures",
            hint="finetune uses it as it is; --on-bad-image skip leaves unreadable pictures out",
        )


def clean_table(inspection: Inspection, path: Path) -> tuple[str, list[tuple[Item, str]]]:
    """The cleaned data set as CSV text (``image,label,split,group``), and what was left out and why.

    Args:
        inspection: Of a data set of files.
        path: Where the table will lie: pictures below its folder are named relative to it.

    Raises:
        DataError: The data set lives in memory, or nothing is left of it.
    """
    refuse_unnamed(inspection.dataset)
    kept, dropped = clean_items(inspection)
    if not kept:
        raise DataError(f"{inspection.dataset.name}: nothing would be left")
    has_splits = any(item.split != "train" for item in kept)
    folder = os.path.realpath(path.parent)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label", "split", "group"])
    for item in kept:
        assert isinstance(item.source, Path)
        file = os.path.realpath(item.source)
        shown = os.path.relpath(file, folder) if file.startswith(os.path.join(folder, "")) else file
        label = inspection.dataset.classes[item.label]
        writer.writerow([Path(shown).as_posix(), label, item.split if has_splits else "", item.group])
    return text.getvalue(), dropped
