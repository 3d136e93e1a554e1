"""OpenVINO's folder: the same answers in every precision, from its first image on, and what a full disk does to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.full_disk import largest_file
from support.synthetic_models import images
from support.written_format import check_damage, check_rewritten, check_written, narrow_job

from resnet_cli.config.export import ExportConfig
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.formats.openvino import write_openvino
from resnet_cli.exporting.other_engines import OWN, ask


@pytest.mark.parametrize(("options", "tolerance"), [({}, 1e-5), ({"fp16": True}, 5e-3), ({"int8": True}, 0.1)])
def test_every_precision_answers_as_the_model_does_from_the_first_image_on(
    options: dict[str, bool], tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    job = narrow_job(monkeypatch, "openvino", options)
    _, found = check_written(job, tmp_path, files={"model.xml", "model.bin"}, tolerance=tolerance)
    flatter = check_rewritten(job, tmp_path, found)
    if "fp16" in options:
        small = Job(job.model, ExportConfig(format="openvino", outputs="probs"))  # type: ignore[arg-type]
        (tmp_path / "probs").mkdir()
        assert small.write(tmp_path / "probs").predict_images(images()).novelty is None
    if not options:
        answer = ask(OWN, tmp_path, job.metadata, images())
        assert not answer.refused and answer.difference(flatter) <= tolerance
    check_damage(tmp_path / "model.xml", "OpenVINO cannot read it")


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    pixels, same = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in ("pixels", "y")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["pixels"], ["y"])], "same", [pixels], [same])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(OSError, match="OpenVINO: "), largest_file(1000):
        write_openvino(model.SerializeToString(), tmp_path)
