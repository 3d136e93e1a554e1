"""How many planted wrong labels ``eval --label-audit`` finds, by which score, and how well it says how many there are.

    RESNET_CLI_ASSETS=... python -m tests.benchmarks.label_audit

CIFAR-10, 500 pictures a class, frozen features at 128 px (from the cache after the first run). A share of all labels is
replaced by another class at random. Precision is the share of planted ones among as many of the first as were planted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_cli.device import choose_compute
from resnet_cli.evaluation.label_audit import LabelAudit, audit_labels

from .cifar import cifar_features

PER_CLASS, NUM_CLASSES = 500, 10
#: What the audit must find of 5 % planted.
BAR = 0.7


def plant(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """The labels with a share of them wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(labels), round(share * len(labels)), replace=False)
    planted = labels.copy()
    planted[wrong] = (labels[wrong] + rng.integers(1, NUM_CLASSES, len(wrong))) % NUM_CLASSES
    return planted


def scores(audit: LabelAudit) -> dict[str, NDArray[np.floating]]:
    """Ways to rank, the least is the worst."""
    own, other = audit.label_probs, audit.suggested_probs
    mean = np.array([own[audit.labels == label].mean() for label in range(NUM_CLASSES)])
    entropy = -(audit.probs * np.log(audit.probs + 1e-12)).sum(axis=1)
    return {
        "self-confidence": own,
        "margin": own - other,
        "log odds": np.log(own + 1e-9) - np.log(other + 1e-9),
        # Confident learning's thresholds: each class's mean self-confidence.
        "less class's mean": own - mean[audit.labels],
        "over entropy": own / np.maximum(entropy, 1e-6),
    }


def main() -> None:
    """Prints one row a share and seed."""
    rows, truth = cifar_features(Path(os.environ["RESNET_CLI_ASSETS"]), {"train": PER_CLASS}, choose_compute())["train"]
    found = []
    for share, seeds in ((0.05, range(3)), (0.0, range(1)), (0.01, range(1)), (0.1, range(1)), (0.2, range(1))):
        for seed in seeds:
            labels = plant(truth.numpy(), share, seed)
            began = time.perf_counter()
            audit = audit_labels(rows, labels, [str(label) for label in range(NUM_CLASSES)], seed=seed)
            seconds = time.perf_counter() - began
            wrong = labels != truth.numpy()
            value, low, high = (round(end) for end in audit.num_wrong)
            print(f"{wrong.sum()} planted: estimate {value} ({low} to {high}), {seconds:.0f} s", flush=True)
            for name, score in scores(audit).items() if share else ():
                precision = wrong[np.argsort(score, kind="stable")[: wrong.sum()]].mean()
                print(f"    {name:18} {precision:.3f}", flush=True)
                found += [precision] if (share, name) == (0.05, "self-confidence") else []
            right = audit.suggested[audit.order[: wrong.sum()]] == truth.numpy()[audit.order[: wrong.sum()]]
            if share:
                print(
                    f"    suggested label right for {right[wrong[audit.order[: wrong.sum()]]].mean():.3f} of the found"
                )
    print(f"5 % planted, self-confidence: {np.mean(found):.3f} (bar {BAR}): {'met' if min(found) >= BAR else 'MISSED'}")


if __name__ == "__main__":
    main()
