"""The history of a training: one row per epoch, or per penalty of L-BFGS."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_cli.task import TASKS, ScoreKey
from resnet_cli.text import percent


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One row of ``history.csv``.

    The score is top-1 or, for multi-label data, mAP; the fields of the other one are None and in no file.

    Attributes:
        epoch: Epoch from 1; 0 is the linear probe before the first epoch. With L-BFGS: number of the penalty.
        train_loss: Mean loss over the epoch's images as seen in training (augmented, with dropout).
        train_top1: Top-1 over the epoch's images as seen in training.
        val_loss: Mean loss on the validation split after the epoch.
        val_top1: Top-1 on the validation split after the epoch.
        val_fitted_loss: ``val_loss`` at the best temperature (multi-label: scale and shift of each class) for the
            split; the best epoch has the lowest.
        lr: Learning rate of the first stage that trains, at the epoch's last step; 0 with L-BFGS.
        seconds: Wall time of the epoch, validation included.
        l2: Penalty of L-BFGS (multi-label: the last one that was tried); None for an epoch of steps.
        train_map: mAP on the training images; None for an epoch of steps, which does not measure it.
        val_map: mAP on the validation split after the epoch; None if no class has both values there.
    """

    epoch: int
    train_loss: float
    train_top1: float | None
    val_loss: float
    val_top1: float | None
    val_fitted_loss: float
    lr: float
    seconds: float
    l2: float | None = None
    train_map: float | None = None
    val_map: float | None = None

    @classmethod
    def of(cls, score: ScoreKey, train_score: float | None, val_score: float | None, **values: Any) -> EpochRecord:
        """The record of a task with this score, whose other fields are ``values``."""
        return cls.from_dict({**values, f"train_{score}": train_score, f"val_{score}": val_score})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochRecord:
        """The inverse of :meth:`to_dict`."""
        return cls(**{"train_top1": None, "val_top1": None, **values})

    @property
    def score(self) -> ScoreKey:
        """The name of the score in files."""
        return "map" if self.val_top1 is None else "top1"

    @property
    def train_score(self) -> float | None:
        """Top-1 or mAP on the training images."""
        return self.train_map if self.val_top1 is None else self.train_top1

    @property
    def val_score(self) -> float | None:
        """Top-1 or mAP on the validation split."""
        return self.val_map if self.val_top1 is None else self.val_top1

    @property
    def val_text(self) -> str:
        """The score on the validation split, for people: ``top-1 91.3 %``."""
        name = next(task.score_name for task in TASKS.values() if task.score == self.score)
        return f"{name} {'undefined' if self.val_score is None else percent(self.val_score)}"

    @property
    def penalty_text(self) -> str:
        """The penalty of L-BFGS, for people: ``0.000244``."""
        return f"{self.l2:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """The row as files have it, with the fields of its own score alone."""
        return {
            "epoch": self.epoch,
            "train_loss": self.train_loss,
            f"train_{self.score}": self.train_score,
            "val_loss": self.val_loss,
            f"val_{self.score}": self.val_score,
            "val_fitted_loss": self.val_fitted_loss,
            "lr": self.lr,
            "seconds": self.seconds,
            "l2": self.l2,
        }


def selection_key(record: EpochRecord) -> tuple[float, float]:
    """Sort key of epochs: lower validation loss at its best temperature, then a higher score, is better.

    By loss and not by top-1, which is far coarser: in one training top-1 on 1,000 CIFAR-10 images kept the first of
    three epochs (79.5 % of 2,000 test images), in another the loss kept the last one (82.4 %).
    """
    return -record.val_fitted_loss, record.val_score or 0.0


def has_penalties(history: Sequence[EpochRecord]) -> bool:
    """Whether the rows are penalties of L-BFGS and not epochs."""
    return any(record.l2 is not None and record.epoch > 0 for record in history)


def kept_record(history: Sequence[EpochRecord]) -> EpochRecord:
    """The row whose weights a training keeps; of equal ones, the first.

    Args:
        history: At least one row.
    """
    if has_penalties(history):
        return min(history, key=lambda record: record.val_fitted_loss)
    return max(history, key=selection_key)


def kept_text(history: Sequence[EpochRecord]) -> str:
    """What a training keeps and why, for people: ``kept epoch 6: lowest calibrated loss 0.051``.

    The calibrated loss is ``val_fitted_loss``: the validation loss at its best temperature, so that a model that is
    merely overconfident does not count as worse.

    Args:
        history: At least one row.
    """
    kept = kept_record(history)
    if has_penalties(history):
        what = "the penalty of each class" if kept.score == "map" else f"penalty {kept.penalty_text}"
    elif kept.epoch == 0:
        what = "epoch 0, the head before the first epoch"
    else:
        what = f"epoch {kept.epoch}"
    return f"kept {what}: lowest calibrated loss {kept.val_fitted_loss:.3f}"


#: Its columns are those of a history without rows.
_NO_EPOCH = EpochRecord(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def history_csv(history: Sequence[EpochRecord]) -> str:
    """The content of ``history.csv``."""
    text = io.StringIO()
    rows = [record.to_dict() for record in history]
    writer = csv.DictWriter(text, list(rows[0] if rows else _NO_EPOCH.to_dict()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
