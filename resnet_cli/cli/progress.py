"""Progress of every command: live bars on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resnet_cli.cli import output
from resnet_cli.cli.confusion import sparkline
from resnet_cli.system.events import Noted, Status, Warned, WorkDone
from resnet_cli.text import percent
from resnet_cli.training.events import (
    EpochDone,
    Event,
    MemoryShort,
    PlanMade,
    RateLowered,
    Resumed,
    StepDone,
    ThreadsChanged,
)

if TYPE_CHECKING:
    from typing import Self

    from resnet_cli.training.plan import Plan

#: Minimum interval between two lines in a log.
LINE_EVERY_S = 5
TASKS = {
    "download": "downloading",
    "unpack": "unpacking",
    "features": "computing features",
    "check": "checking images",
    "compare": "comparing images",
    "evaluate": "evaluating",
    "quantize": "quantizing",
    "report": "writing the report",
    "predict": "classifying",
}


class ProgressView:
    """Displays events on stderr. Use it as a context manager, and call it with each event.

    Args:
        quiet: Whether to display nothing but warnings.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._progress = self._bars()
        self._tasks: dict[str, TaskID] = {}
        self._last_line_at = 0.0
        self._losses: list[float] = []
        self._best: float | None = 0.0
        self._num_epochs = 0
        self._start_name = ""
        self._has_plan = False
        self._began: dict[str, tuple[float, int]] = {}

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description:<19}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=output.stderr(),
            disable=not self._live,
            # By default, rich prints on stderr whatever is written to stdout meanwhile, even if that is a file.
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event | Noted) -> None:
        """Displays one event; warnings are printed even if ``quiet`` is set."""
        if isinstance(event, Warned):
            return output.warn_each(event.texts)
        if self._quiet:
            return
        if isinstance(event, Noted):
            return output.note(event.text)
        if (status := self._tasks.pop("status", None)) is not None:
            self._progress.remove_task(status)
        if isinstance(event, Status):
            self._draw("status", event.text, 0, None, count=" ")
            self._line(event.text, force=True)
        if isinstance(event, PlanMade):
            self._begin(event.plan)
        elif isinstance(event, WorkDone):
            self._work(event)
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EpochDone):
            self._epoch(event)
        elif isinstance(event, RateLowered):
            output.warn(
                f"{event.reason}: returning to the end of epoch {event.epoch - 1}, "
                f"with {event.rate:g} times the learning rates"
            )
        elif isinstance(event, MemoryShort):
            output.warn(
                f"{event.batch_size} images at once do not fit into memory: now {event.micro_batch} at a time; "
                "the batch size per step stays the same"
            )
        elif isinstance(event, ThreadsChanged):
            why = "the cores are shared with other work" if event.count < event.most else "the cores are free again"
            self._line(f"epoch {event.epoch}: now {event.count} of {event.most} threads, {why}", force=True)
        elif isinstance(event, Resumed):
            for warning in event.warnings:
                output.warn(f"{warning}; the previous checkpoint is used")
            self._line(f"continuing in epoch {event.epoch}, after step {event.step}", force=True)

    def _begin(self, plan: Plan) -> None:
        self._num_epochs = plan.epochs if plan.takes_steps else 0
        self._start_name = "epoch 0, the L-BFGS head" if plan.is_frozen else "probe"
        self._best, self._losses = 0.0, []
        if not self._has_plan:
            self._show_plan(plan)
        if plan.config.seeds == 1 and plan.config.out and plan.config.out.name.startswith("seed-"):
            self._line(f"seed {plan.config.seed}", force=True)

    def _show_plan(self, plan: Plan) -> None:
        """Shows the plan below the bars of the work before it; the training gets new ones."""
        from resnet_cli.cli.tables import plan_table

        self._progress.stop()
        output.note(plan_table(plan))
        output.warn_or_note(plan.warnings, plan.notes)
        self._progress, self._tasks, self._has_plan = self._bars(), {}, True
        self._progress.start()

    def download(self, name: str, done: int, total: int | None) -> None:
        """Displays the progress of a download.

        Args:
            name: Name of the file; empty if it is unknown.
            done: Bytes downloaded so far.
            total: Size of the file in bytes; None if the server does not say.
        """
        if not self._quiet:
            self._bytes("download", name, done, total)

    def _bytes(self, task: str, name: str, done: int, total: int | None) -> None:
        first, rate = self._rate(f"{task} {name} {total}", done, total)
        is_new = done > first
        count = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
        speed = f"{rate / 1e6:.1f} MB/s" if is_new else ""
        self._draw(f"{task} {name}", name or TASKS[task], done, total, text=speed, count=count)
        left = [f"{(total - done) / rate:.0f} s left"] if is_new and total and done < total else []
        text = ", ".join([f"{TASKS[task]} {name}".rstrip() + f": {count}", *filter(None, [speed]), *left])
        # The rate of the first second is unreliable.
        is_early = done != total and done - first < rate
        self._line(text, force=is_new and done == total, skip=is_early or not is_new)

    def _rate(self, key: str, done: int, total: int | None) -> tuple[int, float]:
        """The amount that was done when this work began, and the rate per second since then."""
        began, first = self._began.setdefault(key, (time.perf_counter(), done))
        if done < first or first == total:
            # Another pass of the same size, such as the test split after the validation split.
            began, first = self._began[key] = (time.perf_counter(), done)
        return first, (done - first) / max(time.perf_counter() - began, 1e-9)

    def _work(self, event: WorkDone) -> None:
        if event.task in {"download", "unpack"}:
            return self._bytes(event.task, "", event.done, event.total)
        first, rate = self._rate(f"{event.task} {event.total}", event.done, event.total)
        text = f"{rate:.0f} images/s"
        if event.done == first:
            text = f"{first:,} from cache" if first else ""
        # Work that cannot be counted is shown without a number.
        count = "" if event.done or event.total else " "
        self._draw(event.task, TASKS[event.task], event.done, event.total, text=text, count=count)
        counted = f"{event.done:,} of {event.total:,} images" if event.total else f"{event.done:,} images"
        is_new = event.done > first
        self._line(
            f"{TASKS[event.task]}: {counted}, {text}",
            force=is_new and event.done == event.total and event.task not in {"check", "compare", "predict"},
            # The rate of the first second is unreliable.
            skip=not is_new or (event.done != event.total and event.done - first < rate),
        )

    def _step(self, event: StepDone) -> None:
        text = f"loss {event.loss:.3f}  {event.images_per_s:,.0f} images/s"
        if event.epoch == 1:
            self._draw("epochs", "epochs", 0, self._num_epochs)
        self._draw("step", f"epoch {event.epoch}", event.step, event.steps, text=text)
        self._line(f"epoch {event.epoch}: step {event.step} of {event.steps}, {text}")

    def _epoch(self, event: EpochDone) -> None:
        record = event.record
        self._best = record.val_score if event.is_best else self._best
        best = " (best so far)" if event.is_best else ""
        if record.l2 is not None or record.epoch == 0:
            name = self._start_name if record.l2 is None or record.epoch == 0 else f"penalty {record.l2:g}"
            # The logits of L-BFGS are small where its penalty is strong, until the temperature scales them.
            loss = record.val_loss if record.l2 is None else record.val_fitted_loss
            scores = f"validation loss {loss:.3f}, {record.val_text}"
            return self._line(f"{name}: {scores}{best}", force=True)
        self._losses.append(record.train_loss)
        peak = "" if self._best is None else f", best {percent(self._best)}"
        text = f"validation {record.val_text}{peak}  loss {sparkline(self._losses)}"
        self._draw("epochs", "epochs", record.epoch, self._num_epochs, text=text)
        is_last = record.epoch == self._num_epochs
        self._line(
            f"epoch {record.epoch} of {self._num_epochs}: train loss {record.train_loss:.3f}, "
            f"validation {record.val_text}{best}",
            force=is_last or record.seconds > 1,
        )

    def _draw(
        self, key: str, description: str, done: int, total: int | None, *, text: str = "", count: str = ""
    ) -> None:
        if not self._live:
            return
        count = count or f"{done}/{'?' if total is None else total}"
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(description, total=total, text="", count="")
        self._progress.update(
            self._tasks[key], description=description, completed=done, total=total, text=text, count=count
        )

    def _line(self, text: str, *, force: bool = False, skip: bool = False) -> None:
        now = time.monotonic()
        if self._live or skip or (now - self._last_line_at < LINE_EVERY_S and not force):
            return
        self._last_line_at = now
        output.note(text)
