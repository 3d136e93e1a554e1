"""``finetune --devices 2``: real processes, and one of them really killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.running import TINY_FLAGS, run_cli, spawn

from resnet_cli.runs import list_checkpoints
from resnet_cli.training import launch

pytest_plugins = ["support.small_runs"]

#: Of Linux: the processes that one has started.
CHILDREN = "/proc/{0}/task/{0}/children"
STEPS = ("--batchnorm", "eval", "--batch-size", "8", "--lr", "0.0001", "--head-lr", "0.0001", *TINY_FLAGS)

pytestmark = pytest.mark.usefixtures("here")


def wait_until(done: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not done():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def events(run: Path) -> Iterator[str]:
    path = run / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    yield from (json.loads(line)["event"] for line in lines if line.endswith("}"))


@pytest.mark.skipif(sys.platform == "win32", reason="TorchElastic is not for Windows")
@pytest.mark.slow
def test_two_processes_give_one_run_and_one_result_and_keep_their_exit_code(here: Path, photos: Path) -> None:
    data = shutil.copytree(photos, here / "data")
    # What is learnt is wrong in the test split.
    for old, new in (("red", "gone"), ("blue", "red"), ("gone", "blue")):
        (data / "test" / old).rename(data / "test" / new)
    arguments = ("finetune", data, "--devices", "2", "--mode", "lp-ft", "--epochs", "1", "--fail-under", "1")
    with spawn([*arguments, *STEPS, "--json"], here) as process:
        stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 10, stderr
    summary = json.loads(stdout)
    run = here / summary["run"]
    assert [path.name for path in (here / "runs").iterdir() if not path.is_symlink()] == [run.name]
    assert (here / "runs" / "latest").resolve() == run
    assert [line.split(",")[0] for line in (run / "history.csv").read_text().splitlines()] == ["epoch", "0", "1"]
    assert "devices: 2" in (run / "config.yaml").read_text()
    assert stderr.count('"exit_code": 10') == 1 and "Traceback" not in stderr
    assert summary["num_images"]["test"] == json.loads((run / "metrics.json").read_text())["test"]["num_images"]


@pytest.mark.skipif(not Path(CHILDREN.format(os.getpid())).exists(), reason="finds the processes through Linux's /proc")
@pytest.mark.slow
def test_a_killed_process_is_replaced_and_the_run_goes_on_until_sigterm(here: Path, photos: Path) -> None:
    arguments = ("finetune", photos, "--devices", "2", "--mode", "full", "--epochs", "1000", "--out", "run")
    with spawn([*arguments, *STEPS, "--checkpoint-every", "0.001s"], here) as process:
        wait_until(lambda: list_checkpoints(here / "run" / "checkpoints"), process)
        chief, _ = Path(CHILDREN.format(process.pid)).read_text().split()
        os.kill(int(chief), signal.SIGKILL)
        wait_until(lambda: "Resumed" in events(here / "run"), process)
        seen = list(events(here / "run")).count("StepDone")
        wait_until(lambda: list(events(here / "run")).count("StepDone") > seen, process)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 143, stderr
    assert "process 0 was killed (signal 9): all 2 continue from the newest checkpoint of run" in stderr
    assert "interrupted; kept" in stderr and "resnet-cli finetune --resume run" in stderr
    assert "Traceback" not in stderr
    assert list_checkpoints(here / "run" / "checkpoints")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--devices", "0"], "--devices 0"),
        (["--devices", "2", "--seeds", "2"], "choose one"),
        (["--devices", "2", "--device", "cuda:0"], "--device cuda:0 is one device"),
    ],
)
def test_devices_that_cannot_be_are_refused(flags: list[str], message: str) -> None:
    done = run_cli("finetune", "digits", *flags)
    assert done.exit_code == 2
    assert message in done.stderr


def test_the_processes_get_every_flag_but_devices() -> None:
    flags = {"seed": 0, "add": False, "lr": None, "head_lr": 0.1, "devices": "2"}
    line = launch.FinetuneRequest(data="-odd name", flags=flags, switches=["--json"]).command_line()
    assert line == ["-m", "resnet_cli", "finetune", "--seed=0", "--head-lr=0.1", "--json", "--", "-odd name"]


@pytest.mark.parametrize(
    ("codes", "expected"), [({}, 0), ({0: 7, 1: 4}, 7), ({0: -15, 1: 3}, 3), ({0: -15, 1: -15}, 143), ({1: -11}, 0)]
)
def test_the_exit_code_is_that_of_the_process_that_talks(codes: dict[int, int], expected: int) -> None:
    assert launch._exit_code(codes) == expected
