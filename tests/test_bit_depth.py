"""12 bits in 16: the range of the whole data set decides, and everything that uses the model follows it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.mean_colours import MeanColours
from support.running import TINY

import resnet_cli
from resnet_cli.commands import predict as predict_command
from resnet_cli.config.base import resolve, to_yaml
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.config.predict import PredictConfig
from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.inspection.findings import find_problems, to_report
from resnet_cli.data.inspection.inspect import NO_WIDE_IMAGES, WideImages, inspect_images
from resnet_cli.data.inspection.scan import scan
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.evaluation.evaluate import evaluate_predictor
from resnet_cli.exporting.hub import usage
from resnet_cli.model.weights import load_model
from resnet_cli.prediction import predict
from resnet_cli.predictor import open_predictor
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.events import Warned
from resnet_cli.training.decisions import Decisions
from resnet_cli.training.input_choices import choose_bit_depth
from resnet_cli.training.plan import Plan, make_plan

pytest_plugins = ["support.small_runs", "support.narrow_network"]

CLASSES = ("dim", "bright")


def write(path: Path, level: float, *, bits: int = 12, seed: int = 0) -> Path:
    """A 16-bit gray PNG whose largest value has all of its bits set, noise around a share of it elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top = 2**bits - 1
    values = np.random.default_rng(seed).normal(level * top, 0.05 * top, (24, 32)).clip(0, top).astype(np.uint16)
    values[0, 0] = top
    Image.fromarray(values).save(path)
    return path


def scene(root: Path, *, bits: int = 12, num: int = 6) -> Path:
    for label, name in enumerate(CLASSES):
        for index in range(num):
            write(root / name / f"{index}.png", (0.25, 0.75)[label], bits=bits, seed=10 * label + index)
    return root


def plan_for(data: Path, **values: Any) -> Plan:
    return make_plan(resolve(FinetuneConfig, {"data": str(data), "mode": "frozen", **TINY, **values}))


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_the_range_of_the_whole_data_set_decides_and_the_plan_says_why(tmp_path: Path, bits: int) -> None:
    plan = plan_for(scene(tmp_path, bits=bits))
    assert plan.preprocess.bit_depth == bits
    (row,) = [choice for choice in plan.choices if choice.name == "bit-depth"]
    assert (row.value, row.origin) == (str(bits), "auto")
    assert f"all 12 16-bit images are below {2**bits:,}" in row.why


def test_one_image_of_all_bits_makes_the_others_dark_and_not_itself_white(tmp_path: Path) -> None:
    write(scene(tmp_path) / "bright" / "one.png", 0.5, bits=16)
    plan = plan_for(tmp_path)
    assert plan.preprocess.bit_depth == 16
    assert "bit-depth" not in {choice.name for choice in plan.choices}


def test_eight_bit_images_keep_the_preprocessing_and_its_fingerprint(tmp_path: Path) -> None:
    for name in CLASSES:
        for index in range(3):
            path = tmp_path / name / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (20 + index, 20)).save(path)
    plan = plan_for(tmp_path)
    assert plan.preprocess.bit_depth == 16 and "bit_depth" not in plan.preprocess.to_dict()
    with pytest.raises(ConfigError, match="--bit-depth 12 has no effect"):
        plan_for(tmp_path, bit_depth=12)


def test_the_flag_decides_against_the_data(tmp_path: Path) -> None:
    plan = plan_for(scene(tmp_path), bit_depth=16)
    assert plan.preprocess.bit_depth == 16
    assert [(row.value, row.origin) for row in plan.choices if row.name == "bit-depth"] == [("16", "flag")]
    with pytest.raises(DataError, match=r"12 of 12 images cannot be read[\s\S]*need 12 bits, more than the 10"):
        plan_for(tmp_path, bit_depth=10)
    write(tmp_path / "bright" / "one.png", 0.5, bits=14)
    skipping = plan_for(tmp_path, bit_depth=12, on_bad_image="skip")
    assert skipping.preprocess.bit_depth == 12 and [error.path for error in skipping.skipped] == [
        str(tmp_path / "bright" / "one.png")
    ]
    with pytest.raises(ConfigError, match="must be one of 8, 10, 12, 14, 16"):
        plan_for(tmp_path, bit_depth=11)


def test_a_resolved_config_makes_the_same_plan_again(tmp_path: Path) -> None:
    plan = plan_for(scene(tmp_path / "data"))
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(plan.resolved_config()))
    again = make_plan(resolve(FinetuneConfig, {}, file))
    assert again.preprocess == plan.preprocess and again.config.bit_depth == 12


def test_a_scan_remembers_the_bits_of_each_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / f"{bits}.png", 0.5, bits=bits) for bits in (8, 12, 16)]
    Image.new("L", (9, 9)).save(tmp_path / "l.png")
    items = [Item(path.name, path) for path in [*paths, tmp_path / "l.png"]]
    monkeypatch.setattr("resnet_cli.data.inspection.index.RACY_NS", 0)
    first = scan(items)
    assert [image.bit_depth for image in first] == [8, 12, 16, 0]
    monkeypatch.setattr("resnet_cli.data.inspection.scan.scan_image", lambda *_, **__: pytest.fail("scanned again"))
    assert [tuple(image) for image in scan(items)] == [tuple(image) for image in first]
    # What cannot be read in one range can be in another: the record is the same.
    errors = [bool(image.error) for image in scan(items, bit_depth=12)]
    assert errors == [False, False, True, False]


def test_dark_images_of_another_content_do_not_look_alike(tmp_path: Path) -> None:
    # The upper bytes of 10 bits are 0 to 3: nearly nothing to compare.
    rng = np.random.default_rng(0)
    for index in range(6):
        values = np.kron(rng.integers(0, 1024, (6, 6)), np.ones((8, 8))).astype(np.uint16)
        values[0, 0] = 1023
        Image.fromarray(values).save(tmp_path / f"{index}.png")
    items = tuple(Item(path.name, path) for path in sorted(tmp_path.iterdir()))
    dataset = Dataset("d", "d", ("a", "b"), items)
    assert not inspect_images(dataset, scan(items)).near


def test_inspect_says_which_bits_are_used(tmp_path: Path) -> None:
    dataset = open_dataset(str(scene(tmp_path)))
    inspection = inspect_images(dataset, scan(dataset.items))
    (finding,) = [found for found in find_problems(inspection) if found.code == "bit_depth"]
    assert "12 images of 16 bits use only 12 of them" in finding.message and "4,096" in finding.message
    assert to_report(inspection)["bit_depth"] == 12
    write(tmp_path / "bright" / "one.png", 0.5, bits=16)
    dataset = open_dataset(str(tmp_path))
    inspection = inspect_images(dataset, scan(dataset.items))
    assert "bit_depth" not in {found.code for found in find_problems(inspection)}
    assert to_report(inspection)["bit_depth"] == 16


class Brightness(MeanColours):
    """Calls an image red if it is brighter than half, from the pixels that the model's preprocessing reads."""

    def prepare(self, image: Image.Image) -> Any:
        mean = float(np.asarray(image).mean())
        return np.array([mean, 255 - mean, 0], dtype=np.float32)


def test_predictions_use_the_range_of_the_model(tmp_path: Path) -> None:
    items = [Item(f"{level}", write(tmp_path / f"{level}.png", level), (0,)) for level in (0.25, 0.75)]
    predictor = Brightness()
    assert [one.prediction.label for one in predict(predictor, items)] == ["green", "green"]
    predictor.preprocess = Preprocess(resize_size=8, crop_size=8, bit_depth=12)
    assert [one.prediction.label for one in predict(predictor, items)] == ["green", "red"]
    beyond = Item("beyond", write(tmp_path / "beyond.png", 0.5, bits=14))
    (found,) = predict(predictor, [beyond])
    assert found.prediction.error is not None and "need 14 bits, more than the 12" in found.prediction.error.reason
    scores = evaluate_predictor(predictor, items)
    assert scores.predicted.tolist() == [1, 0]
    with pytest.raises(DataError, match="need 14 bits"):
        evaluate_predictor(predictor, [beyond])


def test_a_run_its_file_and_its_export_read_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow: None, no_plots: None
) -> None:
    monkeypatch.chdir(tmp_path)
    data = scene(tmp_path / "data", num=10)
    result = resnet_cli.finetune(data=str(data), out=tmp_path / "run", mode="frozen", epochs=2, **TINY)
    assert result.plan.preprocess.bit_depth == 12
    model = load_model(str(tmp_path / "run"))
    assert model.preprocess.bit_depth == 12
    items = list(open_dataset(str(data)).items)
    of_run = open_predictor(tmp_path / "run", device="cpu")
    expected = [one.prediction.topk for one in predict(of_run, items)]
    seen = model.preprocess.read(items[0])
    assert seen.max() > 128
    exported = resnet_cli.export(tmp_path / "run", out=tmp_path / "model.onnx")
    assert exported
    of_file = open_predictor(tmp_path / "model.onnx")
    assert of_file.preprocess.bit_depth == 12
    for one, other in zip(predict(of_file, items), expected, strict=True):
        assert dict(one.prediction.topk) == pytest.approx(dict(other), abs=1e-3)


def test_predict_warns_of_sixteen_bit_images_that_are_nearly_black_to_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level in (0.25, 0.75):
        write(tmp_path / "photos" / f"{level}.png", level)
    Image.new("RGB", (9, 9), "#c81e14").save(tmp_path / "photos" / "red.png")
    predictor = MeanColours()
    predictor.path = tmp_path / "none.onnx"
    monkeypatch.setattr(predict_command, "open_model", lambda *_, **__: predictor)

    def warnings() -> list[str]:
        events: list[object] = []
        config = PredictConfig(images=(str(tmp_path / "photos"),))
        predict_command.predict(config, stdin=io.BytesIO(), on_event=events.append)
        return [text for event in events if isinstance(event, Warned) for text in event.texts]

    (warning,) = warnings()
    assert "all 2 16-bit images have values below 4,096" in warning and "16-bit ones" in warning
    monkeypatch.setattr(predictor, "preprocess", Preprocess(resize_size=8, crop_size=8, bit_depth=12), raising=False)
    assert not warnings()
    monkeypatch.setattr(predictor, "preprocess", Preprocess(resize_size=8, crop_size=8), raising=False)
    write(tmp_path / "photos" / "wide.png", 0.5, bits=16)
    assert not warnings()


@pytest.mark.parametrize(("bit_depth", "divisor"), [(None, None), (10, 4), (12, 16), (14, 64)])
def test_a_card_tells_other_programs_how_to_scale_sixteen_bit_images(
    bit_depth: int | None, divisor: int | None
) -> None:
    preprocess = {"crop_size": 224, **({"bit_depth": bit_depth} if bit_depth else {})}
    values: Any = {"preprocess": preprocess, "classes": CLASSES, "input_kind": "tensor", "most_novel": None}
    metadata = SimpleNamespace(task="single-label", **values)
    exported: Any = SimpleNamespace(metadata=metadata, format="onnx", repo="me/model", files=["model.onnx"])
    text = usage.how_to_use(exported)
    assert ("16-bit images" in text) is (bit_depth is not None)
    assert bit_depth is None or (f"use {bit_depth} bits" in text and f"divide their values by {divisor} " in text)


def test_added_classes_are_read_as_the_first_ones_were() -> None:
    def choose(known: int, needed: int, **values: Any) -> int:
        resolved = resolve(FinetuneConfig, {"add": True, "weights": "model.safetensors", **values})
        prepared: Any = SimpleNamespace(wide=WideImages(3, needed) if needed else NO_WIDE_IMAGES)
        start: Any = SimpleNamespace(preprocess=Preprocess(resize_size=8, crop_size=8, bit_depth=known))
        return choose_bit_depth(Decisions(resolved), prepared, start)

    assert choose(12, 12) == 12 and choose(12, 0) == 12 and choose(16, 12, bit_depth=16) == 16
    for known, needed in ((12, 14), (12, 10), (16, 12)):
        with pytest.raises(ConfigError, match=f"as {known}-bit ones.*needs {needed} bits") as caught:
            choose(known, needed)
        assert caught.value.hint is not None and f"--bit-depth {known}" in caught.value.hint


def test_the_server_uses_the_range_of_the_model(tmp_path: Path) -> None:
    service = pytest.importorskip("resnet_cli.serving.service", reason="the extra serve is not installed")
    predictor = Brightness()
    predictor.preprocess = Preprocess(resize_size=8, crop_size=8, bit_depth=12)
    server: Any = SimpleNamespace(_predictor=predictor, limits=SimpleNamespace(max_pixels=10_000))
    upload = SimpleNamespace(data=write(tmp_path / "a.png", 0.75).read_bytes(), name="a.png")
    assert service.Service._prepare(server, upload)[0] > 128
