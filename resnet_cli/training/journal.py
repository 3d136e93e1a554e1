"""``events.jsonl``: the events of a run, one per line, for other programs to follow; and TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from resnet_cli.errors import ConfigError, missing_extra
from resnet_cli.system.events import Status, WorkDone
from resnet_cli.system.paths import disk_errors, is_locked, try_lock
from resnet_cli.training.events import EpochDone, Event, PlanMade, StepDone

#: Name of the journal in a run folder.
JOURNAL = "events.jsonl"
#: Time in seconds that another process may hold the lock only to see whether it is free.
LOCK_WAIT_S = 0.5


class Journal:
    """Writes each event immediately as one JSON line; a resumed run appends to the same file.

    While it is open, no other process can open it, since two processes must not train the same run.

    Args:
        path: ``events.jsonl`` of the run.
        tensorboard: Folder for TensorBoard's files; None to write none.

    Raises:
        ConfigError: Another process has it open.
        DiskError: The file cannot be written.
        SetupError: TensorBoard is required and not installed.
    """

    def __init__(self, path: Path, *, tensorboard: Path | None = None) -> None:
        self._path = path
        self._board: Any = None
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise missing_extra("--tensorboard needs the package tensorboard", "tensorboard") from None
        run = shlex.quote(str(path.parent))
        hint = (
            f"free some space, or copy the run to a folder that can be written, and resume the copy: cp -r {run} COPY"
        )
        with disk_errors(path, hint=hint):
            # Unbuffered, so that each line is complete or missing even after kill -9, and closing writes nothing.
            self._file = cast(BinaryIO, path.open("ab", buffering=0))
            if not _wait_for_lock(self._file):
                self._file.close()
                raise being_trained(path.parent)
            _drop_torn_line(path)
        if tensorboard is not None:
            with disk_errors(tensorboard):
                self._board = SummaryWriter(str(tensorboard))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            # Its files may be what has ended the training.
            with contextlib.suppress(OSError) if error is not None else disk_errors(self._path.parent, "write in"):
                self._board.close()

    def __call__(self, event: Event) -> None:
        """Writes one event.

        Raises:
            DiskError: The disk is full.
        """
        if isinstance(event, PlanMade | Status | WorkDone):
            return
        values: dict[str, Any] = {"event": type(event).__name__, "time": round(time.time(), 3)}
        values |= dataclasses.asdict(event)
        if isinstance(event, EpochDone):
            values["record"] = event.record.to_dict()
        with disk_errors(self._path, hint="free some space"):
            line = json.dumps(values, default=str).encode() + b"\n"
            if self._file.write(line) < len(line):
                raise OSError("only a part could be written")
        if self._board is not None:
            with disk_errors(self._path.parent, "write TensorBoard's files in", hint="free some space"):
                self._draw(event)

    def _draw(self, event: Event) -> None:
        if isinstance(event, StepDone):
            at = (event.epoch - 1) * event.steps + event.step
            self._board.add_scalar("train/step_loss", event.loss, at)
            self._board.add_scalar("train/images_per_s", event.images_per_s, at)
        elif isinstance(event, EpochDone):
            record = event.record
            for name, value in (
                ("train/loss", record.train_loss),
                (f"train/{record.score}", record.train_score),
                ("val/loss", record.val_loss),
                (f"val/{record.score}", record.val_score),
                ("lr", record.lr),
            ):
                if value is not None:
                    self._board.add_scalar(name, value, record.epoch)
            self._board.flush()


def being_trained(run: Path) -> ConfigError:
    """The error of a command that would train a run which another process is training."""
    return ConfigError(f"{run}: another process is training it", hint="stop that one first, or wait until it has ended")


def is_open(path: Path) -> bool | None:
    """Whether a process has this journal open; None if the file system has no locks."""
    try:
        return is_locked(path)
    except OSError:
        return False


def _wait_for_lock(file: BinaryIO) -> bool:
    deadline = time.monotonic() + LOCK_WAIT_S
    while not try_lock(file):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _drop_torn_line(path: Path) -> None:
    """Removes an incomplete last line, which a full disk or a power failure leaves."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
