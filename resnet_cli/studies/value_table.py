"""The table of a multi-label audit: a data set that ``finetune`` reads, with suggestions beside the labels."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnet_cli.data.dataset import Item
from resnet_cli.data.split_files import write_rows
from resnet_cli.errors import DataError
from resnet_cli.studies.label_audit import shown_path
from resnet_cli.studies.value_audit import Suspect, ValueAudit
from resnet_cli.task import UNKNOWN, YES
from resnet_cli.text import join_labels

#: Columns beside those that ``finetune`` reads.
_SUGGESTIONS = ("suggested", "missing", "wrong", "least_prob", "rank")
#: The only such column where classes are columns: numbers, or names of classes, could be taken for one more class.
_IN_WORDS = ("suggestions",)


def value_table(audit: ValueAudit, items: Sequence[Item], others: Sequence[Item], path: Path) -> str:
    """A CSV table of all images for ``finetune``, those with the most doubtful value first.

    Columns: ``image,labels,split,group``, which finetune reads, then ``suggested`` (all labels after the suggestions),
    ``missing`` and ``wrong`` (the labels that they add and remove), ``least_prob`` (the lowest probability of a given
    value) and ``rank`` (1 is the worst; only images with suggestions have a rank). If values are unknown, ``labels`` is
    replaced by one column per class, with 1, 0, or nothing for an unknown value, and the suggestions are words in a
    list; ``finetune`` then needs ``--multi-label``.

    Args:
        audit: Result for the items.
        items: The images, [n].
        others: Images of the data set that were not checked; they come last.
        path: Path of the table; images below its folder get relative paths.

    Raises:
        DataError: A class that needs a column has the name of another column.
    """
    folder = os.path.realpath(path.parent)
    every = (*items, *others)
    has_splits = any(item.split != "train" for item in every)
    has_unknown = any(item.unknown for item in every)
    labels, added = (audit.classes, _IN_WORDS) if has_unknown else (("labels",), _SUGGESTIONS)
    head = ["image", *labels, "split", "group", *added]
    taken = sorted({name for name in head if head.count(name) > 1})
    if taken:
        raise DataError(
            f"a class is named '{taken[0]}', like another column of the table of labels",
            hint="rename the class; since some values are unknown, each class needs a column",
        )

    def known(item: Item) -> list[str]:
        cells = _values(item, audit.classes) if has_unknown else [join_labels(_names(item, audit.classes))]
        return [shown_path(item, folder), *cells, item.split if has_splits else "", item.group]

    suspects: dict[int, list[Suspect]] = {}
    for one in (*audit.suspects, *audit.unknown):
        suspects.setdefault(one.image, []).append(one)
    given = np.where(audit.targets == YES, audit.probs, 1 - audit.probs)
    least = np.where(audit.is_checked, given, np.inf).min(axis=1, initial=np.inf)
    rows, rank = [head], 0
    for at in audit.image_order:
        found = suspects.get(at, [])
        rank += bool(found)
        prob = f"{least[at]:.4f}" if np.isfinite(least[at]) else ""
        cells = [_in_words(audit, found)] if has_unknown else [*_suggestions(audit, at, found), prob, str(rank or "")]
        rows.append([*known(items[at]), *(cells if found else [""] * len(added))])
    rows += [[*known(item), *[""] * len(added)] for item in others]
    text = io.StringIO()
    write_rows(text, rows)
    return text.getvalue()


def _suggestions(audit: ValueAudit, image: int, suspects: Sequence[Suspect]) -> list[str]:
    added = [audit.classes[one.label] for one in suspects if one.suggested == YES]
    removed = [audit.classes[one.label] for one in suspects if one.suggested != YES]
    return [join_labels(names) for names in (audit.suggested_labels(image, suspects), added, removed)]


def _in_words(audit: ValueAudit, suspects: Sequence[Suspect]) -> str:
    known = [
        f"{'add' if one.suggested else 'remove'} {audit.classes[one.label]}" for one in suspects if one.given != UNKNOWN
    ]
    answers = [
        f"{audit.classes[one.label]} is probably {'true' if one.suggested else 'false'}"
        for one in suspects
        if one.given == UNKNOWN
    ]
    # As a list, which is never taken for a column of labels beside those of the classes.
    return json.dumps([*known, *answers], ensure_ascii=False)


def _names(item: Item, classes: Sequence[str]) -> list[str]:
    return [classes[label] for label in item.labels]


def _values(item: Item, classes: Sequence[str]) -> list[str]:
    """One cell per class: 1, 0, or empty for an unknown value."""
    unknown, labels = set(item.unknown), set(item.labels)
    return ["" if at in unknown else str(int(at in labels)) for at in range(len(classes))]
