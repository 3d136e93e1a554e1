"""``torchrun`` over two machines, both of them this one: its processes are killed, and the result is the same."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.running import NARROW, TINY_FLAGS, command_environment
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from resnet_cli.runs import list_checkpoints
from resnet_cli.training import restarts

pytest_plugins = ["support.small_runs"]

#: The command with a narrow network and without plots.
SCRIPT = f"""{NARROW}
from resnet_cli.cli import main
from resnet_cli.reporting import single_label_report
from resnet_cli.training import report
single_label_report.overlays = lambda *_, **__: {{}}
report.write_report_files = lambda *_, **__: None
main()
"""
#: Of Linux.
PROC = Path("/proc")
STEPS = ("--mode", "full", "--batch-size", "4", "--limit", "12", "--epochs", "4", *TINY_FLAGS)
#: What an agent knows of a machine with one process.
MACHINE = ("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "1", "--rdzv-backend", "c10d")

Start = Callable[..., subprocess.Popen[str]]

pytestmark = [
    pytest.mark.usefixtures("here"),
    pytest.mark.skipif(not PROC.exists(), reason="finds the processes through Linux's /proc"),
]


@pytest.fixture
def start(here: Path) -> Iterator[Start]:
    """Starts Python on a command line in an environment; what still runs in the end is ended."""
    (here / "command.py").write_text(SCRIPT)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **environment: object) -> subprocess.Popen[str]:
        values = command_environment() | {name: str(value) for name, value in environment.items()}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, *map(str, arguments)], env=values, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def member(agents: list[subprocess.Popen[str]], rank: int) -> int:
    """The id of the process of that rank."""
    for agent in agents:
        for child in (PROC / f"{agent.pid}/task/{agent.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if f"RANK={rank}".encode() in (PROC / child / "environ").read_bytes().split(b"\0"):
                    return int(child)
    raise AssertionError(f"no process of rank {rank}")


def num_events(run: Path, name: str) -> int:
    path = run / "events.jsonl"
    return path.read_text().count(f'"event": "{name}"') if path.exists() else 0


def wait_until(done: Callable[[], object], agents: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 240
    while not done():
        assert all(agent.poll() is None for agent in agents), [agent.communicate()[1] for agent in agents]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_process_killed_on_one_of_two_machines_comes_back_and_the_bits_are_the_same(
    here: Path, photos: Path, start: Start
) -> None:
    run, command = here / "run", ("command.py", "finetune", photos, *STEPS, "--out")
    job = ("--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "job", "--local-addr", "127.0.0.1")
    machine = ("-m", "torch.distributed.run", *MACHINE, *job, *command, "run", "--checkpoint-every", "0.001s")
    agents = [start(*machine), start(*machine)]
    wait_until(lambda: len(list_checkpoints(run / "checkpoints")) > 1, agents)
    os.kill(member(agents, 1), signal.SIGKILL)
    assert not (run / "metrics.json").exists()
    port = free_port()
    # Never killed, and not even started by torchrun.
    whole = [
        start(*command, "whole", RANK=rank, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for rank in (0, 1)
    ]
    ends = [process.communicate(timeout=300) for process in [*agents, *whole]]
    assert [process.returncode for process in [*agents, *whole]] == [0] * 4, ends
    said = "".join(stderr for _, stderr in ends)
    assert "another process of this training has ended" in said and "finetune --resume RUN" in said
    assert "continuing in epoch" in said and num_events(run, "Resumed") == 1 and "Traceback" not in said
    assert sum("run/model.safetensors" in stdout for stdout, _ in ends) == 1
    tensors = [load_file(here / name / "model.safetensors") for name in ("whole", "run")]
    assert tensors[0].keys() == tensors[1].keys()
    assert [name for name, x in tensors[0].items() if not torch.equal(x, tensors[1][name])] == []
    histories = [(here / name / "history.csv").read_text().splitlines() for name in ("whole", "run")]
    assert len(histories[0]) == 5
    assert [row.split(",")[:6] for row in histories[0]] == [row.split(",")[:6] for row in histories[1]]


def test_a_round_finds_its_own_processes_and_never_takes_a_folder_of_others(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = TCPStore("127.0.0.1", 0, is_master=True)

    def begin(out: Path | None) -> bool:
        place = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": job.port}
        for name, value in {**place, "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_USE_AGENT_STORE": True}.items():
            monkeypatch.setenv(name, str(value))
        goes_on = restarts.begin_round(out)
        assert os.environ["MASTER_PORT"] != str(job.port) and not restarts.has_rounds()
        return goes_on

    out = here / "run"
    assert not begin(out)
    # Killed before there was anything in it, and then with a split.
    out.mkdir()
    assert not begin(out) and not out.exists()
    out.mkdir()
    (out / "split.csv").touch()
    assert begin(out)
    (here / "others").mkdir()
    (here / "others" / "split.csv").touch()
    job.delete_key(restarts.WAS_THERE)
    assert not begin(here / "others") and not begin(here / "others")
    assert (here / "others" / "split.csv").exists() and not begin(None)
