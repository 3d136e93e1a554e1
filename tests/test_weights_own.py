"""What a training takes over from a model of this program."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from resnet_cli.errors import ModelError
from resnet_cli.model.model_file import Exemplars, Model
from resnet_cli.model.network import NUM_FEATURES, ResNet50, make_head
from resnet_cli.model.start import Start, read_start, start_head
from resnet_cli.model.weights import Weights, find_weights
from resnet_cli.preprocess import Preprocess

CLASSES = ("cat", "dog", "horse")
PREPROCESS = Preprocess(resize_size=73, crop_size=64, interpolation="bicubic")
FEATURES = torch.randn(4, NUM_FEATURES, generator=torch.Generator().manual_seed(1))


def make_start(hidden: tuple[int, ...] = (), *, seed: int = 0) -> Start:
    head = make_head(len(CLASSES), hidden).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        nn.init.normal_(parameter, 0, 0.1, generator=generator)
    return Start(CLASSES, hidden, head, PREPROCESS, None, "fp32", False)


def answer(head: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = copy.deepcopy(head).eval()(FEATURES)
    return logits


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = ResNet50(len(CLASSES))
    network.fc = make_start().head
    exemplars = Exemplars(FEATURES.half(), torch.tensor([0, 1, 2, 2]), torch.tensor([False, False, False, True]))
    return Model(network, CLASSES, PREPROCESS, provenance={"recipe": {"mode": "frozen"}}, exemplars=exemplars)


def test_a_run_brings_its_head_its_classes_and_its_memory(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.safetensors")
    weights = find_weights(str(tmp_path), mode="frozen")
    start = read_start(weights)
    assert start is not None and start.exemplars is not None
    assert (start.classes, start.hidden, start.preprocess) == (CLASSES, (), PREPROCESS)
    assert weights.preprocess == PREPROCESS
    assert torch.equal(answer(start.head), answer(model.network.fc)) and not start.head.training
    assert torch.equal(start.exemplars.features, FEATURES.half())
    assert not start.is_backbone_trained


@pytest.mark.parametrize("provenance", [{}, {"recipe": {"mode": "full"}}, {"recipe": "frozen"}, {"recipe": None}])
def test_a_backbone_is_taken_for_trained_unless_the_file_says_frozen(
    model: Model, tmp_path: Path, provenance: dict[str, Any]
) -> None:
    dataclasses.replace(model, provenance=provenance).save(tmp_path / "model.safetensors")
    start = read_start(find_weights(str(tmp_path), mode="frozen"))
    assert start is not None and start.is_backbone_trained


def test_weights_of_others_bring_only_a_backbone(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(dict(ResNet50(1000).state_dict())))
    assert read_start(Weights("weights.safetensors", PREPROCESS, path, "")) is None
    torch.save({}, tmp_path / "weights.pth")
    assert read_start(Weights("weights.pth", PREPROCESS, tmp_path / "weights.pth", "")) is None
    assert read_start(Weights("none", None, None, "")) is None


def test_a_damaged_model_is_a_model_error(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    dataclasses.replace(model, classes=("cat", "dog")).save(path)
    with pytest.raises(ModelError, match=r"fc\.weight"):
        read_start(Weights("model.safetensors", PREPROCESS, path, ""))


@pytest.mark.parametrize("hidden", [(), (8,), (16, 8)], ids=str)
def test_kept_classes_get_the_logits_that_they_had(hidden: tuple[int, ...]) -> None:
    start = make_start(hidden)
    head = make_head(4, hidden)
    assert start_head(head, start, ("cow", "horse", "cat", "deer")) == ("horse", "cat")
    logits = answer(head)
    torch.testing.assert_close(logits[:, [1, 2]], answer(start.head)[:, [2, 0]])
    assert not logits[:, [0, 3]].any()


def test_all_of_the_same_classes_is_the_same_head() -> None:
    start, head = make_start(), make_head(3, ())
    assert start_head(head, start, CLASSES) == CLASSES
    torch.testing.assert_close(answer(head), answer(start.head))


@pytest.mark.parametrize(
    ("old", "new", "classes"),
    [
        ((), (), ("cow", "deer")),
        ((8,), (), CLASSES),
        ((), (8,), CLASSES),
        ((8,), (9,), CLASSES),
        ((8,), (8, 8), CLASSES),
        ((8,), (8,), ("cow", "deer")),
    ],
    ids=str,
)
def test_a_head_that_keeps_no_class_stays_fresh(
    old: tuple[int, ...], new: tuple[int, ...], classes: tuple[str, ...]
) -> None:
    head = make_head(len(classes), new)
    before = copy.deepcopy(head.state_dict())
    assert start_head(head, make_start(old), classes) == ()
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())


def test_the_old_head_is_not_tied_to_the_new_one() -> None:
    start, head = make_start((8,)), make_head(3, (8,))
    before = answer(start.head)
    start_head(head, start, CLASSES)
    for parameter in head.parameters():
        nn.init.ones_(parameter)
    assert torch.equal(answer(start.head), before)
