"""What a finetune reached, and what a finished run writes besides its model: history, figures, plots."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from resnet_cli.data.dataset import SPLITS, Item
from resnet_cli.errors import VerificationError
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.model import Model
from resnet_cli.paths import make_dir
from resnet_cli.reporting.plots import CurvePoint, plot_confusion, plot_curves, plot_predictions
from resnet_cli.training.events import EpochRecord
from resnet_cli.training.memory import Retention
from resnet_cli.training.plan import Plan
from resnet_cli.training.run import RunFolder

SCHEMA_VERSION = 1
#: Pictures in the plot of validation predictions.
NUM_SHOWN = 25


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """What a finetune reached.

    Attributes:
        run: The run folder.
        model: What was kept: the best epoch on validation.
        plan: What was decided before.
        history: One record an epoch.
        best: The record of the epoch that was kept.
        val: The kept model on the validation split, which chose the epoch.
        test: On the test split, which chose nothing; None if there is none.
        seconds: Wall time from the plan to the last evaluation.
        retention: How well the classes of the model that was added to are still known; None without ``add``.
    """

    run: RunFolder
    model: Model
    plan: Plan
    history: tuple[EpochRecord, ...]
    best: EpochRecord
    val: Evaluation
    test: Evaluation | None
    seconds: float
    retention: Retention | None = None

    @property
    def judged(self) -> Evaluation:
        """The figures to quote: test's, where there is such a split."""
        return self.test or self.val

    def check(self, least: float | None) -> None:
        """Compares the figure to quote with what was asked for.

        Raises:
            VerificationError: Top-1 is below ``least``.
        """
        if least is not None and self.judged.top1 < least:
            split = "test" if self.test else "validation"
            raise VerificationError(
                f"{split} top-1 {self.judged.top1:.1%} is below --fail-under {least:.1%} ({self.run.path})",
                hint=f"see where it is wrong: resnet-cli eval {self.run.path}",
            )

    def to_dict(self) -> dict[str, Any]:
        """The summary that ``finetune --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run": str(self.run.path),
            "model": str(self.run.model_path),
            "mode": self.plan.mode,
            "weights": self.plan.weights.name,
            "num_classes": len(self.model.classes),
            "num_skipped": len(self.plan.skipped),
            "num_images": {split: len(self.plan.dataset.split(split)) for split in SPLITS},
            "epochs": max(record.epoch for record in self.history),
            "best_epoch": self.best.epoch,
            "val_top1": self.val.top1,
            "test_top1": self.test.top1 if self.test else None,
            "old_classes": dataclasses.asdict(self.retention) if self.retention else None,
            "seconds": round(self.seconds, 3),
        }


def write_report(result: FinetuneResult) -> None:
    """Writes ``history.csv``, ``metrics.json`` and the plots into the run folder.

    Raises:
        DiskError: The disk is full.
    """
    run, plan = result.run, result.plan
    run.write_history(result.history)
    run.write_metrics(
        result.to_dict() | {"val": result.val.to_dict(), "test": result.test.to_dict() if result.test else None}
    )
    make_dir(run.plots_path)
    points = [
        CurvePoint(
            record.epoch,
            record.train_loss,
            record.val_loss,
            record.val_top1,
            record.train_top1,
            penalty=None if plan.takes_steps else record.l2,
        )
        for record in result.history
    ]
    plot_curves(points, run.plots_path / "curves.png", best_epoch=result.best.epoch)
    judged = result.test or result.val
    plot_confusion(judged.confusion, judged.classes, run.plots_path / "confusion.png")
    items = plan.dataset.split("val")
    order = np.random.default_rng(plan.config.seed).permutation(len(items))[:NUM_SHOWN]
    probs = result.val.probs[order]
    classes = result.model.classes
    plot_predictions(
        [_thumbnail(items[index]) for index in order],
        [classes[items[index].label] for index in order],
        [classes[index] for index in probs.argmax(axis=1)],
        probs.max(axis=1).tolist(),
        run.plots_path / "predictions.png",
    )


def _thumbnail(item: Item) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = item.open()
    image.thumbnail((256, 256))
    return np.asarray(image)
