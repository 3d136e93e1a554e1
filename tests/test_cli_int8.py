"""Predictions in int8: quantized once, checked, kept beside the model, and never mixed with others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper
from support.running import run_cli

from resnet_cli.engines.backbone_file import ABOUT
from resnet_cli.engines.int8_file import INT8_FILE
from resnet_cli.engines.int8_writer import write_int8
from resnet_cli.exporting import int8_lane
from resnet_cli.system import device

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow", "no_plots")

SMALL = ("--weights", "none", "--image-size", "32", "--device", "cpu")
KEPT = Path("run") / INT8_FILE


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


def said(*arguments: object, code: int = 0) -> str:
    """Everything that a command prints, in one line."""
    result = run_cli(*arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.output.replace("│", " ").split())


def trained(photos: Path, *flags: str) -> None:
    said("finetune", photos, *SMALL, "--mode", "frozen", *flags, "--out", "run")


def test_a_model_is_quantized_once_and_again_if_the_file_is_damaged(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few images, random weights: one of them may well get another class.
    monkeypatch.setattr(int8_lane, "MAX_DROP", 1.0)
    trained(photos)
    predict = ("predict", photos, "--model", "run", "--precision", "int8", "--device", "cpu")
    first = said(*predict)
    assert "quantized now, once" in first and "int8: the same class on" in first and "accuracy" in first
    assert "quantizing: " in first
    data = KEPT.read_bytes()
    again = said(*predict)
    assert "quantized now" not in again and "int8: the same class on" in again
    KEPT.write_bytes(data[:-100])
    assert "quantized now" in said(*predict) and KEPT.read_bytes() == data
    found = said("eval", "run", "--no-report", "--precision", "int8", "--device", "cpu")
    assert "int8: the same class on" in found and "temperature and thresholds were" not in found
    assert "fp32" not in said("predict", photos, "--model", "run", "--device", "cpu")


def test_a_model_that_loses_too_much_is_not_quantized(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_lane, "MAX_MEAN_DIFFERENCE", -1.0)
    trained(photos)
    text = said("predict", photos, "--model", "run", "--precision", "int8", "--device", "cpu", code=10)
    assert "too different" in text and "--precision bf16" in text and not KEPT.exists()


def test_without_its_images_the_error_names_the_command_that_takes_others(photos: Path) -> None:
    shutil.copytree(photos, "copy")
    trained(Path("copy"))
    shutil.rmtree("copy")
    text = said("predict", photos, "--model", "run", "--precision", "int8", "--device", "cpu", code=2)
    assert "export" in text and "--calibrate-with" in text and not KEPT.exists()


def test_a_head_that_was_trained_in_int8_keeps_the_file_of_its_features(photos: Path) -> None:
    trained(photos, "--precision", "int8")
    assert json.loads(Path("run/metrics.json").read_text())["precision"] == "int8"
    rows: list[dict[str, Any]] = []
    for flags in (("--precision", "int8"), ()):
        result = run_cli("predict", photos, "--model", "run", "--device", "cpu", "--json", *flags)
        assert result.exit_code == 0, result.output
        assert ("computed in int8, these predictions in fp32" in " ".join(result.stderr.split())) is (not flags)
        rows.append(json.loads(result.stdout.splitlines()[0]))
    # The same weights, quantized with other images: other features.
    proto = onnx.load(KEPT)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    scale = next(one for one in proto.graph.initializer if one.name.endswith("scale") and not one.dims)
    scale.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(scale), scale.name))
    write_int8(proto, KEPT, texts[ABOUT], {})
    for is_there in (True, False):
        if not is_there:
            KEPT.unlink()
        text = said("predict", photos, "--model", "run", "--precision", "int8", "--device", "cpu", code=3)
        assert "features of a quantized backbone" in text and KEPT.exists() is is_there


def test_int8_is_refused_where_it_has_no_meaning(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = said("finetune", photos, *SMALL, "--mode", "full", "--precision", "int8", "--out", "run", code=2)
    assert "needs a frozen backbone" in text and "--mode frozen" in text and not Path("run").exists()
    monkeypatch.setattr(device, "_find_device", lambda name: "cuda:0")
    text = said("finetune", photos, *SMALL[:-2], "--mode", "frozen", "--precision", "int8", "--out", "run", code=2)
    assert "computes on the CPU" in text and "--device cpu" in text


def test_classes_are_added_with_the_same_quantized_backbone(photos: Path) -> None:
    trained(photos, "--precision", "int8")
    for name in ("train", "val"):
        for folder in sorted(path for path in photos.glob(f"{name}/*") if path.is_dir())[:2]:
            shutil.copytree(folder, Path("more") / name / f"new-{folder.name}")
    text = said("finetune", "more", "--weights", "run", "--add", "--device", "cpu", "--out", "added")
    assert "int8" in text
    assert (Path("added") / INT8_FILE).read_bytes() == KEPT.read_bytes()
    KEPT.unlink()
    text = said("finetune", "more", "--weights", "run", "--add", "--device", "cpu", "--out", "again", code=3)
    assert "is missing, damaged or that of another run" in " ".join(text.split()) and not Path("again").exists()
