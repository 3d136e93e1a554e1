"""An exported multi-label model chooses the labels that the model chooses, in every format, and says its thresholds."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from support.synthetic_models import CLASSES, images, labels_model

from resnet_cli.config.export import ExportConfig
from resnet_cli.data.dataset import Item
from resnet_cli.errors import ModelError, VerificationError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting.decisions import MultiLabelDecisions, fit_thresholds
from resnet_cli.exporting.export import Job, measured
from resnet_cli.exporting.formats.timm import timm_config
from resnet_cli.exporting.hub.card import hub_card, hub_config
from resnet_cli.exporting.hub.exported_file import Exported
from resnet_cli.exporting.parity import compare
from resnet_cli.exporting.parity_result import Parity
from resnet_cli.exporting.verification_data import spread
from resnet_cli.model.label_reliability import LabelReliability, LabelScaling, is_predicted
from resnet_cli.model.model_file import Model
from resnet_cli.model.output import ModelOutput
from resnet_cli.prediction import Predictor, to_predictions
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE

pytest_plugins = ["support.narrow_network"]

FORMATS: dict[str, dict[str, Any]] = {
    "onnx": {},
    "onnx tensor": {"input": "tensor"},
    "onnx fp16": {"fp16": True},
    "pt2": {"format": "pt2"},
    "timm": {"format": "safetensors"},
    "openvino": {"format": "openvino"},
}


@pytest.fixture
def model(narrow: None) -> Model:
    return dataclasses.replace(labels_model(), scaling=LabelScaling((1.0, 0.5, 2.0), (0.0, -1.0, 0.25)))


def labels_of(predictor: Predictor[Any]) -> list[set[str]]:
    names = [str(index) for index in range(len(images()))]
    output = predictor.predict_images(images())
    return [{*(found.labels or ())} for found in to_predictions(predictor, names, output, topk=2)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_chooses_the_labels_of_the_model(name: str, model: Model, tmp_path: Path) -> None:
    if name == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    job = Job(model, ExportConfig(**FORMATS[name]))
    path = tmp_path / job.file_name()
    if job.is_folder:
        path.mkdir()
    found, expected = job.write(path), TorchPredictor(model, REFERENCE)
    assert (found.task, found.thresholds) == ("multi-label", model.thresholds)
    assert isinstance(found.reliability, LabelReliability) and isinstance(model.reliability, LabelReliability)
    for field, values in model.reliability.arrays().items():
        assert (found.reliability.arrays()[field] == values).all()
    np.testing.assert_allclose(
        found.predict_images(images()).probs,
        expected.predict_images(images()).probs,
        atol=1e-2 if "fp16" in name else 1e-5,
    )
    chosen = labels_of(expected)
    assert labels_of(found) == chosen
    # The images tell the formats apart: some have no label, and some have several.
    assert set() in chosen and any(len(labels) > 1 for labels in chosen)


def test_other_programs_find_task_and_thresholds_as_texts(model: Model, tmp_path: Path) -> None:
    found = Job(model, ExportConfig()).write(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert (texts["task"], tuple(json.loads(texts["thresholds"]))) == ("multi-label", model.thresholds)
    # Version 0.1.0 reads 1 alone.
    assert texts["schema_version"] == "2"
    assert [node.op_type for node in proto.graph.node if "probs" in node.output] == ["Sigmoid"]
    assert isinstance(found, OnnxModel) and found.metadata.scaling == model.scaling
    heat = found.predict_images(images()).heatmap
    assert heat is not None and heat.shape == (len(images()), 1, 1)
    config = timm_config(model, found.metadata)
    assert (config["task"], tuple(config["thresholds"])) == ("multi-label", model.thresholds)


@pytest.mark.parametrize(
    "change",
    [
        {"task": None},
        {"task": "single-label"},
        {"thresholds": None},
        {"thresholds": "[0.5]"},
        {"thresholds": "[0.5, 0.5, 2]"},
        {"scaling": '{"scale": [1, 1, 1]}'},
        {"schema_version": "1"},
        {"reliability": '{"probs": "AAAA", "targets": "AA==", "novelty": ""}'},
    ],
    ids=str,
)
def test_damaged_metadata_is_a_model_error(model: Model, change: dict[str, str | None]) -> None:
    texts = Job(model, ExportConfig()).metadata.to_texts()
    assert ExportMetadata.from_texts(texts, "m.onnx").thresholds == model.thresholds
    damaged = {key: value for key, value in (texts | change).items() if value is not None}
    with pytest.raises(ModelError, match=r"m\.onnx: damaged metadata"):
        ExportMetadata.from_texts(damaged, "m.onnx")


class Constant(Predictor[Any]):
    """Gives each image the probabilities that its first pixel is the index of."""

    task = "multi-label"
    classes = ("cat", "dog")
    thresholds = (0.5, 0.5)

    def __init__(self, probs: NDArray[np.float32], model: Model) -> None:
        self._probs = probs
        self.preprocess = model.preprocess

    def prepare(self, image: Any) -> Any:
        return image

    def predict(self, inputs: Sequence[Any]) -> ModelOutput:
        return ModelOutput(np.stack([self._probs[np.asarray(image)[0, 0, 0] % len(self._probs)] for image in inputs]))

    def square(self, prepared: Any) -> Any:
        raise NotImplementedError

    def heatmap(self, prepared: Any, output: ModelOutput, target: int | None = None) -> Any:
        raise NotImplementedError


TARGETS = np.array([[1, 1], [1, 0], [0, 1], [0, 0]] * 5, dtype=np.int8)
PROBS = np.where(TARGETS == 1, 0.8, 0.2).astype(np.float32)


def parity_with(
    found: NDArray[np.float32],
    model: Model,
    *,
    max_drop: float = 0.0,
    precision: Any = "fp32",
    thresholds: tuple[float, ...] | None = None,
) -> Parity:
    items = [
        Item(str(row), np.full((8, 8, 3), row, np.uint8), tuple(np.flatnonzero(values).tolist()))
        for row, values in enumerate(TARGETS)
    ]
    parity = compare(
        Constant(PROBS, model),
        Constant(found, model),
        items,
        classes=("cat", "dog"),
        expected=ModelOutput(PROBS),
        precision=precision,
        max_drop=max_drop,
        thresholds=thresholds,
    )
    known = measured(ModelOutput(found), TARGETS, dataclasses.replace(model, classes=("cat", "dog")))
    assert isinstance(known, LabelReliability)
    assert (known.probs == found).all() and (known.targets == TARGETS).all()
    return parity


def test_the_same_labels_pass_and_other_labels_are_named(model: Model) -> None:
    same = parity_with(PROBS.copy(), model)
    assert same.passed and same.model_accuracy.value == 1 and same.drops == {"mAP": 0, "micro F1": 0}
    assert {"model_map", "file_map"} <= same.to_dict().keys()
    other = PROBS.copy()
    other[3] = 0.6, 0.2
    found = parity_with(other, model)
    assert not found.passed
    assert [dataclasses.astuple(one) for one in found.differences] == [
        ("3", "none", pytest.approx(0.2), "cat", pytest.approx(0.6))
    ]
    with pytest.raises(VerificationError, match="same labels for"):
        found.require("onnx")


def test_a_file_that_ranks_as_well_but_chooses_other_labels_is_rejected(model: Model) -> None:
    shifted = (PROBS * 0.6).astype(np.float32)
    found = parity_with(shifted, model, precision="int8", max_drop=0.01)
    assert found.drops["mAP"] == 0 and found.drops["micro F1"] == 1
    with pytest.raises(VerificationError, match=r"micro F1 falls by 100\.00 points on 20 images; the limit is 1 point"):
        found.require("onnx int8")
    # With thresholds of its own it chooses the same labels.
    fitted = fit_thresholds(PROBS, shifted, TARGETS, (0.5, 0.5))
    matched = parity_with(shifted, model, precision="int8", max_drop=0.01, thresholds=fitted)
    assert matched.passed and matched.drops == {"mAP": 0, "micro F1": 0}
    assert all(0.12 < least < 0.48 for least in matched.decisions.file_thresholds)


def test_a_class_at_its_threshold_may_go_either_way() -> None:
    decisions = MultiLabelDecisions(CLASSES, (0.5, 0.5, 0.5))
    expected = np.array([[0.50002, 0.9, 0.1]] * 2, dtype=np.float32)
    found = np.array([[0.49999, 0.9, 0.1], [0.50002, 0.1, 0.1]], dtype=np.float32)
    assert is_predicted(expected, decisions.thresholds)[0, 0] != is_predicted(found, decisions.thresholds)[0, 0]
    assert decisions.are_same(expected, found).tolist() == [True, False]


def test_images_to_check_with_have_every_label_and_none() -> None:
    common = [Item(f"common {index}", b"", (0,)) for index in range(50)]
    rare = [Item("rare", b"", (0, 1)), Item("none", b"", ())]
    chosen = spread([*common, *rare], 6)
    assert len(chosen) == 6 and {"rare", "none"} <= {item.name for item in chosen}


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_the_card_on_the_hub_has_the_thresholds_and_code_that_uses_them(kind: Any, model: Model) -> None:
    metadata = Job(model, ExportConfig(format=kind)).metadata
    exported = Exported(
        repo="me/insects",
        files=("model.onnx",),
        format=kind,
        num_bytes=1,
        sha256="ab" * 32,
        metadata=metadata,
        parity=parity_with(PROBS.copy(), model),
        license=None,
    )
    card = hub_card(None, exported)
    assert "multi-label-image-classification" in card.front["tags"]
    assert [one["type"] for one in card.front["model-index"][0]["results"][0]["metrics"]] == ["mean_average_precision"]
    assert "| héron, gris | 62.0 % | `0.62` |" in card.body and "softmax" not in card.body
    (code,) = re.findall(r"```python\n(.*?)```", card.body, re.S)
    compile(code, "card", "exec")
    assert "thresholds" in code and not re.search(r"<\w+>|METADATA|REPO", code)
    assert json.loads(hub_config(exported))["thresholds"] == list(model.thresholds)
