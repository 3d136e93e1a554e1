"""ExecuTorch's folder: the same answers in both precisions, silently, and one clear error where it cannot be made."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.narrow_network import make_narrow
from support.synthetic_models import PREPROCESS, images, labels_model, telling_model

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ModelError, SetupError
from resnet_cli.exported.opening import exported_kind, open_exported
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.recalibration import at_temperature
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE


@pytest.mark.parametrize(("options", "tolerance"), [({}, 1e-5), ({"int8": True}, 0.1)])
def test_every_precision_answers_as_the_model_does_and_prints_nothing(
    options: dict[str, bool],
    tolerance: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("executorch.exir", reason="executorch is not installed", exc_type=ImportError)
    make_narrow(monkeypatch)
    model, photos = telling_model(), images()
    job = Job(model, ExportConfig(format="executorch", **options))  # type: ignore[arg-type]
    monkeypatch.setattr(job, "_calibration", lambda on_work: map(PREPROCESS, photos))
    job.check()
    capfd.readouterr()
    opened = job.write(tmp_path)
    expected = TorchPredictor(model, REFERENCE).predict_images(photos)
    found = opened.predict_images(photos)
    assert expected.novelty is not None and found.novelty is not None
    assert np.abs(found.probs - expected.probs).max() <= tolerance
    assert np.abs(found.novelty - expected.novelty).max() <= max(tolerance, 1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"model.pte", "labels.txt", "resnet_cli.json"}
    hotter = dataclasses.replace(model, temperature=1.5 * model.temperature)
    again = job._format.rewrite(hotter, job.metadata, job.config, tmp_path, calibration=lambda: iter([]))
    flatter = at_temperature(found.probs, model.temperature, hotter.temperature)
    assert np.abs(again.predict_images(photos).probs - flatter).max() <= 1e-5
    assert exported_kind(tmp_path) == "executorch"
    (tmp_path / "model.pte").write_bytes((tmp_path / "model.pte").read_bytes()[:-1000])
    with pytest.raises(ModelError, match="ExecuTorch cannot read it"):
        open_exported(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_every_label_has_its_own_probability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorch.exir", reason="executorch is not installed", exc_type=ImportError)
    make_narrow(monkeypatch)
    model, photos = labels_model(), images()
    Job(model, ExportConfig(format="executorch")).write(tmp_path)
    expected = TorchPredictor(model, REFERENCE).predict_images(photos)
    opened = open_exported(tmp_path)
    found = opened.predict_images(photos)
    assert (opened.task, opened.thresholds) == ("multi-label", model.thresholds)
    assert expected.novelty is not None and found.novelty is not None
    assert np.abs(found.probs - expected.probs).max() <= 1e-5
    assert np.abs(found.novelty - expected.novelty).max() <= 1e-3


@pytest.mark.parametrize("versions", [{}, {"executorch": "1.5.1", "torch": "2.11.0"}, {"executorch": "1.3.0"}])
def test_what_cannot_be_made_here_is_one_error_before_anything_is_computed(
    versions: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_cli.exported.executorch import load_runtime

    original = importlib.import_module

    def installed(name: str, package: str | None = None) -> Any:
        if not name.startswith("executorch"):
            return original(name, package)
        if not versions:
            raise ModuleNotFoundError(name, name="executorch")
        return sys

    load_runtime.cache_clear()
    monkeypatch.setattr(importlib, "import_module", installed)
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    make_narrow(monkeypatch)
    job = Job(telling_model(), ExportConfig(format="executorch"))
    with pytest.raises(SetupError) as caught:
        job.check()
    named = {0: "which is not installed", 1: "executorch>=1.5.1,<1.6", 2: "torch>=2.14,<2.16, and torch 2.11.0"}
    assert named[len(versions)] in caught.value.message
    assert "[executorch]" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())
