"""Measures the search for near duplicates: copies found by kind of change, pairs that are no copies, and time.

    RESNET_CLI_ASSETS=... python -m tests.benchmarks.duplicates [--sheet FOLDER]

Copies are planted among CIFAR-10 pictures and among photos. A pair of two different originals is counted apart:
CIFAR-10 has doubles of its own, so such pairs are to be judged by eye, on the contact sheets that ``--sheet`` writes.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import time
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from resnet_cli.data.duplicates import SIGNATURE_BYTES, NearPair, find_near, signature
from resnet_cli.images import decode

Change: TypeAlias = Callable[[Image.Image, np.random.Generator], Image.Image]
FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
THUMB_PX = 64


def saved(image: Image.Image, quality: int) -> Image.Image:
    """The picture as it comes back from a JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return decode(file.getvalue(), "copy.jpg")


def resized(image: Image.Image, longer: int, rng: np.random.Generator) -> Image.Image:
    """The picture with a longer side of so many pixels, by any filter."""
    factor = longer / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, FILTERS[rng.integers(len(FILTERS))])


def cropped(image: Image.Image, most: float, rng: np.random.Generator) -> Image.Image:
    """Up to ``most`` of the width and height cut from each side, at least a pixel from one."""
    sides = np.array([image.width, image.height] * 2)
    cut = np.zeros(4, int)
    while not cut.any():
        cut = (rng.uniform(0, most, 4) * sides * (rng.random(4) < 0.75)).round().astype(int)
    left, top, right, bottom = cut.tolist()
    return image.crop((left, top, image.width - right, image.height - bottom))


def brightened(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Up to 15 % lighter or darker."""
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))


def marked(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """With a line of white text."""
    image = image.copy()
    place = image.width * rng.uniform(0.05, 0.5), image.height * rng.uniform(0.1, 0.9)
    ImageDraw.Draw(image).text(place, "(c) example photo", fill="white", font_size=max(8, image.width // 16))
    return image


def all_at_once(image: Image.Image, longer: int, rng: np.random.Generator) -> Image.Image:
    """Cropped, resized, brightened and saved at quality 50 to 95."""
    return saved(brightened(resized(cropped(image, 0.06, rng), longer, rng), rng), int(rng.integers(50, 96)))


SMALL: dict[str, Change] = {
    "quality 30-95": lambda image, rng: saved(image, int(rng.integers(30, 96))),
    "resized to 20-48 px": lambda image, rng: saved(resized(image, int(rng.integers(20, 49)), rng), 90),
    "resized to 64 px": lambda image, rng: saved(resized(image, 64, rng), 90),
    "cropped by 1-2 px a side": lambda image, rng: saved(cropped(image, 0.06, rng), 90),
    "the same, back to 32 px": lambda image, rng: saved(cropped(image, 0.06, rng).resize(image.size), 90),
    "brightness +-15 %": lambda image, rng: saved(brightened(image, rng), 90),
    "all of these at once": lambda image, rng: all_at_once(image, int(rng.integers(20, 49)), rng),
}
LARGE: dict[str, Change] = {
    "quality 30-95": SMALL["quality 30-95"],
    "half the size": lambda image, rng: saved(resized(image, max(image.size) // 2, rng), 90),
    "resized to 64-200 px": lambda image, rng: saved(resized(image, int(rng.integers(64, 201)), rng), 90),
    "cropped up to 5 % a side": lambda image, rng: saved(cropped(image, 0.05, rng), 90),
    "cropped up to 8 % a side": lambda image, rng: saved(cropped(image, 0.08, rng), 90),
    "brightness +-15 %": SMALL["brightness +-15 %"],
    "a line of text over it": lambda image, rng: saved(marked(image, rng), 90),
    "crop, half, bright, saved": lambda image, rng: all_at_once(image, max(image.size) // 2, rng),
}


def table(images: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """Signatures [n x SIGNATURE_BYTES]."""
    return np.frombuffer(b"".join(map(signature, images)), np.uint8).reshape(-1, SIGNATURE_BYTES)


def plant(
    name: str, images: list[Image.Image], changes: dict[str, Change], per_change: int, sheets: Path | None
) -> None:
    """Adds copies of random pictures and prints what is found."""
    rng = np.random.default_rng(0)
    copies, origin, kind = [], list(range(len(images))), []
    for change in changes:
        for row in rng.choice(len(images), per_change, replace=False).tolist():
            copies.append(changes[change](images[row], rng))
            origin.append(row)
            kind.append(change)
    pairs = find_near(table([*images, *copies]))
    found = {pair[:2] for pair in pairs}
    hits = [(origin[len(images) + row], len(images) + row) in found for row in range(len(copies))]
    print(f"\n{name}: {len(images):,} pictures, {len(copies):,} planted copies")
    for change in changes:
        of_kind = [hit for hit, other in zip(hits, kind, strict=True) if other == change]
        print(f"  {change:<26} {sum(of_kind):>5} of {len(of_kind):>5}  {100 * np.mean(of_kind):5.1f} %")
    print(f"  {'all':<26} {sum(hits):>5} of {len(hits):>5}  {100 * np.mean(hits):5.1f} %")
    strange = [pair for pair in pairs if origin[pair.first] != origin[pair.second]]
    print(f"  pairs found {len(pairs):,}, of two different originals {len(strange)}")
    if sheets:
        write_sheet(sheets / f"{name.replace(' ', '_')}.png", [*images, *copies], strange)


def write_sheet(path: Path, images: Sequence[Image.Image], pairs: Sequence[NearPair]) -> None:
    """Pairs side by side, the least alike first, at most 200."""
    pairs = sorted(pairs, key=lambda pair: pair.score)[:200]
    columns, step = 8, 2 * THUMB_PX + 8
    sheet = Image.new("RGB", (columns * step, max(1, -(-len(pairs) // columns)) * (THUMB_PX + 8)), "white")
    for place, pair in enumerate(pairs):
        corner = place % columns * step, place // columns * (THUMB_PX + 8)
        for shift, row in ((0, pair.first), (THUMB_PX, pair.second)):
            sheet.paste(images[row].resize((THUMB_PX, THUMB_PX)), (corner[0] + shift, corner[1]))
    sheet.save(path)


def time_signature(data: bytes, name: str) -> None:
    """Prints the cost of a signature beside that of the decode."""
    image, count = decode(data, name), max(1, 1_000_000 // len(data))
    decoding = min(timeit.repeat(lambda: decode(data, name), number=count, repeat=7)) / count
    signing = min(timeit.repeat(lambda: signature(image), number=count, repeat=7)) / count
    print(f"  {name:<12} decode {1e6 * decoding:9.0f} us   signature {1e6 * signing:7.0f} us")


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheet", type=Path, help="folder for contact sheets of pairs of two different originals")
    sheets: Path | None = parser.parse_args().sheet
    assets = Path(os.environ["RESNET_CLI_ASSETS"])
    with tarfile.open(assets / "cifar10-jpeg.tar.gz") as archive:
        files = [file.read() for member in archive if member.isfile() and (file := archive.extractfile(member))]
    paths = sorted(path for path in (assets / "photos").rglob("*") if path.is_file())
    small = [decode(data, "cifar") for data in files]
    large = [decode(path.read_bytes(), path.name) for path in paths]
    order = np.random.default_rng(0).permutation(len(small))

    plant("CIFAR-10", [small[row] for row in order[:1860]], SMALL, 20, sheets)
    plant("CIFAR-10 with more copies", [small[row] for row in order[-10_000:]], SMALL, 500, sheets)
    plant("photos", large, LARGE, 200, sheets)

    print("\ncost of one picture")
    time_signature(files[0], "32 px")
    time_signature(paths[0].read_bytes(), "about 500 px")
    huge = io.BytesIO()
    large[0].resize((4000, 3000)).save(huge, "JPEG", quality=90)
    time_signature(huge.getvalue(), "12 MP")

    signatures = table([small[row] for row in order])
    print("\nunmodified CIFAR-10")
    for count in (2_000, 20_000, 60_000):
        began = time.perf_counter()
        pairs = find_near(signatures[:count])
        seconds = time.perf_counter() - began
        print(f"  {count:>6,} pictures: {len(pairs):>5,} pairs in {seconds:6.2f} s")
    if sheets:
        write_sheet(sheets / "cifar10_itself.png", [small[row] for row in order], pairs)


if __name__ == "__main__":
    main()
