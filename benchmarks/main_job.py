"""Measures the main job on real photos: accuracy, time relative to one bare forward pass, peak memory.

    RESNET_CLI_ASSETS=... python -m benchmarks.main_job [--cifar] [--quick]

Everything is measured as a user sees it: the installed ``resnet-cli`` in its own process, with an empty feature cache,
start-up included. Ratios are between runs on the same machine within minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator

from .processes import BARE, finetune, run
from .setting import Setting, alone
from .table import Row, show

IMAGE_SIZE_PX, CIFAR_SIZE_PX = 224, 128
#: Smaller numbers with --quick, which only checks that everything runs.
QUICK_SIZE_PX, QUICK_PHOTOS, QUICK_PER_CLASS = 128, 64, 20


def measure_photos(setting: Setting) -> Iterator[Row]:
    """Ants and bees, frozen backbone: with nothing cached, and again with another seed."""
    from resnet_cli.system.device import choose_compute

    side = QUICK_SIZE_PX if setting.quick else IMAGE_SIZE_PX
    photos = setting.few_photos(QUICK_PHOTOS) if setting.quick else setting.photos
    num_images = len(list(photos.glob("*/*/*")))
    num_val = len(list(photos.glob("val/*/*")))
    env = os.environ | {"RESNET_CLI_CACHE": str(setting.empty())}
    flags = ("--mode", "frozen", "--weights", str(setting.weights), "--image-size", str(side))

    def bare(precision: str) -> float:
        return run(sys.executable, "-c", BARE, str(num_images), str(side), precision, env=env)[0]

    # Emulated bfloat16 is several times slower: a bare pass in it would make our ratio look too good.
    kinds = {"fp32", choose_compute("cpu").precision}
    before = {kind: bare(kind) for kind in kinds}
    precision = min(before, key=before.__getitem__)
    cold_s, memory, first = finetune(photos, *flags, env=env, out=setting.empty())
    alone_s = statistics.mean([before[precision], bare(precision)])
    warm_s, _, second = finetune(photos, *flags, "--seed", "1", env=env, out=setting.empty())
    top1 = [100 * found["val_top1"] for found in (first, second)]
    yield Row(
        "ants/bees, frozen, validation top-1",
        min(top1),
        "%",
        at_least=None if setting.quick else 95.4,
        details={"seeds 0 and 1": " and ".join(f"{value:.1f}" for value in top1), "n": num_val},
    )
    details = {"ours_s": cold_s, "bare_s": alone_s, "precision": precision, "images": num_images}
    yield Row(
        "ants/bees, frozen, relative to one bare forward pass", cold_s / alone_s, "x", at_most=1.3, details=details
    )
    yield Row("ants/bees, frozen, again with another seed, features cached", warm_s, "s", at_most=20, details={"n": 1})
    yield Row(
        "ants/bees, frozen, peak memory, nothing cached",
        memory / 1e9,
        "GB",
        at_most=2.5,
        details={"images": num_images},
    )


def measure_cifar(setting: Setting) -> Iterator[Row]:
    """CIFAR-10, 500 images per class, frozen backbone, 100 others per class for validation."""
    count, others = (QUICK_PER_CLASS, QUICK_PER_CLASS) if setting.quick else (500, 100)
    data = setting.cifar(train=("train", slice(count)), val=("test", slice(others)))
    env = os.environ | {"RESNET_CLI_CACHE": str(setting.empty())}
    flags = ("--mode", "frozen", "--image-size", str(CIFAR_SIZE_PX), "--weights", str(setting.weights))
    seconds, memory, result = finetune(data, *flags, env=env, out=setting.empty())
    details = {"a class": count, "n": 10 * others, "seconds": seconds}
    what = f"CIFAR-10 at {CIFAR_SIZE_PX} px, frozen"
    yield Row(
        f"{what}, validation top-1",
        100 * result["val_top1"],
        "%",
        at_least=None if setting.quick else 79,
        details=details,
    )
    yield Row(f"{what}, peak memory", memory / 1e9, "GB", at_most=2.5, details={"images": 10 * (count + others)})


def measure_all_cifar(setting: Setting) -> Iterator[Row]:
    """All 60,000 images of CIFAR-10, ten epochs, evaluation and report, from a cold cache and from a warm one.

    The epochs alone, as the figures were measured: L-BFGS, from whose head they start by default, takes its own time.
    """
    part = slice(QUICK_PER_CLASS if setting.quick else None)
    data = setting.cifar(train=("train", part), test=("test", part))
    num_images = len(list(data.glob("*/*/*")))
    env = os.environ | {"RESNET_CLI_CACHE": str(setting.empty())}
    flags = (
        "--mode",
        "frozen",
        "--solver",
        "sgd",
        "--epochs",
        "10",
        "--image-size",
        str(CIFAR_SIZE_PX),
        "--weights",
        str(setting.weights),
    )
    what = f"CIFAR-10 at {CIFAR_SIZE_PX} px, {num_images:,} images, frozen, 10 epochs"
    peaks = []
    for precision, cache, most in (("fp32", "cold", 20 * 60), ("fp32", "warm", 60), ("int8", "cold", 12 * 60)):
        seconds, memory, result = finetune(data, *flags, "--precision", precision, env=env, out=setting.empty())
        peaks.append(memory)
        details = {"test top-1 %": 100 * result["test_top1"], "images/s": num_images / seconds, "n": 1}
        yield Row(f"{what}, {precision}, {cache} cache", seconds, "s", at_most=most, details=details)
    yield Row(f"{what}, peak memory", max(peaks) / 1e9, "GB", at_most=3, details={"images": num_images})


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", action="store_true", help="also CIFAR-10, 500 images per class at 128 px (minutes)")
    parser.add_argument("--quick", action="store_true", help="few images: whether everything runs")
    chosen = parser.parse_args()
    with alone(quick=chosen.quick) as setting:
        show(measure_photos(setting))
        if chosen.cifar:
            show(measure_cifar(setting))


if __name__ == "__main__":
    main()
