"""The live display of a training and of other work, and what takes its place in a log."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import types
from typing import Any, cast

import pytest
from rich.console import Console, RenderableType
from rich.spinner import Spinner
from rich.text import Text
from support.running import command_environment

from resnet_cli.cli import epoch_table, output, work_line
from resnet_cli.cli.epoch_table import EpochTable
from resnet_cli.cli.live_region import LiveRegion
from resnet_cli.cli.work_line import WorkLine, draw_lines
from resnet_cli.history import EpochRecord
from resnet_cli.task import ScoreKey
from resnet_cli.training.events import Resumed, StepDone
from resnet_cli.training.plan import Plan

#: A training of four epochs of a head on features, which needs no torch.
PLAN = """
import types
config = types.SimpleNamespace(max_time=None, patience=None, target=None, seeds=1, out=None)
dataset = types.SimpleNamespace(task="single-label", sizes=lambda: {"train": 300, "val": 90, "test": 0})
plan = types.SimpleNamespace(epochs=4, takes_steps=True, is_frozen=True, config=config, dataset=dataset)
"""


def make_table(task: str = "single-label", **config: Any) -> EpochTable:
    names: dict[str, Any] = {}
    exec(PLAN, names)
    vars(names["config"]).update(config)
    names["dataset"].task = task
    return EpochTable(cast(Plan, names["plan"]))


def record(epoch: int, loss: float, *, score: ScoreKey = "top1", seconds: float = 10, **more: Any) -> EpochRecord:
    values = {"train_loss": 12.345, "val_loss": 1 + loss, "val_fitted_loss": loss, "lr": 0.1}
    return EpochRecord.of(score, 1.0, 1.0, epoch=epoch, seconds=seconds, **values, **more)


def drawn(renderable: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, markup=False)
    console.print(renderable)
    return cast(io.StringIO, console.file).getvalue().splitlines()


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(epoch_table, "time", types.SimpleNamespace(monotonic=lambda: self.now))

    def run_epoch(self, table: EpochTable, epoch: int, seconds: float) -> None:
        for step in (1, 2):
            self.now += seconds / 2
            table.step(StepDone(epoch, step, 2, 0.5, 30.0))
        table.epoch(record(epoch, 1 / epoch, seconds=seconds))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_fits_and_names_what_chose_the_epoch(width: int) -> None:
    table = make_table()
    for epoch, loss in ((1, 0.5), (2, 0.0512), (3, 0.06)):
        table.epoch(record(epoch, loss, seconds=5000))
    lines = drawn(table.table(width), width)
    assert max(map(len, lines)) < width
    rows = [line.split() for line in lines]
    assert rows[1] == ["epoch", "loss", "loss", "loss", "top-1", "time"]
    assert rows[4] == ["2", "12.345", "1.051", "0.051", "100.0", "%", "83", "min", "*"]
    assert lines[-1] == "* kept epoch 2: lowest calibrated loss 0.051"
    # On a low terminal the last epochs are shown, and still the one that is kept.
    assert [line.split()[0] for line in drawn(table.table(width, max_rows=1), width)[3:]] == ["3", "*"]


def test_a_very_narrow_terminal_keeps_the_score_and_what_chose() -> None:
    table = make_table()
    table.epoch(record(1, 0.5))
    text = " ".join(drawn(table.table(40), 40))
    assert "calibrated" in text and "top-1" in text and "validation" not in text and "…" not in text


def test_penalties_and_several_labels_have_the_same_table() -> None:
    table = make_table("multi-label")
    for epoch, loss in ((1, 0.5), (2, 0.3)):
        table.epoch(record(epoch, loss, score="map", l2=4.0**epoch))
    text = "\n".join(drawn(table.table(80), 80))
    assert "penalty" in text and "mAP" in text and "kept the penalty of each class: lowest calibrated loss 0.3" in text


def test_the_remaining_time_is_that_of_the_epochs_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    table = make_table()
    table.step(StepDone(1, 1, 2, 0.5, 30.0))
    # One step says nothing about the next: it also warms up.
    assert table.left_text == ""
    clock.run_epoch(table, 1, 60)
    clock.run_epoch(table, 2, 10)
    assert table.left_text == "20 s left"
    clock.now += 4
    table.step(StepDone(3, 1, 2, 0.5, 30.0))
    assert table.left_text == "16 s left"
    clock.now += 30
    assert table.left_text == "10 s left"


def test_a_limit_bounds_the_remaining_time_and_patience_makes_it_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    table = make_table(max_time=75, patience=2)
    clock.run_epoch(table, 1, 60)
    assert table.left_text == "up to 15 s left"


def test_a_resumed_training_shows_its_epochs_and_what_it_has_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    table = make_table()
    table.restore(Resumed(3, 1, (), (record(1, 0.2), record(2, 0.3))))
    assert drawn(table.table(80), 80)[-1] == "* kept epoch 1: lowest calibrated loss 0.200"
    clock.run_epoch(table, 3, 10)
    assert [row.epoch for row in table.history] == [1, 2, 3]
    # The first part of the third epoch was in another session: its time is that of a part.
    assert not table._measured
    table.rewind(3)
    assert [row.epoch for row in table.history] == [1, 2]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_line_loses_neither_its_bar_nor_its_count_nor_its_time(width: int) -> None:
    lines = [
        WorkLine(
            "a-very-long-name-of-a-file-to-download.safetensors", 45, 98, "45.1 of 98.0 MB", "12 MB/s", "4 s left"
        ),
        WorkLine("epoch 12/30", 11.5, 30, "", "1,204 images/s", "up to 12 min left", "loss 0.412  ▇▆▅▃▂▁▁▁▁▁"),
    ]
    for line in lines:
        (text,) = drawn(draw_lines([line], width, Spinner("dots")), width)
        assert len(text) < width and text.count("━") >= 2
        assert line.count in text and line.left in text
    assert ("loss 0.412" in text) == (width > 80)


def test_a_line_moves_while_its_work_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of a whole network may take a minute: without a change, people think that it hangs."""
    spinner, now = Spinner("dots"), [100.0, 100.3]
    monkeypatch.setattr(work_line, "time", types.SimpleNamespace(monotonic=lambda: now.pop(0)))
    first, second = (drawn(draw_lines([WorkLine("evaluating", 0, 9)], 80, spinner), 80) for _ in range(2))
    assert first != second and first[0][1:] == second[0][1:]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    monkeypatch.setattr(output, "stderr", lambda: console)
    return console


def test_a_terminal_that_becomes_narrower_shows_nothing_twice(terminal: Console) -> None:
    region = LiveRegion(lambda width, height: Text("x" * 70 + "\n" + "y" * 30, no_wrap=True, overflow="crop"))
    region.auto_refresh = False
    region.start(refresh=True)
    file = cast(io.StringIO, terminal.file)

    def lines_up() -> int:
        start = len(file.getvalue())
        region.refresh()
        return file.getvalue()[start:].count("\x1b[1A")

    assert lines_up() == 1
    # The terminal has wrapped the first line into three.
    terminal.width = 30
    assert lines_up() == 3
    assert lines_up() == 1
    region.stop()


PROGRAM = f"""
import sys, time
from resnet_cli.cli import live_region, output, progress
from resnet_cli.cli.progress import ProgressView
from resnet_cli.history import EpochRecord
from resnet_cli.system.events import Status, WorkDone
from resnet_cli.training.events import EpochDone, PlanMade, StepDone
{PLAN}
ProgressView._show_plan = lambda self, plan: None
progress.STATUS_AFTER_S = 0.1
live_region.DRAWINGS_PER_S = 100
with ProgressView() as view:
    view(Status("reading the data"))
    time.sleep(0.3)
    # Printing and drawing happen in two threads.
    for number in range(100):
        output.note(f"note {{number}}")
        time.sleep(0.002)
    view(PlanMade(plan))
    for epoch in (1, 2):
        view(StepDone(epoch, 1, 1, 0.5, 1204.0))
        time.sleep(0.3)
        record = EpochRecord(epoch, 0.5, 0.9, 0.4, 0.9, 0.3 / epoch, 0.1, 2.0)
        view(EpochDone(record, True))
    view(WorkDone("evaluate", 3, 9))
    time.sleep(0.3)
    output.show_line("the result")
"""


def run_on_terminal(program: str, **environment: str) -> str:
    """What a program writes on stderr and stdout, both of which are a terminal."""
    ours, theirs = os.openpty()
    environment = command_environment() | environment
    process = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        # Linux reports the end like this.
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    return shown.decode()


def test_a_result_on_a_terminal_ends_what_is_drawn() -> None:
    shown = run_on_terminal(PROGRAM, TERM="xterm", COLUMNS="60", LINES="24")
    for text in (
        "reading the data",
        "note 99\r\n",
        "epoch 1/4",
        "1,204 images/s",
        "evaluating",
        "kept epoch 2: lowest calibrated",
    ):
        assert text in shown
    last = shown[shown.rindex("\x1b[2K") :]
    assert last.endswith("the result\r\n") and "evaluating" not in last
    # The table stays, above the work that followed.
    assert shown.rindex("* kept epoch 2") < shown.index("evaluating")


def test_a_terminal_that_cannot_move_its_cursor_gets_the_lines_of_a_log() -> None:
    shown = run_on_terminal(PROGRAM, TERM="dumb", COLUMNS="200")
    assert "\x1b" not in shown
    lines = shown.replace("\r\n", "\n").splitlines()
    assert lines[0] == "reading the data" and lines[-1] == "the result"
    scores = "train loss 0.500, validation loss 0.400, top-1 90.0 %, calibrated loss 0.150 (lowest so far)"
    assert f"epoch 2 of 4: {scores}, 2 s" in lines
    assert "kept epoch 2: lowest calibrated loss 0.150" in lines
