"""Multi-label data sets of names only; there are no files, since splitting opens none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset, Item, Split


def labeled(
    *labels: str, unknown: Sequence[str] = (), splits: Sequence[Split] = (), groups: Sequence[str] = ()
) -> Dataset:
    """One image per word, whose letters are its labels: ``labeled("ab", "", "b")``.

    Args:
        *labels: Labels of each image; empty for none.
        unknown: Classes of each image that are unknown.
        splits: Split of each image.
        groups: Group of each image.
    """
    classes = tuple(sorted({*"".join(labels), *"".join(unknown)}))
    items = tuple(
        Item(
            f"{index}.jpg",
            Path("nowhere"),
            tuple(classes.index(name) for name in sorted(names)),
            splits[index] if splits else "train",
            groups[index] if groups else "",
            unknown=tuple(classes.index(name) for name in unknown[index]) if unknown else (),
        )
        for index, names in enumerate(labels)
    )
    return Dataset("photos", "photos", classes, items, "multi-label")


def from_targets(targets: NDArray[np.int8]) -> Dataset:
    """One image per row of 1 (yes), 0 (no) and -1 (unknown)."""
    labels, unknown = (
        ["".join(chr(ord("a") + label) for label in np.flatnonzero(row == value)) for row in targets]
        for value in (1, -1)
    )
    return labeled(*labels, unknown=unknown)
