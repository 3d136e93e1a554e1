"""Multi-label data sets: of names only, since splitting opens no file, and a small one of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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


def write_label_table(root: Path, *, per_split: int = 12) -> Path:
    """Images with any of red, green and blue in a table with splits; some are hard, and one value of test is unknown.

    Returns:
        The table, with a column for each class: 1 yes, 0 no, empty for unknown.
    """
    rng = np.random.default_rng(0)
    rows = []
    for split in ("train", "val", "test"):
        for index in range(per_split):
            has = rng.random(3) < (0.5, 0.4, 0.4)
            pixels = np.clip(60 + 130 * has + rng.normal(0, 50, 3) + rng.normal(0, 25, (24, 20, 3)), 0, 255).astype(
                np.uint8
            )
            name = f"{split}/{index}.png"
            (root / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name)
            cells = [
                "" if (split, index, label) == ("test", 0, 2) else str(int(value)) for label, value in enumerate(has)
            ]
            rows.append(",".join([name, split, *cells]))
    table = root / "labels.csv"
    table.write_text("\n".join(["image,split,red,green,blue", *rows]) + "\n", encoding="utf-8")
    return table


def from_targets(targets: NDArray[np.int8]) -> Dataset:
    """One image per row of 1 (yes), 0 (no) and -1 (unknown)."""
    labels, unknown = (
        ["".join(chr(ord("a") + label) for label in np.flatnonzero(row == value)) for row in targets]
        for value in (1, -1)
    )
    return labeled(*labels, unknown=unknown)
