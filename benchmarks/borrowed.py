"""Benchmarks that need preparation, or that only print when they are run by name, as rows of the table."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from .setting import Setting
from .table import Row

ROOT = Path(__file__).parents[1]


def on_forward(setting: Setting) -> Iterator[Row]:
    """Several ways to run the backbone on the CPU, in turns; the figure is the speed relative to torch's forward."""
    import torch

    from resnet_cli import load

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
            yield dataclasses.replace(row, what=f"forward, {row.what}, relative to torch", details=details)


def on_serving(setting: Setting) -> Iterator[Row]:
    """Requests/s of a server for ants and bees relative to its network alone, and its memory over many requests."""
    from .export import make_run
    from .serving import Server, measure_memory, measure_rates

    # The client is another process, started by its module name.
    os.environ["PYTHONPATH"] = str(ROOT)
    model, folder = str(make_run(setting)), setting.photos / "val"
    with Server(model) as server:
        yield from measure_rates(server, model, folder, requests=40 if setting.quick else 400)
        if not setting.quick:
            yield measure_memory(server, folder, requests=10_000)
