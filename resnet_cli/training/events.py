"""Events that a fine-tuning sends while it runs. The CLI displays them; other callers may ignore them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from resnet_cli.system.events import Noted, Status, Warned, WorkDone

if TYPE_CHECKING:
    from resnet_cli.history import EpochRecord
    from resnet_cli.training.plan import Plan
    from resnet_cli.training.report import FinetuneResult


@dataclasses.dataclass(frozen=True)
class PlanMade:
    """The plan is complete; nothing is written yet."""

    plan: Plan


@dataclasses.dataclass(frozen=True)
class RunBegan:
    """The run folder is open: the training begins, or continues.

    Attributes:
        run: The run folder.
        plan: The plan.
    """

    run: Path
    plan: Plan


@dataclasses.dataclass(frozen=True)
class RunDone:
    """The run is finished, and all of its files are written."""

    result: FinetuneResult


@dataclasses.dataclass(frozen=True)
class StepDone:
    """One optimizer step.

    Attributes:
        epoch: Epoch, from 1.
        step: Step within the epoch, from 1.
        steps: Number of steps in the epoch.
        loss: Loss of this batch; of a multi-label model the mean over the known values of the epoch so far.
        images_per_s: Throughput in the epoch so far.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_s: float


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """An epoch is over; ``is_best`` says whether it is the best so far on the validation split."""

    record: EpochRecord
    is_best: bool


@dataclasses.dataclass(frozen=True)
class RateLowered:
    """A loss or gradient was not finite: training continues from the last good epoch at a lower learning rate.

    Attributes:
        epoch: Epoch that starts again.
        reason: What was not finite, and where.
        rate: Factor of every learning rate from now on.
    """

    epoch: int
    reason: str
    rate: float


@dataclasses.dataclass(frozen=True)
class MemoryShort:
    """A batch did not fit into memory; it is split into smaller micro-batches, and the step stays the same.

    Attributes:
        epoch: Current epoch.
        micro_batch: Images that go through the network at once from now on.
        batch_size: Images per optimizer step, as before.
    """

    epoch: int
    micro_batch: int
    batch_size: int


@dataclasses.dataclass(frozen=True)
class ThreadsChanged:
    """Another number of threads was measured to be faster.

    Attributes:
        epoch: Current epoch.
        count: Number of threads that share an operation from the next step on.
        most: Maximum number of threads.
    """

    epoch: int
    count: int
    most: int


@dataclasses.dataclass(frozen=True)
class Resumed:
    """A training continues from a checkpoint.

    Attributes:
        epoch: Current epoch.
        step: Number of its steps that are done.
        warnings: Reasons why newer checkpoints could not be used.
        history: The epochs that are done.
    """

    epoch: int
    step: int
    warnings: tuple[str, ...] = ()
    history: tuple[EpochRecord, ...] = ()


@dataclasses.dataclass(frozen=True)
class Saved:
    """A file was written completely."""

    path: Path


Event: TypeAlias = (
    PlanMade
    | RunBegan
    | RunDone
    | WorkDone
    | Noted
    | Status
    | Warned
    | StepDone
    | EpochDone
    | RateLowered
    | MemoryShort
    | ThreadsChanged
    | Resumed
    | Saved
)
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Default handler: ignores every event."""
