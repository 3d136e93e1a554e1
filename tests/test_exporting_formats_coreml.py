"""Core ML's folder: its program computes what the model does, its interface is declared, and one clear error else."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.narrow_network import make_narrow
from support.short_parity import shorten
from support.synthetic_models import CLASSES, PREPROCESS, images, labels_model, telling_model
from support.written_format import check_written, narrow_job

from resnet_cli.config.export import ExportConfig
from resnet_cli.data.dataset import Item
from resnet_cli.errors import ModelError, SetupError
from resnet_cli.exported import coreml
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.opening import exported_kind, open_exported
from resnet_cli.exporting.export import Job, check
from resnet_cli.exporting.formats.coreml import CoreMlFormat
from resnet_cli.exporting.parity import predict_all
from resnet_cli.exporting.verification_data import VerificationImages
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Whether coremltools can be imported is asked once per process otherwise."""
    asked = coreml.load_tools
    asked.cache_clear()
    yield
    asked.cache_clear()


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("task", "options", "tolerance"),
    [("single-label", {}, 1e-5), ("single-label", {"fp16": True}, 5e-3), ("multi-label", {"outputs": "probs"}, 1e-5)],
)
def test_the_program_in_the_package_computes_what_the_model_does_and_nothing_is_printed(
    task: str,
    options: dict[str, Any],
    tolerance: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("coremltools", reason="coremltools is not installed")
    job = narrow_job(monkeypatch, "coreml", options, telling_model if task == "single-label" else labels_model)
    capfd.readouterr()
    job.check()
    files = {"Manifest.json", "model.mlmodel", "weight.bin"}
    closeness = {"tolerance": tolerance, "novelty_tolerance": max(tolerance, 1e-3)}
    opened, found = check_written(job, tmp_path, files=files, **closeness)
    assert capfd.readouterr() == ("", "") and (found.novelty is None) == ("outputs" in options)
    description = coreml.open_package(tmp_path, skip_model_load=True).get_spec().description
    names = [CLASSES, *([] if found.novelty is None else ["novelty"])]
    assert [one.name for one in description.output] == [
        *(["classLabel"] if task == "single-label" else []),
        "probs",
        *names[1:],
    ]
    assert not description.metadata.author and description.metadata.license == job.metadata.licence
    texts = json.loads(description.metadata.userDefined["resnet_cli"])
    assert ExportMetadata.from_texts(texts, "package").classes == CLASSES
    if task == "single-label" and not options:
        _damage(tmp_path, opened)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"classes": 3}', '{"classes": "{"}'])
def test_metadata_in_a_package_that_are_no_metadata_name_no_classes(text: str) -> None:
    assert coreml._classes({"resnet_cli": text}) is None and coreml._classes({}) is None


def _damage(folder: Path, opened: Any) -> None:
    """What does not fit the metadata beside it is refused, and so is a file that is no package."""
    kind = type(opened)
    metadata = ExportMetadata.read(folder)
    write_texts = CoreMlFormat().write_texts
    write_texts(folder, dataclasses.replace(metadata, classes=tuple(reversed(metadata.classes))))
    with pytest.raises(ModelError, match="does not fit its metadata"):
        kind(folder)
    write_texts(folder, dataclasses.replace(metadata, outputs=("probs",)))
    with pytest.raises(ModelError, match="does not fit its metadata"):
        kind(folder)
    write_texts(folder, metadata)
    (folder / "model.mlpackage" / "Manifest.json").unlink()
    with pytest.raises(ModelError, match="coremltools cannot read it"):
        kind(folder)


@pytest.mark.parametrize("version", [None, "8.3", "10.0"])
def test_what_cannot_be_made_here_is_one_error_before_anything_is_computed(
    version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = None if version is None else ModuleType("coremltools")
    monkeypatch.setitem(sys.modules, "coremltools", module)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    make_narrow(monkeypatch)
    job = Job(telling_model(), ExportConfig(format="coreml"))
    with pytest.raises(SetupError) as caught:
        job.check()
    named = "which is not installed" if version is None else f"coremltools>=9.0,<10.0, and coremltools {version} is"
    assert named in caught.value.message and "[coreml]" in str(caught.value.hint)


@pytest.mark.usefixtures("linux")
def test_where_core_ml_does_not_run_the_check_says_so_and_asks_no_fresh_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_narrow(monkeypatch)
    shorten(monkeypatch)
    model = telling_model()
    items = [Item(str(at), np.asarray(photo), (at % len(CLASSES),)) for at, photo in enumerate(images())]
    job, itself = Job(model, ExportConfig(format="coreml")), TorchPredictor(model, REFERENCE)
    parity = check(
        job, tmp_path, itself, VerificationImages(items, "photos", False), predict_all(itself, items), on_work=None
    )
    assert parity.passed and parity.not_run == "Core ML runs on macOS only" and not parity.file_ms
    assert "in a fresh process" not in [one.name for one in parity.checks]


@pytest.mark.usefixtures("linux")
def test_a_folder_is_recognized_everywhere_and_opened_on_macos_only(tmp_path: Path, folder: Path) -> None:
    assert exported_kind(folder) == exported_kind(folder / "model.mlpackage") == "coreml"
    with pytest.raises(SetupError, match="Core ML runs on macOS only"):
        open_exported(folder)


def test_on_macos_a_classifier_answers_by_class_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Core ML, which other systems do not have, gives the share of red as the first probability."""
    image_type = SimpleNamespace(width=32, height=32, colorSpace=20, RGB=20)
    kinds = {"classLabel": "stringType", "probs": "dictionaryType", "novelty": "multiArrayType"}

    class MLModel:
        def __init__(self, path: str, compute_units: str) -> None:
            assert path == str(folder / "model.mlpackage") and compute_units == "cpu"

        def get_spec(self) -> Any:
            outputs = [_feature(name, WhichOneof=lambda _, kind=kind: kind) for name, kind in kinds.items()]
            inputs = [_feature("image", imageType=image_type)]
            about = SimpleNamespace(userDefined={"resnet_cli": json.dumps({"classes": json.dumps(CLASSES)})})
            return SimpleNamespace(description=SimpleNamespace(input=inputs, output=outputs, metadata=about))

        def predict(self, given: dict[str, Image.Image]) -> dict[str, Any]:
            assert given["image"].mode == "RGB" and given["image"].size == (32, 32)
            red = np.asarray(given["image"])[..., 0].mean() / 255
            probs = {CLASSES[2]: 0.0, CLASSES[1]: 1 - red, CLASSES[0]: red}
            return {"classLabel": CLASSES[1], "probs": probs, "novelty": np.array([red])}

    tools = SimpleNamespace(models=SimpleNamespace(MLModel=MLModel), ComputeUnit=SimpleNamespace(CPU_ONLY="cpu"))
    monkeypatch.setattr(coreml, "load_tools", lambda purpose: tools)
    monkeypatch.setattr(sys, "platform", "darwin")
    opened = open_exported(folder)
    photos = images()
    found = opened.predict_images(photos)
    expected = np.array([PREPROCESS(photo)[..., 0].mean() / 255 for photo in photos])
    assert np.allclose(found.probs[:, 0], expected, atol=1e-6) and not found.probs[:, 2].any()
    assert found.novelty is not None and np.allclose(found.novelty, expected, atol=1e-6)
    kinds.pop("novelty")
    with pytest.raises(ModelError, match="does not fit its metadata"):
        open_exported(folder)


def _feature(name: str, **kind: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, type=SimpleNamespace(**kind))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `export --format coreml` writes, with an empty package."""
    make_narrow(monkeypatch)
    job = Job(telling_model(), ExportConfig(format="coreml"))
    (tmp_path / "coreml" / "model.mlpackage").mkdir(parents=True)
    CoreMlFormat().write_texts(tmp_path / "coreml", job.metadata)
    return tmp_path / "coreml"
