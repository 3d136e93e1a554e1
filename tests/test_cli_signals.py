"""Real processes, really killed: what is on the disk afterwards is whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from running import TINY_FLAGS, command_environment, lines_until, spawn

from resnet_cli.weights import load_model

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

LONG = ("finetune", "digits", "--classes", "0,1", "--limit", "16", "--mode", "full", "--val-fraction", "0.05",
        "--epochs", "1000", "--out", "run", *TINY_FLAGS)  # fmt: skip

#: The command, but with the best model written after every epoch that is the best so far.
EAGER = """
from resnet_cli.training import finetune
finetune.SAVE_EVERY_S = -1
from resnet_cli.cli import main
main()
"""
#: The command, but with a line for every step and epoch.
CHATTY = """
from resnet_cli.cli import main, progress
progress.LINE_EVERY_S = 0
main()
"""
#: Nothing but saves, one after the other, of models that differ.
SAVER = """
import sys, torch
from pathlib import Path
from resnet_cli.model import Model, ResNet50
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


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("delay_s", [0.03, 0.1, 0.2])
def test_kill_9_while_a_model_is_saved_leaves_one_that_loads(delay_s: float) -> None:
    with start(SAVER) as process:
        assert process.stdout
        lines_until(process.stdout, "saved")
        time.sleep(delay_s)
        process.kill()
    assert load_model(Path("model.safetensors")).classes == ("a", "b")


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


def test_kill_9_before_the_first_save_leaves_no_model(here: Path) -> None:
    with spawn(LONG, here) as process:
        assert process.stderr
        lines_until(process.stderr, "epoch 1")
        process.kill()
    assert not (here / "run" / "model.safetensors").exists()
    assert not (here / "runs").exists()


def test_ctrl_c_ends_with_130_and_says_what_is_kept(here: Path) -> None:
    with start(CHATTY, *LONG) as process:
        assert process.stderr
        lines_until(process.stderr, "epoch 2 of")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "interrupted; kept run/model.safetensors, the best of " in stderr
    assert load_model(here / "run").classes == ("0", "1")
    assert (here / "runs" / "latest").resolve() == here / "run"


def test_ctrl_c_before_the_first_epoch_leaves_nothing(here: Path) -> None:
    with spawn(LONG, here) as process:
        assert process.stderr
        lines_until(process.stderr, "seed")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; " in stderr and "Traceback" not in stderr
    assert not (here / "run").exists()
