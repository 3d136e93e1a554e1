"""The run folder: claimed once, discarded unless it holds a model, and found again as the latest."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.running import CLASSES, PER_CLASS, Trained

from resnet_cli.config.eval import EvalConfig
from resnet_cli.errors import ConfigError, DataError, DiskError
from resnet_cli.evaluation.evaluation_set import choose_evaluation_set
from resnet_cli.model.model_path import resolve_model_path
from resnet_cli.model.weights import load_model
from resnet_cli.runs import RunFolder, open_run_dataset
from resnet_cli.system.paths import LATEST

pytest_plugins = ["support.small_runs"]


def test_an_existing_out_is_refused(here: Path) -> None:
    out = here / "mine"
    RunFolder.create(out, "photos")
    with pytest.raises(ConfigError, match="exists already"):
        RunFolder.create(out, "photos")
    (here / "dangling").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        RunFolder.create(here / "dangling", "photos")


def test_runs_of_the_same_second_get_folders_of_their_own(here: Path) -> None:
    paths = [RunFolder.create(None, "photos").path for _ in range(3)]
    assert len(set(paths)) == 3
    assert all(path.parent == Path("runs") and path.name.startswith("photos-") and path.is_dir() for path in paths)


def test_out_may_lie_in_folders_that_are_not_there_yet(here: Path) -> None:
    assert RunFolder.create(here / "a" / "b" / "c", "photos").path.is_dir()


def test_a_folder_that_cannot_be_made_is_a_disk_error() -> None:
    with pytest.raises(DiskError, match="/proc/nowhere"):
        RunFolder.create(Path("/proc/nowhere/run"), "photos")


def test_discard_removes_a_folder_without_a_model_and_keeps_one_with(here: Path) -> None:
    empty, full = RunFolder.create(here / "empty", "x"), RunFolder.create(here / "full", "x")
    (empty.path / "config.yaml").touch()
    full.model_path.touch()
    empty.discard()
    full.discard()
    assert not empty.path.exists()
    assert full.model_path.exists()


def test_latest_names_the_newest_run_as_a_link(here: Path, full_run: Trained) -> None:
    RunFolder(here / "other").mark_latest()
    RunFolder(full_run.run).mark_latest()
    assert LATEST.is_symlink()
    assert LATEST.resolve() == full_run.run.resolve()
    assert resolve_model_path(LATEST, "MODEL").samefile(full_run.run / "model.safetensors")
    assert [path.name for path in LATEST.parent.iterdir()] == ["latest"]


def test_latest_is_a_text_file_where_links_are_not_allowed(
    here: Path, full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1314, "a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    RunFolder(full_run.run).mark_latest()
    assert LATEST.is_file() and not LATEST.is_symlink()
    assert resolve_model_path(LATEST, "MODEL").samefile(full_run.run / "model.safetensors")
    assert load_model(LATEST).classes == CLASSES


@pytest.mark.parametrize("kind", ["frozen", "full"])
def test_a_run_holds_everything_that_it_promises(kind: str, request: pytest.FixtureRequest) -> None:
    trained: Trained = request.getfixturevalue(f"{kind}_run")
    names = {path.relative_to(trained.run).as_posix() for path in trained.run.rglob("*") if path.is_file()}
    # Other tests may have evaluated it.
    names = {name for name in names if not name.startswith("eval/")}
    names_of_plots = (
        *("confusion", "curves", "predictions", "reliability", "results"),
        *("risk_coverage", "roc_precision_recall"),
    )
    plots = {f"plots/{name}.png" for name in names_of_plots} | {"report.html", "model_card.md", "confusion.csv"}
    # One checkpoint, for a training that is to be extended.
    checkpoint = f"checkpoints/step-{len(trained.result.history) * trained.result.plan.steps_per_epoch:09d}.safetensors"
    records = {"config.yaml", "split.csv", "used_images.safetensors", "history.csv", "metrics.json", "events.jsonl"}
    assert names == {"model.safetensors", *records, checkpoint, *plots}
    with (trained.run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(trained.result.history) + 1))
    assert [float(row["val_loss"]) for row in rows] == [record.val_loss for record in trained.result.history]
    metrics = json.loads((trained.run / "metrics.json").read_text())
    assert metrics["val"]["top1"] == metrics["val_top1"] == trained.result.val.top1
    assert metrics["num_images"] == {split: 3 * count for split, count in PER_CLASS.items()}


def test_a_model_tells_nothing_about_the_machine_it_was_made_on(frozen_run: Trained, full_run: Trained) -> None:
    text = json.dumps(dict(load_model(frozen_run.run).provenance))
    for path in (frozen_run.photos.parent, full_run.run.parent, Path.home()):
        assert str(path) not in text


def test_the_runs_own_data_come_back_with_their_splits(frozen_run: Trained) -> None:
    dataset = open_run_dataset(load_model(frozen_run.run))
    assert [(item.name, item.label, item.split) for item in dataset.items] == [
        (item.name, item.label, item.split) for item in frozen_run.result.plan.dataset.items
    ]


def test_a_model_outside_of_a_run_does_not_know_its_data(full_run: Trained, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((full_run.run / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match="is not in a run folder") as caught:
        open_run_dataset(load_model(alone))
    assert caught.value.hint and f"eval {alone} DATA" in caught.value.hint


def test_a_run_of_an_earlier_version_still_knows_its_data(full_run: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.safetensors", "config.yaml", "split.csv"):
        (run / name).write_bytes((full_run.run / name).read_bytes())
    with (run / "config.yaml").open("a") as file:
        file.write("cached_views: 3\n")
    assert open_run_dataset(load_model(run)).items == open_run_dataset(load_model(full_run.run)).items
    found = choose_evaluation_set(load_model(run), None, EvalConfig(), split="test", slice_by="parent")
    assert {item.group for item in found.items} == {f"test/{name}" for name in CLASSES}


def test_data_that_have_gone_are_named(full_run: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.safetensors", "config.yaml", "split.csv"):
        (run / name).write_bytes((full_run.run / name).read_bytes())
    with (run / "split.csv").open("a") as file:
        file.write("test/red/never-was.jpg,red,test\n")
    with pytest.raises(DataError, match=r"images of this run are missing.*: 1, such as .*never-was"):
        open_run_dataset(load_model(run))


def test_an_image_of_another_split_may_be_gone(full_run: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.safetensors", "config.yaml", "split.csv"):
        (run / name).write_bytes((full_run.run / name).read_bytes())
    with (run / "split.csv").open("a") as file:
        file.write("train/red/never-was.jpg,red,train\n")
    model = load_model(run)
    for split in (None, "test", "val"):
        assert open_run_dataset(model, split=split).split("test")
    for split in ("train", "all"):
        with pytest.raises(DataError, match="never-was"):
            open_run_dataset(model, split=split)


def test_runs_that_start_at_once_get_folders_of_their_own(here: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: RunFolder.create(None, "d").path, range(16)))
    assert len(set(folders)) == 16


def test_a_disk_too_full_for_the_run_is_noticed_before_the_training(here: Path) -> None:
    with pytest.raises(DiskError, match="free, but the run needs"):
        RunFolder.create(Path("out"), "d", num_bytes=10**18)
    assert not Path("out").exists()


def test_a_run_stands_where_latest_cannot_be_written(here: Path) -> None:
    Path("runs").write_text("in the way")
    folder = RunFolder.create(Path("out"), "d")
    folder.mark_latest()
    assert folder.path.is_dir() and Path("runs").read_text() == "in the way"
