"""Measures `serve`: requests/s and latency relative to the same network alone; memory over many requests.

    python -m benchmarks.serving MODEL FOLDER [--requests 400] [--memory 10000] [--json FILE]

MODEL is anything that `resnet-cli serve` takes, FOLDER contains JPEGs. The network alone is the session that the server
runs, with ready tensors, in this process, before and after each load; the client is a third process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.exported.base import ExportedModel
from resnet_cli.exporting.serving_model import open_for_serving

from .table import Row, head

COMMAND = str(Path(sys.executable).with_name("resnet-cli"))
CONNECTIONS = (1, 8, 64)
#: Seconds for which the network alone is measured, before and after each load.
BARE_S = 5.0
WARM_UP = 200


class Server:
    """A running server, from its first response to the end of the block."""

    def __init__(self, model: str) -> None:
        self._process = subprocess.Popen(
            [COMMAND, "serve", model, "--port", "0", "--quiet"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    @property
    def resident_mb(self) -> float:
        """Megabytes of memory that it uses now."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def load(self, folder: Path, *, connections: int, requests: int) -> dict[str, Any]:
        """The client's measurements."""
        flags = [f"--connections={connections}", f"--requests={requests}"]
        command = [sys.executable, "-m", "benchmarks.load", self.url, str(folder), *flags]
        found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        assert set(found["statuses"]) == {200}, set(found["statuses"])
        return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print("\n".join(f"{name}: {value}" for name, value in head(gpu=False).items()))
    rows = []
    with Server(arguments.model) as server:
        rows += measure_rates(server, arguments.model, arguments.folder, requests=arguments.requests)
        if arguments.exemplars:
            rows.append(measure_memory(server, arguments.folder, requests=arguments.exemplars))
    for row in rows:
        print(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(head(gpu=False) | {"rows": [vars(row) for row in rows]}, indent=2))


def measure_rates(server: Server, model: str, folder: Path, *, requests: int) -> list[Row]:
    """Images/s of the server relative to its network alone, at several numbers of connections."""
    with tempfile.TemporaryDirectory() as scratch:
        alone = open_for_serving(model, Path(scratch), offline=True)
    server.load(folder, connections=4, requests=20)
    rows = []
    for connections in CONNECTIONS:
        before = bare_rate(alone)
        found = server.load(folder, connections=connections, requests=requests)
        bare = (before + bare_rate(alone)) / 2
        rate = requests / found["total"]
        percentiles = statistics.quantiles(found["seconds"], n=100, method="inclusive")
        details = {
            "requests/s": rate,
            "alone": bare,
            "p50 ms": 1000 * percentiles[49],
            "p99 ms": 1000 * percentiles[98],
        }
        rows.append(Row(f"serving, {connections} connections", rate / bare, "x", details=details | {"n": requests}))
    return rows


def bare_rate(model: ExportedModel) -> float:
    """Inputs/s of the network alone, one at a time."""
    side = model.preprocess.crop_size
    square = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    model.predict([square])
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < BARE_S:
        model.predict([square])
        done += 1
    return done / passed


def measure_memory(server: Server, folder: Path, *, requests: int) -> Row:
    """The server's memory after this many requests, relative to its memory after the first few."""
    server.load(folder, connections=8, requests=WARM_UP)
    before = server.resident_mb
    server.load(folder, connections=8, requests=requests)
    after = server.resident_mb
    return Row(
        f"memory over {requests:,} requests", after / before, "x", at_most=1.1, details={"MB": after, "before": before}
    )


if __name__ == "__main__":
    main()
