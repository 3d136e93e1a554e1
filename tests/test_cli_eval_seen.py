"""``resnet-cli eval`` where a model has seen images of DATA: what is scored, and what terminal, JSON and report say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.narrow_network import make_narrow
from support.running import TINY, run_cli

import resnet_cli

pytest_plugins = ["support.narrow_network", "support.small_runs"]

FLAGS = {**TINY, "mode": "frozen"}


@pytest.fixture(autouse=True)
def narrow_and_alone(narrow: None, here: Path) -> None:
    pass


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run on noise with labels by chance, and its data in ``data``: no model is better than chance on new images."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for index in range(240):
        path = folder / "data" / ("heads", "tails")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        patch.setattr("resnet_cli.training.report.write_report_files", lambda *_, **__: None)
        patch.chdir(folder)
        for seed in (0, 1):
            values = FLAGS | {"val_fraction": 0.2, "split_seed": seed}
            resnet_cli.finetune(data=str(folder / "data"), out=folder / f"run-{seed}", **values)
    yield folder


@pytest.fixture
def moved(noise: Path, tmp_path: Path) -> Path:
    """The data of the run at another place."""
    return Path(shutil.copytree(noise / "data", tmp_path / "moved"))


def evaluated(*arguments: object) -> Any:
    result = run_cli("eval", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_noise_is_scored_by_chance_wherever_it_is(noise: Path, moved: Path) -> None:
    run = noise / "run-0"
    before, after = evaluated(run, "--no-report"), evaluated(run, moved, "--no-report")
    assert before["seen"]["num_left_out"] == 0 and before["seen"]["known_by"] == "content"
    assert after["confusion"] == before["confusion"] and after["split"] == "test" and after["num_images"] == 48
    assert after["seen"] == {
        "handling": "skip",
        "known_by": "content",
        "num_trained": 144,
        "num_validation": 48,
        "num_left_out": 192,
        "scores": None,
    }
    assert before["intervals"]["top1"][0] < 0.5 < before["intervals"]["top1"][1]
    everything = evaluated(run, moved, "--seen", "include", "--no-report")
    assert everything["num_images"] == 240 and everything["top1"] > after["intervals"]["top1"][1]


def test_the_lines_say_what_was_left_out(noise: Path, moved: Path) -> None:
    result = run_cli("eval", noise / "run-0", moved, "--no-report")
    shown = " ".join(result.stderr.split())
    assert f"moved is the data set of {noise}/run-0, moved from {noise}/data: evaluating on its test split" in shown
    assert "left out 144 images that the model was trained on and 48 that chose its checkpoint" in shown


def test_the_error_for_missing_data_proposes_what_is_right(noise: Path, tmp_path: Path) -> None:
    shutil.copytree(noise / "run-0", tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(noise / "data"), str(tmp_path / "gone")))
    result = run_cli("eval", tmp_path / "run")
    assert result.exit_code == 3 and "gone" in result.stderr
    assert " NEWPATH" in result.stderr and "the test split of the run is found there" in result.stderr
    assert evaluated(tmp_path / "run", noise / "data", "--no-report")["num_images"] == 48


def test_seen_images_are_scored_in_a_table_of_their_own(noise: Path, moved: Path) -> None:
    found = evaluated(noise / "run-0", moved, "--seen", "separate", "--no-report")
    assert (found["num_images"], found["seen"]["num_left_out"]) == (48, 0)
    apart = found["seen"]["scores"]
    assert apart["num_images"] == 192 and apart["top1"] > found["top1"]
    assert apart["top1_interval"][0] < apart["top1"] < apart["top1_interval"][1] and apart["loss"] > 0
    result = run_cli("eval", noise / "run-0", moved, "--seen", "separate", "--no-report")
    assert "Seen in training" in result.stdout and "new to the model" in result.stdout
    assert (
        "144 images that the model was trained on and 48 that chose its checkpoint are scored separately"
        in result.stderr
    )


def test_the_report_says_it_too(noise: Path, moved: Path, tmp_path: Path) -> None:
    result = run_cli("eval", noise / "run-0", moved, "--seen", "separate", "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "48 that chose its checkpoint are scored separately" in page and "evaluating on its test split" in page
    assert "192 images: top-1" in page


def test_models_are_compared_on_images_that_none_of_them_has_seen(noise: Path, moved: Path) -> None:
    runs = [noise / "run-0", noise / "run-1"]
    found = evaluated(*runs, moved)
    num = {one["num_images"] for one in found["models"]}
    assert num == {found["models"][0]["num_images"]} and 0 < found["models"][0]["num_images"] < 48
    assert [one["seen"]["num_left_out"] for one in found["models"]] == 2 * [240 - found["models"][0]["num_images"]]
    own = evaluated(*runs)
    assert own["models"][0]["confusion"] == found["models"][0]["confusion"]
    result = run_cli("eval", *runs, moved)
    shown = " ".join(result.stderr.split())
    for run in runs:
        assert f"{run}/model.safetensors: left out " in shown
    assert "for every model" in shown


def test_nothing_left_is_an_error_with_the_way_out(noise: Path, moved: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in (noise / "run-0" / "split.csv").read_text().splitlines()]
    for name, _, split in rows[1:]:
        if split != "train":
            (moved / name).unlink()
    refused = run_cli("eval", noise / "run-0", moved)
    assert refused.exit_code == 3 and "no image is left to evaluate on" in refused.stderr
    assert "--seen include" in refused.stderr
    assert evaluated(noise / "run-0", moved, "--seen", "include", "--no-report")["num_images"] == 144
    assert evaluated(noise / "run-0", moved, "--split", "train", "--no-report")["num_images"] == 144


def test_python_knows_what_was_left_out(noise: Path, moved: Path) -> None:
    scores = resnet_cli.evaluate(noise / "run-0", moved)
    assert scores.seen is not None and scores.seen.num_left_out == 192 and scores.num_images == 48
    compared = resnet_cli.compare([noise / "run-0", noise / "run-1"], moved)
    assert all(scores.seen is not None and scores.seen.num_left_out > 192 for _, scores in compared.found)


def test_robustness_is_measured_on_images_that_the_model_has_not_seen(noise: Path, moved: Path) -> None:
    found = evaluated(noise / "run-0", moved, "--robustness", "--max-images", "500")
    assert found["robustness"]["num_images"] == 48 and found["seen"]["num_left_out"] == 192


def test_a_training_that_starts_from_a_model_says_what_that_has_seen(noise: Path, no_plots: None) -> None:
    events: list[Any] = []
    values = FLAGS | {"weights": str(noise / "run-0"), "val_fraction": 0.2, "split_seed": 1}
    result = resnet_cli.finetune(data=str(noise / "data"), out="later", on_event=events.append, **values)
    (warning,) = [text for text in result.plan.warnings if "which this training starts from" in text]
    assert "of the 48 test images trained" in warning
    found = evaluated("later", "--no-report")
    assert found["seen"]["num_left_out"] + found["num_images"] == 48 and found["seen"]["num_left_out"] > 20


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--seen", "never"], "--seen never"),
        (["--seen", "skip", "--learning-curve"], "--seen skip has no effect with --learning-curve"),
        (["--seen", "skip", "--label-audit"], "--seen skip has no effect with --label-audit"),
        (["--seen", "separate", "--robustness"], "--seen separate has no effect with --robustness"),
        (["--seen", "skip", "--from-predictions", "x.csv"], "--seen skip has no effect with --from-predictions"),
    ],
)
def test_a_choice_without_effect_is_refused(words: list[str], named: str) -> None:
    result = run_cli("eval", *words)
    assert result.exit_code == 2 and named in result.stderr
