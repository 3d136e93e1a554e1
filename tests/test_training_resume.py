"""A training that was stopped anywhere and went on ends as the one that was not stopped, bit by bit."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import pkgutil
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.running import TINY
from torch import Tensor

from resnet_cli import finetune
from resnet_cli.data import loading
from resnet_cli.data.inspection.used_images import USED_IMAGES_FILE
from resnet_cli.errors import ConfigError, DataError, Interrupted, ModelError
from resnet_cli.model.weights import load_model
from resnet_cli.runs import RunFolder, list_checkpoints, open_run_dataset
from resnet_cli.system.events import Warned, WorkDone
from resnet_cli.training.carry_out import run_plan
from resnet_cli.training.checkpoint import Checkpoint, read_newest, write_checkpoint
from resnet_cli.training.events import EpochDone, Event, Resumed, Saved, StepDone
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.resume import find_run, plan_resumed

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("no_plots", "here", "narrow")

#: 12 images in 3 steps an epoch.
DIGITS: dict[str, Any] = {
    **TINY, "data": "digits", "classes": "0,1,2", "limit": 12, "val_fraction": 0.05, "batch_size": 4, "epochs": 3,
}  # fmt: skip
EACH_STEP: dict[str, Any] = {"checkpoint_every": 1e-9}
MODES: dict[str, dict[str, Any]] = {
    "frozen": {"mode": "frozen", "solver": "sgd"},
    "frozen, from L-BFGS": {"mode": "frozen", "balance": "weights", "label_smoothing": 0.1, "ema": 0.9},
    "frozen, from L-BFGS, AdamW": {"mode": "frozen", "optimizer": "adamw", "head_lr": 0.01},
    "frozen, an MLP with dropout": {"mode": "frozen", "head": "16", "head_lr": 0.03},
    "frozen, balanced by a sampler": {"mode": "frozen", "solver": "sgd", "balance": "sampler", "ema": 0.9},
    "full, BatchNorm in train mode": {"mode": "full", "batchnorm": "train", "optimizer": "sgd", "lr": 0.01},
    "full, BatchNorm in train mode, an odd image": {
        "mode": "full",
        "batchnorm": "train",
        "batch_size": 3,
        "accumulate": 2,
    },
    "full, AdamW, EMA, clipped": {"mode": "full", "ema": 0.9, "clip_grad": 0.5, "schedule": "one-cycle"},
    "full, mixed, in parts": {"mode": "full", "mixup": 0.4, "cutmix": 1.0, "mix_off_epochs": 1, "accumulate": 2},
    "full, balanced, averaged": {"mode": "full", "balance": "sampler", "average": 2, "optimizer": "sgd"},
    "full, growing, strong": {"mode": "full", "image_size": 64, "progressive": 32, "augment": "strong", "erasing": 0.5},
    "lp-ft": {"mode": "lp-ft", "solver": "sgd", "layer_decay": 0.7, "label_smoothing": 0.1},
    "gradual": {"mode": "gradual", "unfreeze": "layer3,layer4", "loss": "focal", "balance": "weights"},
}


class Killed(BaseException):
    """Stands for ``kill -9``: nobody catches it."""


class Stopper:
    """Ends a training after some steps, by a signal or as ``kill -9`` would."""

    def __init__(self, num_steps: int, how: signal.Signals) -> None:
        self.left, self.how, self.events = num_steps, how, list[Event]()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, StepDone):
            self.left -= 1
            if self.left == 0 and self.how == signal.SIGKILL:
                raise Killed
            if self.left == 0:
                signal.raise_signal(self.how)


def resume(
    run: Path | str = "run",
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    data: str | None = None,
    **changes: Any,
) -> FinetuneResult:
    folder = find_run(Path(run))
    return run_plan(plan_resumed(folder, changes, data=data), on_event=on_event, folder=folder)


def stop(num_steps: int, how: signal.Signals = signal.SIGINT, **values: Any) -> Stopper:
    """Starts a training and stops it, or goes on with one in ``run`` and stops that."""
    stopper = Stopper(num_steps, how)
    with pytest.raises((Killed, Interrupted)):
        if Path("run").exists():
            resume(on_event=stopper)
        else:
            finetune(on_event=stopper, out=Path("run"), **values)
    return stopper


def newest(run: str) -> Checkpoint:
    found = read_newest(Path(run) / "checkpoints")
    assert found and found[1] == ()
    return found[0]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())


def timeless(values: Any) -> Any:
    """Without what a clock says."""
    if isinstance(values, dict):
        return {name: timeless(x) for name, x in values.items() if name not in {"seconds", "elapsed_s"}}
    return [timeless(x) for x in values] if isinstance(values, list) else values


def assert_same_runs(one: str, other: str) -> None:
    models = [load_model(Path(run)) for run in (one, other)]
    assert same(models[0].network.state_dict(), models[1].network.state_dict())
    checkpoints = [newest(run) for run in (one, other)]
    assert same(dict(checkpoints[0].tensors), dict(checkpoints[1].tensors))
    assert timeless(dict(checkpoints[0].values)) == timeless(dict(checkpoints[1].values))
    histories = [list(csv.DictReader((Path(run) / "history.csv").read_text().splitlines())) for run in (one, other)]
    assert timeless(histories[0]) == timeless(histories[1])
    metrics = [json.loads((Path(run) / "metrics.json").read_text()) for run in (one, other)]
    assert metrics[0]["val"] == metrics[1]["val"]


@pytest.mark.parametrize("name", MODES)
def test_stopped_twice_and_resumed_is_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {**DIGITS, **EACH_STEP, **MODES[name]}
    whole = finetune(out=Path("whole"), **values)
    random_ = random.Random(name)
    per_epoch = whole.plan.steps_per_epoch
    first = random_.randint(1, 2 * per_epoch - 1)
    second = random_.randint(1, per_epoch - 1)
    stops = [(1, first, signal.SIGKILL), (3, second, signal.SIGTERM)]
    for num_threads, num_steps, how in stops:
        monkeypatch.setattr(loading, "num_threads", lambda count=num_threads: count)
        stop(num_steps, how, **values)
    resume()
    assert_same_runs("whole", "run")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_saves_and_tells_its_number_and_how_to_go_on(how: signal.Signals) -> None:
    stopper = Stopper(2, how)
    with pytest.raises(Interrupted) as caught:
        finetune(on_event=stopper, out=Path("run"), **{**DIGITS, "mode": "full"})
    assert caught.value.exit_code == 128 + how
    assert "resnet-cli finetune --resume run" in caught.value.kept
    # It came when the second step was done: the third one was under way.
    assert newest("run").values["num_steps"] == 3
    assert not Path("run/model.safetensors").exists()


def test_a_signal_after_the_first_epoch_leaves_a_model_too(here: Path) -> None:
    stop(4, mode="full", **DIGITS)
    assert load_model(Path("run")).classes == ("0", "1", "2")
    assert (here / "runs" / "latest").resolve() == here / "run"


def test_the_second_signal_leaves_at_once() -> None:
    def twice(event: Event) -> None:
        if isinstance(event, StepDone) and event.epoch == 2:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="at once") as caught:
        finetune(on_event=twice, out=Path("run"), **DIGITS, **EACH_STEP, mode="full")
    assert caught.value.exit_code == 130
    # The step that was just taken is not in the newest checkpoint.
    assert newest("run").values["num_steps"] == 3


def test_a_signal_during_the_evaluation_keeps_everything(here: Path) -> None:
    def late(event: Event) -> None:
        if isinstance(event, WorkDone) and event.task == "evaluate":
            raise Interrupted("", signal=signal.SIGTERM)

    finetune(out=Path("whole"), mode="full", **DIGITS)
    with pytest.raises(Interrupted) as caught:
        finetune(on_event=late, out=Path("run"), mode="full", **DIGITS)
    assert caught.value.exit_code == 143
    assert "run/model.safetensors" in caught.value.kept and "--resume run" in caught.value.kept
    assert find_run(None if not Path("runs").is_dir() else Path("run")).path == Path("run")
    resumed: list[Event] = []
    resume(on_event=resumed.append)
    assert not [event for event in resumed if isinstance(event, StepDone | EpochDone)]
    assert_same_runs("whole", "run")


@pytest.mark.parametrize("mode", ["frozen", "lp-ft"])
def test_a_signal_during_the_features_leaves_no_run_and_says_what_is_kept(mode: str) -> None:
    def early(event: Event) -> None:
        if isinstance(event, WorkDone) and event.task == "features":
            raise Interrupted("", signal=signal.SIGTERM)

    with pytest.raises(Interrupted, match="features computed so far are kept") as caught:
        finetune(on_event=early, out=Path("run"), mode=mode, **DIGITS)
    assert caught.value.exit_code == 143
    assert not Path("run").exists()


def test_an_interrupted_extraction_goes_on_where_it_was(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.engines.features.inference_batch_size", lambda *_: 8)
    seen: list[list[int]] = []

    def stop_at(least: int) -> Callable[[Event], None]:
        seen.append([])

        def hear(event: Event) -> None:
            if isinstance(event, WorkDone) and event.task == "features":
                seen[-1].append(event.done)
                if event.done >= least:
                    raise KeyboardInterrupt

        return hear

    values = {**DIGITS, "data": str(photos), "mode": "frozen", "classes": None, "val_fraction": None}
    with pytest.raises(Interrupted):
        finetune(on_event=stop_at(16), **values)
    with pytest.raises(Interrupted):
        finetune(on_event=stop_at(17), **values)
    assert seen[0][0] == 0 and seen[0][-1] == 16
    assert seen[1][0] == 16


def test_a_checkpoint_damaged_by_one_bit_is_passed_over_with_a_warning_and_the_one_before_it_used() -> None:
    finetune(out=Path("whole"), mode="full", **DIGITS, **EACH_STEP)
    stop(5, signal.SIGKILL, mode="full", **DIGITS, **EACH_STEP)
    last, before = list_checkpoints(Path("run/checkpoints"))
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 4
    last.write_bytes(data)
    events: list[Event] = []
    resume(on_event=events.append)
    (resumed,) = [event for event in events if isinstance(event, Resumed)]
    assert len(resumed.warnings) == 1 and str(last) in resumed.warnings[0]
    assert (resumed.epoch, resumed.step) == ((2, 0) if before.name.endswith("03.safetensors") else (1, 2))
    assert_same_runs("whole", "run")


def test_a_run_whose_checkpoints_are_all_damaged_is_an_error_and_stays_as_it_is() -> None:
    stop(5, signal.SIGKILL, mode="full", **DIGITS, **EACH_STEP)
    for path in list_checkpoints(Path("run/checkpoints")):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError) as caught:
        resume()
    assert caught.value.exit_code == 3 and caught.value.hint
    assert len(list_checkpoints(Path("run/checkpoints"))) == 2


def test_a_run_killed_before_its_first_checkpoint_starts_again() -> None:
    finetune(out=Path("whole"), mode="full", **DIGITS)
    stopper = Stopper(1, signal.SIGKILL)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        # A killed process tidies nothing up.
        patch.setattr(RunFolder, "discard", lambda self: None)
        finetune(on_event=stopper, out=Path("run"), mode="full", **DIGITS)
    assert not list_checkpoints(Path("run/checkpoints"))
    resume()
    assert_same_runs("whole", "run")


def test_events_go_on_in_the_same_file_and_a_torn_line_is_dropped() -> None:
    stop(4, signal.SIGKILL, mode="full", **DIGITS, **EACH_STEP)
    journal = Path("run/events.jsonl")
    num_before = len(journal.read_text().splitlines())
    with journal.open("a") as file:
        file.write('{"event": "StepDo')
    resume()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[num_before]["event"] == "Resumed"
    assert [line["record"]["epoch"] for line in lines if line["event"] == "EpochDone"] == [1, 2, 3]
    rows = csv.DictReader(Path("run/history.csv").read_text().splitlines())
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_what_a_killed_process_has_half_written_is_removed() -> None:
    stop(4, signal.SIGKILL, mode="full", **DIGITS, **EACH_STEP)
    for name in (".model.safetensors.abc.tmp", "checkpoints/.step-000000004.safetensors.x.tmp"):
        Path("run", name).write_bytes(b"half")
    resume()
    assert not list(Path("run").rglob("*.tmp"))


def test_more_epochs_go_on_from_the_end_by_the_schedule_of_the_new_length() -> None:
    values = {**DIGITS, "mode": "full", "optimizer": "sgd", "average": 2}
    first = finetune(out=Path("run"), **values)
    assert len(list_checkpoints(Path("run/checkpoints"))) == 1
    result = resume(epochs=5)
    assert [record.epoch for record in result.history] == [1, 2, 3, 4, 5]
    assert timeless([vars(r) for r in result.history[:3]]) == timeless([vars(r) for r in first.history])
    planned = finetune(out=Path("planned"), **{**values, "epochs": 5})
    assert [record.lr for record in result.history[3:]] == [record.lr for record in planned.history[3:]]
    assert RunFolder(Path("run")).is_finished


def test_an_average_of_what_were_the_last_epochs_is_not_taken_into_the_extended_run() -> None:
    values = {**DIGITS, "mode": "full", "optimizer": "sgd"}
    finetune(out=Path("plain"), **values)
    finetune(out=Path("run"), average=2, **values)
    plain, averaged = resume("plain", epochs=6), resume("run", epochs=6)
    # Epoch 4 is validated with its own weights in both: the average begins with epoch 5 again.
    assert plain.history[3].val_loss == averaged.history[3].val_loss
    assert plain.history[5].val_loss != averaged.history[5].val_loss


def test_an_extension_that_is_interrupted_goes_on_too() -> None:
    values = {**DIGITS, "mode": "full", **EACH_STEP}
    for run in ("whole", "run"):
        finetune(out=Path(run), **values)
    resume("whole", epochs=5)
    with pytest.raises(Killed):
        resume(on_event=Stopper(2, signal.SIGKILL), epochs=5)
    assert not RunFolder(Path("run")).is_finished
    resume()
    assert_same_runs("whole", "run")


def test_a_finished_run_is_not_trained_again_by_accident() -> None:
    finetune(out=Path("run"), mode="full", **DIGITS)
    attempts: list[dict[str, Any]] = [{}, {"epochs": 3}, {"epochs": 2}, {"device": "cpu"}]
    for changes in attempts:
        with pytest.raises(ConfigError, match="is finished: 3 epochs") as caught:
            resume(**changes)
        assert caught.value.hint and "--resume run --epochs 6" in caught.value.hint


def test_a_run_that_stopped_at_its_target_goes_on_with_another() -> None:
    finetune(out=Path("run"), mode="full", target=0.0, **DIGITS)
    with pytest.raises(ConfigError, match="is finished: 1 epochs"):
        resume()
    assert len(resume(target=1.0, patience=9).history) > 1


def test_steps_from_the_head_of_lbfgs_go_on_without_fitting_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {**DIGITS, "mode": "frozen"}
    finetune(out=Path("run"), **values)
    monkeypatch.setattr("resnet_cli.training.head_start.fit_start", None)
    result = resume(epochs=5)
    assert [record.epoch for record in result.history] == [0, 1, 2, 3, 4, 5]
    assert result.history[0].l2 and result.plan.solver == "lbfgs-sgd"


def test_a_checkpoint_without_the_head_of_lbfgs_is_refused() -> None:
    stop(4, signal.SIGKILL, mode="frozen", solver="sgd", **DIGITS, **EACH_STEP)
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("solver: sgd", "solver: lbfgs-sgd").replace("weight_decay: 0.1", ""))
    with pytest.raises(ModelError, match="does not belong to this training") as caught:
        resume()
    assert caught.value.hint


def test_a_finished_probe_without_steps_cannot_go_on() -> None:
    values = {name: x for name, x in DIGITS.items() if name not in {"epochs", "batch_size"}}
    finetune(out=Path("run"), mode="frozen", **values)
    with pytest.raises(ConfigError, match="L-BFGS") as caught:
        resume(epochs=20)
    assert caught.value.hint and "resnet-cli finetune DATA --weights run" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", 0.1), ("seed", 1), ("batch_size", 8), ("out", "x"), ("config", "c.yaml"), ("weights", "none")],
)
def test_what_would_make_another_training_of_it_is_refused(name: str, value: Any) -> None:
    stop(1, mode="full", **DIGITS)
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} cannot change") as caught:
        resume(**{name: value})
    assert caught.value.exit_code == 2


def test_without_a_name_it_is_the_newest_run_that_is_neither_finished_nor_under_way(here: Path) -> None:
    with pytest.raises(ConfigError, match="no run"):
        find_run(None)
    for number, name in enumerate(("old", "new", "done", "busy", "many/seed-1")):
        run = here / "runs" / name
        run.mkdir(parents=True)
        for file in ("config.yaml", "split.csv", "events.jsonl"):
            (run / file).touch()
            os.utime(run / file, (number, number))
    (here / "runs" / "done" / "metrics.json").touch()
    (here / "runs" / "latest").symlink_to("new")
    from resnet_cli.training.journal import Journal

    with Journal(here / "runs" / "busy" / "events.jsonl"):
        assert find_run(None).path == Path("runs/many/seed-1")
        (here / "runs/many/seed-1/metrics.json").touch()
        assert find_run(None).path == Path("runs/new")
    assert find_run(None).path == Path("runs/busy")
    assert find_run(Path("runs/latest")).path == Path("runs/new")
    assert find_run(Path("runs/old/model.safetensors")).path == Path("runs/old")


@pytest.mark.parametrize("name", ["nothing", "photo.jpg", "empty"])
def test_what_is_no_run_is_named(here: Path, name: str) -> None:
    (here / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (here / "empty").mkdir()
    with pytest.raises(ConfigError, match=f"--resume {name}: not a run folder"):
        find_run(Path(name))


def test_two_processes_cannot_train_the_same_run(here: Path) -> None:
    refused: list[str] = []

    def meddle(event: Event) -> None:
        if isinstance(event, StepDone) and not refused:
            before = sorted(path.name for path in here.joinpath("run").rglob("*"))
            with pytest.raises(ConfigError, match="another process") as caught:
                resume()
            refused.append(caught.value.message)
            assert sorted(path.name for path in here.joinpath("run").rglob("*")) == before

    finetune(on_event=meddle, out=Path("run"), mode="full", **DIGITS)
    assert refused


def test_changed_images_are_an_error(make_folder: Callable[..., Path]) -> None:
    photos = make_folder({"cat": 6, "dog": 6})
    values = {**TINY, "data": str(photos), "mode": "full", "epochs": 3, "batch_size": 4}
    stop(2, **values)
    first = photos / "cat" / "000.jpg"
    data = first.read_bytes()
    first.write_bytes((photos / "dog" / "000.jpg").read_bytes())
    with pytest.raises(DataError, match=r"the images have changed .*: 1 of 12 have other content, such as .*000\.jpg"):
        resume()
    first.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"000\.jpg"):
        resume()
    first.rename(photos / "dog" / "moved.jpg")
    with pytest.raises(DataError, match=r"are missing in .*: 1 of 12, such as") as caught:
        resume()
    assert caught.value.hint and "--resume run --data DATA" in caught.value.hint
    (photos / "dog" / "moved.jpg").unlink()
    first.write_bytes(data)
    # Images that came later take no part.
    (photos / "dog" / "new.jpg").write_bytes(data[:-1] + b"x")
    assert resume().history[-1].epoch == 3


def test_images_that_were_moved_and_renamed_are_the_same_images(make_folder: Callable[..., Path]) -> None:
    photos = make_folder({"cat": 6, "dog": 6})
    values = {**TINY, "data": str(photos), "mode": "full", "epochs": 3, "batch_size": 4}
    finetune(out=Path("whole"), **values)
    stop(4, signal.SIGKILL, **values, **EACH_STEP)
    moved = photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(DataError, match="the images of run cannot be used") as caught:
        resume()
    assert caught.value.hint == "if the images were moved: resnet-cli finetune --resume run --data DATA"
    # In another order, so that images of the same name are others now, and beside new ones of a new class.
    for folder in (moved / "cat", moved / "dog"):
        images = sorted(folder.iterdir())
        for number, path in enumerate(images):
            path.rename(folder / f"{(number + 2) % len(images):03d}.new.jpg")
        for path in sorted(folder.iterdir()):
            path.rename(folder / path.name.replace(".new", ""))
    (moved / "bird").mkdir()
    (moved / "bird" / "000.jpg").write_bytes((moved / "dog" / "000.jpg").read_bytes() + b"x")
    result = resume(data=str(moved))
    assert_same_runs("whole", "run")
    assert "12 of them under other names" in str(result.plan.choices)
    # The run knows from now on where its images are.
    assert len(open_run_dataset(load_model(Path("run"))).items) == 12
    assert resume(epochs=4).history[-1].epoch == 4
    image = next((moved / "cat").iterdir())
    image.rename(moved / "dog" / "relabeled.jpg")
    with pytest.raises(DataError, match=r"was cat .*now it is dog"):
        resume(epochs=5)


def test_images_that_are_not_all_where_the_user_says_are_counted(make_folder: Callable[..., Path]) -> None:
    photos = make_folder({"cat": 6, "dog": 6})
    values = {**TINY, "data": str(photos), "mode": "full", "epochs": 3, "batch_size": 4}
    stop(4, signal.SIGKILL, **values, **EACH_STEP)
    other = make_folder({"cat": 4, "dog": 6}, name="fewer")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"are missing in .*fewer: 2 of 12, such as"):
        resume(data=str(other))
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_weights_that_were_moved_are_accepted_and_others_are_not(here: Path) -> None:
    finetune(out=Path("start"), mode="frozen", **{**DIGITS, "epochs": 1, "solver": "sgd"})
    values = {**DIGITS, "weights": "start", "mode": "frozen", "solver": "sgd"}
    finetune(out=Path("whole"), **values)
    stop(4, signal.SIGKILL, **values, **EACH_STEP)
    with pytest.raises(ConfigError, match="--weights cannot change"):
        resume(weights="whole")
    Path("start").rename("archive")
    with pytest.raises(ConfigError, match=r"began with the weights .*start.*, which are no longer there") as caught:
        resume()
    assert caught.value.hint == "if they were moved: resnet-cli finetune --resume run --weights FILE"
    with pytest.raises(ModelError, match="have other content now"):
        resume(weights="whole")
    resume(weights="archive")
    rewrite_checkpoints("run", lambda values: values.update(weights=newest("whole").values["weights"]))
    assert_same_runs("whole", "run")


def rewrite_checkpoints(run: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Writes the newest checkpoint again, with other values."""
    checkpoint = newest(run)
    values = dict(checkpoint.values)
    change(values)
    write_checkpoint(Path(run, "checkpoints"), Checkpoint(checkpoint.tensors, values), num_steps=values["num_steps"])


def warned(events: list[Event]) -> list[str]:
    return [text for event in events if isinstance(event, Warned) for text in event.texts]


def test_a_run_that_is_resumed_elsewhere_says_what_has_changed() -> None:
    finetune(out=Path("whole"), mode="full", **DIGITS)
    stop(4, signal.SIGKILL, mode="full", **DIGITS, **EACH_STEP)

    def elsewhere(values: dict[str, Any]) -> None:
        values["environment"] |= {"torch": "2.11.0", "processor": "arm64 NEON"}
        values["threads"] = [[0, 64]]

    rewrite_checkpoints("run", elsewhere)
    events: list[Event] = []
    result = resume(on_event=events.append)
    (text,) = warned(events)
    assert text.startswith(
        f"resumed under other conditions (torch 2.11.0 -> {torch.__version__}, processor arm64 NEON -> "
    )
    assert "threads 64 -> 1): the result may differ in the last digits" in text
    assert result.plan.warnings[-1] == text
    assert result.threads[-1][1] == 1
    # The same machine in between: the run is still not the uninterrupted one.
    events.clear()
    resume(epochs=4, on_event=events.append)
    assert warned(events) == [text]


def test_a_run_that_is_resumed_where_it_was_interrupted_warns_of_nothing() -> None:
    stop(4, signal.SIGKILL, mode="full", **DIGITS, **EACH_STEP)
    events: list[Event] = []
    assert resume(on_event=events.append).plan.warnings == ()
    assert warned(events) == []


def test_a_run_of_version_0_1_0_is_resumed_and_says_what_it_did_not_record() -> None:
    finetune(out=Path("whole"), mode="full", **DIGITS)
    stop(4, signal.SIGKILL, mode="full", **DIGITS, **EACH_STEP)
    Path("run", USED_IMAGES_FILE).unlink()

    def earlier(values: dict[str, Any]) -> None:
        del values["environment"], values["changes"], values["weights"]

    rewrite_checkpoints("run", earlier)
    events: list[Event] = []
    resume(on_event=events.append)
    (text,) = warned(events)
    assert "(the earlier ones were not recorded): the result may differ" in text
    rewrite_checkpoints("run", lambda values: values.update(changes=[]))
    assert_same_runs("whole", "run")


def test_a_run_folder_that_was_moved_is_resumed_there(here: Path) -> None:
    values = {**DIGITS, "mode": "full", **EACH_STEP}
    finetune(out=Path("whole"), **values)
    stop(4, signal.SIGKILL, **values)
    (here / "archive").mkdir()
    Path("run").rename(here / "archive" / "run-7")
    result = resume("archive/run-7")
    assert result.run.path == Path("archive/run-7")
    assert_same_runs("whole", "archive/run-7")
    assert (here / "runs" / "latest").resolve() == here / "archive" / "run-7"
    assert not (here / "run").exists()


def test_a_folder_in_which_nothing_was_saved_says_how_to_start_again(here: Path) -> None:
    (here / "run").mkdir()
    (here / "run" / "events.jsonl").touch()
    with pytest.raises(ConfigError, match="ended before anything was saved") as caught:
        find_run(Path("run"))
    assert caught.value.hint == "remove it, then start again: rm -r run"


#: Where a process can be killed: the function that it no longer reaches, and after how many calls of it.
PLACES = {
    "before the first history": ("resnet_cli.runs.RunFolder.write_history", 0),
    "between the history and the checkpoint": ("resnet_cli.training.checkpointer.write_checkpoint", 1),
    "between the checkpoint and the removal of the one before": ("resnet_cli.training.checkpoint.prune", 1),
    "after the last epoch, before the model": ("resnet_cli.training.run.build_model", 0),
    "between the model and its temperature": ("resnet_cli.training.run.calibrate_model", 0),
    "in the report": ("resnet_cli.training.report.write_report_files", 0),
    "between the report and the metrics": ("resnet_cli.runs.RunFolder.write_metrics", 0),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_killed_anywhere_between_two_files_goes_on_to_the_same_bits(place: str) -> None:
    name, num_calls = PLACES[place]
    values = {**DIGITS, "mode": "full", "checkpoint_every": 1000.0}
    finetune(out=Path("whole"), **values)
    module, _, function = name.rpartition(".")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        owner = pkgutil.resolve_name(module)
        calls, reach = itertools.count(), getattr(owner, function)

        def kill(*arguments: Any, **options: Any) -> Any:
            if next(calls) == num_calls:
                raise Killed
            return reach(*arguments, **options)

        patch.setattr(owner, function, kill)
        # A killed process tidies nothing up.
        patch.setattr(RunFolder, "discard", lambda self: None)
        finetune(out=Path("run"), **values)
    assert not RunFolder(Path("run")).is_finished
    resume()
    assert RunFolder(Path("run")).is_finished
    assert_same_runs("whole", "run")
    assert Path("run/history.csv").read_text().count("\n") == 4


def test_a_run_of_an_earlier_version_is_resumed_unless_it_kept_views() -> None:
    values = {**DIGITS, "mode": "full", "unfreeze": "layer4"}
    finetune(out=Path("whole"), **values)
    stop(4, **values)
    config = Path("run/config.yaml")
    now = config.read_text()
    config.write_text(now + "cached_views: 3\n")
    with pytest.raises(ConfigError, match="cached_views was removed") as caught:
        resume()
    # Without the line the rest would be another training.
    assert caught.value.hint == "start a new run: resnet-cli finetune DATA"
    config.write_text(now + "cached_views: 0\n")
    resume()
    assert_same_runs("whole", "run")
    assert "cached_views" not in config.read_text()


def test_a_checkpoint_of_another_network_is_an_error() -> None:
    stop(2, mode="full", **DIGITS)
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("head: linear", "head: '16'"))
    with pytest.raises(ModelError, match="does not belong to this training") as caught:
        resume()
    assert caught.value.hint and "config.yaml" in caught.value.hint
    assert list_checkpoints(Path("run/checkpoints"))


def test_an_add_run_goes_on(photos: Path) -> None:
    values = {**DIGITS, "mode": "frozen", "solver": "sgd"}
    finetune(out=Path("old"), **values)
    values = {
        **values,
        "classes": None,
        "val_fraction": None,
        "data": str(photos),
        "weights": "old",
        "add": True,
        **EACH_STEP,
    }
    del values["image_size"]
    whole = finetune(out=Path("whole"), **values)
    stop(4, signal.SIGKILL, **values)
    assert resume().retention == whole.retention
    assert_same_runs("whole", "run")


def test_the_time_a_run_has_used_counts_after_a_resume() -> None:
    stop(3, signal.SIGINT, mode="full", **DIGITS, **EACH_STEP)
    used = newest("run").values["elapsed_s"]
    assert used > 0
    elapsed: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Saved):
            elapsed.append(newest("run").values["elapsed_s"])

    resume(on_event=hear)
    assert newest("run").values["elapsed_s"] > used


def test_a_run_whose_time_is_used_up_only_reports() -> None:
    values = {**DIGITS, "mode": "full", **EACH_STEP}
    stop(4, signal.SIGINT, **values, max_time="1000s")
    assert resume(max_time="0.01s").history[-1].epoch == 1


def test_what_frozen_mode_decided_by_the_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.training.defaults.CPU_TRAIN_S_PER_IMAGE", 10**6)
    weights = finetune(out=Path("start"), mode="frozen", **DIGITS).run.path
    stop(4, signal.SIGINT, **{**DIGITS, **EACH_STEP, "weights": str(weights), "max_time": "60s"})
    assert resume().history[-1].epoch == 3


def test_the_kept_result_is_a_dataclass_with_the_whole_history_after_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    # A divergence in the second epoch, once: the checkpoints of the way that was given up are gone.
    from resnet_cli.training import steps

    poisoned = iter([False] * 4 + [True])
    take = steps.StepTaker.take

    def take_or_fail(self: Any, batch: Any) -> Any:
        loss, is_bad = take(self, batch)
        return (loss, torch.ones_like(is_bad)) if next(poisoned, False) else (loss, is_bad)

    monkeypatch.setattr(steps.StepTaker, "take", take_or_fail)
    seen: list[list[str]] = []

    def hear(event: Event) -> None:
        seen.append([path.name for path in list_checkpoints(Path("run/checkpoints"))])

    result = finetune(on_event=hear, out=Path("run"), mode="full", **DIGITS, **EACH_STEP)
    assert [record.epoch for record in result.history] == [1, 2, 3]
    assert dataclasses.replace(result.best) in result.history
    assert newest("run").values["num_retries"] == 1
    numbers = [int(names[0][5:14]) for names in seen if names]
    assert max(numbers) <= 9 and numbers[-1] == 9
