"""ImageNet weights with a name are read without torch from their second prediction on, and answer as before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.running import FP32, command_environment
from support.synthetic_models import images

from resnet_cli.engine_predictor import EnginePredictor, Wanted, find_engine_predictor
from resnet_cli.model import named_head
from resnet_cli.model.named_head import cached_imagenet, read_named_head
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import load_model
from resnet_cli.network import download, registry
from resnet_cli.predictor import TorchPredictor, open_predictor
from resnet_cli.system.paths import engines_dir

NAME = "imagenet-v1"
LIGHT = Wanted(engine="onnxruntime")
#: The command, with the stand-in for the weights, and without torch.
WITHOUT_TORCH = """
import sys
from pathlib import Path
from resnet_cli.network import download
download.find_cached = lambda file, folder: Path({file!r}) if file.name == {name!r} else None
from resnet_cli.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the downloaded and verified weights of one of the names."""
    path = tmp_path / registry.WEIGHTS[NAME].name
    torch.manual_seed(0)
    network = ResNet50(1000)
    assert isinstance(network.fc, torch.nn.Linear)
    torch.nn.init.normal_(network.fc.weight, std=0.05)
    torch.save(network.state_dict(), path)
    monkeypatch.setattr(download, "find_cached", lambda file, folder: path if file.name == path.name else None)
    return path


def test_the_second_prediction_needs_no_torch_and_answers_as_the_first(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cached_imagenet() == NAME and find_engine_predictor(NAME, LIGHT) is None
    first = open_predictor(NAME, device="cpu", engine="onnxruntime")
    second = find_engine_predictor(NAME, LIGHT)
    assert isinstance(first, EnginePredictor) and second is not None
    of_torch = TorchPredictor(load_model(NAME), FP32)
    expected = of_torch.predict_images(images())
    for found in (first, second):
        assert (found.classes, found.preprocess, found.path) == (of_torch.classes, of_torch.preprocess, file)
        assert found.sha256 == of_torch.sha256 and not found.tells_unfamiliar and found.name == NAME
        output = found.predict_images(images())
        np.testing.assert_allclose(output.probs, expected.probs, atol=1e-5)
        assert output.novelty is None
    square = second.prepare(images()[0])
    heat, expected_heat = (one.heatmap(square, expected.row(0)) for one in (second, of_torch))
    np.testing.assert_allclose(heat, expected_heat, atol=1e-5)

    images()[0].save(tmp_path / "a.png")
    words = [sys.executable, "-c", WITHOUT_TORCH.format(file=str(file), name=file.name), "predict", "a.png"]
    done = subprocess.run(
        [*words, "--device", "cpu", "--engine", "onnxruntime"],
        cwd=tmp_path,
        env=command_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"using a model of ImageNet's 1,000 classes ({file.name})" in done.stderr
    assert done.stdout.startswith("a.png")

    # It is used for the file that it is of, and only if it is whole.
    kept = engines_dir() / f"{NAME}.safetensors"
    data = kept.read_bytes()
    for damaged in (data[:-1], data[:-50] + bytes([data[-50] ^ 1]) + data[-49:], b""):
        kept.write_bytes(damaged)
        assert read_named_head(NAME) is None
    kept.write_bytes(data)
    assert read_named_head(NAME) is not None
    with monkeypatch.context() as patch:
        patch.setattr(named_head, "__version__", "another")
        assert read_named_head(NAME) is None
    os.utime(file, (5, 5))
    assert read_named_head(NAME) is None
