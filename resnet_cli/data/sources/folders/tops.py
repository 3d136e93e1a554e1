"""Which folder of DATA contains the class folders or the splits: below wrappers, beside copies and other versions."""

from __future__ import annotations

import filecmp
import os
import shlex
from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import PurePosixPath

from resnet_cli.data.sources.folder_names import CONTAINERS
from resnet_cli.data.sources.folders.layout import Layout, images, is_unlabeled, last, shown, without_labels
from resnet_cli.data.sources.folders.splits import Splits, find_splits
from resnet_cli.data.sources.split_names import SPLIT_NAMES, words_of
from resnet_cli.data.sources.tree import MAX_WRAPPERS
from resnet_cli.errors import DataError

#: Folders beside each other that are compared; there are more classes than versions of a data set.
_MAX_COMPARED = 8
#: Images of two folders whose content is compared, besides all names.
_NUM_COMPARED = 20
#: Words of folders with the images as they were taken, and with what was made of them.
_ORIGINAL = frozenset("color colour rgb original originals".split())
#: Words of folders that contain a data set, and of folders with images about one.
_DATA = frozenset({*CONTAINERS, *"data dataset datasets raw".split()})
_BESIDE = frozenset(
    "asset assets demo doc docs example examples fig figs figure figures logo logos output outputs plot plots preview "
    "previews readme result results sample samples screenshot screenshots static thumbnail thumbnails".split()
)
_DERIVED = frozenset(
    "augmented bw cropped denoised edges enhanced gray grayscale grey greyscale masked normalized preprocessed "
    "processed resized segmented".split()
)


def find_top(layout: Layout, keep: Container[str]) -> tuple[str, list[str]]:
    """Descends to the folder that contains the class folders or the splits.

    Args:
        layout: The folders of DATA; copies are marked as passed over.
        keep: Names of class folders that the user asks for.

    Returns:
        Name of the folder, and notes about what was passed over.

    Raises:
        DataError: There are several versions of a data set.
    """
    notes: list[str] = []
    name = ""
    for _ in range(MAX_WRAPPERS):
        if any(last(child) in keep for child in layout.folders(name)):
            break
        _pass_over_copies(layout, name, notes)
        inner = layout.unwrapped(name)
        if inner == name:
            inner = _only_version(layout, name, notes)
        if inner == name:
            break
        notes += _unlabeled_notes(layout, name, inner)
        name = inner
    return name, notes


def _unlabeled_notes(layout: Layout, name: str, inner: str) -> list[str]:
    """Notes about unlabeled folders beside the folders that lead from one folder down to another."""
    notes = []
    while name != inner:
        rest = inner.removeprefix(f"{name}/" if name else "")
        child = layout.survey.folder(name).child(rest.partition("/")[0])
        for other in layout.folders(name):
            if other != child and is_unlabeled(other):
                notes.append(without_labels(layout.count(other), last(other)))
        name = child
    return notes


def _pass_over_copies(layout: Layout, name: str, notes: list[str]) -> None:
    """Passes over folders with the same images as the folders beside them: inside one of them, or beside them."""
    inner = [child for child in layout.folders(name) if not is_unlabeled(child)]
    for child in inner:
        others = [other for other in inner if other != child]
        deep = layout.unwrapped(child)
        below = {last(folder) for folder in layout.folders(deep)}
        if len(below) < 2 or below != {last(other) for other in others}:
            continue
        if _are_equal(layout, name, others, deep, layout.folders(deep)):
            _pass_over_copy(layout, child, "the folders beside it", notes)
            return
        if not find_splits(layout, name, by_name=False).roots:
            raise DataError(
                f"{layout.survey.spec}: the folder {child} contains folders with the same names as those "
                f"beside it ({', '.join(sorted(below)[:5])}), but with other images",
                hint=f"give it alone as DATA: {_path(layout, child)}; or move it elsewhere",
            )
    if len(inner) > _MAX_COMPARED or find_splits(layout, name, by_name=False).roots:
        return
    for same in _same_classes(layout, inner):
        first = layout.unwrapped(same[0])
        for other in same[1:]:
            deep = layout.unwrapped(other)
            if _are_equal(layout, first, layout.folders(first), deep, layout.folders(deep)):
                _pass_over_copy(layout, other, last(same[0]), notes)


def _pass_over_copy(layout: Layout, name: str, of: str, notes: list[str]) -> None:
    notes.append(f"{name} is a copy of {of} and was not used ({images(layout.count(name))})")
    layout.leave_out([name])


def _are_equal(layout: Layout, first: str, inner: Sequence[str], second: str, others: Sequence[str]) -> bool:
    """Whether two folders have the same images, by all names and the content of some, in some of their folders."""
    names = [_names_below(layout, top, folders) for top, folders in ((first, inner), (second, others))]
    if names[0] != names[1]:
        return False
    common = sorted(names[0])
    path = layout.survey.path
    try:
        return all(
            filecmp.cmp(path(os.path.join(first, name)), path(os.path.join(second, name)), shallow=False)
            for name in common[:: max(1, len(common) // _NUM_COMPARED)]
        )
    except OSError:
        return False


def _names_below(layout: Layout, top: str, folders: Sequence[str]) -> set[str]:
    start = len(top) + 1 if top else 0
    return {
        folder.child(image)[start:]
        for name in folders
        for folder in layout.below(name)
        for image in layout.images(folder.name)
    }


def _splits_in(layout: Layout, name: str) -> Splits:
    try:
        return find_splits(layout, layout.unwrapped(name), by_name=False)
    except DataError:
        return Splits()


def _classes_in(layout: Layout, name: str) -> frozenset[str]:
    """Names of the class folders in a folder, or in its splits."""
    roots = [root for _, root in _splits_in(layout, name).roots] or [name]
    return frozenset(last(child) for root in roots for child in layout.class_folders(root))


def _same_classes(layout: Layout, names: Sequence[str]) -> list[list[str]]:
    """The folders that contain the same two or more class folders, in groups of at least two."""
    by_classes: dict[frozenset[str], list[str]] = defaultdict(list)
    for name in names:
        if not layout.images(name):
            by_classes[_classes_in(layout, name)].append(name)
    return [group for classes, group in by_classes.items() if len(classes) > 1 and len(group) > 1]


def _only_version(layout: Layout, name: str, notes: list[str]) -> str:
    """The folder to read among several that are not classes; the given one if they may be classes.

    Raises:
        DataError: Several of them are versions of the same data set.
    """
    inner = [child for child in layout.folders(name) if not is_unlabeled(child)]
    if (single := _only_data_set(layout, name, inner, notes)) or len(inner) < 2:
        return single or name
    if len(inner) > _MAX_COMPARED or layout.images(name) or find_splits(layout, name, by_name=False).roots:
        return name
    with_splits = [child for child in inner if len(_splits_in(layout, child).roots) > 1]
    groups = _same_classes(layout, inner)
    chosen = with_splits
    if not with_splits and groups and len(groups[0]) == len(inner):
        kinds = [set(words_of(last(child))) for child in inner]
        if all(words & (_ORIGINAL | _DERIVED) for words in kinds):
            chosen = [child for child, words in zip(inner, kinds, strict=True) if words & _ORIGINAL]
        elif not _share_names(layout, inner):
            return name
    elif not with_splits:
        return name
    others = [child for child in inner if child not in chosen]
    if len(chosen) == 1 and all(_says_nothing_new(layout, other, chosen[0]) for other in others):
        why = "it has splits" if with_splits else "the others were made from it"
        notes.append(f"{last(chosen[0])} was read, since {why}; not used: {shown(others, layout)}")
        return chosen[0]
    if with_splits and len(with_splits) < len(inner):
        return name
    paths = " or ".join(_path(layout, child) for child in inner[:3])
    classes = shlex.quote(",".join(map(last, inner)))
    raise DataError(
        f"{layout.survey.spec}: the folders contain the same classes: {shown(inner, layout)}",
        hint=f"give one of them as DATA: {paths}; if they are the classes: --classes {classes}",
    )


def _only_data_set(layout: Layout, name: str, inner: Sequence[str], notes: list[str]) -> str:
    """The folder with class folders beside images that illustrate something; empty if there is no such folder."""
    with_classes = [child for child in inner if not layout.images(child) and len(layout.class_folders(child)) > 1]
    beside = [child for child in inner if child not in with_classes]
    if len(with_classes) != 1 or any(map(layout.folders, beside)) or not (beside or layout.images(name)):
        return ""
    (chosen,) = with_classes
    is_named = _DATA.issuperset(words_of(last(chosen))) and not SPLIT_NAMES.get(last(chosen).lower())
    if beside and not (is_named or all(_BESIDE.issuperset(words_of(last(child)) or ["?"]) for child in beside)):
        return ""
    if beside:
        notes.append(f"folders beside {last(chosen)} were ignored: {shown(beside, layout)}")
    return chosen


def _says_nothing_new(layout: Layout, other: str, chosen: str) -> bool:
    """Whether a folder beside a data set has no classes, or only classes that the data set has too."""
    return _classes_in(layout, other) <= _classes_in(layout, chosen)


def _share_names(layout: Layout, names: Sequence[str]) -> bool:
    """Whether the images of folders have the same names, which are more than counted."""
    found = []
    for name in names:
        deep = layout.unwrapped(name)
        below = _names_below(layout, deep, layout.folders(deep))
        stems = (PurePosixPath(image).stem for image in below)
        found.append({stem for stem in stems if len(words_of(stem)) > 1 and len(stem) > 7})
    return bool(found[0]) and all(2 * len(found[0] & other) > len(found[0]) for other in found[1:])


def _path(layout: Layout, name: str) -> str:
    return shlex.quote(str(layout.survey.path(name)))
