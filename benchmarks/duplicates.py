"""Measures the search for near duplicates: copies found per kind of change, false pairs, and time.

    RESNET_CLI_ASSETS=... python -m benchmarks.duplicates [--sheet FOLDER]

Copies are planted among CIFAR-10 images and among photos. Pairs of two different originals are counted separately:
CIFAR-10 has duplicates of its own, so such pairs have to be checked by eye, on the contact sheets that ``--sheet``
writes.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tarfile
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from resnet_cli.data.inspection.compact import NearPair
from resnet_cli.data.inspection.duplicates import SIGNATURE_BYTES, find_near, signature
from resnet_cli.images import decode

from .setting import Setting, alone
from .table import Row, show, spread

Change: TypeAlias = Callable[[Image.Image, np.random.Generator], Image.Image]
FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
THUMB_PX = 64


def saved(image: Image.Image, quality: int) -> Image.Image:
    """The image after a round trip through JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return decode(file.getvalue(), "copy.jpg")


def resized(image: Image.Image, longer: int, rng: np.random.Generator) -> Image.Image:
    """The image resized to this length of its longer side, in pixels, with a random filter."""
    factor = longer / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, FILTERS[rng.integers(len(FILTERS))])


def cropped(image: Image.Image, most: float, rng: np.random.Generator) -> Image.Image:
    """The image with up to the share ``most`` of width and height cut off on each side, at least one pixel in all."""
    sides = np.array([image.width, image.height] * 2)
    cut = np.zeros(4, int)
    while not cut.any():
        cut = (rng.uniform(0, most, 4) * sides * (rng.random(4) < 0.75)).round().astype(int)
    left, top, right, bottom = cut.tolist()
    return image.crop((left, top, image.width - right, image.height - bottom))


def brightened(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image, up to 15 % brighter or darker."""
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))


def marked(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image with a line of white text."""
    image = image.copy()
    place = image.width * rng.uniform(0.05, 0.5), image.height * rng.uniform(0.1, 0.9)
    ImageDraw.Draw(image).text(place, "(c) example photo", fill="white", font_size=max(8, image.width // 16))
    return image


def all_at_once(image: Image.Image, longer: int, rng: np.random.Generator) -> Image.Image:
    """The image cropped, resized, brightened and saved at quality 50 to 95."""
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
    """Computes signatures [n x SIGNATURE_BYTES]."""
    return np.frombuffer(b"".join(map(signature, images)), np.uint8).reshape(-1, SIGNATURE_BYTES)


def plant(
    name: str, images: list[Image.Image], changes: dict[str, Change], per_change: int, sheets: Path | None
) -> Iterator[Row]:
    """Adds copies of random images; yields the share that is found, and the pairs that are not copies."""
    rng = np.random.default_rng(0)
    copies, origin, kind = [], list(range(len(images))), []
    for change in changes:
        for row in rng.choice(len(images), min(per_change, len(images)), replace=False).tolist():
            copies.append(changes[change](images[row], rng))
            origin.append(row)
            kind.append(change)
    pairs = find_near(table([*images, *copies]))
    found = {pair[:2] for pair in pairs}
    hits = [(origin[len(images) + row], len(images) + row) in found for row in range(len(copies))]
    details: dict[str, object] = {"images": len(images), "n": len(copies)}
    for change in changes:
        of_kind = [hit for hit, other in zip(hits, kind, strict=True) if other == change]
        details[change] = f"{100 * np.mean(of_kind):.1f} %"
    yield Row(f"planted copies found, {name}", 100 * float(np.mean(hits)), "%", details=details)
    strange = [pair for pair in pairs if origin[pair.first] != origin[pair.second]]
    yield Row(f"pairs of two different originals, {name}", len(strange), "pairs", details={"of": len(pairs)})
    if sheets:
        write_sheet(sheets / f"{name.replace(' ', '_')}.png", [*images, *copies], strange)


def write_sheet(path: Path, images: Sequence[Image.Image], pairs: Sequence[NearPair]) -> None:
    """Saves at most 200 pairs side by side, the least similar first."""
    pairs = sorted(pairs, key=lambda pair: pair.score)[:200]
    columns, step = 8, 2 * THUMB_PX + 8
    sheet = Image.new("RGB", (columns * step, max(1, -(-len(pairs) // columns)) * (THUMB_PX + 8)), "white")
    for place, pair in enumerate(pairs):
        corner = place % columns * step, place // columns * (THUMB_PX + 8)
        for shift, row in ((0, pair.first), (THUMB_PX, pair.second)):
            sheet.paste(images[row].resize((THUMB_PX, THUMB_PX)), (corner[0] + shift, corner[1]))
    sheet.save(path)


def time_signature(data: bytes, name: str) -> Row:
    """The time for a signature relative to decoding."""
    image, count = decode(data, name), max(1, 1_000_000 // len(data))
    decoding, signing = [], []
    for _ in range(7):
        decoding.append(1e6 * timeit.timeit(lambda: decode(data, name), number=count) / count)
        signing.append(1e6 * timeit.timeit(lambda: signature(image), number=count) / count)
    ratios = [ours / bare for ours, bare in zip(signing, decoding, strict=True)]
    details = {"signature_us": statistics.median(signing), "decode_us": statistics.median(decoding)} | spread(ratios)
    return Row(f"signature relative to decoding, {name}", statistics.median(ratios), "x", details=details)


def measure(setting: Setting, *, sheets: Path | None = None) -> Iterator[Row]:
    """Measures copies of small images and of photos, the time for a signature, and the time for the search."""
    with tarfile.open(setting.assets / "cifar10-jpeg.tar.gz") as archive:
        files = [file.read() for member in archive if member.isfile() and (file := archive.extractfile(member))]
    paths = sorted(path for path in (setting.assets / "photos").rglob("*") if path.is_file())
    files, paths = (files[::30], paths[::10]) if setting.quick else (files, paths)
    small = [decode(data, "cifar") for data in files]
    large = [decode(path.read_bytes(), path.name) for path in paths]
    order = np.random.default_rng(0).permutation(len(small))

    yield from plant("CIFAR-10", [small[row] for row in order[:1860]], SMALL, 20, sheets)
    if not setting.quick:
        yield from plant("10,000 of CIFAR-10", [small[row] for row in order[-10_000:]], SMALL, 500, sheets)
    yield from plant("photos", large, LARGE, 20 if setting.quick else 200, sheets)

    huge = io.BytesIO()
    large[0].resize((4000, 3000)).save(huge, "JPEG", quality=90)
    for data, name in ((files[0], "32 px"), (paths[0].read_bytes(), "about 500 px"), (huge.getvalue(), "12 MP")):
        yield time_signature(data, name)

    signatures = table([small[row] for row in order])
    for count in (2_000,) if setting.quick else (2_000, 20_000, 60_000):
        began = time.perf_counter()
        pairs = find_near(signatures[:count])
        seconds = time.perf_counter() - began
        yield Row(f"search among {count:,} signatures", seconds, "s", details={"pairs": len(pairs), "n": 1})
    if sheets:
        write_sheet(sheets / "cifar10_itself.png", [small[row] for row in order], pairs)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="folder for contact sheets of pairs of two different originals")
    parser.add_argument("--quick", action="store_true", help="few images")
    chosen = parser.parse_args()
    sheets = chosen.sheet.absolute() if chosen.sheet else None
    with alone(quick=chosen.quick) as setting:
        show(measure(setting, sheets=sheets))


if __name__ == "__main__":
    main()
