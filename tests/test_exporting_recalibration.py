"""A quantized file is as certain as its own answers on validation images justify."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.synthetic_models import images, made_up_model

from resnet_cli.config.export import ExportConfig
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.recalibration import at_temperature, refit_temperature
from resnet_cli.model.output import ModelOutput
from resnet_cli.task import softmax

pytest_plugins = ["support.narrow_network"]


def test_logits_that_grew_by_a_factor_get_a_temperature_that_undoes_it() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    expected, found = (softmax(factor * logits / 1.5).astype(np.float32) for factor in (1, 1.3))
    assert refit_temperature(1.5, expected, expected, labels) == pytest.approx(1.5, rel=1e-4)
    temperature = refit_temperature(1.5, expected, found, labels)
    assert temperature == pytest.approx(1.5 * 1.3, rel=1e-4)
    np.testing.assert_allclose(at_temperature(found, 1.5, temperature), expected, atol=1e-5)


def test_a_certain_answer_stays_a_number() -> None:
    certain = np.array([[1, 0, 0]], dtype=np.float32)
    assert np.isfinite(at_temperature(certain, 1.0, 2.0)).all()


@pytest.mark.usefixtures("narrow")
def test_a_file_in_another_precision_holds_its_own_temperature_and_results(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    model = made_up_model()
    job = Job(model, ExportConfig(fp16=True, novelty=False))
    file = job.write(tmp_path / "m.onnx")
    found = ModelOutput(file.predict_images(images()).probs)
    targets = found.probs.argmax(axis=1)
    # As if it were quantized, and three times as certain as the model.
    job.metadata = dataclasses.replace(job.metadata, precision="int8")
    doubtful = at_temperature(found.probs, 1.0, 3.0)
    adapted, file = job.adapt(tmp_path / "m.onnx", ModelOutput(doubtful), found, targets)
    assert job.metadata.temperature == pytest.approx(3 * model.temperature, rel=1e-3)
    assert file.temperature == job.metadata.temperature
    np.testing.assert_allclose(file.predict_images(images()).probs, adapted.probs, atol=1e-5)
    assert file.reliability is not None and file.reliability != model.reliability
    assert model.temperature == 1.7
