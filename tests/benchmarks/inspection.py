"""Measures `inspect` on planted faults, against the bare decode of the same folder, and a second look at 60,000.

    RESNET_CLI_ASSETS=... python -m tests.benchmarks.inspection

Two thousand CIFAR-10 pictures get 20 exact copies and 20 near copies in the other split, 10 truncated files, 5
bombs, 10 EXIF-rotated and 5 pictures in other modes. False pairs are those between two pictures that were not
planted and that the whole of CIFAR-10's own duplicates do not explain: they are written out to be looked at.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import io
import json
import os
import random
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

NUM_PICTURES = 2000


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="leave the folder with the planted faults here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["RESNET_CLI_CACHE"] = str(Path(scratch) / "cache")
        everything = Path(scratch) / "cifar"
        with tarfile.open(Path(os.environ["RESNET_CLI_ASSETS"]) / "cifar10-jpeg.tar.gz") as archive:
            archive.extractall(everything, filter="data")
        folder = arguments.keep or Path(scratch) / "planted"
        planted = plant(everything, folder, random.Random(arguments.seed))
        measure_faults(folder, planted)
        measure_second_look(everything)


def plant(everything: Path, folder: Path, rng: random.Random) -> dict[str, list[Any]]:
    """Writes the folder; kind of fault -> names, or pairs of names."""
    sources = sorted(everything.rglob("*.jpg"))
    for path in rng.sample(sources, NUM_PICTURES):
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
    """Saves a picture again: at another quality, another size, slightly cropped, or all of it."""
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
    """A PNG of a few kilobytes that says it has 81 million pixels."""
    side = 9000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def measure_faults(folder: Path, planted: dict[str, list[Any]]) -> None:
    """What inspect finds of what was planted, and how long it takes against the bare decode."""
    from resnet_cli.data.findings import to_report
    from resnet_cli.data.inspection import inspect_pictures
    from resnet_cli.data.scan import scan
    from resnet_cli.data.sources import open_dataset

    paths = [str(path) for path in folder.rglob("*") if path.is_file()]
    ratios = []
    for _ in range(5):
        bare = timed(lambda: bare_decode(paths))
        for index in Path(os.environ["RESNET_CLI_CACHE"]).glob("pictures-*"):
            index.unlink()
        began = time.perf_counter()
        dataset = open_dataset(str(folder))
        report = to_report(inspect_pictures(dataset, scan(dataset.items)))
        whole = time.perf_counter() - began
        ratios.append((whole / bare, whole, bare))
    unreadable = {entry["path"] for entry in report["unreadable"]}
    exact = {tuple(group) for group in report["exact_duplicates"]}
    near = {tuple(sorted(pair["paths"])) for pair in report["near_duplicates"]}
    modes = {name for names in report["modes"].values() for name in names}
    rows = {
        "exact copies": found(planted["exact"], exact),
        "near copies": found(planted["near"], near),
        "truncated": found(planted["truncated"], unreadable),
        "bombs": found(planted["bomb"], unreadable),
        "EXIF-rotated": found(planted["rotated"], set(report["modes"]["rotated"])),
        "other modes": found(planted["mode"], modes),
        "copies among the leaks": found(
            planted["exact"] + planted["near"], {tuple(sorted(leak["paths"])) for leak in report["leaks"]}
        ),
        "unreadable and not planted": str(len(unreadable - {*planted["truncated"], *planted["bomb"]})),
    }
    for what, shown in rows.items():
        print(f"{what:32} {shown}")
    others = sorted(near - set(planted["near"]))
    print(f"{'near pairs that were not planted':32} {len(others)} of {len(near)}: {others}")
    ratio, whole, bare = sorted(ratios)[len(ratios) // 2]
    print(f"{'inspect against bare decode':32} {ratio:.2f} ({whole * 1e3:.0f} ms, {bare * 1e3:.0f} ms; median of 5)")
    command = [str(Path(sys.executable).with_name("resnet-cli")), "inspect", str(folder), "--json"]
    for what in ("the command, first time", "the command, second time"):
        if what.endswith("first time"):
            for path in Path(os.environ["RESNET_CLI_CACHE"]).glob("pictures-*"):
                path.unlink()
        print(f"{what:32} {timed(lambda: void(subprocess.run(command, check=True, capture_output=True))):.2f} s")


def measure_second_look(everything: Path) -> None:
    """60,000 pictures: the first look, the second, and the command."""
    from resnet_cli.data.scan import scan
    from resnet_cli.data.sources import open_dataset

    for what in ("60,000, first scan", "60,000, second scan"):
        seconds = timed(lambda: void(scan(open_dataset(str(everything)).items)))
        print(f"{what:32} {seconds:.2f} s")
    command = [str(Path(sys.executable).with_name("resnet-cli")), "inspect", str(everything), "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    pairs = len(json.loads(done.stdout)["near_duplicates"])
    print(f"{'60,000, the whole command':32} {time.perf_counter() - began:.2f} s ({pairs:,} near pairs)")


def bare_decode(paths: list[str]) -> None:
    """What any check must do: read and decode, on as many threads as we use, nothing else."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(decode, paths, chunksize=16))


def decode(path: str) -> None:
    """One picture, or nothing where it is damaged."""
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height < 50_000_000:
                image.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        pass


def found(planted: list[Any], reported: set[Any]) -> str:
    """How many of the planted are reported."""
    return f"{sum(thing in reported for thing in planted)} of {len(planted)}"


def timed(work: Callable[[], None]) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def void(value: object) -> None:
    """Drops a value."""


if __name__ == "__main__":
    main()
