"""Measures how time and peak memory of finetune, eval, predict and inspect grow from 1,000 to 50,000 images.

    RESNET_CLI_ASSETS=... python -m benchmarks.growth [--quick] [--million]

CIFAR-10's JPEGs at 32 px: 80 % train, 10 % validate, 10 % test; eval and predict take all of them. Each command runs in
its own process with an empty cache, once for each number of images: about half an hour on two cores. At a larger image
size the network takes longer, and everything that grows with the number of images stays the same.

With ``--million``: 1,000, 10,000, 100,000 and 1,000,000 images, which are hard links to CIFAR-10's 60,000 under other
names (no image is in two splits), and a narrow network, whose features have the usual size: some hours, 10 GB of disk
and two million inodes. ``--only finetune`` measures one command.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .processes import run
from .setting import Setting, alone
from .table import Row, show

COUNTS, QUICK_COUNTS = (1_000, 10_000, 50_000), (500, 1_000, 2_000)
MILLION, QUICK_MILLION = (1_000, 10_000, 100_000, 1_000_000), (500, 1_000, 2_000, 4_000)
IMAGE_SIZE_PX, NUM_CLASSES = 32, 10
#: Limits for the largest number of images relative to the one before: time per image, and memory.
MAX_TIME, MAX_MEMORY = 1.15, 1.1
#: Seconds by which two starts differ; a smaller difference says nothing about the images.
NOISE_S = 0.5
COMMANDS = ("finetune", "eval", "predict", "inspect")
#: Makes the networks of a command narrow, as a folder in PYTHONPATH.
NARROW = Path(__file__).parent / "narrow"


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


def link(setting: Setting, originals: Path, num_images: int) -> Path:
    """Makes a folder with this many links to the images of a folder; no image is in two splits."""
    folder = setting.empty()
    for of_class in sorted(originals.glob("train/*")):
        images = sorted(originals.glob(f"*/{of_class.name}/*"))
        for split, first, last in (("train", 0, 8), ("val", 8, 9), ("test", 9, 10)):
            target = folder / split / of_class.name
            target.mkdir(parents=True)
            own = images[len(images) * first // 10 : len(images) * last // 10]
            for number in range(num_images * (last - first) // (10 * NUM_CLASSES)):
                source = own[number % len(own)]
                os.link(source, target / f"{number:06d}-{source.parent.parent.name}-{source.name}")
    return folder


def spend(setting: Setting, data: Path, names: Sequence[str] = COMMANDS, *, narrow: bool = False) -> dict[str, Spent]:
    """Runs each command once, with nothing cached."""
    of_run = setting.empty()
    chosen = "none" if narrow else str(setting.weights)
    weights = ("--weights", chosen, "--image-size", str(IMAGE_SIZE_PX))
    arguments = {
        "finetune": (str(data), "--mode", "frozen", *weights, "--out", str(of_run)),
        "eval": (str(of_run), str(data), "--split", "all", "--out", str(setting.empty())),
        "predict": (str(data), "--model", str(of_run), "--out", str(setting.empty().with_suffix(".jsonl"))),
        "inspect": (str(data), "--json"),
    }
    num_images = sum(1 for _ in data.glob("*/*/*"))
    found = {}
    for name in names:
        cache = setting.empty()
        env = os.environ | {"RESNET_CLI_CACHE": str(cache)}
        if narrow:
            env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(NARROW), os.environ.get("PYTHONPATH", ""))))
        seconds, peak, _ = run("resnet-cli", name, *arguments[name], "--quiet", env=env)
        found[name] = Spent(num_images, seconds, peak)
        # 50,000 images have 400 MB of features.
        shutil.rmtree(cache, ignore_errors=True)
    return found


def to_rows(name: str, spent: list[Spent]) -> Iterator[Row]:
    """Time per image and memory for the largest number of images relative to the one before."""
    least, few, *_, many = spent
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


def measure_million(setting: Setting, names: Sequence[str]) -> Iterator[Row]:
    """The same for up to a million images; the largest number is compared with 10,000."""
    originals = setting.cifar(train=("train", slice(None)), test=("test", slice(None)))
    spent: dict[str, list[Spent]] = {name: [] for name in names}
    for num_images in QUICK_MILLION if setting.quick else MILLION:
        data = link(setting, originals, num_images)
        for name, one in spend(setting, data, names, narrow=True).items():
            spent[name].append(one)
            print(f"{name}, {num_images:,} images: {one.seconds:.1f} s, {one.peak_bytes / 1e9:.2f} GB", file=sys.stderr)
        shutil.rmtree(data)
    for name, found in spent.items():
        yield from to_rows(name, found)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500, 1,000 and 2,000 images")
    parser.add_argument("--million", action="store_true", help="up to 1,000,000 images and a narrow network")
    parser.add_argument(
        "--only",
        choices=COMMANDS,
        nargs="+",
        default=COMMANDS,
        help="commands, with --million; eval and predict need finetune",
    )
    arguments = parser.parse_args()
    with alone(quick=arguments.quick) as setting:
        show(measure_million(setting, arguments.only) if arguments.million else measure(setting))


if __name__ == "__main__":
    main()
