"""What a finetune tells whoever watches it, as it happens. The CLI draws these; a notebook may ignore them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from resnet_cli.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class PlanMade:
    """Everything is decided; nothing is written yet."""

    plan: Plan


@dataclasses.dataclass(frozen=True)
class WorkDone:
    """Progress of what comes before or after the epochs.

    Attributes:
        task: What is going on.
        done: Bytes of what is downloaded or unpacked, else pictures.
        total: None if it is not known.
    """

    task: Literal["download", "unpack", "features", "check", "compare", "evaluate"]
    done: int
    total: int | None


@dataclasses.dataclass(frozen=True)
class StepDone:
    """One optimizer step.

    Attributes:
        epoch: From 1.
        step: Within the epoch, from 1.
        steps: Of the epoch.
        loss: Of this batch.
        images_per_s: Over the epoch so far.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_s: float


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One row of ``history.csv``.

    Attributes:
        epoch: From 1.
        train_loss: Mean over the epoch's pictures, as seen in training (augmented, dropout on).
        train_top1: Likewise.
        val_loss: On the whole validation split after the epoch.
        val_top1: Likewise.
        lr: Of the backbone (the head's, if frozen) at the epoch's last step.
        seconds: Wall time of the epoch, validation included.
    """

    epoch: int
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    lr: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """An epoch is over; ``is_best`` says that it is the best so far on validation."""

    record: EpochRecord
    is_best: bool


@dataclasses.dataclass(frozen=True)
class Saved:
    """A file or folder that can be relied on from now on."""

    path: Path


Event: TypeAlias = PlanMade | WorkDone | StepDone | EpochDone | Saved
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """For whoever does not watch."""
