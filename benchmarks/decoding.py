"""Measures what it costs to turn a file into the network's square: processor time per image, step by step.

    RESNET_CLI_ASSETS=... python -m benchmarks.decoding [--px 224] [--seconds 1] [--slow-ms 100] [--scaled]

Steps: ``read`` (a file in the page cache), ``header`` (the format is recognized, Pillow opens it), ``pixels`` (upright
RGB, everything before included except for reading), ``resize`` (resize and crop), ``all`` (from the file to the
square) and ``threads`` (the same through ``decode_ahead``). ``whole`` is resizing the whole image and cropping, which
gives the same bits as ``resize``; this is checked. Each is the least of several rounds, on a machine that may have
other work.

The photos of the assets are measured as they are. Other sizes and formats are the largest photo among them, resized.

``--slow-ms`` also measures images per second if every file takes that long to be read, as on a network file system.
``--scaled`` also measures JPEG files decoded at 1/2, 1/4 and 1/8 (``Image.draft``), which is not what resnet-cli does.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.prefetch import decode_ahead
from resnet_cli.data.reading import map_reading
from resnet_cli.images import FORMATS, Pixels, decode, recognize_image
from resnet_cli.preprocess import Preprocess

from .setting import Setting
from .table import head

ROUNDS = 5
BATCH = 16
PHOTOS = 100
#: How often a file narrower than this is decoded to measure the threads.
SMALL_IMAGES, SMALL_PX = 512, 100
#: Pillow's names of the encodings that are measured.
ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG q75": ("JPEG", {"quality": 75}),
    "JPEG q90": ("JPEG", {"quality": 90}),
    "JPEG q95": ("JPEG", {"quality": 95}),
    "JPEG q90 4:4:4": ("JPEG", {"quality": 90, "subsampling": 0}),
    "JPEG q90 progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {}),
}
#: Size -> its encodings.
SIZES: dict[tuple[int, int], tuple[str, ...]] = {
    (32, 32): ("PNG",),
    (500, 375): ("JPEG q90", "PNG"),
    (1920, 1080): ("JPEG q90", "PNG", "WebP"),
    (4000, 3000): ("JPEG q75", "JPEG q90", "JPEG q95", "JPEG q90 4:4:4", "JPEG q90 progressive"),
}


def cost_ms(function: Callable[[], object], seconds: float, images: int = 1) -> float:
    """Processor time per image in milliseconds, the least of some rounds that take about ``seconds`` in all."""
    start = time.process_time()
    function()
    once = time.process_time() - start
    calls = max(1, int(seconds / ROUNDS / max(once, 1e-6)))
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(calls):
            function()
        rounds.append((time.process_time() - start) / calls)
    return 1000 * min(rounds) / images


def whole_then_crop(preprocess: Preprocess, image: Image.Image) -> Pixels:
    """The definition of the square: torchvision's resize of the whole image and center crop."""
    short, side = min(image.size), preprocess.crop_size
    width, height = (int(preprocess.resize_size * length / short) for length in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    whole = image.resize((width, height), Image.Resampling[preprocess.interpolation.upper()])
    return np.asarray(whole.crop((left, top, left + side, top + side)))


def measure(name: str, files: Sequence[Path], preprocess: Preprocess, seconds: float) -> str:
    """One row: the cost of each step for these files."""
    data = [file.read_bytes() for file in files]
    images = [decode(each, "x") for each in data]
    for image in images:
        np.testing.assert_array_equal(preprocess(image), whole_then_crop(preprocess, image))
    items = [Item(file.name, file) for file in files]
    # Starting the threads must not be a part of the figure.
    many = items * max(1, (SMALL_IMAGES if images[0].width < SMALL_PX else BATCH) // len(items))

    def header() -> None:
        for each in data:
            recognize_image(each)
            Image.open(io.BytesIO(each), formats=FORMATS)

    steps: dict[str, tuple[Callable[[], object], int]] = {
        "read": (lambda: [file.read_bytes() for file in files], len(files)),
        "header": (header, len(files)),
        "pixels": (lambda: [decode(each, "x") for each in data], len(files)),
        "resize": (lambda: [preprocess(image) for image in images], len(files)),
        "whole": (lambda: [whole_then_crop(preprocess, image) for image in images], len(files)),
        "all": (lambda: [preprocess.read(item) for item in items], len(files)),
        "threads": (lambda: list(decode_ahead(many, preprocess.read, batch_size=BATCH)), len(many)),
    }
    found = [cost_ms(function, seconds, count) for function, count in steps.values()]
    size = "x".join(map(str, images[0].size)) if len(files) == 1 else f"{len(files)} photos"
    return f"| {name}, {size} | {np.mean([len(each) for each in data]) / 1000:,.0f} | " + " | ".join(
        f"{value:.2f}" for value in found
    )


def slow_files(files: Sequence[Path], preprocess: Preprocess, latency_s: float) -> None:
    """Prints images per second where each file is read ``latency_s`` late."""

    def read(file: Path) -> tuple[bytes, int]:
        time.sleep(latency_s)
        data = file.read_bytes()
        return data, len(data)

    def square(data: bytes) -> Pixels:
        return preprocess(decode(data, "x"))

    count = min(len(files), PHOTOS)
    start = time.perf_counter()
    for file in files[:8]:
        square(read(file)[0])
    alone = 8 / (time.perf_counter() - start)
    start = time.perf_counter()
    for _ in map_reading(read, square, files[:count]):
        pass
    ahead = count / (time.perf_counter() - start)
    print(
        f"\nfiles that take {1000 * latency_s:.0f} ms each: one after the other {alone:.1f} images/s, "
        f"read ahead {ahead:.1f} images/s ({count} photos, start included)"
    )


def scaled(files: Sequence[tuple[str, bytes]], preprocess: Preprocess, seconds: float) -> None:
    """Prints the cost of JPEG files that are decoded at a fraction of their size, as Pillow's ``draft`` does."""
    print("\n| JPEG at a fraction of its size | decoding, ms | resizing, ms |\n|---|---|---|")
    for name, data in files:
        full = decode(data, "x")
        size = tuple(int(preprocess.resize_size * length / min(full.size)) for length in full.size)

        def open_at(factor: int, data: bytes = data, full: Image.Image = full) -> Image.Image:
            image = Image.open(io.BytesIO(data))
            image.draft(None, (full.width // factor, full.height // factor))
            image.load()
            return image

        for factor in (1, 2, 4, 8):
            if min(full.size) // factor < preprocess.resize_size:
                continue
            box = (0, 0, full.width / factor, full.height / factor)
            small = open_at(factor)
            decoding = cost_ms(lambda factor=factor: open_at(factor), seconds)  # type: ignore[misc]
            resizing = cost_ms(
                lambda small=small, box=box, size=size: small.resize(size, Image.Resampling.BILINEAR, box),  # type: ignore[misc]
                seconds,
            )
            print(f"| {name}, 1/{factor} | {decoding:.1f} | {resizing:.1f} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=224, help="side of the square")
    parser.add_argument("--seconds", type=float, default=1, help="processor time for each figure")
    parser.add_argument("--slow-ms", type=float, default=0, help="also with files that take this long to be read")
    parser.add_argument("--scaled", action="store_true", help="also JPEG files decoded at a fraction of their size")
    arguments = parser.parse_args()
    preprocess = Preprocess(resize_size=round(arguments.px * 256 / 224), crop_size=arguments.px)
    with TemporaryDirectory() as scratch:
        setting = Setting(Path(os.environ["RESNET_CLI_ASSETS"]), Path(scratch), quick=False)
        photos = sorted(setting.photos.rglob("*.jpg"))
        photo = max(photos, key=lambda file: np.prod(Image.open(file).size))
        largest = decode(photo.read_bytes(), photo.name)
        print(head(), "\n")
        print(
            "| processor time per image, ms | kB | read | header | pixels | resize | whole | all | threads |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
        print(measure("photos of the assets", photos[::4][:PHOTOS], preprocess, arguments.seconds), "|", flush=True)
        made: list[tuple[str, bytes]] = []
        for size, encodings in SIZES.items():
            image = largest.resize(size, Image.Resampling.LANCZOS)
            for encoding in encodings:
                file_format, options = ENCODINGS[encoding]
                file = Path(scratch) / f"{len(made)}.{file_format.lower()}"
                image.save(file, file_format, **options)
                print(measure(encoding, [file], preprocess, arguments.seconds), "|", flush=True)
                made.append((f"{encoding}, {size[0]}x{size[1]}", file.read_bytes()))
        if arguments.slow_ms:
            slow_files(photos, preprocess, arguments.slow_ms / 1000)
        if arguments.scaled:
            scaled([(name, data) for name, data in made if name.startswith("JPEG q90,")], preprocess, arguments.seconds)


if __name__ == "__main__":
    main()
