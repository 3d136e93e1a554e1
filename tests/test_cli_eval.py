"""``resnet-cli eval``: the latest run by default, the JSON contract, and classes aligned by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from running import CLASSES, TINY, Trained, run_cli

from resnet_cli.training.finetune import finetune

pytest_plugins = ["small_runs"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


@pytest.fixture
def latest(full_run: Trained) -> None:
    Path("runs").mkdir()
    Path("runs/latest").symlink_to(full_run.run)


FIGURES = {"num_images", "top1", "top5", "loss", "macro", "weighted", "per_class", "confusion"}
KEYS = {"schema_version", "model", "data", "split", "tta"} | FIGURES


@pytest.mark.usefixtures("latest")
def test_it_judges_the_latest_run_on_its_own_test_pictures(full_run: Trained) -> None:
    result = run_cli("eval", "--json", "--precision", "fp32")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    assert set(found) == KEYS
    assert (found["schema_version"], found["split"], found["num_images"], found["top5"]) == (1, "test", 9, None)
    assert found["tta"] == "none"
    assert found["data"] == full_run.photos.name
    assert list(found["per_class"]) == list(CLASSES)
    assert full_run.result.test is not None
    assert found["confusion"] == full_run.result.test.confusion.tolist()
    assert "the validation split chose the checkpoint, not this one" in result.stderr


@pytest.mark.usefixtures("latest")
@pytest.mark.parametrize(
    ("split", "count", "note"),
    [("val", 15, "it chose the checkpoint"), ("train", 24, "was trained on 24"), ("all", 48, "was trained on 24")],
)
def test_it_says_how_far_a_split_can_be_trusted(split: str, count: int, note: str) -> None:
    result = run_cli("eval", "--split", split, "--json")
    assert json.loads(result.stdout)["num_images"] == count
    assert note in result.stderr


def test_without_a_test_split_it_takes_the_validation_split(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for split in ("train", "val"):
        shutil.copytree(photos / split, folder / split)
    result = run_cli("eval", full_run.run, folder, "--json")
    assert json.loads(result.stdout)["split"] == "val"


def test_a_plain_eval_shows_scores_classes_and_confusion(full_run: Trained) -> None:
    result = run_cli("eval", full_run.run)
    assert result.exit_code == 0, result.output
    for text in ("top-1", "loss", "precision", "recall", "F1", *CLASSES, "macro average", "weighted", "Confusion"):
        assert text in result.stdout
    assert "top-5" not in result.stdout


def test_flip_is_said_wherever_figures_are(full_run: Trained) -> None:
    plain = json.loads(run_cli("eval", full_run.run, "--json").stdout)
    result = run_cli("eval", full_run.run, "--tta", "flip", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["tta"], found["num_images"]) == ("flip", plain["num_images"])
    assert found["loss"] != plain["loss"]
    assert "mirror image" in result.stderr and "warning" not in result.stderr
    assert "mirror image" not in run_cli("eval", full_run.run).stderr
    refused = run_cli("eval", full_run.run, "--tta", "rotate")
    assert refused.exit_code == 2 and "--tta rotate" in refused.stderr


@pytest.mark.usefixtures("no_plots")
def test_flip_warns_where_mirrored_pictures_are_others(tmp_path: Path) -> None:
    # A network that answers by chance will do.
    result = finetune(data="digits", out=tmp_path / "run", mode="frozen", limit=40, epochs=1, **TINY)
    found = run_cli("eval", result.run.path, "--tta", "flip", "--quiet")
    assert found.exit_code == 0, found.output
    assert "a mirrored picture of digits may belong to another class" in found.stderr


def test_quiet_prints_top1_alone(full_run: Trained) -> None:
    result = run_cli("eval", full_run.run, "--quiet")
    assert full_run.result.test is not None
    assert (result.stdout, result.stderr) == (f"{100 * full_run.result.test.top1:.1f} %\n", "")


def test_classes_are_aligned_by_name_and_may_be_a_part(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    for name in ("red", "green"):
        shutil.copytree(photos / "test" / name, folder / name)
    result = run_cli("eval", full_run.run, folder, "--json", "--precision", "fp32")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert full_run.result.test is not None
    expected = full_run.result.test.confusion
    assert found["split"] == "all"
    assert found["confusion"] == [[0, 0, 0], *expected[1:].tolist()]


def test_classes_narrow_the_runs_own_pictures_too(full_run: Trained) -> None:
    result = run_cli("eval", full_run.run, "--classes", "red,green", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_images"] == 6
    assert run_cli("eval", full_run.run, "--classes", "red,pink").exit_code == 3


def test_a_class_that_the_model_does_not_know_is_named(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    for name in ("red", "pink"):
        shutil.copytree(photos / "test" / "red", folder / name)
    result = run_cli("eval", full_run.run, folder)
    assert result.exit_code == 3
    assert "pink" in result.stderr and "blue, green, red" in result.stderr


def test_without_any_run_it_says_how_to_make_one() -> None:
    result = run_cli("eval")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "runs/latest" in result.stderr and "resnet-cli finetune" in result.stderr


def test_an_empty_split_names_those_that_are_there(full_run: Trained, photos: Path) -> None:
    result = run_cli("eval", full_run.run, photos / "test", "--split", "val")
    assert result.exit_code == 3
    assert "has only train" in result.stderr and "--split all" in result.stderr
    result = run_cli("eval", full_run.run, "--split", "best")
    assert result.exit_code == 2
    assert "--split best" in result.stderr


def test_an_unreadable_picture_is_named(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "test", tmp_path / "data")
    broken = tmp_path / "data" / "red" / "broken.jpg"
    broken.write_text("no")
    result = run_cli("eval", full_run.run, tmp_path / "data", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert str(broken) in json.loads(result.stderr.splitlines()[-1])["error"]["message"]


def test_a_run_still_knows_its_pictures_from_another_folder(
    full_run: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert run_cli("eval", full_run.run, "--quiet").exit_code == 0
