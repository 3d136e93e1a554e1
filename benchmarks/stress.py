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
import queue
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .stress_commands import JOBS
from .stress_run import CODES, Outcome, Run, disturbances
from .stress_server import Server, narrow_environment
from .stress_world import make_world

FAULTS = ("traceback", "wrong", "cannot go on")


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
    num_ended = sum(outcome.code != 0 for outcome in outcomes)
    print(f"{num_ended} were ended by the disturbance; the others were over before, or did not mind it")
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
