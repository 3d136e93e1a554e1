"""Flat folders whose images are named after their classes: ``cat.0.jpg``, ``american_bulldog_100.jpg``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resnet_cli.data.dataset import Split
from resnet_cli.data.sources.folders.layout import Layout, last, without_labels
from resnet_cli.data.sources.split_names import parse_split, words_of

#: The class, a separator, a number, the extension.
NUMBERED = r"^(.+?)[ ._-]+\(?[0-9]+\)?\.[^.]+$"
#: Where else names have classes: before a number, before or after the last separator.
_EXPRESSIONS = (NUMBERED, "^([A-Za-z]+)", r"[ ._-]([A-Za-z]+)\.[^.]+$")
#: Images of a class; fewer may be names that only happen to end in numbers.
_MIN_PER_CLASS = 2
_MIN_MEAN = 3
_MAX_CLASSES = 2000
#: First words of names that cameras, phones, exports and people give to images of anything.
_NOT_CLASSES = frozenset(
    "after aug back before bottom burst camera capture cimg copy crop dji download dsc dscf dscn file frame front gopr "
    "ilsvrc image imagenet images img imgp input item kimg left mask mvimg original output page pano photo photos pic "
    "picture pxl right sam sample scan screen screenshot snap snapshot target test tile top train untitled unnamed val "
    "valid vid video whatsapp".split()
)


@dataclass(frozen=True)
class NamedClasses:
    """Images whose names say their classes.

    Attributes:
        roots: Split and folder of each part.
        notes: What was taken, and what was passed over.
    """

    roots: tuple[tuple[Split, str], ...]
    notes: tuple[str, ...]


def flat_roots(layout: Layout, top: str) -> list[tuple[Split, str]]:
    """The folders without class folders that contain all images of ``top``, by their splits; empty if there are others.

    Args:
        layout: The folders of DATA.
        top: The folder that contains them.
    """
    inner = layout.folders(top)
    if not inner:
        return [("train", top)]
    if layout.images(top) or any(layout.class_folders(name) for name in inner):
        return []
    if len(inner) == 1 and not layout.class_folders(top):
        return [("train", _flat(layout, inner[0]))]
    found = {name: split.split for name in inner if (split := parse_split(last(name)))}
    return [(split, _flat(layout, name)) for name, split in found.items()] if len(found) == len(inner) else []


def _flat(layout: Layout, name: str) -> str:
    inner = layout.folders(layout.unwrapped(name))
    return inner[0] if inner and not layout.images(name) else name


def find_named_classes(layout: Layout, top: str) -> NamedClasses | None:
    """Reads the classes from the names of images, if all names of the train split leave no doubt.

    Args:
        layout: The folders of DATA.
        top: The folder that contains the images, or a flat folder for each split.
    """
    roots = flat_roots(layout, top)
    names = [image for split, root in roots if split == "train" for image in layout.images(root)]
    counted = count_classes(names)
    if counted is None or not _are_sure(counted):
        return None
    kept, notes = [], []
    for split, root in roots:
        found = count_classes(layout.images(root))
        if found is not None and set(found) <= set(counted):
            kept.append((split, root))
        else:
            notes.append(without_labels(len(layout.images(root)), last(root)))
    shown = ", ".join(f"{name} ({count})" for name, count in sorted(counted.items())[:5]) + ", ..." * (len(counted) > 5)
    notes.insert(0, f"the classes are in the file names: {shown}; the same as --label-regex '{NUMBERED}'")
    return NamedClasses(tuple(kept), tuple(notes))


def count_classes(names: Iterable[str]) -> Counter[str] | None:
    """Number of images per class, for names that all consist of a class and a number; None for any other name."""
    counted: Counter[str] = Counter()
    pattern = re.compile(NUMBERED)
    for name in names:
        match = pattern.match(name)
        if match is None:
            return None
        counted[match[1]] += 1
    return counted or None


def _are_sure(counted: Counter[str]) -> bool:
    if not 2 <= len(counted) <= _MAX_CLASSES or min(counted.values()) < _MIN_PER_CLASS:
        return False
    if counted.total() < _MIN_MEAN * len(counted):
        return False
    words = [words_of(name) for name in counted]
    return all(
        len(said) > 0 and len("".join(said)) > 1 and said[0] not in _NOT_CLASSES and not re.search("[0-9]", name)
        for said, name in zip(words, counted, strict=True)
    )


def suggest_regex(names: Sequence[str]) -> str:
    """An expression for ``--label-regex`` that finds two or more classes of several images in these names.

    Without such an expression, it is an example.
    """
    for expression in _EXPRESSIONS:
        pattern = re.compile(expression)
        counted = Counter(match[1] for name in names if (match := pattern.search(name)))
        if counted.total() == len(names) and len(counted) > 1 and min(counted.values()) >= _MIN_PER_CLASS:
            return expression
    return "^([a-z]+)"
