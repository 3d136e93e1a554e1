"""Measurements that need something made first, or that only print when run by their own name, as rows."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from .setting import Setting
from .table import Row

ROOT = Path(__file__).parents[2]


def on_forward(setting: Setting) -> Iterator[Row]:
    """Ways to run the backbone on the CPU, in turn; the figure is how many times as fast as torch's own forward."""
    import torch

    from resnet_cli.api import load

    from . import forward

    sizes = ((64, 16),) if setting.quick else itertools.product((224, 128, 64), (1, 16, 32))
    chosen = argparse.Namespace(rounds=2 if setting.quick else 5, spin=False, compile=not setting.quick)
    model = load(setting.weights)
    for side, batch_size in sizes:
        preprocess = dataclasses.replace(model.preprocess, resize_size=round(side * 8 / 7), crop_size=side)
        with torch.inference_mode():
            images = forward.photos(setting.assets, 32 if setting.quick else 200, preprocess)
            found = list(forward.measure(chosen, model, images, batch_size))
        for row in found:
            details = row.details | {"images": len(images), "n": chosen.rounds}
            yield dataclasses.replace(row, what=f"forward, {row.what}, over torch", details=details)


def on_serving(setting: Setting) -> Iterator[Row]:
    """Requests/s of a server of ants and bees against its network alone, and its memory over many requests."""
    from .export import make_run
    from .serving import Server, measure_memory, measure_rates

    # The client is a process that finds itself by name.
    os.environ["PYTHONPATH"] = str(ROOT)
    model, folder = str(make_run(setting)), setting.photos / "val"
    with Server(model) as server:
        yield from measure_rates(server, model, folder, requests=40 if setting.quick else 400)
        if not setting.quick:
            yield measure_memory(server, folder, requests=10_000)


def on_boundary(setting: Setting) -> Iterator[Row]:
    """Training of the last stage with kept activations over training without, in turn."""
    from .boundary import Trained, plan_for, train
    from .training import NUM_CLASSES

    per_class = 8 if setting.quick else 200
    chosen = argparse.Namespace(image_size=64 if setting.quick else 128, epochs=4 if setting.quick else 5)
    parts = {"train": slice(per_class), "val": slice(per_class, per_class + per_class // 2)}
    data = setting.cifar(**{split: ("train", part) for split, part in parts.items()})
    without: list[Trained] = []
    kept: list[Trained] = []
    for seed in range(1 if setting.quick else 3):
        for num_views, found in ((0, without), (3, kept)):
            # Each makes its views anew.
            os.environ["RESNET_CLI_CACHE"] = str(setting.empty())
            found.append(train(plan_for(data, setting.weights, num_views, seed, chosen)))
    pairs = list(zip(kept, without, strict=True))
    ratios = [few.wall_s / all_of.wall_s for few, all_of in pairs]
    gain = statistics.fmean(few.last.val_top1 - all_of.last.val_top1 for few, all_of in pairs)
    details = {
        "kept_s": statistics.median(one.wall_s for one in kept),
        "without_s": statistics.median(one.wall_s for one in without),
        "processor of an epoch": statistics.median(few.epoch_cpu_s / all_of.epoch_cpu_s for few, all_of in pairs),
        "top-1 points": 100 * gain,
        "MB": kept[0].num_bytes / 1e6,
        "images": NUM_CLASSES * per_class,
        "epochs": chosen.epochs,
        "px": chosen.image_size,
        "min": min(ratios),
        "max": max(ratios),
        "n": len(ratios),
    }
    what = "--unfreeze layer4 with --cached-views 3 over without"
    yield Row(what, statistics.median(ratios), "x", details=details)
