"""Whether the forecasts of ``eval --learning-curve`` come true, with most of CIFAR-10's images hidden from it.

    RESNET_CLI_ASSETS=... python -m benchmarks.learning_curve [--per-class 1000]

From pools of a few images per class it forecasts the gain from twice as many, and from 100 more per class. Then the
head is trained on that many images, evaluated on the same test images, and both are compared. Frozen features at 128
px, cached after the first run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from resnet_cli.heads import logistic
from resnet_cli.heads.logistic import Rows
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.studies.learning_curve import MORE_PER_CLASS, learning_curve
from resnet_cli.system.device import choose_compute

from .cifar import cifar_features, take
from .setting import Setting, alone
from .table import Row, show

NUM_CLASSES = 10
TEST_PER_CLASS = 200
#: A tenth of each class chooses the penalty, as with ``--val-fraction``.
VAL_SHARE = 0.1
#: Images per class that the curve may use -> number of pools.
POOLS = {25: 4, 50: 4, 100: 4, 225: 4, 450: 2}


class Trial(NamedTuple):
    """One forecast and what came true, as gains in top-1 accuracy."""

    name: str
    expected: float
    low: float
    high: float
    true: float

    @property
    def holds(self) -> bool:
        """Whether the interval covers the truth."""
        return self.low <= self.true <= self.high


def right(train: Rows, val: Rows, test: Rows) -> np.ndarray:
    """Which test images are classified correctly by a head whose penalty is chosen on validation images."""
    chosen = logistic.choose(list(logistic.fit_path(train, val, NUM_CLASSES, device="cpu")))
    return (head_probs(chosen.head, test[0]).argmax(dim=1) == test[1]).numpy()


def trials(train: Rows, test: Rows, num: int, seed: int) -> list[Trial]:
    """Forecasts from ``num`` images per class, plus ``VAL_SHARE`` of that for validation, and what comes true."""
    rng = np.random.default_rng((seed, num))
    by_class = [rng.permutation(np.flatnonzero(train[1].numpy() == label)) for label in range(NUM_CLASSES)]
    num_val = max(1, round(VAL_SHARE * num))

    def rows(start: int, stop: int) -> Rows:
        return take(train, torch.from_numpy(np.sort(np.concatenate([part[start:stop] for part in by_class]))))

    val = rows(0, num_val)
    curve = learning_curve(rows(num_val, num_val + num), val, test, NUM_CLASSES)
    now = right(rows(num_val, num_val + num), val, test)
    found = []
    for forecast in curve.forecasts:
        stop = num_val + forecast.num_images // NUM_CLASSES
        if stop > min(map(len, by_class)):
            continue
        later = right(rows(num_val, stop), val, test)
        found.append(Trial(f"{num} per class, {forecast.name}", *forecast.gain, later.mean() - now.mean()))
    return found


def measure(setting: Setting, *, per_class: int = 1000) -> Iterator[Row]:
    """The share of forecasts of each kind that came true."""
    counts = {"train": 60, "test": 20} if setting.quick else {"train": per_class, "test": TEST_PER_CLASS}
    parts = cifar_features(setting.assets, counts, choose_compute())
    done: list[Trial] = []
    for num, repeats in POOLS.items():
        if 2.1 * num > counts["train"]:
            continue
        for seed in range(1 if setting.quick else repeats):
            done += trials(parts["train"], parts["test"], num, seed)
    for trial in done:
        gains = ", ".join(f"{100 * value:+.1f}" for value in trial[1:5])
        print(f"{trial.name}: forecast, low, high, true: {gains} points", file=sys.stderr)
    for word in ("twice", str(MORE_PER_CLASS)):
        some = [trial for trial in done if word in trial.name.partition(",")[2]]
        if some:
            off = 100 * np.array([trial.expected - trial.true for trial in some])
            held = sum(trial.holds for trial in some)
            details = {"held": held, "n": len(some), "off by": float(np.abs(off).mean()), "bias": float(off.mean())}
            yield Row(f"learning curve, '{word}': intervals that hold", 100 * held / len(some), "%", details=details)


def main() -> None:
    """Prints one row per kind of forecast."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=1000, help="CIFAR-10 training images per class in all")
    chosen = parser.parse_args()
    with alone(keeps_cache=True) as setting:
        show(measure(setting, per_class=chosen.per_class))


if __name__ == "__main__":
    main()
