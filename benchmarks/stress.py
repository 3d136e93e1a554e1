"""Disturbs every command at random, and checks that nothing is lost: run by hand.

    python -m benchmarks.stress --runs 200 --seed 0 [--only RUN,...] [--keep FOLDER] [--workers N]

Networks are narrow and images few, so that a command takes seconds. Each run takes a command and a disturbance: kill
-9, SIGINT, SIGTERM, a limit of the size of files, a small file system (only as root), a full stdout, a reader that
leaves, another command at the same time, a cache that disappears, a `runs/latest` that changes. Afterwards

- no traceback was printed, and the exit code is one that docs/guarantees.md names for it;
- every file is complete;
- the command, or the one that continues it, ends with the files of an undisturbed run.

The table shows, for each command and disturbance, the number of runs and, if there are any, tracebacks / wrong files /
commands that cannot be continued. The exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .stress_commands import BASE, JOBS, SMALL, Job, WrongFileError, check_onnx, look, same_bytes, words_of
from .stress_server import Command, Server, narrow_environment

SPLITS = {"train": 12, "val": 6, "test": 6}
COLORS = {"blue": (90, 90, 170), "green": (90, 170, 90), "red": (170, 90, 90)}
TIMEOUT_S = 300
#: Size of the small file system before it shrinks: the command asks for the room that networks of the whole size need.
DISK = "4G"
#: A server runs until it is told to stop.
SERVE_S = 3.0
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
#: Jobs whose model is `runs/latest` if it is switched.
SWITCHED = ("predict CSV", "eval", "eval --save-predictions", "export onnx")
FAULTS = ("traceback", "wrong", "cannot go on")


@dataclasses.dataclass
class World:
    """What all runs share.

    Attributes:
        root: The scratch folder.
        folders: What ``DATA`` and ``IMAGES`` stand for.
        seconds: How long each job takes undisturbed.
    """

    root: Path
    folders: dict[str, Path]
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def reference(self, name: str, model: str = "base") -> Path:
        """Folder of the undisturbed run of a job."""
        return self.root / "reference" / model / name.replace(" ", "-")


@dataclasses.dataclass
class Outcome:
    """One disturbed run.

    Attributes:
        index: Its number.
        job: Name of the command.
        disturbance: What was done to it.
        faults: What is wrong: kind -> what was seen.
    """

    index: int
    job: str
    disturbance: str
    faults: dict[str, str] = dataclasses.field(default_factory=dict)


def make_world(root: Path, server: Server, env: dict[str, str]) -> World:
    """Draws the images, trains two runs and runs every job undisturbed."""
    rng = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for name, color in COLORS.items():
            folder = root / "data" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(color + rng.normal(0, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}-{index}.png")
    world = World(root, {"DATA": root / "data", "IMAGES": root / "data" / "test"})
    for model, seed in (("base", "1"), ("other", "2")):
        flags = (*SMALL[:-1], seed, "--weights", "none", "--mode", "full", "--epochs", "2", "--batch-size", "12")
        words = words_of(("finetune", "DATA", "--out", f"runs/{model}", *flags), world.folders)
        _must_succeed(Command(words, root, name=model, env=env, server=server))
    for name, job in JOBS.items():
        for model in ("base", *(["other"] if name in SWITCHED else [])):
            folder = world.reference(name, model)
            _copy_runs(world, folder, [model])
            words = [f"runs/{model}" if word == BASE else word for word in words_of(job.words, world.folders)]
            began = time.perf_counter()
            command = Command(words, folder, name="undisturbed", env=env, server=server)
            if job.words[0] == "serve":
                time.sleep(SERVE_S)
                command.send(signal.SIGTERM)
                command.wait()
            else:
                _must_succeed(command)
            world.seconds[name] = time.perf_counter() - began
    return world


def _must_succeed(command: Command) -> None:
    code = command.wait()
    if code:
        raise SystemExit(f"{' '.join(command.words)} ended with {code} undisturbed:\n{command.errors()}")


def _copy_runs(world: World, folder: Path, names: Sequence[str]) -> None:
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copytree(world.root / "runs" / name, folder / "runs" / name)
    (folder / "runs" / "latest").symlink_to(names[0])


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
            _copy_runs(self._world, self._folder, ["base", "other"] if kind == "latest switched" else ["base"])
            if self._rng.random() < 0.5:
                shutil.copytree(self._world.root / "cache", self._folder / "cache")
            code = self._disturb(kind)
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
            self._end(second, {0})
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

    def _start_second(self) -> Command:
        """Another command with the same data, cache and run."""
        name = self._rng.choice([name for name in JOBS if name not in {self._outcome.job, "serve"}])
        names = {"new": "second", "a.csv": "b.csv", "a.jsonl": "b.jsonl", "a.npy": "b.npy", "sorted": "sorted-2"}
        words = [names.get(word, word) for word in words_of(JOBS[name].words, self._world.folders)]
        return Command(words, self._folder, name="second", env=self._env)

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
        try:
            job.check(folder, self._world.reference(self._outcome.job))
        except (WrongFileError, OSError, ValueError, KeyError) as error:
            self._fault("wrong", f"{type(error).__name__}: {error}")

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs everything and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="runs at the same time")
    parser.add_argument("--only", type=lambda text: [int(part) for part in text.split(",")], help="numbers of runs")
    parser.add_argument("--commands", default="", help="only commands whose name starts so")
    parser.add_argument("--keep", type=Path, help="folder that receives the folders of runs with a fault")
    chosen = parser.parse_args(arguments)
    began = time.perf_counter()
    names = [name for name in JOBS if name.startswith(chosen.commands)]
    pairs = [(name, kind) for name in names for kind in disturbances(name)]
    random.Random(chosen.seed).shuffle(pairs)
    outcomes = [Outcome(index, *pairs[index % len(pairs)]) for index in range(chosen.runs)]
    if chosen.only:
        outcomes = [outcome for outcome in outcomes if outcome.index in chosen.only]
    with tempfile.TemporaryDirectory(prefix="stress-") as scratch:
        root = Path(scratch).resolve()
        env = narrow_environment(root)
        servers: queue.Queue[Server] = queue.Queue()
        for _ in range(chosen.workers):
            servers.put(Server(env))
        first = servers.get()
        world = make_world(root, first, env)
        servers.put(first)
        print(f"{len(JOBS)} commands undisturbed: {time.perf_counter() - began:.0f} s", flush=True)

        def carry_out(outcome: Outcome) -> None:
            server = servers.get()
            folder = root / f"run-{outcome.index}"
            folder.mkdir()
            try:
                Run(world, outcome, random.Random(f"{chosen.seed} {outcome.index}"), server, folder).carry_out()
            finally:
                servers.put(server)
            for kind, what in outcome.faults.items():
                print(f"run {outcome.index}, {outcome.job}, {outcome.disturbance}: {kind}: {what}", flush=True)
            if outcome.faults and chosen.keep:
                shutil.copytree(folder, chosen.keep / folder.name, symlinks=True)
            shutil.rmtree(folder)

        with concurrent.futures.ThreadPoolExecutor(chosen.workers) as pool:
            list(pool.map(carry_out, outcomes))
        while not servers.empty():
            servers.get().close()
    print(table(outcomes))
    print(f"{len(outcomes)} runs, seed {chosen.seed}: {time.perf_counter() - began:.0f} s")
    return int(any(outcome.faults for outcome in outcomes))


def table(outcomes: Sequence[Outcome]) -> str:
    """One row for each command, one column for each disturbance; faults as tracebacks/wrong files/cannot go on."""
    cells: dict[tuple[str, str], list[Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        for key in ((outcome.job, outcome.disturbance), (outcome.job, "all"), ("all", outcome.disturbance)):
            cells[key].append(outcome)
        cells["all", "all"].append(outcome)

    def cell(job: str, kind: str) -> str:
        found = cells[job, kind]
        faults = [sum(fault in outcome.faults for outcome in found) for fault in FAULTS]
        return f"{len(found) or '·'}" + (f" {'/'.join(map(str, faults))}" if any(faults) or kind == "all" else "")

    kinds = [kind for kind in CODES if cells["all", kind]]
    lines = [["command", *kinds, "all: runs traceback/wrong/cannot go on"]]
    lines += [
        [job, *(cell(job, kind) for kind in kinds), cell(job, "all")] for job in (*JOBS, "all") if cells[job, "all"]
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
