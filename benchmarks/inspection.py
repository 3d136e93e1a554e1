"""Measures `inspect` on planted faults, relative to bare decoding of the same folder, and scanning 60,000 images again.

    RESNET_CLI_ASSETS=... python -m benchmarks.inspection

Two thousand CIFAR-10 images get 20 exact copies and 20 near copies in the other split, 10 truncated files, 5
decompression bombs, 10 EXIF-rotated images and 5 images in other color modes. False pairs are those between two images
that were not planted and that CIFAR-10's own duplicates do not explain: they are printed, to be checked by eye.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import io
import json
import os
import random
import statistics
import struct
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from .processes import run
from .setting import Setting, alone
from .table import Row, show, spread

NUM_IMAGES = 2000


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the folder with the planted faults here")
    parser.add_argument("--quick", action="store_true", help="one pair of times, and 2,000 images twice")
    chosen = parser.parse_args()
    folder = chosen.keep.absolute() if chosen.keep else None
    with alone(quick=chosen.quick) as setting:
        show(measure(setting, seed=chosen.seed, folder=folder))


def measure(setting: Setting, *, seed: int = 0, folder: Path | None = None) -> Iterator[Row]:
    """Measures the share of planted faults that is found, and the time of the first and of the second scan."""
    os.environ["RESNET_CLI_CACHE"] = str(setting.empty())
    everything = setting.empty()
    with tarfile.open(setting.assets / "cifar10-jpeg.tar.gz") as archive:
        archive.extractall(everything, filter="data")
    planted_in = folder or setting.empty()
    planted = plant(everything, planted_in, random.Random(seed))
    yield from measure_faults(planted_in, planted, pairs=1 if setting.quick else 5)
    yield from measure_second_look(planted_in if setting.quick else everything)


def plant(everything: Path, folder: Path, rng: random.Random) -> dict[str, list[Any]]:
    """Writes the folder; returns kind of fault -> names, or pairs of names."""
    sources = sorted(everything.rglob("*.jpg"))
    for path in rng.sample(sources, NUM_IMAGES):
        target = folder / path.relative_to(everything)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    train = iter(rng.sample([name for name in names if "train/" in name], 70))
    test = iter(rng.sample([name for name in names if "test/" in name], 30))
    planted: dict[str, list[Any]] = {}

    def copies(number: int, change: Callable[[Path, Path, int], None], kind: str) -> None:
        planted[kind] = []
        for index in range(number):
            name = next(train)
            copy = name.replace("train/", "test/").replace(".jpg", f"-{kind}.jpg")
            (folder / copy).parent.mkdir(parents=True, exist_ok=True)
            change(folder / name, folder / copy, index)
            planted[kind].append(tuple(sorted((name, copy))))

    copies(20, lambda source, target, _: void(target.write_bytes(source.read_bytes())), "exact")
    copies(20, lambda source, target, index: near_copy(source, target, index, rng), "near")
    planted["truncated"] = [next(test) for _ in range(10)]
    for name in planted["truncated"]:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    planted["bomb"] = [f"train/bird/bomb{index}.png" for index in range(5)]
    for name in planted["bomb"]:
        (folder / name).write_bytes(bomb())
    planted["rotated"] = [next(train) for _ in range(10)]
    for index, name in enumerate(planted["rotated"]):
        exif = Image.Exif()
        exif[0x0112] = 2 + index % 7
        Image.open(folder / name).save(folder / name, quality=95, exif=exif)
    planted["mode"] = []
    for mode, suffix in (("CMYK", "jpg"), ("L", "jpg"), ("RGBA", "png"), ("I;16", "png"), ("LA", "png")):
        name = next(train)
        image = Image.open(folder / name).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 256)
        (folder / name).unlink()
        changed = name.replace(".jpg", f"-{mode.replace(';', '')}.{suffix}")
        image.save(folder / changed)
        planted["mode"].append(changed)
    return planted


def near_copy(source: Path, target: Path, index: int, rng: random.Random) -> None:
    """Saves an image again: with another quality, in another size, slightly cropped, or all of it."""
    image = Image.open(source).convert("RGB")
    kind = index % 4
    if kind in {1, 3}:
        left, top, right, bottom = (rng.randint(0, 1) for _ in range(4))
        image = image.crop((left, top, image.width - right - (left + right == 0), image.height - bottom))
    if kind in {2, 3}:
        side = rng.choice([24, 28, 40, 48, 64])
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    if kind == 3:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.92, 1.08))
    image.save(target, quality=rng.randint(50, 90))


def bomb() -> bytes:
    """Makes a PNG of a few kilobytes that claims to have 81 million pixels."""
    side = 9000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def measure_faults(folder: Path, planted: dict[str, list[Any]], *, pairs: int) -> Iterator[Row]:
    """Measures what inspect finds of the planted faults, and its time relative to bare decoding."""
    from resnet_cli.data.inspection.findings import to_report
    from resnet_cli.data.inspection.inspect import inspect_images
    from resnet_cli.data.inspection.scan import scan
    from resnet_cli.data.sources.opening import open_dataset

    paths = [str(path) for path in folder.rglob("*") if path.is_file()]
    ratios, times = [], []
    for _ in range(pairs):
        bare = timed(lambda: bare_decode(paths))
        forget_index()
        began = time.perf_counter()
        dataset = open_dataset(str(folder))
        report = to_report(inspect_images(dataset, scan(dataset.items)))
        times.append((1000 * (time.perf_counter() - began), 1000 * bare))
        ratios.append(times[-1][0] / times[-1][1])
    unreadable = {entry["path"] for entry in report["unreadable"]}
    near = {tuple(sorted(pair["paths"])) for pair in report["near_duplicates"]}
    leaks = {tuple(sorted(leak["paths"])) for leak in report["leaks"]}
    modes = {name for names in report["modes"].values() for name in names}
    yield found("exact copies", planted["exact"], {tuple(group) for group in report["exact_duplicates"]}, 100)
    yield found("near copies", planted["near"], near, 90)
    yield found("truncated files", planted["truncated"], unreadable, 100)
    yield found("bombs", planted["bomb"], unreadable, 100)
    yield found("EXIF-rotated images", planted["rotated"], set(report["modes"]["rotated"]), None)
    yield found("images in other color modes", planted["mode"], modes, None)
    yield found("copies among the leaks", planted["exact"] + planted["near"], leaks, None)
    others = sorted(near - set(planted["near"]))
    for pair in others:
        print(f"to check by eye: {' and '.join(pair)}", file=sys.stderr)
    yield Row("inspect: near pairs that were not planted", len(others), "pairs", details={"of": len(near)})
    wrong = unreadable - {*planted["truncated"], *planted["bomb"]}
    yield Row("inspect: unreadable and not planted", len(wrong), "files", at_most=0, details={"of": len(paths)})
    whole, bare = (statistics.median(column) for column in zip(*times, strict=True))
    details = {"ours_ms": whole, "bare_ms": bare, "images": len(paths)} | spread(ratios)
    yield Row("inspect relative to bare decoding", statistics.median(ratios), "x", at_most=3, details=details)


def measure_second_look(folder: Path) -> Iterator[Row]:
    """Measures the first scan of many images, the second, and the command both times."""
    from resnet_cli.data.inspection.scan import scan
    from resnet_cli.data.sources.opening import open_dataset

    forget_index()
    dataset = open_dataset(str(folder))
    num = len(dataset.items)
    first, second = (timed(lambda: void(scan(open_dataset(str(folder)).items))) for _ in range(2))
    details = {"first_s": first, "n": 1}
    yield Row(f"scanning {num:,} images the second time", second, "s", at_most=3, details=details)
    forget_index()
    spent = []
    for _ in range(2):
        seconds, _, text = run("resnet-cli", "inspect", str(folder), "--json", env=dict(os.environ))
        spent.append(seconds)
    details = {"again_s": spent[1], "near pairs": len(json.loads(text)["near_duplicates"]), "n": 1}
    yield Row(f"inspect, {num:,} images, process", spent[0], "s", details=details)


def forget_index() -> None:
    """Makes the next scan read every file."""
    for index in Path(os.environ["RESNET_CLI_CACHE"]).glob("pictures-*"):
        index.unlink()


def bare_decode(paths: list[str]) -> None:
    """What any check must do: read and decode, on as many threads as we use, nothing else."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(decode, paths, chunksize=16))


def decode(path: str) -> None:
    """One image, or nothing where it is damaged."""
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height < 50_000_000:
                image.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        pass


def found(what: str, planted: list[Any], reported: set[Any], at_least: float | None) -> Row:
    """How many of the planted are reported."""
    num = sum(thing in reported for thing in planted)
    details = {"found": num, "n": len(planted)}
    return Row(f"inspect finds {what}", 100 * num / len(planted), "%", at_least=at_least, details=details)


def timed(work: Callable[[], None]) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def void(value: object) -> None:
    """Drops a value."""


if __name__ == "__main__":
    main()
