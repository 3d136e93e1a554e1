"""Real processes, really killed, again and again: `--resume` ends where the uninterrupted run ends, bit by bit."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.command_server import CommandServer
from support.running import NARROW, TINY_FLAGS, command_environment, run_cli, spawn

from resnet_cli.model.weights import load_model
from resnet_cli.runs import list_checkpoints
from resnet_cli.training.checkpoint import read_newest

pytest_plugins = ["support.command_server", "support.narrow_network", "support.small_runs"]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

NUM_KILLS = 8
DIGITS = ("digits", "--classes", "0,1", "--limit", "12", "--val-fraction", "0.05", "--batch-size", "4", *TINY_FLAGS)
EACH_STEP = ("--checkpoint-every", "0.001s")


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path, no_plots: None) -> None:
    pass


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_whole(run: Path) -> None:
    """Nothing that a killed process leaves is half written."""
    for line in (run / "events.jsonl").read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\n")
        json.loads(line)
    if (history := run / "history.csv").exists():
        rows = list(csv.DictReader(history.read_text().splitlines()))
        assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
        assert all(None not in row.values() for row in rows)
    read_newest(run / "checkpoints")
    if (run / "model.safetensors").exists():
        load_file(run / "model.safetensors")


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    assert [name for name, x in first.items() if not torch.equal(x, second[name])] == []
    newest = [read_newest(run / "checkpoints") for run in (one, other)]
    assert newest[0] and newest[1]
    tensors = [found[0].tensors for found in newest if found]
    assert tensors[0].keys() == tensors[1].keys()
    assert [name for name, x in tensors[0].items() if not torch.equal(x, tensors[1][name])] == []


@posix
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("--mode", "full", "--ema", "0.9", "--mixup", "0.5", "--epochs", "6"), marks=pytest.mark.slow),
        ("--mode", "frozen", "--head", "16", "--epochs", "8"),
    ],
    ids=["full", "frozen"],
)
def test_killed_again_and_again_it_ends_with_the_same_bits(
    here: Path, commands: CommandServer, flags: tuple[str, ...]
) -> None:
    arguments = ("finetune", *DIGITS, *flags)
    assert commands.start(*arguments, "--out", "whole").wait() == 0
    chance, run, num_kills = random.Random(0), here / "run", 0
    arguments = (*arguments, "--out", "run", *EACH_STEP)
    while num_kills < NUM_KILLS:
        before = num_lines(run / "events.jsonl")
        command = commands.start(*arguments)
        deadline = time.monotonic() + 120
        num_events = chance.randint(0, 4)
        while num_lines(run / "events.jsonl") < before + num_events and time.monotonic() < deadline:
            time.sleep(0.002)
            if (run / "metrics.json").exists():
                break
        # Into whatever comes next: the middle of a step, of a write, of the validation.
        time.sleep(chance.uniform(0, 0.03 if num_events else 1.0))
        # It may have come to its end, and been waited for, a moment ago.
        with contextlib.suppress(ProcessLookupError):
            command.send_signal(signal.SIGKILL)
        if command.wait() == 0:
            break
        num_kills += 1
        if (run / "config.yaml").exists() and (run / "split.csv").exists():
            assert_whole(run)
            arguments = ("finetune", "--resume", "run", *EACH_STEP)
        elif run.exists():
            # Killed before anything was in it.
            (run / "events.jsonl").unlink(missing_ok=True)
            for path in run.iterdir():
                path.unlink()
            run.rmdir()
    else:
        command = commands.start(*arguments)
        assert command.wait() == 0, command.stderr
    assert num_kills >= 5
    assert_whole(run)
    assert_same_bits(here / "whole", run)
    rows = (run / "history.csv").read_text().splitlines()
    wanted = (here / "whole" / "history.csv").read_text().splitlines()
    assert [row.split(",")[:6] for row in rows] == [row.split(",")[:6] for row in wanted]
    assert not list(run.rglob("*.tmp"))


@posix
@pytest.mark.slow
def test_a_run_that_is_resumed_with_other_instructions_and_threads_says_so(here: Path) -> None:
    flags = ("--mode", "full", "--out", "run", "--quiet")

    def train(*arguments: str, **environment: str) -> str:
        process = subprocess.run(
            [sys.executable, "-c", f"{NARROW}\nfrom resnet_cli.cli import main\nmain()", "finetune", *arguments],
            env=command_environment() | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return process.stderr

    def last_threads() -> int:
        return int(json.loads((here / "run" / "metrics.json").read_text(encoding="utf-8"))["threads"][-1][1])

    train(*DIGITS, *flags, "--epochs", "1", OMP_NUM_THREADS="2")
    # A training beside other work may have taken to one thread by itself.
    before = last_threads()
    stderr = train("--resume", "run", "--epochs", "2", "--quiet", OMP_NUM_THREADS="1", ATEN_CPU_CAPABILITY="default")
    text = " ".join(stderr.split())
    assert text.count("resumed under other conditions (processor ") == 1
    assert " DEFAULT" in text and "the result may differ in the last digits" in text
    assert ("threads 2 -> 1" in text) == (before == 2)
    assert last_threads() == 1


@posix
@pytest.mark.slow
def test_the_installed_command_killed_in_a_real_network_goes_on_to_the_same_bits(here: Path) -> None:
    arguments = ("finetune", *DIGITS, "--mode", "full", "--epochs", "1")
    result = run_cli(*arguments, "--out", "whole", "--quiet")
    assert result.exit_code == 0, result.stderr
    with spawn([*arguments, "--out", "run", *EACH_STEP, "--quiet"], here) as process:
        while not list_checkpoints(here / "run" / "checkpoints") and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    with spawn(["finetune", "--resume", "run", "--quiet"], here) as process:
        stdout, stderr = process.communicate(timeout=300)
    assert (process.returncode, stdout.strip()) == (0, "run"), stderr
    assert_same_bits(here / "whole", here / "run")
    assert load_model(here / "run").classes == ("0", "1")


def finetune(*flags: str) -> tuple[int, str, str]:
    result = run_cli("finetune", *flags)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("narrow")
def test_a_finished_run_goes_on_with_more_epochs_and_not_without(here: Path) -> None:
    assert finetune(*DIGITS, "--mode", "frozen", "--solver", "sgd", "--epochs", "2", "--out", "run")[0] == 0
    code, _, stderr = finetune("--resume", "run")
    assert code == 2
    assert "run is finished: 2 epochs" in stderr and "resnet-cli finetune --resume run --epochs 4" in stderr
    code, stdout, stderr = finetune("--resume", "run", "--epochs", "4", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["epochs"] == 4
    assert "continuing in epoch 3, after step 0" in stderr
    code, _, stderr = finetune("--resume", "run", "--epochs", "9", "--head-lr", "0.1")
    assert code == 2 and "--head-lr cannot change" in stderr


@pytest.mark.usefixtures("narrow")
def test_resume_with_a_dry_run_changes_nothing(here: Path) -> None:
    assert finetune(*DIGITS, "--mode", "frozen", "--solver", "sgd", "--epochs", "2", "--out", "run")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in here.joinpath("run").rglob("*")}
    code, stdout, _ = finetune("--resume", "run", "--epochs", "4", "--dry-run")
    assert code == 0 and "No run was started" in stdout
    assert {path: path.stat().st_mtime_ns for path in here.joinpath("run").rglob("*")} == before


@pytest.mark.usefixtures("narrow")
def test_a_probe_by_lbfgs_says_that_it_has_no_epochs(here: Path) -> None:
    flags = [flag for flag in DIGITS if flag not in {"--batch-size", "4"}]
    assert finetune(*flags, "--mode", "frozen", "--out", "run")[0] == 0
    code, _, stderr = finetune("--resume", "run", "--epochs", "20")
    assert code == 2 and "a head that L-BFGS fitted has no epochs" in stderr


def test_nothing_to_resume_is_a_clear_error() -> None:
    code, _, stderr = finetune("--resume")
    assert code == 2 and "no run in runs was interrupted" in stderr
    code, _, stderr = finetune("--resume", "nowhere", "--json")
    error = json.loads(stderr)["error"]
    assert (code, error["code"]) == (2, "config") and "nowhere: not a run folder" in error["message"]


@posix
def test_a_full_disk_ends_with_6_and_says_how_to_go_on(here: Path, commands: CommandServer) -> None:
    small = here / "small"
    small.mkdir()
    if not mount(small, "size=4G"):
        pytest.skip("no small file system can be mounted here")
    try:
        flags = (*DIGITS, *EACH_STEP, "--mode", "full", "--epochs", "99", "--out", "small/run")
        command = commands.start("finetune", *flags)
        deadline = time.monotonic() + 120
        while not list_checkpoints(small / "run" / "checkpoints"):
            assert time.monotonic() < deadline, command.stderr
            time.sleep(0.01)
        # The disk shrinks to a little more than what is on it.
        while not mount(small, f"remount,size={num_bytes(small) + 200_000}"):
            time.sleep(0.01)
        assert command.wait() == 6
        log = command.stderr
        assert "No space left" in log and "resnet-cli finetune --resume small/run" in log
        assert "Traceback" not in log
        assert read_newest(small / "run" / "checkpoints")
        assert_whole(small / "run")
        assert mount(small, "remount,size=4G")
        assert mount(small, "remount,ro")
        command = commands.start("finetune", "--resume", "small/run", "--epochs", "3")
        assert command.wait() == 6
        assert "Read-only file system" in command.stderr and "cp -r small/run COPY" in command.stderr
        assert mount(small, "remount,rw")
        command = commands.start("finetune", "--resume", "small/run", "--epochs", "3")
        assert command.wait() == 0, command.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)


def mount(folder: Path, options: str) -> bool:
    if sys.platform != "linux" or os.geteuid():
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


def num_bytes(folder: Path) -> int:
    about = os.statvfs(folder)
    return (about.f_blocks - about.f_bfree) * about.f_frsize


@pytest.mark.usefixtures("narrow")
def test_fail_under_ends_with_10_after_the_result(here: Path) -> None:
    code, stdout, stderr = finetune(
        *DIGITS, "--mode", "frozen", "--solver", "sgd", "--epochs", "1", "--fail-under", "1.0", "--json", "--out", "run"
    )
    summary = json.loads(stdout)
    below = (summary["test_top1"] or summary["val_top1"]) < 1
    assert code == (10 if below else 0)
    assert ("is below --fail-under 100%" in stderr) == below
    assert (here / "run" / "metrics.json").exists()


@pytest.mark.usefixtures("narrow")
def test_a_diverging_training_ends_with_7_and_says_what_to_try(here: Path) -> None:
    rates = ("--optimizer", "sgd", "--lr", "1e30", "--head-lr", "1e30")
    code, _, stderr = finetune(*DIGITS, "--mode", "full", "--epochs", "1", "--out", "run", *rates)
    assert code == 7
    assert "with 0.1 times the learning rates" in stderr and "try lower learning rates: --lr" in stderr
    assert not (here / "run").exists()


@pytest.mark.usefixtures("narrow")
def test_two_seeds_are_two_runs_in_one_folder_with_mean_and_spread(here: Path) -> None:
    flags = (*DIGITS, "--mode", "frozen", "--solver", "sgd", "--epochs", "1", "--seed", "3", "--seeds", "2")
    code, stdout, stderr = finetune(*flags, "--out", "both", "--json")
    assert code == 0, stderr
    told = json.loads(stdout)
    assert [Path(run["run"]).name for run in told["runs"]] == ["seed-3", "seed-4"]
    values = [run["test_top1"] for run in told["runs"]]
    assert told["top1"]["mean"] == pytest.approx(sum(values) / 2)
    assert told["top1"]["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    seeds = [load_model(here / "both" / name).provenance["recipe"]["seed"] for name in ("seed-3", "seed-4")]
    assert seeds == ["3", "4"]
    assert (here / "both/seed-3/split.csv").read_text() == (here / "both/seed-4/split.csv").read_text()
    code, stdout, _ = finetune(*flags, "--out", "again")
    assert code == 0 and "seed-4" in stdout


@pytest.mark.usefixtures("narrow")
def test_a_time_limit_is_kept_and_the_rate_ends_near_zero(here: Path) -> None:
    began = time.monotonic()
    flags = ("--mode", "frozen", "--epochs", "9999", "--solver", "sgd")
    code, _, stderr = finetune(*DIGITS, *flags, "--max-time", "3s", "--out", "run")
    assert code == 2 and "has no effect in mode frozen" in stderr
    code, _, stderr = finetune(*DIGITS, "--mode", "full", "--epochs", "9999", "--max-time", "3s", "--out", "run")
    assert code == 0, stderr
    assert time.monotonic() - began < 120
    rows = list(csv.DictReader((here / "run/history.csv").read_text().splitlines()))
    assert float(rows[-1]["lr"]) < 0.001 / 2


@pytest.mark.usefixtures("narrow")
def test_a_step_that_does_not_fit_is_taken_in_parts_and_the_run_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_cli.model.network import ResNet50

    forward, room = ResNet50.forward, [2]

    def narrow(self: ResNet50, images: torch.Tensor) -> torch.Tensor:
        if len(images) > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(ResNet50, "forward", narrow)
    flags = (*DIGITS, "--mode", "full", "--epochs", "1")
    code, _, stderr = finetune(*flags, "--out", "run")
    assert code == 0, stderr
    assert "4 images at once do not fit into memory: now 2" in stderr
    found = read_newest(here / "run" / "checkpoints")
    assert found and found[0].values["micro_batch"] == 2
    fitted = [flag if flag != "4" else "auto" for flag in flags]
    code, _, stderr = finetune(*fitted, "--out", "auto")
    assert code == 0, stderr
    found = read_newest(here / "auto" / "checkpoints")
    assert found and found[0].values["micro_batch"] <= 2
    room[0] = 0
    code, _, stderr = finetune(*flags, "--out", "none")
    # Two and not one, of which the last stage would have a single pixel: that does not train BatchNorm.
    assert code == 8 and "not enough memory for a batch of 2" in stderr
    assert "--batch-size" not in stderr and "try: a smaller --image-size" in stderr
    assert not (here / "none").exists()
