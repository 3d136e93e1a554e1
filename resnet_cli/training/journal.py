"""``events.jsonl``: the events of a run, one per line, for other programs to follow."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from resnet_cli.errors import ConfigError
from resnet_cli.system.events import Status, WorkDone
from resnet_cli.system.locks import is_locked, try_lock
from resnet_cli.system.paths import disk_errors
from resnet_cli.training.events import EpochDone, Event, PlanMade, RunBegan, RunDone

#: Name of the journal in a run folder.
JOURNAL = "events.jsonl"
#: Time in seconds that another process may hold the lock only to see whether it is free.
LOCK_WAIT_S = 0.5


class Journal:
    """Writes each event immediately as one JSON line; a resumed run appends to the same file.

    While it is open, no other process can open it, since two processes must not train the same run.

    Args:
        path: ``events.jsonl`` of the run.

    Raises:
        ConfigError: Another process has it open.
        DiskError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __call__(self, event: Event) -> None:
        """Writes one event.

        Raises:
            DiskError: The disk is full.
        """
        if isinstance(event, PlanMade | RunBegan | RunDone | Status | WorkDone):
            return
        values: dict[str, Any] = {"event": type(event).__name__, "time": round(time.time(), 3)}
        values |= dataclasses.asdict(event)
        if isinstance(event, EpochDone):
            values["record"] = event.record.to_dict()
        # The epochs of a training that is continued are in the same file already.
        values.pop("history", None)
        with disk_errors(self._path, hint="free some space"):
            line = json.dumps(values, default=str).encode() + b"\n"
            if self._file.write(line) < len(line):
                raise OSError("only a part could be written")


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
