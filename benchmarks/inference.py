"""Measures predict: images/s relative to a bare forward pass, memory over many images, start-up, and peers.

    RESNET_CLI_ASSETS=... python -m benchmarks.inference [--images 2000] [--memory] [--peers] [--onnx FILE]
        [--quick] [--json FILE]

The bare pass is the same network in the same precision on the same cores, channels last, with its tensors ready: no
file is read. Ours is the time that :func:`resnet_cli.predict` takes for photo files, decoding included; for memory it
is the installed command in its own process. The two take turns, and the figure is the median of the ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from resnet_cli import load, predict
from resnet_cli.engines.features import inference_batch_size
from resnet_cli.model.model_file import Model
from resnet_cli.system.device import Compute, choose_compute

from . import processes
from .peer_inference import PEERS, measure_peer
from .processes import run
from .setting import Setting, alone
from .table import Row, show, spread

#: A few large photos take as long to decode as many small ones; these are the tutorial's, of 500 x 375 pixels and less.
PHOTOS = ("photos", "ants_bees")
FEW, MANY = 1_000, 20_000
#: Gigabytes that predict may use in all.
MAX_GB = 1.5
#: By how much memory for 20,000 images may exceed that for 1,000: the allocator's noise.
MAX_GROWTH = 1.1
#: Number of photos with --quick, which only checks that everything runs.
QUICK_PHOTOS = 128
#: Number of photos that take about as long as starting the process.
FEW_PHOTOS = 20


def photos(assets: Path, count: int, folder: Path) -> Path:
    """Makes a folder of this many photos: the few hundred that exist are copied once, then linked under many names."""
    folder.mkdir()
    sources = sorted(assets.joinpath(*PHOTOS).rglob("*.jpg"))
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if number < len(sources):
            shutil.copyfile(sources[number], path)
        else:
            os.link(folder / f"{number % len(sources):06d}.jpg", path)
    return folder


class BarePass:
    """The network alone, on the same batch again and again."""

    def __init__(self, model: Model, compute: Compute) -> None:
        # Its BatchNorms are not folded: folding them is part of what ours does better.
        self._network = model.network.eval().to(compute.device).to(memory_format=torch.channels_last)
        self._compute = compute
        side = model.preprocess.crop_size
        self._batch = compute.to_device(torch.rand(inference_batch_size(side, compute), 3, side, side))

    def rate(self, num_images: int) -> float:
        """Measures images/s over about this many images."""
        num_batches = max(2, round(num_images / len(self._batch)))
        with torch.inference_mode(), self._compute.autocast():
            # Reading a number of the last output waits for the GPU.
            self._network(self._batch)[0, 0].item()
            began = time.perf_counter()
            for _ in range(num_batches):
                logits = self._network(self._batch)
            logits[0, 0].item()
        return num_batches * len(self._batch) / (time.perf_counter() - began)


def our_rate(model: Model, files: list[Path], compute: Compute) -> float:
    """Measures images/s of predict over files, from the call to the last prediction."""
    began = time.perf_counter()
    num = sum(1 for _ in predict(model, iter(files), device=compute.device, precision=compute.precision))
    return num / (time.perf_counter() - began)


def measure_rate(weights: Path, folder: Path, *, pairs: int) -> Row:
    """Measures our images/s relative to the bare pass, in turns, in one process."""
    model, compute, files = load(weights), choose_compute("cpu"), sorted(folder.iterdir())
    bare = BarePass(model, compute)
    bare.rate(len(files) // 4)
    ours, bare_rates = [], []
    part = min(len(files), max(64, len(files) // pairs))
    for index in range(pairs):
        # A few files are predicted more than once.
        start = min(index * part, len(files) - part)
        # Between two halves of the bare pass, since the speed of a shared machine drifts.
        before = bare.rate(part // 2)
        ours.append(our_rate(model, files[start : start + part], compute))
        bare_rates.append((before + bare.rate(part // 2)) / 2)
    details = {
        "ours": statistics.median(ours),
        "bare": statistics.median(bare_rates),
        "images": len(files),
        "precision": compute.precision,
    }
    ratios = [a / b for a, b in zip(ours, bare_rates, strict=True)]
    what = "predict, 224 px, decoding included, relative to bare"
    return Row(what, statistics.median(ratios), "x", at_least=0.9, details=details | spread(ratios))


def measure_memory(model: Path, assets: Path, scratch: Path, counts: tuple[int, int]) -> Iterator[Row]:
    """Measures the command's peak memory for few and for many images."""
    env = os.environ | {"RESNET_CLI_CACHE": str(scratch / "cache")}
    peaks = []
    for count in counts:
        folder, out = photos(assets, count, scratch / f"photos-{count}"), scratch / f"{count}.jsonl"
        command = ("resnet-cli", "predict", str(folder), "--model", str(model), "--out", str(out), "--quiet")
        seconds, peak, _ = run(*command, env=env)
        num_rows = sum(1 for _ in out.open())
        peaks.append(peak)
        details = {"rows": num_rows, "seconds": seconds, "images_per_s": count / seconds}
        yield Row(f"peak memory over {count:,} images", peak / 1e9, "GB", at_most=MAX_GB, details=details)
        shutil.rmtree(folder)
    growth = f"its growth from {counts[0]:,} to {counts[1]:,}"
    yield Row(growth, peaks[1] / peaks[0], "x", at_most=MAX_GROWTH)


def on_few(setting: Setting) -> Iterator[Row]:
    """One photo and twenty, from the start of the process, with a run and with an exported file as the model."""
    env = os.environ | {"RESNET_CLI_CACHE": str(setting.empty())}
    model, few = setting.empty(), photos(setting.assets, FEW_PHOTOS, setting.empty())
    data = setting.few_photos(QUICK_PHOTOS) if setting.quick else setting.photos
    processes.finetune(data, "--weights", str(setting.weights), "--mode", "frozen", env=env, out=model)
    run("resnet-cli", "export", str(model), "--quiet", env=env)
    one = next(few.iterdir())
    yield measure_process("one photo with a run folder", one, model, env, at_most=1.2)
    yield measure_process(f"{FEW_PHOTOS} photos with a run folder", few, model, env, at_most=2.5)
    yield measure_process("one photo with an .onnx file", one, model / "model.onnx", env, at_most=0.8)


def measure_process(what: str, images: Path, model: Path, env: dict[str, str], *, at_most: float) -> Row:
    """Measures the seconds of ``predict`` from the start of its process to its end; the first call is not counted."""
    command = ("resnet-cli", "predict", str(images), "--model", str(model), "--quiet")
    _, *seconds = [run(*command, env=env)[0] for _ in range(10)]
    return Row(f"{what}, whole process", statistics.median(seconds), "s", at_most=at_most, details=spread(seconds))


def on_cpu(setting: Setting) -> Iterator[Row]:
    """Measures photos beside the bare network."""
    count = QUICK_PHOTOS if setting.quick else 2_000
    folder = photos(setting.assets, count, setting.empty())
    yield measure_rate(setting.weights, folder, pairs=2 if setting.quick else 5)


def rows(chosen: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """The requested measurements."""
    weights, scratch = setting.weights, setting.scratch
    folder = photos(setting.assets, chosen.images, scratch / "photos")
    if chosen.exemplars:
        counts = (100, 400) if chosen.quick else (FEW, MANY)
        yield from measure_memory(chosen.model or weights, setting.assets, scratch, counts)
    if chosen.onnx is not None:
        env = os.environ | {"RESNET_CLI_CACHE": str(scratch / "cache")}
        yield measure_process("one photo with that file", next(folder.iterdir()), chosen.onnx, env, at_most=0.8)
    if chosen.peers:
        env = os.environ | {"RESNET_CLI_CACHE": str(scratch / "cache")}
        command = ("resnet-cli", "predict", str(folder), "--model", str(weights), "--csv", "--quiet")
        seconds = run(*command, env=env)[0]
        yield Row("resnet-cli predict, process", chosen.images / seconds, "images/s", details={"seconds": seconds})
        for peer in PEERS:
            yield measure_peer(peer, chosen.peers, folder, weights, choose_compute("cpu").precision, scratch)
    yield measure_rate(weights, folder, pairs=2 if chosen.quick else 5)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000, help="number of photos")
    parser.add_argument("--memory", action="store_true", help="also memory from 1,000 to 20,000 images (long)")
    parser.add_argument("--model", type=Path, help="with --memory: a smaller model, if an hour is too long")
    parser.add_argument("--onnx", type=Path, help="also one image with this exported file")
    parser.add_argument(
        "--peers", type=Path, metavar="DIR", help="also timm and ultralytics, in virtual environments in this folder"
    )
    parser.add_argument("--quick", action="store_true", help="few images: whether everything runs")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    chosen = parser.parse_args()
    for name in ("model", "onnx", "peers", "json"):
        # The measurements change the working folder.
        setattr(chosen, name, path.absolute() if (path := getattr(chosen, name)) else None)
    chosen.images = min(chosen.images, 200) if chosen.quick else chosen.images
    with alone(quick=chosen.quick) as setting:
        show(rows(chosen, setting), report=chosen.json)


if __name__ == "__main__":
    main()
