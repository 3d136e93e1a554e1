"""Trackers get the whole story of a run, and whatever happens to them, the training never notices."""

from __future__ import annotations

import dataclasses
import shutil
import struct
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.running import TINY_FLAGS, Trained, run_cli

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.config.units import Tracker
from resnet_cli.errors import Interrupted
from resnet_cli.history import EpochRecord
from resnet_cli.installation import install_command
from resnet_cli.loggers import listener
from resnet_cli.loggers.listener import Logged
from resnet_cli.loggers.logger import LoggedRun, Outcome, epoch_metrics
from resnet_cli.loggers.tensorboard import TensorBoardLogger
from resnet_cli.runs import RunFolder
from resnet_cli.system.events import Warned
from resnet_cli.training.events import EpochDone, Event, RunBegan, RunDone, StepDone
from resnet_cli.training.report import FinetuneResult

pytest_plugins = ["support.small_runs"]


class Recorder:
    """A tracker that writes down what it is told, and fails where it is told to."""

    def __init__(self, fails_at: str | None = None, hangs_at: str | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fails_at, self.hangs_at, self.released = fails_at, hangs_at, threading.Event()

    def _note(self, name: str, value: Any) -> None:
        if name == self.hangs_at:
            self.released.wait(60)
        if name == self.fails_at:
            raise ConnectionError("no network\nand a second line")
        self.calls.append((name, value))

    def start(self, run: LoggedRun) -> None:
        self._note("start", run)

    def log_step(self, step: StepDone) -> None:
        self._note("step", step.step)

    def log_epoch(self, record: Any) -> None:
        self._note("epoch", record.epoch)

    def log_result(self, outcome: Outcome) -> None:
        self._note("result", outcome)

    def close(self, status: str) -> None:
        self._note("close", status)


def use(monkeypatch: pytest.MonkeyPatch, *recorders: Recorder) -> None:
    """Makes these the trackers, in this order."""
    made = iter(recorders)
    monkeypatch.setattr(listener, "make_logger", lambda name: next(made))


def copied(trained: Trained, folder: Path) -> FinetuneResult:
    """The result of a run, in a copy of its folder."""
    copy = folder / trained.run.name
    if not copy.exists():
        ignored = shutil.ignore_patterns("checkpoints", "*.safetensors")
        shutil.copytree(trained.run, copy, ignore=ignored)
    return dataclasses.replace(trained.result, run=RunFolder(copy))


def tell(logged: Logged, result: FinetuneResult, *, epochs: slice = slice(None), ends: bool = True) -> list[Event]:
    """Sends the events of a run, from its folder to its results."""
    events: list[Event] = [RunBegan(result.run.path, result.plan)]
    for record in result.history[epochs]:
        events += [StepDone(record.epoch, step, 2, 0.5, 90.0) for step in (1, 2)] + [EpochDone(record, True)]
    events += [RunDone(result)] if ends else []
    for event in events:
        logged(event)
    return events


def test_the_listener_hands_on_every_event_and_tells_each_tracker_the_whole_run(
    tmp_path: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, heard = copied(full_run, tmp_path), list[Event]()
    local, remote = Recorder(), Recorder()
    use(monkeypatch, local, remote)
    began = time.monotonic()
    with Logged(("tensorboard", "wandb"), heard.append) as logged:
        assert tell(logged, result) == heard
    seconds = time.monotonic() - began
    names = [name for name, _ in local.calls]
    assert names == ["start", *["step", "step", "epoch"] * len(result.history), "result", "close"]
    assert [value for name, value in local.calls if name == "epoch"] == [1, 2, 3]
    assert local.calls[-1] == ("close", "finished")
    # A tracker that may be behind a network gets at most one step per second.
    assert [name for name, _ in remote.calls].count("step") <= 1 + seconds
    run, outcome = local.calls[0][1], local.calls[-2][1]
    assert run.config["mode"] == "full" and run.config["epochs"] == 3 and run.name == result.run.path.name
    assert run.tags == (result.plan.dataset.name, "full", "none")
    assert outcome.metrics["result/test/top1_low"] <= outcome.metrics["result/test/top1"] == result.final.score
    assert outcome.kept.startswith(f"kept epoch {result.best.epoch}")
    assert "report.html" in {path.name for path in outcome.files} and "curves" in outcome.plots


def test_without_a_tracker_nothing_is_started(
    tmp_path: Path, full_run: Trained, new_threads: Callable[..., list[str]]
) -> None:
    heard = list[Event]()
    with Logged((), heard.append) as logged:
        assert tell(logged, copied(full_run, tmp_path)) == heard
        assert new_threads() == []


@pytest.mark.parametrize("fails_at", ["start", "epoch", "result", "close"])
def test_a_tracker_that_fails_is_one_warning(
    tmp_path: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    heard = list[Event]()
    broken, sound = Recorder(fails_at), Recorder()
    use(monkeypatch, broken, sound)
    with Logged(("mlflow", "wandb"), heard.append) as logged:
        events = tell(logged, copied(full_run, tmp_path))
    assert [event for event in heard if not isinstance(event, Warned)] == events
    assert [event for event in heard if isinstance(event, Warned)] == [
        Warned(["mlflow: no network; the training is not affected"])
    ]
    assert sound.calls[-1] == ("close", "finished")


@pytest.mark.parametrize("hangs_at", ["start", "epoch"])
def test_a_tracker_that_does_not_answer_is_left_behind(
    tmp_path: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch, hangs_at: str
) -> None:
    for name in ("BEGIN_S", "FINISH_S", "GIVE_UP_S", "NOTICED_S"):
        monkeypatch.setattr(listener, name, 0.05)
    monkeypatch.setattr(listener, "MAX_WAITING", 100)
    heard, silent = list[Event](), Recorder(hangs_at=hangs_at)
    use(monkeypatch, silent)
    with Logged(("wandb",), heard.append) as logged:
        tell(logged, copied(full_run, tmp_path))
    warnings = [event.texts[0] for event in heard if isinstance(event, Warned)]
    silent.released.set()
    assert len(warnings) == 1 and warnings[0].startswith("wandb: it did not")


@pytest.mark.parametrize(("error", "status"), [(Interrupted("kept"), "killed"), (ValueError("bug"), "failed")])
def test_a_training_that_ends_early_is_closed_as_such(
    tmp_path: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str
) -> None:
    recorder = Recorder()
    use(monkeypatch, recorder)
    with pytest.raises(type(error)), Logged(("mlflow",), lambda event: None) as logged:
        tell(logged, copied(full_run, tmp_path), ends=False)
        raise error
    assert recorder.calls[-1] == ("close", status)


@pytest.mark.parametrize("flags", [["--log-to", "wandb,mlflow"], ["--log-to", "wandb", "--log-to", "mlflow"]])
@pytest.mark.parametrize("missing", ["wandb", "mlflow"])
def test_a_missing_package_is_an_error_before_anything_is_read(
    here: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], missing: str
) -> None:
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else types.ModuleType(name))
    for more in ([], ["--dry-run"], ["--seeds", "2"]):
        # The folder does not exist, which would be the next error.
        result = run_cli("finetune", "photos", *flags, *more)
        assert result.exit_code == 4, result.output
        assert f"--log-to {missing} needs the package {missing}" in result.stderr
        assert install_command(missing) in result.stderr
    assert not list(here.iterdir())


def test_tensorboard_has_a_flag_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = run_cli("finetune", "digits", "--classes", "0,1", "--mode", "frozen", "--tensorboard", *TINY_FLAGS)
    assert result.exit_code == 4 and install_command("tensorboard") in result.stderr
    assert not list(here.iterdir())
    found = resolve(FinetuneConfig, {"tensorboard": True, "log_to": "mlflow, tensorboard"}).config.trackers
    assert found == ("mlflow", "tensorboard")


def test_an_unknown_tracker_is_refused_by_name(here: Path) -> None:
    result = run_cli("finetune", "digits", "--log-to", "wandbb")
    assert result.exit_code == 2 and "did you mean --log-to wandb?" in result.stderr


def test_penalties_have_names_of_their_own() -> None:
    record = EpochRecord(2, 0.5, 0.75, 0.25, 0.875, 0.25, 0.01, 1.5, l2=4.0)
    assert epoch_metrics(record)["penalty/l2"] == 4.0
    assert all(name.startswith("penalty/") for name in epoch_metrics(record))
    assert "val/top1" in epoch_metrics(dataclasses.replace(record, l2=None))


class Board:
    """Stands in for torch.utils.tensorboard.SummaryWriter."""

    made: Board | None = None

    def __init__(self, folder: str) -> None:
        self.folder, self.scalars, self.calls = folder, dict[tuple[str, int], float](), list[str]()
        Board.made = self

    def add_scalar(self, name: str, value: float, at: int = 0) -> None:
        self.scalars[name, at] = value

    def add_text(self, name: str, text: str) -> None:
        self.calls.append(name)

    def add_image(self, name: str, pixels: Any, *, dataformats: str) -> None:
        assert pixels.ndim == 3 and dataformats == "HWC"
        self.calls.append(name)

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")


def test_tensorboard_gets_the_scalars_of_steps_epochs_and_results(
    tmp_path: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Board  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    result, logger = copied(full_run, tmp_path), TensorBoardLogger()
    logger.start(LoggedRun.of(RunBegan(result.run.path, result.plan)))
    # The third of four steps of the second epoch.
    logger.log_step(StepDone(2, 3, 4, 0.5, 100.0))
    logger.log_epoch(result.history[1])
    logger.log_result(Outcome.of(result))
    logger.close("finished")
    board = Board.made
    assert board is not None and board.folder == str(result.run.path / "tensorboard")
    assert board.scalars["train/step_loss", 7] == 0.5
    assert board.scalars["val/top1", 2] == result.history[1].val_top1
    names = {"train/loss", "train/top1", "val/loss", "val/calibrated_loss", "val/top1", "lr", "seconds"}
    assert {name for name, at in board.scalars if at == 2} == names
    assert board.scalars["result/test/top1", 0] == result.final.score
    assert {"config", "plots/curves", "flush"} < set(board.calls) and board.calls[-1] == "close"


def log_twice(tracker: Tracker, result: FinetuneResult, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Logs a run that is interrupted and resumed; returns the warnings."""
    for name in ("BEGIN_S", "FINISH_S", "GIVE_UP_S"):
        monkeypatch.setattr(listener, name, 300)
    heard = list[Event]()
    with pytest.raises(Interrupted), Logged((tracker,), heard.append) as logged:
        tell(logged, result, epochs=slice(2), ends=False)
        raise Interrupted("kept")
    with Logged((tracker,), heard.append) as logged:
        tell(logged, result, epochs=slice(2, 3))
    return [text for event in heard if isinstance(event, Warned) for text in event.texts]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_a_resumed_run_as_one_run_in_its_local_store(
    here: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = copied(full_run, here)
    assert log_twice("mlflow", result, monkeypatch) == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("resnet-cli")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "full"
    assert run.data.params["mode"] == "full" and run.data.tags["kept"].startswith("kept epoch")
    history = client.get_metric_history(run.info.run_id, "val/loss")
    assert [(one.step, one.value) for one in history] == [(one.epoch, one.val_loss) for one in result.history]
    assert run.data.metrics["result/test/top1"] == result.final.score
    artifacts = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "metrics.json", "plots"} <= artifacts
    assert (here / "mlflow.db").is_file()


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_writes_both_parts_of_a_resumed_run_under_one_id(
    here: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    result = copied(full_run, here)
    assert log_twice("wandb", result, monkeypatch) == []
    files = sorted(here.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2 and len({path.name for path in files}) == 1
    records = [record for path in files for record in wandb_records(path)]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {(run.project, run.display_name) for run in runs} == {("resnet-cli", "full")}
    rows = [
        {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    epochs = [(int(row["epoch"]), float(row["val/loss"])) for row in rows if "val/loss" in row]
    assert [epoch for epoch, _ in epochs] == [1, 2, 3]
    assert [loss for _, loss in epochs] == pytest.approx([one.val_loss for one in result.history])
    assert all("epoch" not in row for row in rows if "step/loss" in row)
    artifacts = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    assert "report.html" in {entry.path for entry in artifacts[-1].manifest.contents}
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [130, 0]


@pytest.mark.filterwarnings("ignore")
def test_wandb_without_a_login_is_a_warning_and_asks_nothing(
    here: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    # It keeps the settings that it was first used with.
    wandb.teardown()
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(here))
    heard = list[Event]()
    with Logged(("wandb",), heard.append) as logged:
        tell(logged, copied(full_run, here))
    (warning,) = [event.texts[0] for event in heard if isinstance(event, Warned)]
    assert "not logged in" in warning and "WANDB_MODE=offline" in warning


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a run's file: blocks of 32 KiB, records with headers of seven bytes, as LevelDB's log has them.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md; the file begins with seven bytes of wandb.
    """
    from wandb.proto import wandb_internal_pb2

    data, at, buffer = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        buffer += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(buffer)
            buffer = b""
            yield record
