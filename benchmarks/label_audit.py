"""How many planted wrong labels ``eval --label-audit`` finds, by which score, and how well it estimates their number.

    RESNET_CLI_ASSETS=... python -m benchmarks.label_audit

CIFAR-10, 500 images per class, frozen features at 128 px (cached after the first run). A share of all labels is
replaced by a random other class. With n planted labels, precision is the share of planted ones among the n most
suspect.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from resnet_cli.studies.label_audit import LabelAudit, audit_labels
from resnet_cli.system.device import choose_compute

from .cifar import cifar_features
from .setting import Setting, alone
from .table import Row, show, spread

PER_CLASS, NUM_CLASSES = 500, 10
QUICK_PER_CLASS = 20
#: Share of labels that are made wrong -> number of draws.
DRAWS = ((0.05, 3), (0.0, 1), (0.01, 1), (0.1, 1), (0.2, 1))
#: Precision that the audit must reach with 5 % planted, in percent.
BAR = 70


def plant(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """The labels, a share of them replaced by wrong ones."""
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(labels), round(share * len(labels)), replace=False)
    planted = labels.copy()
    planted[wrong] = (labels[wrong] + rng.integers(1, NUM_CLASSES, len(wrong))) % NUM_CLASSES
    return planted


def scores(audit: LabelAudit) -> dict[str, NDArray[np.floating]]:
    """Scores to rank by; the lowest is the most suspect."""
    own, other = audit.label_probs, audit.suggested_probs
    mean = np.array([own[audit.labels == label].mean() for label in range(NUM_CLASSES)])
    entropy = -(audit.probs * np.log(audit.probs + 1e-12)).sum(axis=1)
    return {
        "self-confidence": own,
        "margin": own - other,
        "log odds": np.log(own + 1e-9) - np.log(other + 1e-9),
        # Confident learning's thresholds: the mean self-confidence of each class.
        "less class's mean": own - mean[audit.labels],
        "over entropy": own / np.maximum(entropy, 1e-6),
    }


def measure(setting: Setting) -> Iterator[Row]:
    """One row per share: mean precision over its draws, for the score that the audit ranks by."""
    per_class = QUICK_PER_CLASS if setting.quick else PER_CLASS
    rows, labels = cifar_features(setting.assets, {"train": per_class}, choose_compute())["train"]
    truth = labels.numpy()
    for share, num_draws in ((0.05, 1),) if setting.quick else DRAWS:
        precisions: dict[str, list[float]] = {}
        estimates, right = [], []
        for seed in range(num_draws):
            planted = plant(truth, share, seed)
            audit = audit_labels(rows, planted, [str(label) for label in range(NUM_CLASSES)], seed=seed)
            wrong = planted != truth
            for name, score in scores(audit).items():
                first = np.argsort(score, kind="stable")[: wrong.sum()]
                precisions.setdefault(name, []).append(100 * float(wrong[first].mean()) if share else 0.0)
            estimates.append("{} ({} to {})".format(*map(round, audit.num_wrong)))
            suspects = audit.order[: wrong.sum()]
            suspects = suspects[wrong[suspects]]
            right.append(float((audit.suggested[suspects] == truth[suspects]).mean()) if share else 0.0)
        details = {"images": len(truth), "planted": round(share * len(truth)), "estimate": " and ".join(estimates)}
        if not share:
            yield Row("label audit, nothing planted", None, "%", details=details)
            continue
        own = precisions.pop("self-confidence")
        details |= {"suggestion right %": 100 * float(np.mean(right))} | spread(own)
        details |= {name: float(np.mean(values)) for name, values in precisions.items()}
        bar = BAR if share == 0.05 and not setting.quick else None
        what = f"label audit, {share:.0%} planted: share of planted among the first"
        yield Row(what, float(np.mean(own)), "%", at_least=bar, details=details)


def main() -> None:
    """Prints one row per share."""
    with alone(keeps_cache=True) as setting:
        show(measure(setting))


if __name__ == "__main__":
    main()
