"""Progress of every command: drawn on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.text import Text

from resnet_cli.cli import output
from resnet_cli.cli.epoch_table import EpochTable
from resnet_cli.cli.live_region import LiveRegion
from resnet_cli.cli.work_line import DONE, TASKS, WorkLine, draw_lines
from resnet_cli.history import has_penalties, kept_record, kept_text
from resnet_cli.system.events import Noted, Status, Warned, WorkDone
from resnet_cli.text import counted, duration
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
#: A status gets a line in a log if it lasts longer.
STATUS_AFTER_S = 2.0
#: Work on a terminal that took at least this long leaves a line.
WORTH_A_LINE_S = 2.0
#: Work that is too frequent for a line of its own at its end.
_FREQUENT = frozenset({"check", "compare", "predict", "validate"})


class ProgressView:
    """Displays events on stderr. Use it as a context manager, and call it with each event.

    Args:
        quiet: Whether to display nothing but warnings.
        verbose: Whether a plan is shown whole.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._live = output.is_animated() and not quiet
        self._region: LiveRegion | None = None
        self._spinner = Spinner("dots")
        self._lines: dict[str, WorkLine] = {}
        self._epochs: EpochTable | None = None
        self._last_line_at = 0.0
        self._has_plan = False
        self._began: dict[str, tuple[float, int]] = {}
        self._status = threading.Timer(STATUS_AFTER_S, lambda: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> None:
        """Ends what is drawn; the next event begins anew. Results that are printed on the terminal do this, too."""
        self._status.cancel()
        self._end_epochs(always=True)
        self._lines = {}
        if self._region is not None:
            self._region.stop()
            self._region = None

    def __call__(self, event: Event) -> None:
        """Displays one event; warnings are printed even if ``quiet`` is set."""
        if isinstance(event, Warned):
            return output.warn_each(event.texts)
        if self._quiet:
            return
        if isinstance(event, Noted):
            return output.note(event.text)
        self._status.cancel()
        self._lines.pop("status", None)
        if isinstance(event, PlanMade):
            self._begin(event.plan)
        elif isinstance(event, Status):
            self._end_epochs()
            self._draw("status", event.text, 0, None, count="")
            self._status = threading.Timer(STATUS_AFTER_S, self._line, [event.text], {"force": True})
            self._status.daemon = True
            self._status.start()
        elif isinstance(event, WorkDone):
            self._work(event)
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EpochDone):
            self._epoch(event)
        else:
            self._remark(event)

    def _remark(self, event: Event) -> None:
        """Displays what happened to a training."""
        if isinstance(event, RateLowered):
            output.warn(
                f"{event.reason}: returning to the end of epoch {event.epoch - 1}, "
                f"with {event.rate:g} times the learning rates"
            )
            if self._epochs is not None:
                self._epochs.rewind(event.epoch)
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
            if self._epochs is not None:
                self._epochs.restore(event)
            output.note(f"continuing in epoch {event.epoch}, after step {event.step}")

    def _begin(self, plan: Plan) -> None:
        self._end_epochs()
        self._epochs = EpochTable(plan)
        if not self._has_plan:
            self._show_plan(plan)
            self._has_plan = True
        if plan.config.seeds == 1 and plan.config.out and plan.config.out.name.startswith("seed-"):
            output.note(f"seed {plan.config.seed}")

    def _show_plan(self, plan: Plan) -> None:
        """Shows the plan below the work before it."""
        from resnet_cli.cli.plan_view import show_plan

        show_plan(plan, whole=self._verbose)

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
        first, rate, seconds = self._rate(f"{task} {name} {total}", done, total)
        is_new = done > first
        count = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
        speed = f"{rate / 1e6:.1f} MB/s" if is_new else ""
        left = f"{duration((total - done) / rate)} left" if is_new and total and done < total else ""
        if is_new and done == total:
            self._finish_line(
                f"{task} {name}", f"{DONE.get(task, task)} {name or count} in {duration(seconds)}, {speed}", seconds
            )
        else:
            self._draw(f"{task} {name}", name or TASKS[task], done, total, text=speed, count=count, left=left)
        text = ", ".join(filter(None, [f"{TASKS[task]} {name}".rstrip() + f": {count}", speed, left]))
        # The rate of the first second is unreliable.
        is_early = done != total and done - first < rate
        self._line(text, force=is_new and done == total, skip=is_early or not is_new)

    def _rate(self, key: str, done: int, total: int | None) -> tuple[int, float, float]:
        """The amount that was done when this work began, and since then the rate per second and the seconds."""
        began, first = self._began.setdefault(key, (time.perf_counter(), done))
        if done < first or first == total:
            # Another pass of the same size, such as the test split after the validation split.
            began, first = self._began[key] = (time.perf_counter(), done)
        if done == total:
            # The next work of this size begins anew.
            del self._began[key]
        seconds = max(time.perf_counter() - began, 1e-9)
        return first, (done - first) / seconds, seconds

    def _work(self, event: WorkDone) -> None:
        if event.task in {"download", "unpack"}:
            return self._bytes(event.task, "", event.done, event.total)
        first, rate, seconds = self._rate(f"{event.task} {event.total}", event.done, event.total)
        is_new, is_over = event.done > first, event.done == event.total
        text = f"{rate:,.0f} images/s"
        if event.done == first:
            text = f"{first:,} from cache" if first else ""
        counted_text = f"{event.done:,} of {event.total:,} images" if event.total else f"{event.done:,} images"
        if event.task == "validate" and self._epochs is not None:
            self._epochs.validating(event.done, event.total or 0)
        else:
            if event.task in {"evaluate", "report"}:
                self._end_epochs()
            self._draw_work(event, text, seconds, first=first, rate=rate)
        self._line(
            f"{TASKS[event.task]}: {counted_text}, {text}",
            force=is_new and is_over and event.task not in _FREQUENT,
            # The rate of the first second is unreliable.
            skip=not is_new or (not is_over and event.done - first < rate),
        )

    def _draw_work(self, event: WorkDone, text: str, seconds: float, *, first: int, rate: float) -> None:
        if event.total and event.done == event.total:
            what = f"{DONE.get(event.task, event.task)} {counted(event.done, 'image')} in {duration(seconds)}, {text}"
            return self._finish_line(event.task, what, seconds)
        left = ""
        # The rate of the first images is unreliable.
        if event.total and event.done > first and seconds > 0.5:
            left = f"{duration((event.total - event.done) / rate)} left"
        count = f"{event.done:,}/{event.total:,}" if event.total else f"{event.done:,}" if event.done else ""
        self._draw(event.task, TASKS[event.task], event.done, event.total, text=text, count=count, left=left)

    def _step(self, event: StepDone) -> None:
        text = f"loss {event.loss:.3f}  {event.images_per_s:,.0f} images/s"
        left = ""
        if self._epochs is not None:
            self._epochs.step(event)
            left = ", ".join(["", *filter(None, [self._epochs.left_text])])
            self._draw_epochs()
        self._line(f"epoch {event.epoch}: step {event.step} of {event.steps}, {text}{left}")

    def _epoch(self, event: EpochDone) -> None:
        record, epochs = event.record, self._epochs
        if epochs is None:
            return
        epochs.epoch(record)
        self._draw_epochs()
        # With L-BFGS, the logits are small where its penalty is strong, until the temperature scales them.
        scores = f"{record.val_text}, calibrated loss {record.val_fitted_loss:.3f}"
        lowest = " (lowest so far)" if kept_record(epochs.history) is record else ""
        if record.epoch == 0:
            return self._line(f"epoch 0, {epochs.first_name}: validation {scores}{lowest}", force=True)
        if has_penalties(epochs.history):
            return self._line(f"penalty {record.penalty_text}: validation {scores}{lowest}", force=True)
        is_last = record.epoch == epochs.num_epochs
        self._line(
            f"epoch {record.epoch} of {epochs.num_epochs}: train loss {record.train_loss:.3f}, "
            f"validation loss {record.val_loss:.3f}, {scores}{lowest}, {duration(record.seconds)}",
            force=is_last or record.seconds > 1,
        )

    def _end_epochs(self, *, always: bool = False) -> None:
        """Leaves the table of the epochs on the terminal, or in a log what was kept, if the training is over."""
        epochs = self._epochs
        if epochs is None or not epochs.history or not (always or epochs.is_over):
            return
        self._epochs = None
        if not self._live:
            return self._line(kept_text(epochs.history), force=True)
        output.note(epochs.table(output.stderr().width))

    def _draw(
        self,
        key: str,
        description: str,
        done: int,
        total: int | None,
        *,
        text: str = "",
        count: str = "",
        left: str = "",
    ) -> None:
        if not self._live:
            return
        self._lines[key] = WorkLine(description, done, total, count, text, left)
        self._show_region()

    def _draw_epochs(self) -> None:
        if self._live:
            self._show_region()

    def _show_region(self) -> None:
        if self._region is None or not self._region.is_started:
            self._region = LiveRegion(self._drawing, on_result=self.finish)
            self._region.start(refresh=True)

    def _drawing(self, width: int, height: int) -> RenderableType:
        """What is drawn now."""
        lines, table = list(self._lines.values()), None
        if (epochs := self._epochs) is not None:
            lines += [line for line in [epochs.line(width)] if line is not None]
            if epochs.history:
                # The heading and its line, what is kept in at most two lines, and a free line.
                table = epochs.table(width, max_rows=max(1, height - len(lines) - 6))
        parts = [draw_lines(lines or [WorkLine("working")], width, self._spinner)]
        return Group(*parts, *([] if table is None else [table]))

    def _finish_line(self, key: str, text: str, seconds: float) -> None:
        """Ends the line of some work; one that has taken a while leaves a sentence on the terminal."""
        self._lines.pop(key, None)
        if self._live and seconds >= WORTH_A_LINE_S:
            output.note(Text(text, style="dim"))

    def _line(self, text: str, *, force: bool = False, skip: bool = False) -> None:
        now = time.monotonic()
        if self._live or skip or (now - self._last_line_at < LINE_EVERY_S and not force):
            return
        self._last_line_at = now
        output.note(text)
