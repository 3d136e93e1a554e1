"""Why the folders of DATA cannot be taken for classes, and what to type instead."""

from __future__ import annotations

import itertools
import re
import shlex
from typing import NoReturn

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.folder_names import CONTAINERS
from resnet_cli.data.sources.folders.layout import Layout, last, shown
from resnet_cli.data.sources.folders.misnamed import find_misnamed
from resnet_cli.data.sources.folders.name_classes import suggest_regex
from resnet_cli.data.sources.folders.packed import refuse_only_packed
from resnet_cli.data.sources.split_names import parse_split, words_of
from resnet_cli.errors import DataError
from resnet_cli.text import counted

_CLASS_FOLDERS = "DATA/cat/1.jpg, DATA/dog/2.jpg, or the same under DATA/train and DATA/val"
#: Names of images that an expression is tried on.
_MAX_NAMES = 2000
_COUNTED = frozenset({*CONTAINERS, "part", "parts"})


def refuse_no_classes(layout: Layout, root: str, options: DataConfig) -> None:
    """Refuses folders that say how images are stored, or which split they are in, and not what they show.

    Args:
        layout: The folders of DATA.
        root: The folder whose folders would be the classes.
        options: How DATA is read.

    Raises:
        DataError: There are images, and no folder is a class.
    """
    root = layout.unwrapped(root)
    inner = layout.folders(root)
    if not inner or {last(name) for name in inner}.issubset(options.classes or ()):
        return
    found = inner
    if _are_splits(inner):
        what = "folders that denote splits contain no class folders"
        found = [name for name in inner if parse_split(last(name))]
    elif _are_containers(inner):
        what = "folders of images contain no class folders"
    else:
        return
    raise DataError(
        f"{layout.survey.spec}: {what}: {shown(found, layout)}",
        hint=f"give the labels: {_other_labels(layout, root)}; if these folders are the classes: "
        f"--classes {shlex.quote(','.join(map(last, inner)))}",
    )


def _are_splits(names: list[str]) -> bool:
    """Whether folders are a train split and others; `test` and `val` alone could be classes, and so could `train`."""
    by_rest: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        if found := parse_split(last(name)):
            by_rest.setdefault(found.rest, set()).add(found.split)
    is_split = any("train" in splits and len(splits) > 1 for splits in by_rest.values())
    return is_split or (len(names) == 1 and "train" in by_rest.get((), ()))


def _are_containers(names: list[str]) -> bool:
    """Whether folders are called `images`, `imgs`, or `images part_1`, `images part_2`."""
    found = [words_of(last(name)) for name in names]
    if len(names) == 1:
        return set(found[0]) <= _COUNTED and bool(set(found[0]) & CONTAINERS)
    is_counted = len({re.sub(r"\d+", "#", last(name)) for name in names}) == 1
    return is_counted and bool(set(found[0]) & CONTAINERS)


def _other_labels(layout: Layout, root: str) -> str:
    """The flags that take labels from elsewhere; the expression fits the names of the images below a folder."""
    names = itertools.islice((image for folder in layout.below(root) for image in folder.images), _MAX_NAMES)
    tried = list(names)
    expression = suggest_regex(tried)
    table, flag = "a table with the columns image,label", f"--label-regex {shlex.quote(expression)}"
    if any(re.search(expression, name) for name in tried):
        return f"{flag}, or {table}"
    return f"{table}, or names that begin with the class, such as cat.1.jpg, and {flag}"


def explain_empty(layout: Layout, options: DataConfig) -> NoReturn:
    """Says why no image of DATA has a class.

    Raises:
        DataError: Always.
    """
    survey, tree = layout.survey, layout.survey.tree
    if tree.num_links and not tree.follow_links:
        raise DataError(
            f"{survey.spec}: contains only links ({tree.num_links}) that point outside",
            hint="to follow them, if you trust their targets: --follow-links",
        )
    if options.label_regex and (example := next(survey.images(), None)):
        raise DataError(
            f"--label-regex {options.label_regex}: matches no name of an image, such as {last(example)}",
            hint="write an expression whose first group matches the class: '^([a-z]+)' for cat.1234.jpg",
        )
    loose = len(layout.images(""))
    if loose:
        raise DataError(
            f"{survey.spec}: {counted(loose, 'image')} but no class folders",
            hint=f"sort them into one folder per class: {_CLASS_FOLDERS}; or take the classes from file names or a "
            f"table: {_other_labels(layout, '')}",
        )
    refuse_only_packed(layout)
    if misnamed := find_misnamed(survey.root):
        raise DataError(f"{survey.spec}: {misnamed.describe(survey.root)}", hint=misnamed.hint(survey.root))
    raise DataError(f"{survey.spec}: contains no images", hint=f"give a folder with {_CLASS_FOLDERS}")
