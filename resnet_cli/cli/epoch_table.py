"""The epochs of a training on a terminal: a line for the epoch that runs, and a table of those that are done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_cli.cli.confusion import sparkline
from resnet_cli.cli.work_line import WorkLine
from resnet_cli.history import EpochRecord, has_penalties, kept_record, kept_text
from resnet_cli.task import TASKS
from resnet_cli.text import duration, share_or_dash

if TYPE_CHECKING:
    from resnet_cli.training.events import Resumed, StepDone
    from resnet_cli.training.plan import Plan

#: Epochs in the curve of the losses, which is shown where the terminal has room for it.
CURVE_LENGTH = 10
WIDTH_WITH_CURVE = 100


class _Column(NamedTuple):
    """A column of the table.

    Attributes:
        head: The heading, in one or two lines.
        width: Number of characters.
        cell: The text of a row.
    """

    head: str
    width: int
    cell: Callable[[EpochRecord], str]


class EpochTable:
    """What a training has reached so far, and how long it will still take.

    Args:
        plan: The plan of the training.

    Attributes:
        history: The epochs that are done, or the penalties of L-BFGS.
        num_epochs: Number of epochs; 0 with L-BFGS.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.history: list[EpochRecord] = []
        self.num_epochs = plan.epochs if plan.takes_steps else 0
        self._score_name = TASKS[plan.dataset.task].score_name
        self._costs, self._sizes = _costs(plan), plan.dataset.sizes()
        self._began_at = self._epoch_began_at = time.monotonic()
        self._step: StepDone | None = None
        # The first and the last step of the epoch that were seen, each with its time.
        self._first = self._last = (0, 0.0)
        # The epoch of which an earlier session has taken a part.
        self._partial = 0
        # Cost and seconds of the epochs that this session has taken from beginning to end.
        self._measured: list[tuple[float, float]] = []
        self._validating = ""

    def restore(self, event: Resumed) -> None:
        """Takes over the epochs of the training that is continued."""
        self.history = list(event.history)
        self._partial = event.epoch if event.step else 0

    def step(self, event: StepDone) -> None:
        """Notes a step."""
        self._last = event.step, time.monotonic()
        if self._step is None or self._step.epoch != event.epoch:
            self._first = self._last
        self._step, self._validating = event, ""

    def validating(self, done: int, total: int) -> None:
        """Notes how many validation images are done."""
        self._validating = f"validating {100 * done // max(total, 1)} %"

    def epoch(self, record: EpochRecord) -> None:
        """Notes an epoch that is over; one that starts again replaces what followed its first try."""
        self.history = [*(row for row in self.history if row.epoch < record.epoch), record]
        self._epoch_began_at = time.monotonic()
        if record.epoch > 0 and record.l2 is None and record.epoch != self._partial:
            self._measured.append((self._costs[record.epoch - 1], record.seconds))

    def rewind(self, epoch: int) -> None:
        """Forgets an epoch that starts again, and those after it."""
        self.history = [row for row in self.history if row.epoch < epoch]

    @property
    def is_over(self) -> bool:
        """Whether the last epoch that has begun is done, so that other work means the end of the training."""
        if self._step is None:
            return has_penalties(self.history)
        return bool(self.history) and self.history[-1].epoch == self._step.epoch

    @property
    def seconds_left(self) -> float | None:
        """Time that the remaining epochs will take; None before the second step."""
        event = self._step
        if event is None:
            return None
        now = time.monotonic()
        if self._measured:
            # The first epoch also warms up.
            measured = self._measured[1:] or self._measured
            per_cost = sum(seconds for _, seconds in measured) / sum(cost for cost, _ in measured)
            current = self._costs[event.epoch - 1] * per_cost - (now - self._epoch_began_at)
        else:
            (first, first_at), (last, last_at) = self._first, self._last
            if last == first:
                return None
            step_s = (last_at - first_at) / (last - first)
            # A validation pass is a third of a training pass.
            val_s = event.steps * step_s * self._sizes["val"] / max(3 * self._sizes["train"], 1)
            per_cost = (event.steps * step_s + val_s) / self._costs[event.epoch - 1]
            current = (event.steps - last) * step_s + val_s - (now - last_at)
        left = (0.0 if self.is_over else max(current, 0.0)) + per_cost * sum(self._costs[event.epoch :])
        limit = self._plan.config.max_time
        return left if limit is None else min(left, max(limit - (now - self._began_at), 0.0))

    @property
    def left_text(self) -> str:
        """The remaining time for people; empty before the second step."""
        seconds = self.seconds_left
        if seconds is None:
            return ""
        config = self._plan.config
        bound = "up to " if config.patience is not None or config.target is not None else ""
        return f"{bound}{duration(seconds)} left"

    def line(self, width: int) -> WorkLine | None:
        """The line of what runs now; None before the first step.

        Args:
            width: Columns of the terminal.
        """
        event = self._step
        if event is None:
            return WorkLine("fitting the head") if has_penalties(self.history) else None
        done = event.epoch - 1 + event.step / event.steps
        rate = self._validating or f"{event.images_per_s:,.0f} images/s"
        more = ""
        if width >= WIDTH_WITH_CURVE:
            losses = [record.val_fitted_loss for record in self.history[-CURVE_LENGTH:]]
            more = f"loss {event.loss:.3f}  {sparkline(losses)}"
        return WorkLine(
            f"epoch {event.epoch}/{self.num_epochs}", done, self.num_epochs, rate=rate, left=self.left_text, more=more
        )

    def table(self, width: int, *, max_rows: int | None = None) -> RenderableType:
        """The epochs so far, and which of them is kept.

        Args:
            width: Columns of the terminal; columns of the table that do not fit are left out.
            max_rows: Number of rows, the last ones; None for all.
        """
        if not self.history:
            return Text("", end="")
        kept = kept_record(self.history)
        columns = self._columns(width)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
        for column in columns:
            table.add_column(column.head, justify="right", vertical="bottom", width=column.width, no_wrap=True)
        table.add_column("", no_wrap=True)
        for record in self.history[-(max_rows or 0) :]:
            mark = Text("*" if record is kept else "", style="green")
            table.add_row(*(column.cell(record) for column in columns), mark, style="bold" if record is kept else "")
        return Group(table, Text(f"* {kept_text(self.history)}{self._about_first(kept)}", overflow="fold"))

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The headings and the rows of the table with all columns, for a page."""
        columns = self._columns(WIDTH_WITH_CURVE)
        rows = [[column.cell(record) for column in columns] for record in self.history]
        return [column.head.replace("\n", " ") for column in columns], rows

    def _about_first(self, kept: EpochRecord) -> str:
        return "" if kept.epoch or has_penalties(self.history) else f" ({self.first_name})"

    @property
    def first_name(self) -> str:
        """What epoch 0 is, if there is one."""
        return "the head of L-BFGS" if self._plan.is_frozen else "the linear probe"

    def _columns(self, width: int) -> list[_Column]:
        is_path = has_penalties(self.history)
        first = _Column("penalty", 8, lambda row: row.penalty_text) if is_path else _Column("epoch", 5, _epoch)
        val = _Column("validation\nloss", 10, lambda row: _loss(row.val_loss))
        columns = [
            first,
            _Column("train\nloss", 6, lambda row: _loss(row.train_loss)),
            # L-BFGS scales its logits to the validation split: both losses are the same.
            *([] if is_path else [val]),
            _Column("calibrated\nloss", 10, lambda row: _loss(row.val_fitted_loss)),
            _Column(self._score_name, 7, lambda row: share_or_dash(row.val_score)),
            _Column("time", 6, lambda row: _seconds(row.seconds)),
        ]
        # On a narrow terminal, in this order.
        for name in ("validation\nloss", "time", "train\nloss"):
            if sum(column.width + 2 for column in columns) + 1 > width:
                columns = [column for column in columns if column.head != name]
        return columns


def _epoch(row: EpochRecord) -> str:
    return str(row.epoch)


def _loss(loss: float) -> str:
    return f"{loss:.3f}" if loss < 99.9995 else f"{loss:.0f}" if loss < 1e6 else f"{loss:.0e}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 9.95 else duration(seconds)


def _costs(plan: Plan) -> list[float]:
    """The cost of each epoch in relation to the others: pixels grow, and with mode gradual the stages that train."""
    from resnet_cli.training.task_network import progressive_size, stages_in

    if plan.is_frozen:
        return [1.0] * plan.epochs
    full = plan.preprocess.crop_size
    costs = []
    for epoch in range(1, plan.epochs + 1):
        size = full
        if plan.progressive is not None:
            size = progressive_size(epoch, epochs=plan.epochs, start=plan.progressive, full=full)
        # Where all of it trains, the backward pass is twice the forward pass.
        share = len(stages_in(plan.mode, plan.stages, epoch=epoch, epochs=plan.epochs)) / max(len(plan.stages), 1)
        costs.append((size / full) ** 2 * (1 + 2 * share))
    return costs
