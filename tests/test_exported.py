"""Exported files and folders, opened again: by their runtime alone, and only if what is in them fits together."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.synthetic_models import images, telling_model
from support.web_folder import export_narrow, stand_in
from support.written_format import check_other_classes, check_views, narrow_job

from resnet_cli.errors import ModelError, SetupError
from resnet_cli.exported import executorch
from resnet_cli.exported.opening import open_exported
from resnet_cli.exporting.export import Job
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE

#: Format of a folder -> its main file, the module that runs it, and what installs this module.
RUNTIMES = {
    "openvino": ("model.xml", "openvino", "[openvino]"),
    "ncnn": ("model.ncnn.param", "ncnn", "[ncnn]"),
    "mnn": ("model.mnn", "MNN", "[mnn]"),
    "executorch": ("model.pte", "executorch.extension.pybindings", "[executorch]"),
    "litert": ("model.tflite", "ai_edge_litert.interpreter", "'ai-edge-litert>=2.3,<2.4'"),
}


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_folder_without_its_runtime_says_what_installs_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, module, installed_by = RUNTIMES[name]
    narrow_job(monkeypatch, name).metadata.write(tmp_path)
    (tmp_path / file).touch()
    executorch.load_runtime.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SetupError, match=r"folder(\b.*installed| needs)") as missing:
        open_exported(tmp_path)
    assert missing.value.hint is not None and installed_by in missing.value.hint


@pytest.fixture
def timm_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    job = narrow_job(monkeypatch, "safetensors")
    job.write(tmp_path)
    return job


def test_a_timm_folder_answers_as_the_model_does_and_only_with_its_own_metadata(timm_job: Job, tmp_path: Path) -> None:
    opened = open_exported(tmp_path)
    expected, found = (one.predict_images(images()) for one in (TorchPredictor(timm_job.model, REFERENCE), opened))
    np.testing.assert_allclose(found.probs, expected.probs, atol=1e-5)
    check_views(opened, found)
    check_other_classes(timm_job, tmp_path, type(opened))


@pytest.mark.parametrize(
    "change", [{"pretrained_cfg": {}}, {"num_classes": None}, {"num_classes": 4}, {"pretrained_cfg": {"mean": [0.5]}}]
)
def test_a_timm_folder_whose_configuration_does_not_fit_is_refused(
    change: dict[str, Any], timm_job: Job, tmp_path: Path
) -> None:
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), "utf-8")
    with pytest.raises(ModelError, match=str(tmp_path)):
        open_exported(tmp_path)


def test_a_web_folder_answers_only_with_its_own_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = export_narrow(telling_model, tmp_path / "web", stand_in(tmp_path, monkeypatch))
    check_views(opened, opened.predict_images(images()))
    job = narrow_job(monkeypatch, "web")
    check_other_classes(job, tmp_path / "web", type(opened))


def test_a_pt2_file_of_another_program_is_one_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # torch's loggers do not hand their messages on.
    logging.getLogger("torch.export").addHandler(caplog.handler)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt2")
    (tmp_path / "damaged.pt2").write_bytes((tmp_path / "other.pt2").read_bytes()[:200])
    for name in ("other.pt2", "damaged.pt2"):
        with pytest.raises(ModelError, match=rf"{name}: not a \.pt2 file that this program wrote"):
            open_exported(tmp_path / name, trusted=True)
    assert not caplog.records
