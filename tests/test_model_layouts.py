"""Weights of other trainers: the same network is found under any names and in any wrappers, or the file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.other_trainers import TRAINERS, linear, other_values, prefixed, without_head
from torch import Tensor
from torchvision.models import resnet18, resnet101, resnext50_32x4d, wide_resnet50_2

from resnet_cli.errors import ModelError
from resnet_cli.model.layouts import MAX_DEPTH, find_network
from resnet_cli.model.network import ResNet50

PATH = Path("checkpoint.pth")


@pytest.fixture(scope="module")
def network() -> ResNet50:
    """Each tensor has a value of its own: one under another's name would be seen."""
    with torch.device("meta"):
        network = ResNet50(1000)
    state = {name: torch.full(x.shape, at, dtype=x.dtype) for at, (name, x) in enumerate(network.state_dict().items())}
    network.load_state_dict(state, assign=True)
    return network


@pytest.fixture(scope="module")
def state(network: ResNet50) -> dict[str, Tensor]:
    return dict(network.state_dict())


def refusal(state: Any, path: Path = PATH) -> str:
    with pytest.raises(ModelError) as caught:
        find_network(state, path)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_network_is_found_under_the_names_of_each_trainer(trainer: str, network: ResNet50) -> None:
    made, reading, num_outputs = TRAINERS[trainer]
    found = find_network(made(network), PATH)
    assert (found.reading, found.num_outputs) == (reading, num_outputs)
    expected = network.backbone_state()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    assert expected.keys() - counters <= found.tensors.keys() <= expected.keys() | {"fc.weight", "fc.bias"}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.tensors.items() if name in expected)


def test_what_is_found_is_said_in_one_line(network: ResNet50, state: dict[str, Tensor]) -> None:
    found = find_network({"state_dict": prefixed("module.", state)}, PATH)
    assert found.describe() == (
        'state_dict without "module.": 318 of 318 backbone tensors, head of 1,000 outputs not used'
    )
    assert "not used" not in found.describe(uses_head=True)
    found = find_network(TRAINERS["a detector"][0](network), PATH)
    assert "265 of 318 backbone tensors (the others are step counters of BatchNorm)" in found.describe()
    found = find_network({**state, **linear("projection", 64)}, PATH)
    assert found.describe().endswith("2 other tensors not used (projection.weight and 1 more)")


def test_a_whole_copy_is_preferred_to_a_part(state: dict[str, Tensor]) -> None:
    part = {name: tensor for name, tensor in other_values(state).items() if "layer4" not in name}
    found = find_network({"ema": part, "model": state}, PATH)
    assert found.reading == "model"


@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "layer4.2.bn3.running_var", "conv1.weight"])
def test_a_part_of_a_backbone_is_refused_with_what_is_missing(state: dict[str, Tensor], name: str) -> None:
    message = refusal({"model": prefixed("module.", {key: x for key, x in state.items() if key != name})})
    assert "not a ResNet-50" in message and name.split(".")[0] in message


def test_integers_are_not_taken_for_weights(state: dict[str, Tensor]) -> None:
    message = refusal({name: tensor.to(torch.int8) for name, tensor in state.items()})
    assert "has the type int8" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_any_floating_point_type_is_taken(state: dict[str, Tensor], dtype: torch.dtype) -> None:
    halves = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    assert find_network(halves, PATH).num_outputs == 1000


def with_deep_stem(state: dict[str, Tensor]) -> dict[str, Tensor]:
    others = {name: tensor for name, tensor in state.items() if name != "conv1.weight"}
    return {**others, "conv1.0.weight": torch.zeros(32, 3, 3, 3), "conv1.3.weight": torch.zeros(32, 32, 3, 3)}


def meta_state(build: Any) -> dict[str, Tensor]:
    """The tensors of a network without the seconds that its initialization takes."""
    with torch.device("meta"):
        made = build()
    return {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in made.state_dict().items()}


OTHERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "a ResNet-18": lambda state: meta_state(resnet18),
    "a ResNet-101": lambda state: meta_state(resnet101),
    "a ResNeXt-50 (32 groups of 4 channels)": lambda state: meta_state(resnext50_32x4d),
    "a Wide ResNet-50-2": lambda state: meta_state(wide_resnet50_2),
    "a ResNet-50-C": with_deep_stem,
    "a ResNet-50-D": lambda state: {
        **with_deep_stem(state), "layer1.0.downsample.1.weight": torch.zeros(256, 64, 1, 1)},
    "SE-ResNet": lambda state: {**state, **linear("layer1.0.se.fc1", 16, 256)},
    "ECA-ResNet": lambda state: {**state, "layer1.0.se.conv.weight": torch.zeros(1, 1, 5)},
    "CLIP": lambda state: {**with_deep_stem(state), "attnpool.positional_embedding": torch.zeros(50, 2048)},
    "group normalization": lambda state: {name: x for name, x in state.items() if "running" not in name},
    "gray images": lambda state: {**state, "conv1.weight": torch.zeros(64, 1, 7, 7)},
    "images of 4 channels": lambda state: {**state, "conv1.weight": torch.zeros(64, 4, 7, 7)},
    "CIFAR": lambda state: {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)},
    "anti-aliased": lambda state: {"arch": "resnetblur50", "state_dict": state},
    "Detectron2": lambda state: {"model": {"backbone.bottom_up.res2.0.conv1.weight": torch.zeros(1)}},
    "vision transformer": lambda state: {"cls_token": torch.zeros(1), "blocks.0.norm1.weight": torch.zeros(1)},
    "DenseNet": lambda state: {"features.denseblock1.denselayer1.norm1.weight": torch.zeros(1)},
    "another network": lambda state: {"encoder.w": torch.zeros(1)},
    "optimizer": lambda state: {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": []},
    "not a state dict of tensors: it has hyper_parameters": lambda state: {"hyper_parameters": {"lr": 0.1}},
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_network_is_called_by_its_name(name: str, state: dict[str, Tensor]) -> None:
    message = refusal(OTHERS[name](state))
    assert name in message


def test_the_name_of_a_file_tells_what_its_tensors_do_not(state: dict[str, Tensor]) -> None:
    """Blurring has no weights, and the stride of a block does not show in them."""
    assert "anti-aliased" in refusal(state, Path("resnetblur50-84f4748f.pth"))
    assert "Caffe" in refusal(state, Path("resnet50_caffe-788b5fa3.pth"))


def test_dicts_in_dicts_without_end_are_read_in_bounded_time(state: dict[str, Tensor]) -> None:
    inner: dict[str, Any] = {"model": state}
    loop: dict[str, Any] = {"model": inner}
    loop["self"] = loop
    for _ in range(MAX_DEPTH - 2):
        inner = {"a": inner, "b": inner}
    assert find_network(loop, PATH).num_outputs == 1000
    for _ in range(3):
        inner = {"a": inner, "b": inner}
    assert "not a state dict" in refusal(inner)


def test_a_file_with_any_number_of_beginnings_is_read_in_bounded_time(state: dict[str, Tensor]) -> None:
    many = {f"{at}.layer1.0.conv1.weight": torch.zeros(1) for at in range(20_000)}
    assert "not a ResNet-50" in refusal(many)
    assert find_network({"other": many, "model": state}, PATH).num_outputs == 1000


def test_names_from_a_hostile_file_are_shortened_in_messages(state: dict[str, Tensor]) -> None:
    long = "\x1b[31m" + "x" * 10_000
    found = find_network({long: prefixed(f"{long}.", without_head(state)), f"{long}2": state}, PATH)
    assert len(found.describe()) < 600 and "\x1b" not in found.describe()
    assert len(refusal({long: torch.zeros(1)})) < 600
