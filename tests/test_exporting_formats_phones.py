"""ncnn and MNN: their folders answer what the model answers, and their converters leave nothing else behind."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.synthetic_models import CLASSES, images, labels_model, telling_model

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ModelError, SetupError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.opening import exported_kind, open_exported
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.formats import open_format
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE

pytest_plugins = ["support.narrow_network"]
#: Format -> modules without which it is refused, and the largest of its files.
FORMATS = {"ncnn": (("ncnn", "pnnx"), "model.ncnn.bin"), "mnn": (("MNN",), "model.mnn")}


@pytest.mark.parametrize(("name", "module"), [(name, module) for name, (all_, _) in FORMATS.items() for module in all_])
def test_a_format_without_its_packages_is_refused_before_anything_is_computed(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module == "pnnx":
        pytest.importorskip("ncnn")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        monkeypatch.setitem(sys.modules, module, None)
    nothing: Any = None
    job = object.__new__(Job)
    job.model, job.config, job._format = nothing, _config(name), open_format(name)
    with pytest.raises(SetupError, match=f"--format {name} needs {module}, which is not installed") as caught:
        job.check()
    assert caught.value.hint and f"[{name}]" in caught.value.hint


def _config(name: str, **options: bool) -> ExportConfig:
    return ExportConfig.model_validate({"format": name} | options)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("narrow")
def test_a_folder_answers_what_the_model_answers(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    modules, file = FORMATS[name]
    # They are not imported for this: MNN prints when it is.
    if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    if (name, precision) == ("ncnn", "int8"):
        pytest.skip("not offered")
    monkeypatch.chdir(tmp_path)
    # The tasks differ in their last operator alone.
    model = (telling_model if precision == "fp32" else labels_model)()
    folder = tmp_path / name
    folder.mkdir()
    made = Job(model, _config(name, **({} if precision == "fp32" else {precision: True}))).write(folder)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    others = {"model.ncnn.param"} if name == "ncnn" else set()
    assert {path.name for path in folder.iterdir()} == {file, "labels.txt", "resnet_cli.json", *others}

    expected, found = TorchPredictor(model, REFERENCE).predict_images(images()), made.predict_images(images())
    tolerance = {"fp32": 1e-4, "fp16": 5e-3, "int8": 5e-2}[precision]
    np.testing.assert_allclose(found.probs, expected.probs, atol=tolerance)
    assert made.has_novelty == (name == "mnn")
    if found.novelty is not None and expected.novelty is not None:
        # In one batch: MNN computes a length of the whole batch where it reads ReduceL2.
        np.testing.assert_allclose(found.novelty, expected.novelty, atol=tolerance)
    assert exported_kind(folder) == name and open_exported(folder).classes == CLASSES
    metadata = ExportMetadata.read(folder)
    assert (metadata.input_kind, metadata.precision) == ("float_pixels", precision)

    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cannot read it$"):
        open_exported(folder)
    assert capfd.readouterr() == ("", "")
