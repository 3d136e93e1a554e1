"""Real processes, really killed: what is on the disk afterwards is whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.running import IGNORING_SIGINT, NARROW, TINY_FLAGS, command_environment, lines_until, run_cli

from resnet_cli.errors import Interrupted
from resnet_cli.model.weights import load_model
from resnet_cli.training.checkpoint import read_newest

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
#: For tests that load what a narrow program has written.
narrow = pytest.mark.usefixtures("narrow")

LONG = ("finetune", "digits", "--classes", "0,1", "--limit", "16", "--mode", "full", "--val-fraction", "0.05",
        "--epochs", "1000", "--out", "run", *TINY_FLAGS)  # fmt: skip

#: The command, but with the best model written after every epoch that is the best so far.
EAGER = f"""{NARROW}
from resnet_cli.training import checkpointer
checkpointer.MODEL_EVERY_S = -1
from resnet_cli.cli import main
main()
"""
#: The command, which waits where the task that the first argument names begins.
WAITING = f"""{NARROW}
import sys, time
task = sys.argv.pop(1)
from resnet_cli.cli import main, progress
draw = progress.ProgressView.__call__
def wait(self, event):
    draw(self, event)
    if getattr(event, "task", "") == task:
        print("waiting", file=sys.stderr, flush=True)
        # In short pieces: a signal that arrives just before a sleep begins does not end it.
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.05)
progress.ProgressView.__call__ = wait
main()
"""
#: The command, but with a line for every step and epoch.
CHATTY = f"""{NARROW}
from resnet_cli.cli import main, progress
progress.LINE_EVERY_S = 0
main()
"""
#: The command, whose second step takes a minute.
STUCK = f"""{NARROW}
import sys, time
from resnet_cli.cli import main
from resnet_cli.training import steps
def take(self, batch):
    print("stuck", file=sys.stderr, flush=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.05)
steps.StepTaker.take = take
main()
"""
#: The command as it is.
PLAIN = f"""{NARROW}
from resnet_cli.cli import main
main()
"""
#: Nothing but saves, one after the other, of models that differ; of the whole size, so that a save takes its time.
SAVER = """
import sys, torch
from pathlib import Path
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.preprocess import Preprocess
network = ResNet50(2)
while True:
    torch.nn.init.normal_(network.fc.weight)
    Model(network, ("a", "b"), Preprocess(resize_size=32, crop_size=32)).save(Path("model.safetensors"))
    print("saved", flush=True)
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


def start(code: str, *arguments: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*within, sys.executable, "-c", code, *arguments],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "delay_s", [pytest.param(0.03, marks=pytest.mark.slow), 0.1, pytest.param(0.2, marks=pytest.mark.slow)]
)
def test_kill_9_while_a_model_is_saved_leaves_one_that_loads(delay_s: float) -> None:
    with start(SAVER) as process:
        assert process.stdout
        lines_until(process.stdout, "saved")
        time.sleep(delay_s)
        process.kill()
    assert load_model(Path("model.safetensors")).classes == ("a", "b")


@narrow
def test_kill_9_during_a_finetune_leaves_a_model_that_loads_or_none(here: Path) -> None:
    model = here / "run" / "model.safetensors"
    with start(EAGER, *LONG) as process:
        assert process.stderr
        # A full pipe would stop the training.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        deadline = time.monotonic() + 120
        while not model.exists():
            assert not list(here.rglob("latest")), "latest never names a run without a model"
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        # Into whatever comes next: another step, validation, or the next save.
        time.sleep(0.4)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert load_model(model).classes == ("0", "1")


@pytest.mark.slow
def test_kill_9_before_the_first_save_leaves_no_model(here: Path) -> None:
    with start(PLAIN, *LONG) as process:
        assert process.stderr
        lines_until(process.stderr, "epoch 1")
        process.kill()
    assert not (here / "run" / "model.safetensors").exists()
    assert not (here / "runs").exists()


@narrow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_ends_with_its_code_and_says_what_is_kept_and_how_to_go_on(
    here: Path, number: signal.Signals, code: int
) -> None:
    with start(CHATTY, *LONG) as process:
        assert process.stderr
        lines_until(process.stderr, "epoch 2 of")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "interrupted; kept run/model.safetensors (epoch " in stderr
    assert "continue with: resnet-cli finetune --resume run" in stderr
    found = read_newest(here / "run" / "checkpoints")
    assert found and found[0].values["num_steps"] >= 2
    assert load_model(here / "run").classes == ("0", "1")
    assert (here / "runs" / "latest").resolve() == here / "run"


@pytest.mark.parametrize(
    ("arguments", "where"),
    [(("--version",), "cli.output.show_line"), (("download", "--list"), "system.caches.find_temporary_folder")],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_arrives_before_the_work_has_its_code(
    arguments: tuple[str, ...], where: str, number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrive(*_: object) -> None:
        raise Interrupted("", signal=number)

    monkeypatch.setattr(f"resnet_cli.{where}", arrive)
    assert run_cli(*arguments).exit_code == code


def test_ignored_by_the_parent_sigint_stays_ignored_and_sigterm_ends_it() -> None:
    with start(CHATTY, *LONG, within=IGNORING_SIGINT) as process:
        assert process.stderr
        lines_until(process.stderr, "epoch 2 of")
        process.send_signal(signal.SIGINT)
        for epoch in (3, 4, 5):
            lines_until(process.stderr, f"epoch {epoch} of")
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "interrupted; kept run/model.safetensors" in stderr and "Traceback" not in stderr


@pytest.mark.slow
def test_the_second_ctrl_c_leaves_at_once(here: Path) -> None:
    # The first one comes while a step waits for nothing: without the second it would go on for a minute.
    with start(STUCK, *LONG) as process:
        assert process.stderr
        lines_until(process.stderr, "stuck")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "interrupted; stopped at once" in stderr and "Traceback" not in stderr
    assert not (here / "run").exists()


@narrow
@pytest.mark.parametrize(
    ("task", "flags", "kept"),
    [
        ("check", (), "the images checked so far will not be checked again"),
        ("features", ("--mode", "frozen"), "features computed so far are kept"),
        pytest.param(
            "evaluate", ("--mode", "full", "--epochs", "1"), "kept run/model.safetensors", marks=pytest.mark.slow
        ),
    ],
)
def test_sigterm_outside_of_the_epochs_ends_with_143(here: Path, task: str, flags: tuple[str, ...], kept: str) -> None:
    data = ("finetune", "digits", "--classes", "0,1", "--limit", "8", "--out", "run")
    with start(WAITING, task, *data, *flags, *TINY_FLAGS) as process:
        assert process.stderr
        lines_until(process.stderr, "waiting")
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=50)
    assert process.returncode == 143
    assert f"interrupted; {kept}" in stderr and "Traceback" not in stderr
    assert (here / "run").exists() == (task == "evaluate")
    if task == "evaluate":
        assert "--resume run" in stderr
        assert load_model(here / "run").classes == ("0", "1")


def test_ctrl_c_before_the_first_epoch_leaves_nothing(here: Path) -> None:
    with start(PLAIN, *LONG) as process:
        assert process.stderr
        lines_until(process.stderr, "Plan")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; " in stderr and "Traceback" not in stderr
    assert not (here / "run").exists()
