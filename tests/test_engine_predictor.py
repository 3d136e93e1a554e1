"""A model that is read without torch answers as torch does, or is left to torch."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.running import FP32, command_environment
from support.synthetic_models import images, labels_model, made_up_model, telling_model

from resnet_cli import engine_predictor
from resnet_cli.engine_predictor import EnginePredictor, Wanted, find_engine_predictor, make_engine_predictor
from resnet_cli.engines import backbone_writer
from resnet_cli.engines.backbone_file import describe, path_of
from resnet_cli.errors import ModelError, SetupError
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import Bottleneck, ResNet50, backbone_hash
from resnet_cli.model.weights import find_weights, load_backbone, load_model
from resnet_cli.predictor import TorchPredictor, open_predictor
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.caches import CacheWarning

pytest_plugins = ["support.narrow_network"]
LIGHT = Wanted(engine="onnxruntime")


@pytest.fixture
def saved(narrow: None, tmp_path: Path) -> Model:
    """A model with everything that a training adds, in a file."""
    return store(telling_model(), tmp_path)


def store(model: Model, folder: Path) -> Model:
    path = folder / "model.safetensors"
    model.save(path)
    return load_model(path)


def opened(model: Model) -> EnginePredictor:
    assert model.path is not None
    found = make_engine_predictor(str(model.path), model, LIGHT)
    assert found is not None
    return found


def assert_alike(
    found: EnginePredictor, model: Model, *, counts: Sequence[int] = (1, 3, 17), atol: float = 1e-5
) -> None:
    """In batches of images of several sizes."""
    of_torch = TorchPredictor(model, FP32)
    for name in ("classes", "preprocess", "temperature", "task", "thresholds", "scaling", "has_novelty", "path"):
        assert getattr(found, name) == getattr(of_torch, name), name
    assert found.sha256 == of_torch.sha256 and found.precision == "fp32"
    several = [*images(), *images(), *images()[:3]]
    for count in counts:
        expected, output = of_torch.predict_images(several[:count]), found.predict_images(several[:count])
        assert (output.probs.argmax(axis=1) == expected.probs.argmax(axis=1)).all()
        for values, wanted in zip(output, expected, strict=True):
            assert (values is None) == (wanted is None)
            if values is not None and wanted is not None:
                assert values.dtype == np.float32
                np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=atol)


@pytest.mark.parametrize(
    "changes",
    [{}, {"fit": "pad"}, {"fit": "squash"}, {"bit_depth": 12}, {"crop_size": 65, "mean": (0.5, 0.4, 0.3)}],
    ids=str,
)
def test_it_answers_as_torch_does_whatever_the_preprocessing(
    narrow: None, tmp_path: Path, changes: dict[str, Any]
) -> None:
    preprocess = Preprocess(**{"resize_size": changes.get("crop_size", 32), "crop_size": 32} | changes)
    model = store(dataclasses.replace(telling_model(), preprocess=preprocess), tmp_path)
    assert_alike(opened(model), model)


@pytest.mark.parametrize("kind", ["hidden", "forgetful", "multi-label"])
def test_it_answers_as_torch_does_whatever_the_head(narrow: None, tmp_path: Path, kind: str) -> None:
    made = {
        "hidden": lambda: made_up_model((16, 8)),
        "forgetful": lambda: made_up_model(remembers=False),
        "multi-label": labels_model,
    }[kind]()
    model = store(made, tmp_path)
    assert_alike(opened(model), model)


def test_a_whole_network_answers_as_in_torch(tmp_path: Path) -> None:
    made = made_up_model()
    for module in made.network.modules():
        if isinstance(module, Bottleneck):
            # Random blocks after one another amplify rounding.
            torch.nn.init.constant_(module.bn3.weight, 0.1)
    model = store(made, tmp_path)
    assert_alike(opened(model), model, counts=[7], atol=5e-5)


def test_real_weights_answer_as_in_torch(assets: Path, tmp_path: Path) -> None:
    (file,) = (assets / "weights").glob("*.safetensors")
    network = ResNet50(3).eval()
    head = network.fc
    assert isinstance(head, torch.nn.Linear)
    torch.nn.init.normal_(head.weight, std=0.05)
    weights = find_weights(str(file), mode="frozen")
    load_backbone(network, weights)
    assert weights.preprocess is not None
    model = store(Model(network, ("a", "b", "c"), weights.preprocess.with_size(128)), tmp_path)
    assert_alike(opened(model), model, counts=[1, 7])


def test_only_the_first_prediction_and_heat_maps_need_torch(saved: Model) -> None:
    path = saved.path
    assert find_engine_predictor(str(path), LIGHT) is None
    opened(saved)
    code = f"""
import sys
from resnet_cli.predictor import open_predictor
from PIL import Image
found = open_predictor({str(path)!r}, device="cpu", engine="onnxruntime")
output = found.predict_images([Image.new("RGB", (40, 30), "red")])
assert "torch" not in sys.modules and "onnx" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], env=command_environment(), check=True)
    found, of_torch = open_predictor(str(path), device="cpu", engine="onnxruntime"), TorchPredictor(saved, FP32)
    image = images()[0]
    for target in (None, 2):
        heat, expected = (
            one.heatmap(one.prepare(image), one.predict_images([image]), target) for one in (found, of_torch)
        )
        np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_a_model_that_is_replaced_while_it_is_used_is_an_error(saved: Model, tmp_path: Path) -> None:
    found = opened(saved)
    made_up_model(remembers=False).save(tmp_path / "model.safetensors")
    image = images()[0]
    with pytest.raises(ModelError, match="replaced or removed"):
        found.sha256  # noqa: B018
    with pytest.raises(ModelError, match="replaced or removed"):
        found.heatmap(found.prepare(image), found.predict_images([image]))


def test_a_damaged_backbone_is_made_again(saved: Model) -> None:
    expected = opened(saved).predict_images(images())
    path = path_of(describe(backbone_hash(saved.network), saved.preprocess))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert find_engine_predictor(str(saved.path), LIGHT) is None and not path.exists()
    found = open_predictor(str(saved.path), device="cpu", engine="onnxruntime")
    assert isinstance(found, EnginePredictor)
    np.testing.assert_array_equal(found.predict_images(images()).probs, expected.probs)


def test_without_a_place_for_the_backbone_torch_computes(
    saved: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match="cannot be written"):
        found = open_predictor(str(saved.path), device="cpu")
    assert isinstance(found, TorchPredictor)


def test_models_with_one_backbone_share_its_file(saved: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(saved)
    other = tmp_path / "other"
    other.mkdir()
    network = ResNet50(5).eval()
    network.load_state_dict(saved.network.backbone_state(), strict=False)
    store(Model(network, tuple("abcde"), saved.preprocess), other)
    monkeypatch.setattr(backbone_writer, "write_backbone", lambda *_: pytest.fail("it is there"))
    found = find_engine_predictor(str(other), LIGHT)
    assert found is not None and found.classes == tuple("abcde")
    # A file of the same backbone for another size is another file.
    shutil.copy(other / "model.safetensors", tmp_path / "copy.safetensors")
    assert path_of(describe("hash", saved.preprocess)) != path_of(describe("hash", saved.preprocess.with_size(64)))


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_new_model_is_prepared_where_it_will_predict_without_torch(
    saved: Model, accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_predictor, "may_have_accelerator", lambda: accelerated)
    engine_predictor.prepare_engine(saved)
    assert path_of(describe(backbone_hash(saved.network), saved.preprocess)).exists() != accelerated
    assert (find_engine_predictor(str(saved.path), LIGHT) is None) == accelerated


def test_an_engine_that_is_installed_but_cannot_be_imported_is_not_used(
    saved: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(saved)
    for engine in ("onnxruntime", "openvino"):
        (tmp_path / f"{engine}.py").write_text("raise ImportError('a library of the system is too old')")
        monkeypatch.delitem(sys.modules, engine, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SetupError, match="too old"):
        open_predictor(str(saved.path), device="cpu", engine="onnxruntime")
    assert isinstance(open_predictor(str(saved.path), device="cpu"), TorchPredictor)
