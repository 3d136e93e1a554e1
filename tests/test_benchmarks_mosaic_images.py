"""The mosaics of the benchmark of multi-label training: what they show is what their labels say."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.mosaic_images import write_mosaics

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128), "black": (0, 0, 0)}


def pool(count: int) -> dict[str, list[bytes]]:
    """Images of one colour each; the number in the corner makes every one different."""
    images: dict[str, list[bytes]] = {}
    for name, colour in COLOURS.items():
        for number in range(count):
            pixels = np.full((4, 4, 3), colour, dtype=np.uint8)
            pixels[0, 0] = (number, number, 7)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            images.setdefault(name, []).append(file.getvalue())
    return images


def test_labels_are_the_classes_of_the_four_images_and_no_image_is_used_twice(tmp_path: Path) -> None:
    sizes = {"train": 12, "val": 6, "test": 12}
    table = write_mosaics({"train": pool(40), "test": pool(40)}, tmp_path / "data", sizes)
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["split"] for row in rows] == [split for split, count in sizes.items() for _ in range(count)]
    used: dict[str, set[tuple[int, ...]]] = {"train": set(), "val": set(), "test": set()}
    for row in rows:
        pixels = np.asarray(Image.open(table.parent / row["path"]))
        parts = [pixels[y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        shown = {name for part in parts for name, colour in COLOURS.items() if tuple(part[3, 3]) == colour}
        assert row["labels"].split(";") == sorted(shown)
        used[row["split"]] |= {(*part[3, 3].tolist(), int(part[0, 0, 0])) for part in parts}
    assert [len(images) for images in used.values()] == [48, 24, 48] and not used["train"] & used["val"]
    assert {len(row["labels"].split(";")) for row in rows} == {1, 2, 3, 4}
    with pytest.raises(StopIteration):
        write_mosaics({"train": pool(3)}, tmp_path / "few", {"train": 10})
