"""``resnet-cli eval``: the latest run by default, the JSON contract, and classes aligned by name."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.running import CLASSES, PRECISION, TINY, Trained, run_cli
from support.terminal import on_terminal

from resnet_cli import finetune
from resnet_cli.model.reliability import Reliability

pytest_plugins = ["support.small_runs"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


@pytest.fixture
def latest(full_run: Trained) -> None:
    Path("runs").mkdir()
    Path("runs/latest").symlink_to(full_run.run)


FIGURES = {"num_images", "top1", "top5", "loss", "macro", "weighted", "per_class", "confusion", "balanced_accuracy"}
FIGURES |= {"kappa", "mcc", "roc_auc", "average_precision", "brier", "ece", "intervals", "calibration"}
FIGURES |= {"risk_coverage", "unfamiliar", "slices"}
KEYS = {"schema_version", "model", "data", "precision", "split", "seen", "tta", "target", "report"} | FIGURES


def evaluated(*arguments: object) -> Any:
    """The JSON of an eval that writes no report."""
    result = run_cli("eval", *arguments, "--no-report", "--json", "--precision", PRECISION)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def copy_of(run: Path, folder: Path) -> Path:
    """A run of a test's own, to write in."""
    shutil.copytree(run, folder)
    return folder


@pytest.mark.usefixtures("latest")
def test_it_judges_the_latest_run_on_its_own_test_images(full_run: Trained) -> None:
    result = run_cli("eval", "--no-report", "--json", "--precision", PRECISION)
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
    assert "it did not choose the checkpoint, the validation split did" in result.stderr


@pytest.mark.usefixtures("latest")
@pytest.mark.parametrize(
    ("split", "count", "note"),
    [("val", 15, "it chose the checkpoint"), ("train", 24, "was trained on 24"), ("all", 48, "was trained on 24")],
)
def test_it_says_how_far_a_split_can_be_trusted(split: str, count: int, note: str) -> None:
    result = run_cli("eval", "--no-report", "--split", split, "--json")
    assert json.loads(result.stdout)["num_images"] == count
    assert note in result.stderr


def test_without_a_test_split_it_takes_the_validation_split(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for split in ("train", "val"):
        shutil.copytree(photos / split, folder / split)
    result = run_cli("eval", "--no-report", full_run.run, folder, "--json")
    assert json.loads(result.stdout)["split"] == "val"


def test_a_plain_eval_shows_the_most_important_numbers(full_run: Trained) -> None:
    result = run_cli("eval", "--no-report", full_run.run)
    assert result.exit_code == 0, result.output
    title, *lines = filter(None, map(str.strip, result.stdout.splitlines()))
    names = ["top-1", "macro F1", "ECE", "lowest recall", "unfamiliar"]
    assert title == "Scores (9 images)" and lines.pop() == "9 images are few: the intervals are wide"
    assert [next((name for name in names if line.startswith(name)), line) for line in lines] == names
    assert "all tables: --verbose\n" in result.stderr


@pytest.mark.slow
def test_show_draws_the_plot_of_the_results(full_run: Trained, tmp_path: Path) -> None:
    screen = on_terminal("eval", full_run.run, "--show", "--out", tmp_path / "report", env={"TERM": "foot"})
    assert screen.code == 0, screen.stderr
    assert screen.stdout.count(b"\x1bP0;1;0q") == 1
    assert (tmp_path / "report" / "plots" / "results.png").exists()


def test_a_verbose_eval_shows_scores_classes_and_confusion(full_run: Trained) -> None:
    result = run_cli("eval", "--no-report", full_run.run, "--verbose")
    assert result.exit_code == 0, result.output
    figures = ("top-1", "balanced accuracy", "95 % interval", "Cohen's kappa", "MCC", "ROC-AUC", "loss", "Calibration")
    classes = ("precision", "recall", "F1", *CLASSES, "macro average", "weighted", "Confusion", "unlike the training")
    for text in (*figures, *classes):
        assert text in result.stdout
    assert "top-5" not in result.stdout
    lines = [line.strip() for line in result.stdout.splitlines()]
    headings = ("Calibration", "Per class", "Confusion", "Most confused (true → predicted)")
    assert all(not lines[lines.index(heading) - 1] for heading in headings), "no heading is glued to a table"


def test_flip_is_said_wherever_figures_are(full_run: Trained) -> None:
    plain = evaluated(full_run.run)
    result = run_cli("eval", "--no-report", full_run.run, "--tta", "flip", "--json", "--precision", PRECISION)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["tta"], found["num_images"]) == ("flip", plain["num_images"])
    assert found["loss"] != plain["loss"]
    assert "mirror image" in result.stderr and "warning" not in result.stderr
    assert "mirror image" not in run_cli("eval", "--no-report", full_run.run).stderr
    refused = run_cli("eval", "--no-report", full_run.run, "--tta", "rotate")
    assert refused.exit_code == 2 and "--tta rotate" in refused.stderr


@pytest.mark.usefixtures("no_plots")
def test_flip_warns_where_mirrored_images_are_others(tmp_path: Path) -> None:
    # A network that answers by chance will do.
    result = finetune(data="digits", out=tmp_path / "run", mode="frozen", limit=40, epochs=1, **TINY)
    found = run_cli("eval", "--no-report", result.run.path, "--tta", "flip", "--quiet")
    assert found.exit_code == 0, found.output
    assert "a mirrored image of digits may belong to another class" in found.stderr


def test_quiet_prints_top1_alone(full_run: Trained) -> None:
    result = run_cli("eval", "--no-report", full_run.run, "--quiet", "--precision", PRECISION)
    assert full_run.result.test is not None
    assert (result.stdout, result.stderr) == (f"{100 * full_run.result.test.top1:.1f} %\n", "")


def test_classes_are_aligned_by_name_and_may_be_a_part(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    for name in ("red", "green"):
        shutil.copytree(photos / "test" / name, folder / name)
    result = run_cli("eval", "--no-report", full_run.run, folder, "--json", "--precision", PRECISION)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert full_run.result.test is not None
    expected = full_run.result.test.confusion
    assert found["split"] == "all"
    assert found["confusion"] == [[0, 0, 0], *expected[1:].tolist()]


def test_classes_narrow_the_runs_own_images_too(full_run: Trained) -> None:
    result = run_cli("eval", "--no-report", full_run.run, "--classes", "red,green", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_images"] == 6
    assert run_cli("eval", "--no-report", full_run.run, "--classes", "red,pink").exit_code == 3


def test_a_class_that_the_model_does_not_know_is_named(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    for name in ("red", "pink"):
        shutil.copytree(photos / "test" / "red", folder / name)
    result = run_cli("eval", "--no-report", full_run.run, folder)
    assert result.exit_code == 3
    assert "pink" in result.stderr and "blue, green, red" in result.stderr


def test_without_any_run_it_says_how_to_make_one() -> None:
    result = run_cli("eval", "--no-report")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "runs/latest" in result.stderr and "resnet-cli finetune" in result.stderr


def test_an_empty_split_names_those_that_are_there(full_run: Trained, photos: Path) -> None:
    result = run_cli("eval", "--no-report", full_run.run, photos / "test", "--split", "val")
    assert result.exit_code == 3
    assert "has only train" in result.stderr and "--split all" in result.stderr
    result = run_cli("eval", "--no-report", full_run.run, "--split", "best")
    assert result.exit_code == 2
    assert "--split best" in result.stderr


def test_an_unreadable_image_is_named(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "test", tmp_path / "data")
    broken = tmp_path / "data" / "red" / "broken.jpg"
    broken.write_text("no")
    result = run_cli("eval", "--no-report", full_run.run, tmp_path / "data", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert str(broken) in json.loads(result.stderr.splitlines()[-1])["error"]["message"]


def test_a_run_still_knows_its_images_from_another_folder(
    full_run: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert run_cli("eval", "--no-report", full_run.run, "--quiet").exit_code == 0


def test_the_report_lies_in_the_run_or_where_it_is_wanted(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    run = copy_of(full_run.run, tmp_path / "run")
    result = run_cli("eval", run, "--json")
    assert result.exit_code == 0, result.output
    page = Path(json.loads(result.stdout)["report"])
    assert page == run / "eval" / "colours-test" / "report.html"
    assert page.is_file() and "<html" in page.read_text(encoding="utf-8")
    assert "resnet-cli eval" in page.read_text(encoding="utf-8")
    lonely = tmp_path / "lonely.safetensors"
    shutil.copy(run / "model.safetensors", lonely)
    result = run_cli("eval", lonely, photos / "test", "--json")
    assert json.loads(result.stdout)["report"] is None
    result = run_cli("eval", lonely, photos / "test", "--out", tmp_path / "here", "--json")
    assert json.loads(result.stdout)["report"] == str(tmp_path / "here" / "report.html")
    refused = run_cli("eval", lonely, photos / "test", "--out", tmp_path / "here", "--no-report")
    assert refused.exit_code == 2 and "--out" in refused.stderr


def test_saved_answers_give_the_same_figures_again(full_run: Trained, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    found = evaluated(full_run.run, "--save-predictions", path, "--slice", "parent")
    again = json.loads(run_cli("eval", "--from-predictions", path, "--json").stdout)
    assert {name for name in KEYS if found[name] != again[name]} == {"model", "data", "precision", "split", "seen"}
    assert [one["group"] for one in found["slices"]] and len(found["slices"]) == 3
    (tmp_path / "folder.csv").mkdir()
    refused = run_cli("eval", full_run.run, "--save-predictions", tmp_path / "folder.csv", "--no-report")
    assert refused.exit_code == 2 and "is a folder" in refused.stderr
    refused = run_cli("eval", full_run.run, "--save-predictions", tmp_path / "answers.xls", "--no-report")
    assert refused.exit_code == 2 and ".parquet" in refused.stderr


def test_a_slice_may_be_a_column_of_the_table(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    files = sorted((photos / "test").rglob("*.*g"))
    cameras = ["left", "right", ""]
    lines = [f"{file},{file.parent.name},{cameras[index % 3]}" for index, file in enumerate(files)]
    table.write_text("\n".join(["image,label,camera", *lines]))
    found = evaluated(full_run.run, table, "--slice", "camera")
    assert {one["group"]: one["num_images"] for one in found["slices"]} == {"left": 3, "right": 3, "": 3}
    result = run_cli("eval", full_run.run, table, "--slice", "camera", "--no-report")
    assert "Per group" in result.stdout and "(no group)" in result.stdout
    missing = run_cli("eval", full_run.run, table, "--slice", "site", "--no-report")
    assert missing.exit_code == 3 and "--slice site" in missing.stderr and "group-by" not in missing.stderr


def test_a_target_is_found_on_validation_and_tried_on_the_judged_images(full_run: Trained, tmp_path: Path) -> None:
    run = copy_of(full_run.run, tmp_path / "run")
    known = Reliability(
        np.linspace(0.3, 1, 100, dtype=np.float32), np.ones(100, dtype=bool), np.full(100, 2, dtype=np.float32)
    )
    dataclasses.replace(full_run.result.model, reliability=known).save(run / "model.safetensors")
    found = evaluated(run, "--target-error", "5%")
    target = found["target"]
    assert target["target_error"] == pytest.approx(0.05)
    assert target["validation"]["coverage"] == 1 and target["validation"]["error_bound"] <= 0.05
    assert target["validation"]["min_prob"] == pytest.approx(0.3)
    assert target["judged"]["num_answered"] <= 9
    assert found["unfamiliar"] == {"share": 0, "interval": [0, pytest.approx(0.299, abs=0.001)]}
    refused = run_cli("eval", run, "--target-error", "0.1%", "--no-report")
    assert refused.exit_code == 2 and "100 validation images" in refused.stderr
    assert "top-1" in refused.stdout, "the results do not depend on the target"
    shown = run_cli("eval", run, "--target-error", "5%", "--no-report")
    assert "on validation" in shown.stdout and "At most 5 % wrong" in shown.stdout
    assert "very images" not in shown.stderr
    own = run_cli("eval", run, "--split", "val", "--target-error", "5%", "--no-report")
    assert "found on these very images" in own.stderr
    dataclasses.replace(full_run.result.model, reliability=None, exemplars=None).save(run / "model.safetensors")
    refused = run_cli("eval", run, "--target-error", "5%", "--no-report")
    assert refused.exit_code == 3 and "no validation metrics" in refused.stderr
    assert evaluated(run)["unfamiliar"] is None


def test_fail_under_shows_everything_and_then_fails(full_run: Trained, photos: Path, tmp_path: Path) -> None:
    # The same images under two names: at most half the answers are right.
    for name in ("red", "green"):
        shutil.copytree(photos / "test" / "red", tmp_path / "twice" / name)
    flags = [full_run.run, tmp_path / "twice", "--no-report"]
    result = run_cli("eval", *flags, "--fail-under", "0.6")
    assert result.exit_code == 10 and "Scores (6 images)" in result.stdout
    assert "is below --fail-under 60% (95 % interval: " in result.stderr
    assert "try: evaluate on more images: they may show that the model reaches it" in result.stderr
    result = run_cli("eval", *flags, "--fail-under", "60%", "--json")
    assert result.exit_code == 10 and json.loads(result.stdout)["num_images"] == 6
    assert json.loads(result.stderr.splitlines()[-1])["error"]["code"] == "verification"
    assert run_cli("eval", *flags, "--fail-under", "0%").exit_code == 0


def test_models_are_compared_on_the_same_images(full_run: Trained, frozen_run: Trained) -> None:
    result = run_cli("eval", full_run.run, frozen_run.run, "--json", "--precision", PRECISION)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (comparison,) = found["comparisons"]
    counts = [comparison[name] for name in ("both_right", "only_first", "only_second", "both_wrong")]
    assert sum(counts) == 9 == found["models"][0]["num_images"]
    assert found["models"][0]["top1"] == pytest.approx((counts[0] + counts[1]) / 9)
    assert found["models"][1]["top1"] == pytest.approx((counts[0] + counts[2]) / 9)
    shown = run_cli("eval", full_run.run, frozen_run.run, full_run.run)
    assert shown.exit_code == 0, shown.output
    assert "A, B" in shown.stdout and "A, C" in shown.stdout and "McNemar" in shown.stdout
    assert "A and C are not distinguishable with 9 images" in shown.stdout
    assert run_cli("eval", full_run.run, frozen_run.run, "--quiet").stdout.count("%") == 2


def test_data_may_stand_anywhere_among_models(full_run: Trained, photos: Path) -> None:
    first = json.loads(run_cli("eval", full_run.run, full_run.run, photos, "--json").stdout)
    assert json.loads(run_cli("eval", photos, full_run.run, full_run.run, "--json").stdout) == first


@pytest.mark.usefixtures("latest")
def test_data_alone_are_judged_with_the_latest_run(photos: Path) -> None:
    assert evaluated(photos)["num_images"] == 9


@pytest.mark.parametrize(
    "flag", ["--slice parent", "--target-error 1%", "--save-predictions x.csv", "--learning-curve"]
)
def test_what_is_about_one_model_is_refused_for_several(full_run: Trained, flag: str) -> None:
    result = run_cli("eval", full_run.run, full_run.run, *flag.split())
    assert result.exit_code == 2 and flag.split()[0] in result.stderr and "one model" in result.stderr


def test_what_is_no_model_and_no_data_is_named(full_run: Trained, photos: Path) -> None:
    result = run_cli("eval", full_run.run, "nowhere")
    assert result.exit_code == 2 and "nowhere: no such model and no such data" in result.stderr
    result = run_cli("eval", photos, photos / "test")
    assert result.exit_code == 2 and "only one can be DATA" in result.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--learning-curve", "--label-audit"], "choose one"),
        (["--learning-curve", "--split", "val"], "--split val has no effect with --learning-curve"),
        (["--robustness", "--fail-under", "1%"], "--fail-under 0.01 has no effect with --robustness"),
        (["--label-audit", "--max-images", "3"], "--max-images 3 has no effect without --robustness"),
        (["--max-images", "3"], "--max-images 3 has no effect without --robustness"),
        (["--target-error", "5"], "--target-error 5"),
        (["--target-error", "much"], "--target-error much"),
        (["--target-error", "x%"], "1% or 0.01"),
        (["--fail-under", "95"], "--fail-under 95"),
        (["--target-error", "1%", "--tta", "flip"], "single predictions"),
        (["--slice", ""], "--slice"),
    ],
)
def test_a_bad_value_is_named(words: list[str], named: str) -> None:
    result = run_cli("eval", *words)
    assert result.exit_code == 2 and named in result.stderr
