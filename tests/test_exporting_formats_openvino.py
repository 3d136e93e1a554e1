"""OpenVINO's folder: the same answers in every precision, from its first image on, and what a full disk does to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.full_disk import largest_file
from support.narrow_network import make_narrow
from support.synthetic_models import PREPROCESS, images, telling_model

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import DiskError
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.formats.openvino import write_openvino
from resnet_cli.exporting.other_engines import OWN, ask
from resnet_cli.exporting.recalibration import at_temperature
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE


@pytest.mark.parametrize(("options", "tolerance"), [({}, 1e-5), ({"fp16": True}, 5e-3), ({"int8": True}, 0.1)])
def test_every_precision_answers_as_the_model_does_from_the_first_image_on(
    options: dict[str, bool], tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    make_narrow(monkeypatch)
    model, photos = telling_model(), images()
    job = Job(model, ExportConfig(format="openvino", **options))  # type: ignore[arg-type]
    monkeypatch.setattr(job, "_calibration", lambda on_work: map(PREPROCESS, photos))
    opened = job.write(tmp_path)
    expected = TorchPredictor(model, REFERENCE).predict_images(photos)
    found = opened.predict_images(photos)
    assert expected.novelty is not None and found.novelty is not None
    assert np.abs(found.probs - expected.probs).max() <= tolerance
    assert np.abs(found.novelty - expected.novelty).max() <= tolerance
    assert (tmp_path / "labels.txt").read_text("utf-8").splitlines() == list(model.classes)
    hotter = dataclasses.replace(model, temperature=1.5 * model.temperature)
    again = job._format.rewrite(hotter, job.metadata, job.config, tmp_path, calibration=lambda: iter([]))
    flatter = at_temperature(found.probs, model.temperature, hotter.temperature)
    assert np.abs(again.predict_images(photos).probs - flatter).max() <= 1e-5
    if "fp16" in options:
        small = Job(model, ExportConfig(format="openvino", outputs="probs"))  # type: ignore[arg-type]
        (tmp_path / "probs").mkdir()
        assert small.write(tmp_path / "probs").predict_images(photos).novelty is None
    if not options:
        answer = ask(OWN, tmp_path, job.metadata, photos)
        assert not answer.refused and answer.difference(flatter) <= tolerance


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    pixels, same = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in ("pixels", "y")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["pixels"], ["y"])], "same", [pixels], [same])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    metadata: Any = None
    with pytest.raises(DiskError, match="OpenVINO cannot write to") as caught, largest_file(1000):
        write_openvino(model.SerializeToString(), tmp_path, metadata)
    assert caught.value.hint == "free some space"
