"""Passes the events of a training on, and logs them on threads of their own: a training never waits for a tracker."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias

from resnet_cli.config.units import Tracker
from resnet_cli.errors import Interrupted, ResnetCliError, missing_extra
from resnet_cli.loggers.logger import LoggedRun, Logger, Outcome, Status
from resnet_cli.system.events import Status as StatusEvent
from resnet_cli.system.events import Warned
from resnet_cli.system.extras import is_installed
from resnet_cli.training.events import EpochDone, Event, OnEvent, RunBegan, RunDone, StepDone

#: Time in seconds that a finished training waits until its results are logged.
FINISH_S = 60.0
#: The same for a training that was interrupted or failed.
GIVE_UP_S = 5.0
#: Time in seconds that a tracker has to begin a run, counted from the start of the training: MLflow needs 10 to create
#: its database, and a server that cannot be reached would need minutes.
BEGIN_S = 30.0
#: Time in seconds after which a wait is announced.
NOTICED_S = 0.5
#: Shortest time in seconds between two steps that are logged: a tracker may be behind a network.
STEP_EVERY_S = 1.0
#: Calls that may wait for a tracker that does not answer.
MAX_WAITING = 10_000
#: Characters of a tracker's own error that a warning quotes.
MAX_REASON = 300

_Call: TypeAlias = Callable[[Logger], None]


def require(trackers: Sequence[Tracker]) -> None:
    """Checks that the packages of these trackers are installed, without importing them.

    Raises:
        SetupError: One is not; the hint is the command that installs it.
    """
    for tracker in trackers:
        if not is_installed(tracker):
            raise missing_extra(f"--log-to {tracker} needs the package {tracker}", tracker)


class Logged:
    """Hands every event to ``on_event`` and to the trackers. Use it as a context manager, and call it with each event.

    Args:
        trackers: Their names; none by default, and then nothing is logged.
        on_event: Called with every event, and with a warning if a tracker fails.
    """

    def __init__(self, trackers: Sequence[Tracker], on_event: OnEvent) -> None:
        self._trackers, self._on_event = trackers, on_event
        self._running: list[_Background] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_killed = isinstance(error, Interrupted | KeyboardInterrupt)
        self._close("killed" if is_killed else "failed", GIVE_UP_S)

    def __call__(self, event: Event) -> None:
        """Hands on one event."""
        self._on_event(event)
        if isinstance(event, RunBegan):
            self._close("failed", GIVE_UP_S)
            run = LoggedRun.of(event)
            self._running = [_Background(name, make_logger(name), run) for name in self._trackers]
        elif isinstance(event, StepDone):
            for one in self._running:
                one.put_step(event)
        elif isinstance(event, EpochDone):
            for one in self._running:
                one.put(lambda logger: logger.log_epoch(event.record))
        elif isinstance(event, RunDone) and self._running:
            outcome = Outcome.of(event.result)
            for one in self._running:
                one.put(lambda logger: logger.log_result(outcome))
            self._close("finished", FINISH_S)
        self._warn()

    def _close(self, status: Status, wait_s: float) -> None:
        if not self._running:
            return
        for one in self._running:
            one.end(status)
        began = time.monotonic()
        for one in self._running:
            if not one.is_over(NOTICED_S):
                self._on_event(StatusEvent(f"logging the results to {one.name}"))
            one.wait(began, wait_s)
        self._warn()
        self._running = []

    def _warn(self) -> None:
        for one in self._running:
            if (reason := one.take_failure()) is not None:
                self._on_event(Warned([f"{one.name}: {reason}; the training is not affected"]))


class _Background:
    """One logger and the thread that it works on.

    Args:
        name: Name of the tracker.
        logger: The logger.
        run: The run that begins.
    """

    def __init__(self, name: Tracker, logger: Logger, run: LoggedRun) -> None:
        self.name = name
        self._logger = logger
        self._waiting: queue.Queue[_Call | None] = queue.Queue(MAX_WAITING)
        self._failure: str | None = None
        self._has_failed = self._has_begun = False
        self._stepped_at, self._since = -STEP_EVERY_S, time.monotonic()
        # As a daemon, so that a tracker that never answers does not keep the process alive.
        self._thread = threading.Thread(target=self._work, name=f"log-to-{name}", daemon=True)
        self.put(lambda logger: self._begin(logger, run))
        self._thread.start()

    def put(self, call: _Call | None) -> None:
        """Leaves a call to the thread; without effect after a failure."""
        if self._has_failed:
            return
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self._fail(f"it is {MAX_WAITING:,} values behind")

    def put_step(self, step: StepDone) -> None:
        """Leaves a step to the thread, unless the last one was a moment ago; local files get every step."""
        now = time.monotonic()
        if self.name == "tensorboard" or now - self._stepped_at >= STEP_EVERY_S:
            self._stepped_at = now
            self.put(lambda logger: logger.log_step(step))

    def end(self, status: Status) -> None:
        """Lets the thread end after what it still has to do."""
        self.put(lambda logger: logger.close(status))
        self.put(None)

    def is_over(self, wait_s: float) -> bool:
        """Whether the thread has ended, or ends within this time; a failed logger counts as over."""
        self._thread.join(max(0.0, wait_s))
        return self._has_failed or not self._thread.is_alive()

    def wait(self, since: float, wait_s: float) -> None:
        """Waits for the end of the thread until a time after ``since``; a logger that needs longer has failed."""
        if not self._has_begun:
            self._join(max(self._since + BEGIN_S, since + GIVE_UP_S), most=since + wait_s)
        if self._has_begun:
            self._join(since + wait_s)
        if not self.is_over(0):
            what = "it did not take all values" if self._has_begun else "it did not answer"
            self._fail(f"{what} within {time.monotonic() - since:.0f} s after the end of the training")

    def _join(self, until: float, *, most: float = math.inf) -> None:
        self.is_over(min(until, most) - time.monotonic())

    def take_failure(self) -> str | None:
        """Why logging ended early; only once."""
        failure, self._failure = self._failure, None
        return failure

    def _begin(self, logger: Logger, run: LoggedRun) -> None:
        logger.start(run)
        self._has_begun = True

    def _work(self) -> None:
        while (call := self._waiting.get()) is not None and not self._has_failed:
            try:
                call(self._logger)
            # A tracker may raise anything, and wandb exits in some cases.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                return self._fail(_reason(error))

    def _fail(self, reason: str) -> None:
        self._failure, self._has_failed = reason, True


def _reason(error: BaseException) -> str:
    """The first line of an error, on one line and not too long."""
    text = error.message if isinstance(error, ResnetCliError) else str(error)
    hint = f" ({error.hint})" if isinstance(error, ResnetCliError) and error.hint else ""
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"{line[:MAX_REASON].rstrip('.')}{hint}"


def make_logger(tracker: Tracker) -> Logger:
    """A logger that has not begun yet."""
    if tracker == "wandb":
        from resnet_cli.loggers.wandb import WandbLogger

        return WandbLogger()
    if tracker == "mlflow":
        from resnet_cli.loggers.mlflow import MlflowLogger

        return MlflowLogger()
    from resnet_cli.loggers.tensorboard import TensorBoardLogger

    return TensorBoardLogger()
