"""The work that the page starts: one command at a time, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, TypeAlias

from resnet_cli.errors import ConfigError, ResnetCliError
from resnet_cli.studio.calls import Call, in_folder
from resnet_cli.studio.project import Project
from resnet_cli.studio.worker import STOP

Kind: TypeAlias = Literal["inspect", "train", "audit", "export"]
State: TypeAlias = Literal["running", "stopping", "done", "failed", "stopped", "killed"]
#: What is said about each kind of work.
NAMES: dict[Kind, str] = {
    "inspect": "the check of the images",
    "train": "a training",
    "audit": "the check of the labels",
    "export": "an export",
}
#: The program that carries out commands; modules in the current folder must not take the place of installed ones.
WORKER = (sys.executable, "-P", "-m", "resnet_cli.studio.worker")
#: Longest line of a process: the result of a check of many images.
_MAX_LINE = 2**27
#: Least time between two updates of the page, in seconds.
_EVERY_S = 0.1
#: Time in which a process that is told to stop may finish its step and save, in seconds.
SHUTDOWN_S = 120
#: Time until the process for the next command starts: first, the page is busy with the results. In seconds.
PAUSE_S = 3.0


@dataclasses.dataclass
class Job:
    """A command that runs or has run.

    Attributes:
        number: Counts the jobs of this server.
        kind: What it does.
        project: Whose images it is about.
        call: The command.
        options: What the page asked for.
        state: Whether it runs, and otherwise how it ended.
        doing: What is being done.
        done: How much of that is done.
        total: How much there is; None if it is not known.
        plan: The plan of a training, row by row.
        epochs: The epochs or penalties so far.
        warnings: Warnings so far.
        message: How it ended, if it did not end well.
        hint: What to do about that.
        code: Kind of the error.
        result: The result, if it ended well.
    """

    number: int
    kind: Kind
    project: Project
    call: Call
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    state: State = "running"
    doing: str = "starting"
    done: int = 0
    total: int | None = None
    began: float = dataclasses.field(default_factory=time.time)
    seconds: float | None = None
    plan: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    epochs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    message: str = ""
    hint: str | None = None
    code: str | None = None
    result: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state not in {"running", "stopping"}

    def take(self, message: dict[str, Any]) -> None:
        """Takes a message of its process."""
        self.warnings += [text for text in message.pop("warnings", []) if text not in self.warnings]
        if "epoch" in message:
            new = message.pop("epoch")
            # An epoch that starts again, after a loss that was not finite, replaces what followed its first try.
            before = [epoch for epoch in self.epochs if epoch["number"] < new["number"]]
            if new["is_kept"]:
                before = [epoch | {"is_kept": False} for epoch in before]
            self.epochs = [*before, new]
        if end := message.pop("end", None):
            self.state = end
        for name, value in message.items():
            setattr(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """What the page shows."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        command = in_folder(self.project.path, self.call.line())
        seconds = self.seconds if self.is_over else time.time() - self.began
        return values | {"project": self.project.name, "call": self.call.line(), "command": command, "seconds": seconds}


class Jobs:
    """Runs commands one at a time, and tells listeners how far they are.

    Args:
        on_end: Called with a job that is over, before listeners are told.
        worker: The program that carries out commands, with its arguments.
    """

    def __init__(self, on_end: Callable[[Job], None], worker: Sequence[str] = WORKER) -> None:
        self.job: Job | None = None
        self._worker = worker
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._spare: asyncio.subprocess.Process | None = None
        self._ending: set[asyncio.Task[int]] = set()
        self._starting, self._spawning = asyncio.Lock(), asyncio.Lock()
        self._numbers = itertools.count(1)
        self._listeners: set[asyncio.Queue[dict[str, Any] | None]] = set()

    async def prepare(self) -> None:
        """Starts a process that imports what commands need, and waits for one; while a command runs, starts none."""
        async with self._spawning:
            is_free = self.job is None or self.job.is_over
            if is_free and (self._spare is None or self._spare.returncode is not None):
                self._spare = await _start_process(self._worker)

    async def start(self, kind: Kind, project: Project, call: Call, **options: Any) -> Job:
        """Starts a command.

        Raises:
            ConfigError: Another one is running.
        """
        async with self._starting:
            if self.job is not None and not self.job.is_over:
                # A check of the images begins by itself: nothing has to wait for it.
                if self.job.kind != "inspect" or kind == "inspect":
                    raise ConfigError(
                        f"{NAMES[self.job.kind]} is running in the project {self.job.project.name!r}",
                        hint="wait until it is finished, or cancel it: only one can run at a time",
                    )
                await self.stop()
                await self._finish(SHUTDOWN_S)
                await self.kill()
            # First, since a process that cannot be started leaves no job.
            await self.prepare()
            self.job = job = Job(next(self._numbers), kind, project, call, options)
            self._process, self._spare = self._spare, None
            self._task = asyncio.create_task(self._run(job))
        self.tell({"job": job.to_dict()})
        return job

    async def stop(self) -> None:
        """Stops the command as Ctrl-C does: it finishes its step and saves."""
        if self.job and self.job.state == "running" and self._process and self._process.stdin:
            self.job.state = "stopping"
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(f"{STOP}\n".encode())
                await self._process.stdin.drain()
            self.tell({"job": self.job.to_dict()})

    async def kill(self) -> None:
        """Ends the command at once, and waits for that."""
        if self._process and self.job and not self.job.is_over:
            self.job.state = "stopping"
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._finish()

    async def close(self) -> None:
        """Stops everything, in time for what a training saves."""
        await self.stop()
        await self._finish(SHUTDOWN_S)
        await self.kill()
        if self._preparing:
            self._preparing.cancel()
        if self._spare:
            with contextlib.suppress(ProcessLookupError):
                self._spare.kill()
            await self._spare.wait()
        if self._ending:
            await asyncio.wait(self._ending, timeout=SHUTDOWN_S)

    def tell(self, message: dict[str, Any] | None) -> None:
        """Tells every listener; None: there is nothing more to come."""
        for listener in self._listeners:
            listener.put_nowait(message)

    async def listen(self) -> AsyncIterator[dict[str, Any]]:
        """Yields the current job, and then every message."""
        listener: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            yield {"job": self.job and self.job.to_dict()}
            while (message := await listener.get()) is not None:
                yield message
        finally:
            self._listeners.discard(listener)

    async def _run(self, job: Job) -> None:
        process = self._process
        assert process and process.stdin and process.stdout
        with contextlib.suppress(ConnectionError):
            process.stdin.write(job.call.to_json(job.project.path).encode() + b"\n")
            await process.stdin.drain()
        told = 0.0
        async for line in process.stdout:
            # The last line of a process that was killed ends anywhere.
            if line.endswith(b"\n"):
                job.take(json.loads(line))
            if job.is_over:
                break
            if time.monotonic() - told > _EVERY_S:
                told = time.monotonic()
                self.tell({"job": job.to_dict()})
        if not job.is_over:
            code = await process.wait()
            job.message, job.hint = _why_it_ended(code, job)
            job.state = "killed" if job.state == "running" else "stopped"
        elif job.kind == "inspect":
            # What it has imported is of use for the next command; a training might have left much more in memory.
            self._spare = process
        else:
            process.stdin.close()
            ending = asyncio.create_task(process.wait())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        job.seconds = time.time() - job.began
        self._process = None
        try:
            self._on_end(job)
        except ResnetCliError as error:
            job.warnings.append(f"the result cannot be kept for later: {error.message}")
        self.tell({"job": job.to_dict()})
        self._preparing = asyncio.create_task(self._prepare_later())

    async def _prepare_later(self) -> None:
        await asyncio.sleep(PAUSE_S)
        await self.prepare()

    async def _finish(self, timeout_s: float | None = None) -> None:
        """Waits until no command runs."""
        if self._task:
            await asyncio.wait([self._task], timeout=timeout_s)


async def _start_process(worker: Sequence[str]) -> asyncio.subprocess.Process:
    # A terminal's Ctrl-C goes to the server alone, which then tells this process.
    group: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        group = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return await asyncio.create_subprocess_exec(
        *worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=_MAX_LINE, **group
    )


def _why_it_ended(code: int, job: Job) -> tuple[str, str | None]:
    if job.state == "stopping":
        return "", None
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = "is there enough memory? Close other programs, and try again" if name == "SIGKILL" else None
        return f"the process of the command was ended by the system ({name})", hint
    return f"the process of the command ended with exit code {code}", None
