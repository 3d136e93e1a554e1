"""Measures training: steps relative to a bare loop, ten frozen epochs relative to a bare pass, accuracy, peers, a GPU.

    RESNET_CLI_ASSETS=... python -m benchmarks.training [--accuracy] [--peers] [--quick] [--json FILE]
    RESNET_CLI_ASSETS=... python -m benchmarks.training --gpu [--json FILE]

On two cores the two measurements of speed take about ten minutes, ``--accuracy`` an hour or more (lp-ft: ten epochs of
5,000 images), ``--peers`` half an hour; ``--gpu`` replaces the measurements on the CPU. Ours is always a real finetune
on a folder of JPEGs: in its own process for wall time and accuracy; for images/s, the events of a finetune in this
process, decoding included, without its first step. The bare loop has its tensors ready.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

import resnet_cli
from resnet_cli import finetune
from resnet_cli.system.device import choose_compute
from resnet_cli.system.paths import cache_dir

from .peers import IMAGE_SIZE, PEERS, PeerError, install, run_peer, write_checkpoints
from .processes import BARE, run
from .setting import Setting as Setting
from .setting import alone
from .steps import BareLoop, Watch
from .table import Row, show, spread

NUM_CLASSES = 10
STEP_BATCH, STEP_SIZE_PX = 32, 128
#: Images of CIFAR-10's training split that choose the epoch; the others are for training, as in published figures.
GPU_VAL_FRACTION = 0.04
BARE_GPU_STEPS = 100
#: Number of photos with --quick, which only checks that everything runs.
QUICK_PHOTOS = 64


def measure_step(setting: Setting, name: str, data: Path, *, at_least: float | None) -> Row:
    """Images/s of our finetune relative to the bare loop, in turns, in one process."""
    ours, bare, num_pairs = [], [], 2 if setting.quick else 5
    loop: BareLoop | None = None
    for _ in range(num_pairs):
        watch = Watch()
        finetune(
            on_event=watch,
            data=str(data),
            weights=str(setting.weights),
            mode="full",
            epochs=1,
            batch_size=STEP_BATCH,
            image_size=STEP_SIZE_PX,
            device="cpu",
            out=setting.empty(),
        )
        loop = loop or BareLoop(watch.plan)
        ours.append(watch.rates[-1])
        bare.append(loop.rate(watch.plan.steps_per_epoch - 1))
    details = {
        "ours": statistics.median(ours),
        "bare": statistics.median(bare),
        "batch": STEP_BATCH,
        "precision": watch.plan.compute.precision,
        "optimizer": watch.plan.rates.optimizer,
    }
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    what = f"training step relative to a bare loop, {name} at {STEP_SIZE_PX} px"
    return Row(what, statistics.median(ratios), "x", at_least=at_least, details=details | spread(ratios))


def measure_frozen(setting: Setting) -> Row:
    """Ten frozen epochs with an empty feature cache relative to a bare forward pass, each in its own process."""
    precision, num_pairs = choose_compute("cpu").precision, 1 if setting.quick else 3
    photos = setting.few_photos(QUICK_PHOTOS) if setting.quick else setting.photos
    num_images = len(list(photos.glob("*/*/*")))
    ours, bare = [], []
    for _ in range(num_pairs):
        command = (sys.executable, "-c", BARE, str(num_images), "224", precision)
        bare.append(run(*command, env=dict(os.environ))[0])
        ours.append(setting.run(photos, "--mode", "frozen", "--epochs", "10")[0])
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    details = {
        "ours_s": statistics.median(ours),
        "bare_s": statistics.median(bare),
        "images": num_images,
        "precision": precision,
    }
    # Start-up is most of the time that few images take.
    bar = None if setting.quick else 1.15
    what = "frozen, 10 epochs, relative to one forward pass"
    return Row(what, statistics.median(ratios), "x", at_most=bar, details=details | spread(ratios))


def measure_accuracy(setting: Setting, data: Path, mode: str, *, at_least: float) -> Row:
    """Top-1 on CIFAR-10's test images at 128 px, which choose nothing; ten epochs in modes with epochs."""
    # A probe by L-BFGS, the default, has no epochs.
    epochs = () if mode == "frozen" else ("--epochs", "1" if setting.quick else "10")
    seconds, summary = setting.run(data, "--mode", mode, *epochs, "--image-size", str(STEP_SIZE_PX))
    details = {"val": 100 * summary["val_top1"], "seconds": seconds}
    if epochs:
        # 0 is the probe that it starts from.
        details["best_epoch"] = summary["best_epoch"]
    details["images"] = "/".join(map(str, summary["num_images"].values()))
    return Row(f"CIFAR-10, {mode}, test top-1", 100 * summary["test_top1"], "%", at_least=at_least, details=details)


def measure_folds(setting: Setting) -> Row:
    """Mean top-1 on ants/bees in four folds; the held-out fold is the test split and chooses nothing."""
    top1, seconds = [], []
    for fold in range(4):
        folder = setting.arrange(itertools.cycle("test" if part == fold else "train" for part in range(4)))
        spent, summary = setting.run(folder, "--mode", "frozen")
        top1.append(100 * summary["test_top1"])
        seconds.append(spent)
    details = {"folds": " ".join(f"{value:.1f}" for value in top1), "seconds": sum(seconds)}
    return Row("ants/bees, frozen, 4 folds, test top-1", statistics.mean(top1), "%", at_least=95.5, details=details)


def measure_ours(setting: Setting, mode: str, *epochs: str) -> Row:
    """Wall time and validation accuracy of resnet-cli, for the comparison with the peers; no features are cached."""
    seconds, summary = setting.run(setting.photos, "--mode", mode, *epochs, "--image-size", str(IMAGE_SIZE))
    what = f"resnet-cli {resnet_cli.__version__}, {mode} {' '.join(epochs)}"
    return Row(what, 100 * summary["val_top1"], "%", details={"seconds": seconds})


def measure_peer(setting: Setting, package: str, peers_dir: Path, data: Path, mode: str) -> Row:
    """The same for a peer, with two epochs; if it fails, the row says how."""
    peer = next(peer for peer in PEERS if peer.package == package)
    what, precision = f"{package}, {mode}, 2 epochs", choose_compute("cpu").precision
    try:
        python = install(peer, peers_dir)
        seen = run_peer(peer, python, data, mode=mode, epochs=2, precision=precision, scratch=setting.scratch)
    except PeerError as error:
        return Row(what, None, "%", details={"failed": str(error)})
    what = f"{package} {seen.version}, {mode}, 2 epochs"
    return Row(what, 100 * seen.top1, "%", details={"seconds": seen.seconds})


def measure_gpu(setting: Setting, data: Path, mode: str, device: str, epochs: int) -> Row:
    """CIFAR-10 at 224 px: images/s in training, seconds per epoch and accuracy, and images/s of the bare loop."""
    watch = Watch()
    result = finetune(
        on_event=watch,
        data=str(data),
        weights=str(setting.weights),
        mode=mode,
        epochs=epochs,
        image_size=IMAGE_SIZE,
        val_fraction=GPU_VAL_FRACTION,
        device=device,
        out=setting.empty(),
    )
    assert result.test is not None
    bare = BareLoop(watch.plan).rate(BARE_GPU_STEPS if device == "cuda" else 1)
    details = {
        "bare": bare,
        "epoch_s": statistics.median(watch.epochs_s),
        "test": 100 * result.test.top1,
        "val": 100 * result.val.top1,
        "epochs": epochs,
        "seconds": result.seconds,
        "batch": watch.plan.batch_size,
        "precision": watch.plan.compute.precision,
    }
    what = f"CIFAR-10 at {IMAGE_SIZE} px on {device}, {mode}"
    return Row(what, statistics.median(watch.rates), "images/s", at_least=3500, details=details)


def on_steps(setting: Setting) -> Iterator[Row]:
    """Training steps on small images and, because of their decoding, on photos."""
    per_class, num_batches = (10, 2) if setting.quick else (64, 12)
    cifar = setting.cifar(train=("train", slice(per_class)), val=("test", slice(10)))
    yield measure_step(setting, "32 px JPEGs", cifar, at_least=0.95)
    # Whole batches; the few other images are for validation.
    photos = setting.arrange(["train"] * num_batches * STEP_BATCH + ["val"] * STEP_BATCH)
    yield measure_step(setting, "photos", photos, at_least=None)


def on_frozen(setting: Setting) -> Iterator[Row]:
    """Calls :func:`measure_frozen` with a setting."""
    yield measure_frozen(setting)


def on_accuracy(setting: Setting) -> Iterator[Row]:
    """CIFAR-10 with a frozen backbone, then fine-tuned from that probe, and ants/bees in folds."""
    train, val, test = (50, 10, 20) if setting.quick else (500, 100, 200)
    parts = {
        "train": ("train", slice(train)),
        "val": ("train", slice(train, train + val)),
        "test": ("test", slice(test)),
    }
    data = setting.cifar(**parts)
    frozen = measure_accuracy(setting, data, "frozen", at_least=79.5)
    yield frozen
    assert frozen.value is not None
    yield measure_accuracy(setting, data, "lp-ft", at_least=round(frozen.value + 2, 2))
    yield measure_folds(setting)


def on_peers(setting: Setting, peers_dir: Path) -> Iterator[Row]:
    """Ours and the peers on ants/bees at 224 px, from the same weights."""
    modes = ("frozen",) if setting.quick else ("frozen", "full")
    yield measure_ours(setting, "frozen")
    yield measure_ours(setting, "frozen", "--epochs", "10")
    if not setting.quick:
        yield measure_ours(setting, "full", "--epochs", "2")
        yield measure_ours(setting, "lp-ft", "--epochs", "2")
    # The peers write caches beside the images.
    data = setting.empty()
    shutil.copytree(setting.photos, data, copy_function=shutil.copyfile)
    write_checkpoints(setting.weights, setting.scratch / "torch_home")
    for peer, mode in itertools.product(PEERS, modes):
        yield measure_peer(setting, peer.package, peers_dir, data, mode)


def on_gpu(setting: Setting, *, limit: int | None = None, epochs: int = 10) -> Iterator[Row]:
    """CIFAR-10 at 224 px, the whole network and from a probe."""
    per_class = slice(None if limit is None else max(1, limit // NUM_CLASSES))
    data = setting.cifar(train=("train", per_class), test=("test", per_class))
    for mode in ("full", "lp-ft"):
        yield measure_gpu(setting, data, mode, setting.device, epochs)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", action="store_true", help="also accuracy on CIFAR-10 and ants/bees (an hour)")
    parser.add_argument("--peers", action="store_true", help="also the peers, each in its own virtual environment")
    parser.add_argument(
        "--peers-dir", type=Path, default=cache_dir() / "benchmark-peers", help="folder of the virtual environments"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="CIFAR-10 at 224 px on a GPU, instead of the measurements on the CPU"
    )
    parser.add_argument("--quick", action="store_true", help="few images: whether everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    # Tries --gpu without a GPU.
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, default=10, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    report: Path | None = chosen.json.absolute() if chosen.json else None
    peers_dir: Path = chosen.peers_dir.absolute()
    if chosen.gpu and chosen.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--gpu: torch sees no CUDA device here; run it on a machine that has one")
    with alone(quick=chosen.quick) as found:
        setting = dataclasses.replace(found, device=chosen.device)
        gpu = on_gpu(setting, limit=chosen.limit, epochs=chosen.epochs)
        parts = [gpu] if chosen.gpu else [on_steps(setting), on_frozen(setting)]
        parts += [on_accuracy(setting)] if chosen.accuracy else []
        parts += [on_peers(setting, peers_dir)] if chosen.peers else []
        show(itertools.chain.from_iterable(parts), gpu=chosen.gpu, report=report)


if __name__ == "__main__":
    main()
