"""What a finetune tells whoever watches it, as it happens. The CLI draws these; a notebook may ignore them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from resnet_cli.system.events import Warned, WorkDone

if TYPE_CHECKING:
    from resnet_cli.runs import EpochRecord
    from resnet_cli.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class PlanMade:
    """Everything is decided; nothing is written yet."""

    plan: Plan


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
class EpochDone:
    """An epoch is over; ``is_best`` says that it is the best so far on validation."""

    record: EpochRecord
    is_best: bool


@dataclasses.dataclass(frozen=True)
class RateLowered:
    """A loss or gradient was not finite: training went back to the last good epoch, at a lower rate.

    Attributes:
        epoch: The one that starts again.
        reason: What was not finite, and where.
        rate: What every rate is multiplied by from now on.
    """

    epoch: int
    reason: str
    rate: float


@dataclasses.dataclass(frozen=True)
class MemoryShort:
    """A batch did not fit; it goes through the network in smaller parts, and the step stays the same.

    Attributes:
        epoch: The one under way.
        micro_batch: Images that go through at once from now on.
        batch_size: Images an optimizer step, as before.
    """

    epoch: int
    micro_batch: int
    batch_size: int


@dataclasses.dataclass(frozen=True)
class ThreadsChanged:
    """The clock says that another number of threads is faster.

    Attributes:
        epoch: The one under way.
        count: Threads that share an operation from the next step on.
        most: Threads that it may use.
    """

    epoch: int
    count: int
    most: int


@dataclasses.dataclass(frozen=True)
class Resumed:
    """A training goes on from a checkpoint.

    Attributes:
        epoch: The one under way.
        step: Steps of it that are done.
        warnings: Why newer checkpoints were passed over.
    """

    epoch: int
    step: int
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Saved:
    """A file or folder that can be relied on from now on."""

    path: Path


Event: TypeAlias = (
    PlanMade | WorkDone | Warned | StepDone | EpochDone | RateLowered | MemoryShort | ThreadsChanged | Resumed | Saved
)
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """For whoever does not watch."""
