"""``events.jsonl``: each line is whole JSON, as soon as it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.running import Trained

from resnet_cli.errors import DiskError
from resnet_cli.history import EpochRecord
from resnet_cli.system.events import WorkDone
from resnet_cli.training.events import EpochDone, Event, MemoryShort, RateLowered, Resumed, Saved, StepDone
from resnet_cli.training.journal import Journal

pytest_plugins = ["support.small_runs"]

RECORD = EpochRecord(2, 0.5, 0.75, 0.25, 0.875, 0.25, 0.01, 1.5)
EVENTS: list[Event] = [
    StepDone(2, 3, 4, 0.5, 100.0),
    EpochDone(RECORD, is_best=True),
    RateLowered(2, "the loss became inf", 0.1),
    MemoryShort(1, 8, 32),
    Resumed(1, 2, ("damaged",)),
    Saved(Path("run") / "model.safetensors"),
]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_a_line_of_json_as_soon_as_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        for number, event in enumerate(EVENTS, start=1):
            journal(event)
            found = read(path)
            assert len(found) == number
            assert found[-1]["event"] == type(event).__name__
            assert found[-1]["time"] > 1e9
    step, epoch, *_, saved = read(path)
    assert (step["epoch"], step["step"], step["loss"]) == (2, 3, 0.5)
    assert epoch["record"]["val_top1"] == 0.875 and epoch["is_best"] is True
    assert Path(saved["path"]) == Path("run") / "model.safetensors"


def test_progress_before_and_after_the_epochs_is_left_out(tmp_path: Path) -> None:
    with Journal(tmp_path / "events.jsonl") as journal:
        journal(WorkDone("features", 1, 2))
    assert read(tmp_path / "events.jsonl") == []


@pytest.mark.parametrize("left", ['{"event": "StepDone", "epo', '{"event": "StepDone"}', "\0\0"])
def test_what_a_killed_process_left_of_a_line_does_not_spoil_the_next(tmp_path: Path, left: str) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal(EVENTS[0])
    with path.open("a") as file:
        file.write(left)
    with Journal(path) as journal:
        journal(EVENTS[1])
    assert [line["event"] for line in read(path)] == ["StepDone", "EpochDone"]


def test_a_run_leaves_its_whole_story(full_run: Trained, frozen_run: Trained) -> None:
    for run in (full_run, frozen_run):
        found = read(run.run / "events.jsonl")
        epochs = [line["record"]["epoch"] for line in found if line["event"] == "EpochDone"]
        assert epochs == [record.epoch for record in run.result.history]
        steps = [(line["epoch"], line["step"]) for line in found if line["event"] == "StepDone"]
        assert steps == sorted(set(steps))
        assert len(steps) == len(epochs) * run.result.plan.steps_per_epoch
        assert found[-1]["event"] == "Saved"


def test_a_folder_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"events\.jsonl"):
        Journal(tmp_path / "gone" / "events.jsonl")


def test_a_full_disk_is_a_disk_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with Journal(tmp_path / "events.jsonl") as journal:
        journal._file.close()
        journal._file = Path("/dev/full").open("wb", buffering=0)
        with pytest.raises(DiskError) as caught:
            journal(EVENTS[0])
    assert (caught.value.exit_code, caught.value.hint) == (6, "free some space")
