"""Measures how time and peak memory of finetune, eval, predict and inspect grow from 1,000 to 50,000 images.

    RESNET_CLI_ASSETS=... python -m benchmarks.growth [--quick]

CIFAR-10's JPEGs at 32 px: 80 % train, 10 % validate, 10 % test; eval and predict take all of them. Each command runs in
its own process with an empty cache, once for each number of images: about half an hour on two cores. At a larger image
size the network takes longer, and everything that grows with the number of images stays the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .processes import run
from .setting import Setting, alone
from .table import Row, show

COUNTS, QUICK_COUNTS = (1_000, 10_000, 50_000), (500, 1_000, 2_000)
IMAGE_SIZE_PX, NUM_CLASSES = 32, 10
#: Limits for the largest number of images relative to the one before: time per image, and memory.
MAX_TIME, MAX_MEMORY = 1.15, 1.1
#: Seconds by which two starts differ; a smaller difference says nothing about the images.
NOISE_S = 0.5
COMMANDS = ("finetune", "eval", "predict", "inspect")


@dataclasses.dataclass(frozen=True)
class Spent:
    """Time and memory of one command."""

    num_images: int
    seconds: float
    peak_bytes: int

    @property
    def ms(self) -> float:
        """Milliseconds per image."""
        return 1000 * self.seconds / self.num_images


def take(setting: Setting, num_images: int) -> Path:
    """Makes a folder with this many images in three splits."""
    first, second, third = (num_images * part // (10 * NUM_CLASSES) for part in (8, 9, 10))
    parts = {"train": slice(first), "val": slice(first, second), "test": slice(second, third)}
    return setting.cifar(**{split: ("train", part) for split, part in parts.items()})


def spend(setting: Setting, data: Path) -> dict[str, Spent]:
    """Runs each command once, with nothing cached."""
    of_run = setting.empty()
    weights = ("--weights", str(setting.weights), "--image-size", str(IMAGE_SIZE_PX))
    arguments = {
        "finetune": (str(data), "--mode", "frozen", *weights, "--out", str(of_run)),
        "eval": (str(of_run), str(data), "--split", "all", "--out", str(setting.empty())),
        "predict": (str(data), "--model", str(of_run), "--output", str(setting.empty().with_suffix(".jsonl"))),
        "inspect": (str(data), "--json"),
    }
    num_images = sum(1 for _ in data.glob("*/*/*"))
    found = {}
    for name in COMMANDS:
        cache = setting.empty()
        env = os.environ | {"RESNET_CLI_CACHE": str(cache)}
        seconds, peak, _ = run("resnet-cli", name, *arguments[name], "--quiet", env=env)
        found[name] = Spent(num_images, seconds, peak)
        # 50,000 images have 200 MB of features.
        shutil.rmtree(cache, ignore_errors=True)
    return found


def to_rows(name: str, spent: list[Spent]) -> Iterator[Row]:
    """Time per image and memory for the largest number of images relative to the one before."""
    least, few, many = spent
    step = f"{many.num_images:,} over {few.num_images:,} images"
    details: dict[str, Any] = {f"{one.num_images:,}": f"{one.seconds:.1f} s" for one in spent}
    # Start-up is a smaller part of the time for many images; without it:
    if few.seconds - least.seconds > NOISE_S:
        details["slope"] = slope(few, many) / slope(least, few)
    yield Row(
        f"{name}: time per image, {step}",
        many.ms / few.ms,
        "x",
        at_most=MAX_TIME,
        details=details | {"ms per image": many.ms, "px": IMAGE_SIZE_PX, "n": 1},
    )
    details = {f"{one.num_images:,}": f"{one.peak_bytes / 1e9:.2f} GB" for one in spent}
    memory = many.peak_bytes / few.peak_bytes
    yield Row(f"{name}: peak memory, {step}", memory, "x", at_most=MAX_MEMORY, details=details | {"n": 1})


def slope(few: Spent, many: Spent) -> float:
    """Seconds per additional image."""
    return (many.seconds - few.seconds) / (many.num_images - few.num_images)


def measure(setting: Setting) -> Iterator[Row]:
    """Two rows per command, at the end, since the figures are ratios."""
    spent: dict[str, list[Spent]] = {name: [] for name in COMMANDS}
    for num_images in QUICK_COUNTS if setting.quick else COUNTS:
        data = take(setting, num_images)
        for name, one in spend(setting, data).items():
            spent[name].append(one)
        shutil.rmtree(data)
    for name, found in spent.items():
        yield from to_rows(name, found)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500, 1,000 and 2,000 images")
    quick = parser.parse_args().quick
    with alone(quick=quick) as setting:
        show(measure(setting))


if __name__ == "__main__":
    main()
