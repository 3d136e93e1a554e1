"""What is read of a model file without torch is what torch reads; anything unusual is left to torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.synthetic_models import labels_model, made_up_model

from resnet_cli.errors import ModelError
from resnet_cli.model.facts import METADATA_KEY
from resnet_cli.model.network import backbone_hash
from resnet_cli.model.small_model import read_small_model
from resnet_cli.model.weights import load_model
from resnet_cli.predictor import open_predictor

pytest_plugins = ["support.narrow_network"]
pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture
def file(tmp_path: Path, narrow: None) -> Path:
    path = tmp_path / "model.safetensors"
    made_up_model((16,)).save(path)
    return path


@pytest.mark.parametrize("multi", [False, True])
def test_it_is_what_torch_reads(file: Path, multi: bool) -> None:
    if multi:
        labels_model().save(file)
    model, small = load_model(file), read_small_model(file)
    assert small is not None
    assert small.backbone_hash == backbone_hash(model.network) and small.version == model.version
    for name in ("classes", "preprocess", "hidden", "temperature", "provenance", "task", "thresholds", "scaling"):
        assert getattr(small.facts, name) == getattr(model, name), name
    layers = [layer for layer in model.network.fc.modules() if isinstance(layer, torch.nn.Linear)]
    for (weight, bias), layer in zip(small.head, layers, strict=True):
        np.testing.assert_array_equal(weight, layer.weight.detach())
        np.testing.assert_array_equal(bias, layer.bias.detach())
    assert model.reference is not None and small.reference is not None and model.reliability and small.reliability
    np.testing.assert_array_equal(small.reference, model.reference)
    for name, array in model.reliability.arrays().items():
        np.testing.assert_array_equal(small.reliability.arrays()[name], array)


Change = Callable[[dict[str, torch.Tensor], dict[str, Any]], object]
ODD: dict[str, Change] = {
    "not finite": lambda tensors, about: tensors["fc.0.bias"].fill_(torch.nan),
    "no bias": lambda tensors, about: tensors.pop("fc.3.bias"),
    "another layer": lambda tensors, about: tensors.update({"fc.6.bias": torch.zeros(3)}),
    "another width": lambda tensors, about: about.update(hidden=[17]),
    "half a head": lambda tensors, about: tensors.update({"fc.3.bias": tensors["fc.3.bias"].half()}),
    "half a backbone": lambda tensors, about: tensors.update({"conv1.weight": tensors["conv1.weight"].half()}),
    "a lonely counter": lambda tensors, about: tensors.update({"x.num_batches_tracked": torch.tensor(1)}),
    "impossible exemplars": lambda tensors, about: tensors["memory.labels"].fill_(7),
    "bfloat16 exemplars": lambda tensors, about: tensors.update(
        {"memory.features": tensors["memory.features"].bfloat16()}
    ),
    "no exemplars' labels": lambda tensors, about: tensors.pop("memory.labels"),
    "impossible results": lambda tensors, about: tensors["reliability.confidence"].fill_(2),
    "no temperature": lambda tensors, about: about.pop("temperature"),
    "a newer version": lambda tensors, about: about.update(schema_version=9),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_is_left_to_torch_which_says_what_is_wrong(file: Path, what: str) -> None:
    assert read_small_model(file) is not None
    tensors = load_file(file)
    about = json.loads(header(file)["__metadata__"][METADATA_KEY])
    ODD[what](tensors, about)
    save_file(tensors, file, {METADATA_KEY: json.dumps(about)})
    assert read_small_model(file) is None
    if not what.startswith("half"):
        # float16 is no damage.
        with pytest.raises(ModelError):
            open_predictor(file, device="cpu")


def test_other_files_are_left_to_torch(file: Path) -> None:
    data = file.read_bytes()
    save_file({"fc.weight": torch.zeros(2)}, file)
    assert read_small_model(file) is None
    for bad in (b"", data[:100], data[:-1], b"PK" + data):
        file.write_bytes(bad)
        assert read_small_model(file) is None
    file.unlink()
    assert read_small_model(file) is None


def header(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    found: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return found
