"""Which folders of DATA denote its splits."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_cli.data.dataset import SPLITS, Split
from resnet_cli.data.sources.folders.layout import Layout, is_unlabeled, last, shown, without_labels
from resnet_cli.data.sources.split_names import SPLIT_NAMES, parse_split
from resnet_cli.errors import DataError


@dataclass(frozen=True)
class Splits:
    """The folders that denote the splits.

    Attributes:
        roots: Split and folder, in the order of their names; empty if the class folders are directly in DATA.
        note: Where the splits come from.
        notes: What was passed over.
    """

    roots: tuple[tuple[Split, str], ...] = ()
    note: str = ""
    notes: tuple[str, ...] = ()


def find_splits(layout: Layout, top: str, *, by_name: bool) -> Splits:
    """Finds the folders in ``top`` that denote splits.

    A folder with exactly the name of a split, such as ``train``, denotes one if it contains class folders. Longer
    names, such as ``seg_train``, do only beside another split, if their other words are the same and they contain the
    same classes: a class may be called ``train_station``.

    Args:
        layout: The folders of DATA.
        top: Folder in which splits are looked for.
        by_name: Whether file names give the classes, so that splits need no class folders.

    Raises:
        DataError: Two folders denote the same split.
    """
    inner = layout.folders(top)
    exact = [name for name in inner if last(name).lower() in SPLIT_NAMES]
    usable = {name for name in inner if by_name or layout.class_folders(name)}
    chosen = {name: SPLIT_NAMES[last(name).lower()] for name in exact if name in usable}
    _refuse_twice(layout, chosen, exact=True)
    longer = _longer_names(layout, inner, exact, usable, by_name=by_name)
    chosen |= {name: split for name, split in longer.items() if split not in set(chosen.values())}
    _refuse_twice(layout, chosen, exact=False)
    if not chosen:
        return Splits(notes=_flat_notes(layout, exact, by_name=by_name))
    roots = sorted((name, split) for name, split in chosen.items())
    fuzzy = [name for name in chosen if name not in exact]
    note = "from the folders"
    if fuzzy:
        note += " " + " and ".join(f"{last(name)} ({split})" for name, split in roots)
    notes = _beside(layout, [name for name in inner if name not in chosen], roots[0][0])
    return Splits(tuple((split, name) for name, split in roots), note, notes)


def _longer_names(
    layout: Layout, inner: Sequence[str], exact: Sequence[str], usable: set[str], *, by_name: bool
) -> dict[str, Split]:
    """The folders whose longer names denote splits, beside others that do."""
    parsed = {name: found for name in inner if name not in exact if (found := parse_split(last(name)))}
    by_rest: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, found in parsed.items():
        by_rest[found.rest].append(name)
    # Names without further words match the exact ones.
    by_rest[()] += exact
    longer: dict[str, Split] = {}
    for names in by_rest.values():
        splits = {name: parsed[name].split if name in parsed else SPLIT_NAMES[last(name).lower()] for name in names}
        if len(set(splits.values())) < 2:
            continue
        with_classes = [name for name in names if name in usable]
        for name in with_classes:
            others = [other for other in with_classes if splits[other] != splits[name]]
            if name in parsed and (by_name or not others or any(_share_classes(layout, name, o) for o in others)):
                longer[name] = splits[name]
    return longer


def _share_classes(layout: Layout, first: str, second: str) -> bool:
    found = [{last(child) for child in layout.class_folders(name)} for name in (first, second)]
    return not found[0].isdisjoint(found[1])


def _refuse_twice(layout: Layout, chosen: dict[str, Split], *, exact: bool) -> None:
    for split in SPLITS:
        names = sorted(name for name in chosen if chosen[name] == split)
        if len(names) > 1:
            spec = layout.survey.spec
            hint = "rename or remove one of them"
            if not exact:
                hint += f", or give one as DATA: {shlex.quote(str(layout.survey.path(names[0])))}"
            raise DataError(f"{spec}: {', '.join(map(last, names))} both denote the {split} split", hint=hint)


def _flat_notes(layout: Layout, exact: list[str], *, by_name: bool) -> tuple[str, ...]:
    """Says that folders with the names of splits were taken for classes, where there are several of them."""
    if by_name or len(exact) < 2:
        return ()
    return (f"{shown(exact, layout)} were taken for classes, since they contain no class folders",)


def _beside(layout: Layout, names: list[str], first: str) -> tuple[str, ...]:
    """Notes about folders with images beside the splits."""
    notes = []
    unlabeled = [
        name for name in names if (parse_split(last(name)) or is_unlabeled(name)) and not layout.class_folders(name)
    ]
    for name in unlabeled:
        notes.append(without_labels(layout.count(name), last(name)))
    others = [name for name in names if name not in unlabeled]
    if others:
        notes.append(f"folders beside {last(first)} were ignored: {shown(others, layout)}")
    return tuple(notes)
