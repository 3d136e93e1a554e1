"""One command of ``benchmarks.stress``: disturbed, checked, continued and checked again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from .stress_commands import BASE, JOBS, Job, WrongFileError, check_onnx, look, same_bytes, words_of
from .stress_server import Command, Server, narrow_environment
from .stress_world import SERVE_S, SWITCHED, World, copy_runs

TIMEOUT_S = 300
#: Size of the small file system before it shrinks: the command asks for the room that networks of the whole size need.
DISK = "4G"
SIGNALS = {"kill -9": signal.SIGKILL, "SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
#: Exit codes of each disturbance; 0 is always right, since a command may end before it notices.
CODES = {
    "kill -9": {-9},
    "SIGINT": {130},
    # The second before the command has begun.
    "SIGTERM": {143, -15},
    "file size": {6},
    "small disk": {6},
    "full stdout": {6},
    "closed pipe": {141},
    "two at once": set(),
    "cache removed": set(),
    "latest switched": set(),
}


@dataclasses.dataclass
class Outcome:
    """One disturbed run.

    Attributes:
        index: Its number.
        job: Name of the command.
        disturbance: What was done to it.
        faults: What is wrong: kind -> what was seen.
        code: Exit code of the disturbed command.
    """

    index: int
    job: str
    disturbance: str
    faults: dict[str, str] = dataclasses.field(default_factory=dict)
    code: int = 0


def disturbances(name: str) -> list[str]:
    """The disturbances that make sense for a job."""
    if JOBS[name].words[0] == "serve":
        return [*SIGNALS, "full stdout"]
    found = [kind for kind in CODES if kind != "latest switched" or name in SWITCHED]
    if os.geteuid() != 0 or sys.platform != "linux":
        found.remove("small disk")
    return found


class Run:
    """One disturbed run in a folder of its own.

    Args:
        world: What all runs share.
        outcome: What to do; receives the faults.
        rng: Where all chance of the run comes from.
        server: Starts the command, unless it is started as a shell would do it.
        folder: An empty folder.
    """

    def __init__(self, world: World, outcome: Outcome, rng: random.Random, server: Server, folder: Path) -> None:
        self._world, self._outcome, self._rng, self._server, self._folder = world, outcome, rng, server, folder
        self._job: Job = JOBS[outcome.job]
        self._env = narrow_environment(folder)

    def carry_out(self) -> None:
        """Runs the command, disturbs it, checks what it leaves, continues it, and checks the result."""
        kind = self._outcome.disturbance
        with self._small_disk(kind == "small disk"):
            copy_runs(self._world, self._folder, ["base", "other"] if kind == "latest switched" else ["base"])
            if self._rng.random() < 0.5:
                shutil.copytree(self._world.root / "cache", self._folder / "cache")
            code = self._outcome.code = self._disturb(kind)
            try:
                look(self._folder, self._job)
            except WrongFileError as error:
                self._fault("wrong", str(error))
            if kind == "latest switched":
                return self._check_switched()
            self._continue(code)

    def _fault(self, kind: str, what: str) -> None:
        self._outcome.faults.setdefault(kind, what)

    def _words(self) -> list[str]:
        words = words_of(self._job.words, self._world.folders)
        if self._outcome.disturbance != "latest switched":
            return words
        words = words[: words.index("--out")] if "--out" in words else words
        return ["runs/latest" if word == BASE else word for word in words]

    def _disturb(self, kind: str) -> int:
        is_served = self._job.words[0] == "serve"
        second = self._start_second() if kind == "two at once" else None
        stdout, reader = None, None
        if kind == "full stdout":
            stdout = Path("/dev/full")
        elif kind == "closed pipe":
            stdout = self._folder / "pipe"
            os.mkfifo(stdout)
            reader = os.open(stdout, os.O_RDONLY | os.O_NONBLOCK)
        limit = self._rng.choice([0, 100, 1000, 10_000, 100_000, 700_000, 900_000]) if kind == "file size" else None
        # One in ten is started by its name; the others are forked, since the imports take longer than the work.
        server = None if self._rng.random() < 0.1 else self._server
        command = Command(
            self._words(),
            self._folder,
            name="disturbed",
            env=self._env,
            server=server,
            largest_file=limit,
            stdout=stdout,
        )
        until = threading.Event()
        helper = threading.Thread(target=self._meanwhile, args=(kind, command, reader, until))
        helper.start()
        if is_served:
            threading.Timer(SERVE_S, command.send, [signal.SIGTERM]).start()
        code = self._end(command, {0, 143} | CODES[kind] if is_served else {0} | CODES[kind])
        until.set()
        helper.join()
        if second is not None:
            name, other = second
            if self._end(other, {0}) == 0:
                self._check(name, self._folder / "second")
        return code

    def _meanwhile(self, kind: str, command: Command, reader: int | None, until: threading.Event) -> None:
        """Disturbs a running command."""
        delay = self._rng.uniform(0.02, 1.05 * self._world.seconds[self._outcome.job])
        if kind in SIGNALS:
            if not until.wait(delay):
                command.send(SIGNALS[kind])
        elif kind == "small disk":
            until.wait(self._rng.choice([0, delay]))
            spare = self._rng.choice([0, 4096, 40_960, 204_800, 819_200])
            # It is refused if the command has written more in the meantime.
            while not self._resize(str(shutil.disk_usage(self._folder).used + spare)) and not until.is_set():
                pass
        elif reader is not None:
            until.wait(delay)
            os.close(reader)
        elif kind == "cache removed":
            while not until.wait(self._rng.uniform(0, 0.5)):
                shutil.rmtree(self._folder / "cache", ignore_errors=True)
        elif kind == "latest switched":
            for name in _alternate():
                link = self._folder / "runs" / ".switch"
                link.symlink_to(name)
                os.replace(link, self._folder / "runs" / "latest")
                if until.wait(self._rng.uniform(0, 0.05)):
                    return

    def _end(self, command: Command, codes: set[int], *, fault: str = "wrong") -> int:
        timer = threading.Timer(TIMEOUT_S, command.send, [signal.SIGKILL])
        timer.start()
        code = command.wait()
        timer.cancel()
        errors = command.errors()
        if "Traceback" in errors or "Exception ignored" in errors:
            self._fault("traceback", errors[errors.find("Traceback") :][-3000:])
        elif code not in codes:
            self._fault(fault, f"exit code {code} of {' '.join(command.words)}:\n{errors[-1500:]}")
        return code

    def _start_second(self) -> tuple[str, Command]:
        """Another command, or the same, with the same data, cache and runs."""
        name = self._rng.choice([name for name in JOBS if JOBS[name].words[0] != "serve"])
        folder = self._folder / "second"
        folder.mkdir()
        (folder / "runs").symlink_to("../runs")
        return name, Command(words_of(JOBS[name].words, self._world.folders), folder, name="second", env=self._env)

    def _continue(self, code: int) -> None:
        job, folder = self._job, self._folder
        if self._outcome.disturbance == "small disk":
            self._resize(DISK)
        run = folder / "new"
        is_finished = code == 0 or (run / "metrics.json").exists()
        if not is_finished and job.words[0] != "serve":
            words: Sequence[str] = job.words
            has_part = any(next(folder.glob(pattern), None) for pattern in job.outputs[-1:])
            if job.words[0] == "finetune":
                has_part = (run / "config.yaml").exists() and (run / "split.csv").exists()
                if not has_part:
                    shutil.rmtree(run, ignore_errors=True)
            if has_part and job.resume is not None:
                words = job.resume
            for name in job.remove:
                path = folder / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            again = Command(
                words_of(words, self._world.folders), folder, name="again", env=self._env, server=self._server
            )
            if self._end(again, {0}, fault="cannot go on"):
                self._fault("cannot go on", again.errors()[-1500:])
                return
        self._check(self._outcome.job, folder)

    def _check(self, name: str, folder: Path) -> None:
        try:
            JOBS[name].check(folder, self._world.reference(name))
        except (WrongFileError, OSError, ValueError, KeyError) as error:
            self._fault("wrong", f"{name}: {type(error).__name__}: {error}")

    def _check_switched(self) -> None:
        """Everything belongs to one of the two runs, and is in its folder."""
        job, folder = self._job, self._folder
        faults = []
        try:
            if self._outcome.job in ("export onnx", "eval"):
                for name in ("base", "other"):
                    self._check_in_run(name)
                return
        except (WrongFileError, OSError, ValueError) as error:
            faults = [str(error)] * 2
        else:
            for name in ("base", "other"):
                try:
                    job.check(folder, self._world.reference(self._outcome.job, name))
                except (WrongFileError, OSError, ValueError) as error:
                    faults.append(str(error))
        if len(faults) == 2:
            self._fault("wrong", f"belongs to neither run: {faults[0]}")

    def _check_in_run(self, name: str) -> None:
        run, reference = self._folder / "runs" / name, self._world.reference(self._outcome.job, name)
        if (run / "model.onnx").exists():
            check_onnx(run, reference)
        for path in run.glob("eval/*/confusion.csv"):
            same_bytes(path, reference / path.relative_to(self._folder))

    @contextlib.contextmanager
    def _small_disk(self, is_small: bool) -> Iterator[None]:
        """Mounts a file system on the folder, which shrinks while the command runs."""
        if not is_small:
            yield
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self._folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(self._folder)], check=True)

    def _resize(self, size: str) -> bool:
        mount = ["mount", "-o", f"remount,size={size}", str(self._folder)]
        return subprocess.run(mount, check=False, capture_output=True).returncode == 0


def _alternate() -> Iterator[str]:
    while True:
        yield "other"
        yield "base"
