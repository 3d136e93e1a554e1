"""Measures how fast engines are, each in a process of its own, on random squares of the real size.

A process of its own shows how long an engine takes to start, and neither its memory nor a crash of it is felt in the
command that waits. This module is also the program of that process: it computes the same squares once for every line
that it reads.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.engines.base import Backbone
from resnet_cli.engines.opening import open_file
from resnet_cli.engines.rates import Conditions, Rate, remember

#: Images of 224 px in a piece of work, and the number of pieces; the best piece counts, since other programs can only
#: make one slower. The engines take turns.
IMAGES_AT_224, NUM_PIECES = 8, 4
#: An engine that takes longer than this in all is not measured, in seconds.
LONGEST_S = 90.0


def measure(conditions: Conditions, engines: Sequence[str], path: Path) -> Mapping[str, Rate]:
    """Measures engines and remembers their rates.

    Args:
        conditions: Precision, side and threads of the measurement.
        engines: The engines.
        path: A backbone file of that precision (for bf16, of fp32) and side; torch computes random weights instead.

    Returns:
        Engine -> its rate, without those that failed.
    """
    rates: dict[str, Rate] = {}
    with contextlib.ExitStack() as stack:
        running = {}
        for engine in engines:
            began = time.perf_counter()
            process = stack.enter_context(_started(engine, conditions, path))
            if _seconds(process) is not None:
                running[engine] = process, time.perf_counter() - began
        best = dict.fromkeys(running, float("inf"))
        for _ in range(NUM_PIECES):
            for engine, (process, _) in running.items():
                best[engine] = min(best[engine], _seconds(process, ask=True) or float("inf"))
        count = num_images(conditions.side)
        for engine, (_, start_s) in running.items():
            if 0 < best[engine] < float("inf"):
                rates[engine] = Rate(per_s=round(count / best[engine], 2), start_s=round(start_s, 2))
    if rates:
        remember(conditions, rates)
    return rates


def num_images(side: int) -> int:
    """Images in a piece of work: about as many pixels for every size."""
    return max(2, min(128, round(IMAGES_AT_224 * (224 / side) ** 2)))


@contextlib.contextmanager
def _started(engine: str, conditions: Conditions, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [engine, str(path), conditions.precision, str(conditions.side), str(conditions.threads)]
    process = subprocess.Popen(
        # -P: a module in the current folder must not be imported in place of another one.
        [sys.executable, "-P", "-m", __name__, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    timer = threading.Timer(LONGEST_S, process.kill)
    timer.daemon = True
    timer.start()
    try:
        with process:
            yield process
            # It waits for a line, or computes: its results are no longer needed.
            process.kill()
    except BaseException:
        process.kill()
        raise
    finally:
        timer.cancel()


def _seconds(process: subprocess.Popen[bytes], *, ask: bool = False) -> float | None:
    """The next number that a process writes, after one more line if ``ask``; None if it has ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        if ask:
            process.stdin.write(b"\n")
            process.stdin.flush()
        return float(process.stdout.readline())
    except (OSError, ValueError):
        return None


def _compute(engine: str, path: Path, precision: str, side: int, threads: int) -> None:
    """Writes the seconds of each piece of work: a first one, then one for every line on stdin."""
    backbone: Backbone
    if engine == "torch":
        backbone = _RandomInTorch(precision, side, threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        backbone = open_file(path, engine, precision)
    squares = np.random.default_rng(0).integers(0, 256, (num_images(side), side, side, 3), dtype=np.uint8)
    # The first features of one image belong to the start; the first batch only prepares the next ones.
    backbone(squares[:1])
    os.write(1, b"0\n")
    with open(0, "rb") as requests:
        backbone(squares)
        for _ in requests:
            began = time.perf_counter()
            backbone(squares)
            os.write(1, b"%.6f\n" % (time.perf_counter() - began))


class _RandomInTorch:
    """A ResNet-50 with random weights in torch, which computes for as long as any other."""

    engine = "torch"

    def __init__(self, precision: str, side: int, threads: int) -> None:
        import torch

        from resnet_cli.engines.features import FrozenBackbone
        from resnet_cli.model.network import ResNet50
        from resnet_cli.preprocess import Preprocess
        from resnet_cli.system.device import choose_compute

        torch.set_num_threads(threads)
        self.precision = precision
        compute = choose_compute("cpu", "bf16" if precision == "bf16" else "fp32")
        self._backbone = FrozenBackbone(ResNet50(2).eval(), Preprocess(resize_size=side, crop_size=side), compute)

    def __call__(self, squares: NDArray[np.uint8], /) -> NDArray[np.floating[Any]]:
        from resnet_cli.data.loading import stack

        return self._backbone(stack(list(squares))).numpy()


if __name__ == "__main__":
    _compute(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
