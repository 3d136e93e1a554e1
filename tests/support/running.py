"""Ways to call the command, and what makes a run small; the runs themselves are fixtures in ``small_runs.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner, Result

from resnet_cli.cli import app, output
from resnet_cli.heads.objectives import Validation
from resnet_cli.history import EpochRecord
from resnet_cli.system.device import Compute
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.state import TrainState

#: The installed command.
COMMAND = Path(sys.executable).with_name("resnet-cli")
#: In which precision numerical laws are tested: ``make test`` takes what `auto` answers in on every CPU, ``make lanes``
#: (and so CI) also bf16, which is emulated where the processor lacks it: slow on whole networks, and right.
PRECISION = os.environ.get("RESNET_CLI_TEST_PRECISION", "fp32")
FP32 = Compute("cpu", "fp32", "as the tests want it")
COMPUTE = Compute("cpu", "bf16", "as the tests want it") if PRECISION == "bf16" else FP32


def tolerance(of_fp32: float) -> float:
    """By how much two ways to compute the same may differ in :data:`COMPUTE`.

    float32 leaves rounding where sums go in another order, which is for the test to say. bfloat16 has 8 bits, and
    another batch or form of a layer may round any number elsewhere.
    """
    return of_fp32 if COMPUTE.precision == "fp32" else max(of_fp32, 3e-2)


CLASSES = ("blue", "green", "red")
#: Images of each class.
PER_CLASS = {"train": 8, "val": 5, "test": 3}
#: What makes a training small: random weights and the smallest input.
TINY: dict[str, Any] = {"weights": "none", "image_size": 32, "precision": PRECISION, "device": "cpu"}
TINY_FLAGS = ("--weights", "none", "--image-size", "32", "--precision", PRECISION, "--device", "cpu")

#: The start of a program whose networks are narrow: what a signal or restart does to a run does not hang on their size.
NARROW = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from support import narrow_network
from resnet_cli.model import network as model
model._stage = narrow_network.stage
"""
#: A further start of such a program: an exported file is opened again in it, since a fresh process is not narrow.
ASKED_HERE = """
from resnet_cli.exporting import fresh_answers
from support.short_parity import ask_here
fresh_answers.ask = ask_here
"""
#: A program that runs the command and then says, in the last line of stderr, its exit code and what was imported.
IMPORTED = """
import json, sys
from resnet_cli.cli import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
names = sorted({name.partition(".")[0] for name in sys.modules})
sys.stderr.write("\\n" + json.dumps([code, names]))
"""


#: Runs its further words as a shell does in the background of a script: they begin with SIGINT ignored.
IGNORING_SIGINT = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")


def scored(loss: float, top1: float) -> Validation:
    """A validation whose probabilities fit already."""
    return Validation(loss, top1, loss)


class Trained(NamedTuple):
    """A finished run and the photos that it was made with."""

    result: FinetuneResult
    run: Path
    photos: Path


def run_cli(*arguments: object, stdin: bytes | None = None) -> Result:
    """The command in this process; ``stdout`` and ``stderr`` of the result are apart."""
    # In a process of its own, no other command has been given --verbose before.
    output.show_details(False)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, catch_exceptions=True)


def command_environment() -> dict[str, str]:
    """The test's own environment, with one thread and a wide terminal."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def spawn(arguments: Sequence[object], cwd: Path, *, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Starts the installed command, as the last words of another one if ``within`` names it."""
    return subprocess.Popen(
        [*within, str(COMMAND), *map(str, arguments)],
        cwd=cwd,
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_until(stream: Iterator[str], text: str) -> list[str]:
    """Reads lines up to the one that holds ``text``."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in {''.join(lines)}")


class IgnoringCallback:
    """For a training of which only the end counts."""

    def keep_if_best(self, record: EpochRecord) -> bool:
        return False

    def on_step_end(self, train_state: TrainState) -> None:
        pass

    def on_epoch_end(self, train_state: TrainState) -> None:
        pass

    def save_now(self, train_state: TrainState) -> str:
        return "nothing is kept"
