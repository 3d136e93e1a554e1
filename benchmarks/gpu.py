"""Measures a GPU: CIFAR-10 at 224 px in training and inference, and photos, whose decoding is the limit.

    RESNET_CLI_ASSETS=... python -m benchmarks.gpu [--quick] [--device cuda]

Training is measured by ``training.py``. Inference is a pass over images for their features, as in finetune, eval and
predict, in the default precision of the device; the bare network has its tensors ready.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

from .setting import Setting, alone
from .table import Row, show, spread

IMAGE_SIZE = 224
#: Images per class, out of 6,000, with and without --quick.
QUICK_PER_CLASS = 20
NUM_PHOTOS, QUICK_PHOTOS = 4_000, 64


def refusal(setting: Setting) -> Row | None:
    """A row that says why nothing is measured; None if there is a GPU."""
    import torch

    if setting.device != "cuda" or torch.cuda.is_available():
        return None
    return Row("GPU", None, "", details={"skipped": "torch sees no CUDA device here"})


def on_training(setting: Setting) -> Iterator[Row]:
    """Measures images/s in training, and accuracy after ten epochs."""
    from .training import on_gpu

    if row := refusal(setting):
        yield row
    elif setting.quick:
        yield from on_gpu(setting, limit=10 * QUICK_PER_CLASS, epochs=2)
    else:
        yield from on_gpu(setting)


def on_inference(setting: Setting) -> Iterator[Row]:
    """Measures images/s for small images, which decode fast, and for photos, which do not, beside the bare network."""
    if row := refusal(setting):
        yield row
        return
    from resnet_cli.system.device import choose_compute

    from .inference import photos

    per_class = QUICK_PER_CLASS if setting.quick else None
    small = setting.cifar(test=("test", slice(per_class)))
    large = photos(setting.assets, QUICK_PHOTOS if setting.quick else NUM_PHOTOS, setting.empty())
    compute = choose_compute(setting.device)
    what = f"inference at {IMAGE_SIZE} px on {compute.device}"
    for name, files, bar in (
        ("32 px JPEGs", sorted(small.rglob("*.jpg")), 6_500),
        ("photos of about 500 px", sorted(large.iterdir()), None),
    ):
        yield measure_rate(setting, f"{what}, {name}", files, at_least=bar)


def measure_rate(setting: Setting, what: str, files: list[Path], *, at_least: float | None) -> Row:
    """Measures images/s of predict over files, in turns with the bare network."""
    from resnet_cli import load
    from resnet_cli.system.device import choose_compute

    from .inference import BarePass, our_rate

    model, compute = load(setting.weights), choose_compute(setting.device)
    bare = BarePass(model, compute)
    num_pairs = 1 if setting.quick else 3
    # cuDNN searches for the fastest kernels at the first batch of a size.
    our_rate(model, files[:64], compute)
    ours, alone_rates = [], []
    for _ in range(num_pairs):
        alone_rates.append(bare.rate(len(files)))
        ours.append(our_rate(model, files, compute))
    details = {
        "bare": statistics.median(alone_rates),
        "share of bare": statistics.median(mine / theirs for mine, theirs in zip(ours, alone_rates, strict=True)),
        "images": len(files),
        "precision": compute.precision,
    }
    return Row(what, statistics.median(ours), "images/s", at_least=at_least, details=details | spread(ours))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images: whether everything runs")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    with alone(quick=chosen.quick) as found:
        setting = dataclasses.replace(found, device=chosen.device)
        parts: Iterable[Iterator[Row]] = (on_training(setting), on_inference(setting))
        show((row for part in parts for row in part), gpu=True)


if __name__ == "__main__":
    main()
