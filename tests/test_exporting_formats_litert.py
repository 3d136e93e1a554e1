"""LiteRT's folder: the same answers in every precision, and clear errors without its packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.narrow_network import make_narrow
from support.synthetic_models import PREPROCESS, images, labels_model, made_up_model
from support.written_format import calibration, check_rewritten, check_written, narrow_job
from torch import nn

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ModelError, SetupError
from resnet_cli.exported import litert as loading
from resnet_cli.exported.opening import open_exported
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.formats import litert
from resnet_cli.exporting.formats.litert import LiteRtFormat, LiteRtProgram
from resnet_cli.exporting.other_engines import OWN, ask
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE


def test_its_program_answers_as_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    make_narrow(monkeypatch)
    for model in (made_up_model(), made_up_model((16, 8)), labels_model()):
        expected = TorchPredictor(model, REFERENCE).predict_images(images())
        program = LiteRtProgram(model, with_novelty=True).eval()
        squares = [torch.from_numpy(PREPROCESS(image).copy())[None] for image in images()]
        with torch.inference_mode():
            found = [program(square) for square in squares]
        assert expected.novelty is not None
        np.testing.assert_allclose([one["probs"][0].numpy() for one in found], expected.probs, atol=1e-5)
        np.testing.assert_allclose([one["novelty"][0].item() for one in found], expected.novelty, atol=1e-4)
        with torch.inference_mode():
            assert set(LiteRtProgram(model, with_novelty=False).eval()(squares[0])) == {"probs"}


def test_equal_cosines_count_as_often_as_they_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    make_narrow(monkeypatch)
    program = LiteRtProgram(made_up_model(), with_novelty=False)
    values = torch.tensor([[0.5, 0.9, 0.9, 0.1], [0.2, 0.2, 0.2, 0.2]])
    torch.testing.assert_close(program._mean_of_largest(values, 3), values.topk(3, dim=1).values.mean(dim=1))


def test_a_temperature_is_replaced_only_where_its_layer_is_found_once() -> None:
    layer = nn.Linear(3, 2)
    first, second = ((layer.weight / t, layer.bias / t) for t in (1.5, 2.0))
    before, after = (b"|".join(part.detach().numpy().tobytes() for part in parts) for parts in (first, second))
    assert litert._with_temperature(b"<" + before + b">", layer, 1.5, 2.0) == b"<" + after + b">"
    assert litert._with_temperature(before + before, layer, 1.5, 2.0) is None
    assert litert._with_temperature(before, layer, 1.6, 2.0) is None


def test_what_is_missing_is_said_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    make_narrow(monkeypatch)
    model, config = made_up_model(), ExportConfig(format="litert")
    monkeypatch.setattr(torch, "__version__", "2.15.0+cpu")
    with pytest.raises(SetupError, match=r"torch 2\.11 or later and below 2\.15, and torch 2\.15\.0\+cpu") as too_new:
        LiteRtFormat().require(model, config)
    assert too_new.value.hint is not None and "[litert]" in too_new.value.hint
    monkeypatch.setattr(torch, "__version__", "2.14.1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="needs litert-torch, which is not installed") as missing:
        LiteRtFormat().require(model, config)
    assert missing.value.hint is not None and "[litert]" in missing.value.hint


def test_a_folder_needs_only_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_narrow(monkeypatch)
    Job(made_up_model(), ExportConfig(format="litert")).metadata.write(tmp_path, [])
    (tmp_path / loading.MODEL_FILE).write_bytes(b"not a model")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
        with pytest.raises(SetupError, match="a LiteRT folder needs ai-edge-litert") as missing:
            open_exported(tmp_path)
    assert missing.value.hint is not None and missing.value.hint.startswith("pip install 'ai-edge-litert")
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    with pytest.raises(ModelError, match="LiteRT cannot read it"):
        open_exported(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "tolerance"), [({}, 1e-5), ({"fp16": True}, 5e-3), ({"int8": True}, 0.1)])
def test_every_precision_answers_as_the_model_does_from_the_first_image_on(
    options: dict[str, bool],
    tolerance: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if importlib.util.find_spec("litert_torch") is None:
        # Not imported: it prints.
        pytest.skip("litert-torch is not installed")
    job = narrow_job(monkeypatch, "litert", options)
    closeness = {"tolerance": tolerance, "novelty_tolerance": max(tolerance, 1e-4)}
    _, found = check_written(job, tmp_path, files={"model.tflite"}, **closeness)
    flatter = check_rewritten(job, tmp_path, found, again=calibration)
    answer = ask(OWN, tmp_path, job.metadata, images())
    assert not answer.refused and answer.difference(flatter) <= 1e-5
    assert capfd.readouterr() == ("", "")
