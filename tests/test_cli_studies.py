from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.html_page import assert_only_own_script
from support.narrow_network import narrow_model
from support.running import COMPUTE

from resnet_cli.cli.evaluate import show_study
from resnet_cli.commands.studies import study_labels, study_learning_curve, study_robustness
from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50, backbone_hash
from resnet_cli.preprocess import Preprocess
from resnet_cli.studies import learning_curve as curves
from resnet_cli.studies.clean_backbone import clean_backbone
from resnet_cli.studies.learning_curve import Forecast, LearningCurve, Step
from resnet_cli.studies.power_law import PowerLaw
from resnet_cli.system.paths import write_text

pytest_plugins = ["support.narrow_network", "support.small_runs"]


def shown(
    study: Callable[..., Any], *arguments: Any, as_json: bool = False, quiet: bool = False, **options: Any
) -> None:
    """Makes a study and prints it as ``eval`` does."""
    show_study(study(*arguments, **options), as_json=as_json, quiet=quiet)


@pytest.fixture
def model(narrow: None) -> Model:
    return narrow_model(("ants", "bees"), Preprocess(resize_size=32, crop_size=32))


@pytest.fixture
def photos(make_folder: Callable[..., Path]) -> Dataset:
    counts = {"train": 8, "val": 4, "test": 4}
    return read_folder(make_folder({split: {"ants": num, "bees": num} for split, num in counts.items()}, "colours"))


def test_learning_curve_prints_steps_forecasts_and_a_sentence(
    model: Model, photos: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "NUM_DRAWS", 2)
    shown(study_learning_curve, model, photos, COMPUTE)
    printed = capsys.readouterr()
    assert "Learning curve (on 8 test images)" in printed.out and "twice the images" in printed.out
    assert "100 more of each class" in printed.out and "a guess" in printed.out
    assert "points" in printed.out and "evaluating" not in printed.out
    assert max(map(len, printed.out.splitlines()[:-1])) <= 80
    shown(study_learning_curve, model, photos, COMPUTE, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1 and found["judged"] == "test"
    curve = found["learning_curve"]
    assert curve["num_train"] == 16 and curve["steps"][-1]["num_images"] == 16
    assert set(curve["law"]) == {"asymptote", "scale", "exponent"}
    assert {"value", "low", "high"} == set(curve["forecasts"][0]["gain"])
    shown(study_learning_curve, model, photos, COMPUTE, quiet=True)
    quiet = capsys.readouterr()
    assert quiet.out.startswith("twice the images: ") and quiet.out.count("\n") == 1 and not quiet.err


def test_data_without_splits_are_split_as_finetune_would(
    model: Model, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "NUM_DRAWS", 2)
    items = [Item(f"{at}", noise(at), (at % 2,)) for at in range(40)]
    shown(study_learning_curve, model, Dataset("noise", "noise", ("a", "b"), tuple(items)), COMPUTE, as_json=True)
    assert json.loads(capsys.readouterr().out)["learning_curve"]["num_train"] == 32
    with pytest.raises(DataError, match="too few for a learning curve"):
        shown(study_learning_curve, model, Dataset("noise", "noise", ("a", "b"), tuple(items[:8])), COMPUTE)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(0.02, 0.01, 0.03), "twice as many would bring about 2.0 points"),
        (Interval(0.002, -0.01, 0.005), "would hardly help"),
        (Interval(0.02, -0.01, 0.05), "not certain"),
    ],
)
def test_the_sentence_follows_the_interval(gain: Interval, words: str) -> None:
    twice = Forecast(curves.TWICE, 200, Interval(0.9, 0.8, 0.95), gain, is_guess=False)
    step = Step(100, Interval(0.1, 0.1, 0.1), 1.0, 1)
    assert words in LearningCurve((step,), PowerLaw(0.0, 1.0, 0.5), (twice,), 50, 100).conclusion


def test_label_audit_writes_a_table_that_opens_and_a_sheet(
    model: Model, photos: Dataset, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(study_labels, model, photos, COMPUTE, split="train")
    printed = capsys.readouterr().out
    assert "16 labels" in printed and "resnet-cli finetune colours-labels.csv" in printed
    again = open_dataset(str(here / "colours-labels.csv"))
    assert again.counts() == photos.counts(), "images of other splits are in the table too"
    page = (here / "colours-labels.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.count("<figure") == 16
    assert_only_own_script(page)
    assert "resnet-cli finetune colours-labels.csv" in page
    with pytest.raises(ConfigError, match="exists already"):
        shown(study_labels, model, photos, COMPUTE)
    shown(study_labels, model, photos, COMPUTE, out=here / "all.csv", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["label_audit"]["num_judged"] == 32
    assert found["written"] == [str(here / "all.html"), str(here / "all.csv")]
    shown(study_labels, model, photos, COMPUTE, out=here / "quiet.csv", quiet=True)
    quiet = capsys.readouterr()
    assert quiet.out.splitlines() == [str(here / "quiet.html"), str(here / "quiet.csv")] and not quiet.err


def test_a_name_that_is_no_table_and_an_empty_split_are_refused(model: Model, photos: Dataset, here: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.csv"):
        shown(study_labels, model, photos, COMPUTE, out=here / "labels.txt")
    items = [Item(f"{at}", noise(at), (at % 2,)) for at in range(40)]
    with pytest.raises(DataError, match="has no such images"):
        shown(study_labels, model, Dataset("noise", "noise", ("a", "b"), tuple(items)), COMPUTE, split="test")
    assert not list(here.iterdir())


def test_images_in_memory_get_no_promise_that_finetune_reads_the_table(
    model: Model, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [Item(f"<b>{at}</b>\n", noise(at), (at % 2,)) for at in range(40)]
    shown(study_labels, model, Dataset("noise", "noise", ("<i>a", "b"), tuple(items)), COMPUTE)
    assert "finetune" not in capsys.readouterr().out
    page = (here / "noise-labels.html").read_text(encoding="utf-8")
    assert "these images are not files" in page and "<b>0" not in page and "<i>" not in page


def test_robustness_prints_a_row_a_kind(model: Model, photos: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    items = photos.split("test")
    shown(study_robustness, model, items, COMPUTE, name=photos.name, max_images=4)
    printed = capsys.readouterr().out
    assert "(4 of 8 images)" in printed and "Most sensitive to" in printed
    for kind in ("brightness", "contrast", "blur", "noise", "jpeg", "rotation", "shift"):
        assert f"\n {kind} " in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    shown(study_robustness, model, items, COMPUTE, name=photos.name, max_images=4, as_json=True)
    found = json.loads(capsys.readouterr().out)["robustness"]
    assert found["num_images"] == 4 and len(found["kinds"]) == 7 and len(found["kinds"][0]["strengths"]) == 5
    shown(study_robustness, model, items, COMPUTE, name=photos.name, max_images=4, quiet=True)
    assert capsys.readouterr().out.strip() == f"{100 * found['mean_top1']:.1f} %"


def test_studies_of_several_labels_speak_of_map_and_of_missing_labels(
    narrow: None, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "NUM_DRAWS", 2)
    model = narrow_model(("ant", "bee"), Preprocess(resize_size=16, crop_size=16))
    model = dataclasses.replace(model, task="multi-label")
    labels: list[tuple[int, ...]] = [(), (0,), (1,), (0, 1)]
    items = []
    for at in range(48):
        Image.fromarray(noise(at)).save(here / f"{at}.png")
        split: Any = ("train", "train", "val", "test")[at // 4 % 4]
        unknown = (0,) if at == 0 else ()
        items.append(Item(f"{at}.png", here / f"{at}.png", labels[at % 4], split, unknown=unknown))
    data = Dataset("insects", "insects", ("ant", "bee"), tuple(items), task="multi-label")
    shown(study_learning_curve, model, data, COMPUTE)
    printed = capsys.readouterr().out
    assert "mAP" in printed and "top-1" not in printed and "200 more images" in printed
    shown(study_labels, model, data, COMPUTE, suggest_unknown=True)
    printed = capsys.readouterr().out
    assert "Of 95 values (one per image and class), about" in printed and "Unknown values" in printed
    assert "resnet-cli finetune insects-labels.csv --multi-label" in " ".join(printed.split())
    again = open_dataset(str(here / "insects-labels.csv"), DataConfig(multi_label=True))
    assert again.task == "multi-label" and sum(len(item.unknown) for item in again.items) == 1
    (here / "insects-labels.csv").unlink()
    (here / "insects-labels.html").unlink()
    shown(study_labels, model, data, COMPUTE, as_json=True)
    audit = json.loads(capsys.readouterr().out)["label_audit"]
    assert {"num_missing", "num_wrong", "per_class", "likely_wrong", "unknown"} < set(audit) and not audit["unknown"]
    with pytest.raises(ConfigError, match="all values of insects are known"):
        known = dataclasses.replace(data, items=data.items[1:])
        study_labels(model, known, COMPUTE, suggest_unknown=True, out=here / "x.csv")
    shown(study_robustness, model, data.split("test"), COMPUTE, name="insects, test")
    printed = capsys.readouterr().out
    assert "mAP in % on corrupted images (12 images)" in printed and "mean mAP lost" in printed
    assert "accuracy" not in printed and "Most sensitive to" in printed


def test_a_frozen_backbone_judges_and_a_trained_one_gives_way_to_where_it_came_from(
    model: Model, tmp_path: Path
) -> None:
    assert clean_backbone(model).network is model.network and not clean_backbone(model).note
    frozen = dataclasses.replace(model, provenance={"recipe": {"mode": "frozen"}})
    assert clean_backbone(frozen).network is model.network
    model.save(tmp_path / "start.safetensors")
    write_text(tmp_path / "config.yaml", f"weights: {tmp_path / 'start.safetensors'}\nmode: full\n")
    full = {"recipe": {"mode": "full"}, "weights": "none"}
    trained = dataclasses.replace(model, provenance=full, path=tmp_path / "model.safetensors", network=ResNet50(2))
    start = clean_backbone(trained)
    assert not start.has_seen and "that the training started from" in start.note
    assert backbone_hash(start.network) == backbone_hash(model.network) != backbone_hash(trained.network)
    for path in (None, tmp_path / "gone" / "model.safetensors"):
        # Nothing is left of random weights.
        own = clean_backbone(dataclasses.replace(trained, path=path))
        assert own.has_seen and own.network is trained.network and "these images trained" in own.note
    (tmp_path / "start.safetensors").unlink()
    assert "no such file" in clean_backbone(trained).note


def test_an_unreadable_image_is_named(model: Model, here: Path) -> None:
    for at in range(12):
        Image.fromarray(noise(at)).save(here / f"{at}.png")
    (here / "3.png").write_bytes(b"no image")
    items = tuple(Item(f"{at}.png", here / f"{at}.png", (at % 2,)) for at in range(12))
    with pytest.raises(DataError, match=r"3\.png"):
        shown(study_labels, model, Dataset("noise", "noise", ("a", "b"), items), COMPUTE)
    assert not (here / "noise-labels.csv").exists()
