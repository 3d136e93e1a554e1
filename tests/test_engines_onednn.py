"""Packed layers answer as torch's own forward does, hold nothing twice, and stand aside where they cannot be had."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from support.running import FP32

from resnet_cli.engines import onednn
from resnet_cli.engines.features import FrozenBackbone, cache_key, inference_batch_size
from resnet_cli.engines.onednn import PackedBottleneck, PackedConv, pack, packs
from resnet_cli.model.network import ResNet50
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import Compute

#: Of the largest feature; seen: 1e-6.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def network() -> ResNet50:
    """Random weights, with BatchNorms that do something."""
    torch.manual_seed(0)
    network = ResNet50(3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            torch.nn.init.uniform_(module.weight, 0.2, 0.6)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def images(count: int, height: int, width: int) -> torch.Tensor:
    drawn = torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))
    return drawn.contiguous(memory_format=torch.channels_last)


BF16 = dataclasses.replace(FP32, precision="bf16")


def can_pack(compute: Compute = FP32) -> None:
    if not packs(compute):
        pytest.skip(f"this processor or this torch has no packed layers in {compute.precision}")


def test_features_are_the_networks_own_at_any_size_and_batch_size(network: ResNet50) -> None:
    can_pack()
    layers = pack(network.folded(), side=64, batch_size=4)
    assert sum(isinstance(module, PackedBottleneck) for module in layers.modules()) == 16
    for count, height, width in ((4, 64, 64), (1, 64, 64), (3, 97, 33), (1, 1, 1), (2, 32, 200)):
        batch = images(count, height, width)
        before = batch.clone()
        with torch.inference_mode():
            expected, found = network.features(batch), layers.features(batch)
        assert found.dtype == torch.float32 and found.shape == (count, 2048)
        assert float((found - expected).abs().max() / expected.abs().max()) < TOLERANCE
        assert torch.equal(batch, before), "the caller's images are not written over"


def test_the_same_images_give_the_same_bits(network: ResNet50) -> None:
    can_pack()
    batch = images(5, 64, 64)
    with torch.inference_mode():
        one, two = (pack(network.folded(), 64, 8).features(batch) for _ in range(2))
    assert torch.equal(one, two)


def test_no_weight_is_held_twice_and_the_network_stays_as_it_was(network: ResNet50) -> None:
    can_pack()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = network.folded()
    convolutions = [module for module in folded.modules() if isinstance(module, torch.nn.Conv2d)]
    layers = pack(folded, 32, 2)
    assert all(conv.weight is None for conv in convolutions)
    assert not any(name.endswith("conv1.weight") for name, _ in layers.named_parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_bfloat16_has_its_own_digits_and_the_same_bits_for_every_batch(network: ResNet50) -> None:
    can_pack(BF16)
    batch = images(4, 64, 64)
    with torch.inference_mode():
        layers, for_one = (pack(network.folded(), 64, count, "bf16") for count in (4, 1))
        expected, found = network.features(batch), layers.features(batch)
        with BF16.autocast():
            usual = network.folded().features(batch)
            inside_autocast = for_one.features(batch)
        singly = torch.cat([for_one.features(batch[index : index + 1]) for index in range(4)])
    assert found.dtype == torch.float32
    assert torch.equal(found, singly) and torch.equal(found, inside_autocast)
    error = float((found - expected).norm() / expected.norm())
    assert 1e-4 < error < 1.5 * float((usual - expected).norm() / expected.norm())


def test_features_of_packed_bfloat16_are_not_taken_for_those_of_autocast(
    network: ResNet50, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Preprocess(resize_size=32, crop_size=32)
    keys = set()
    for is_packed in (False, True):
        monkeypatch.setattr("resnet_cli.engines.features.packs", lambda compute, packed=is_packed: packed)
        keys |= {(compute.precision, cache_key(network, small, compute)) for compute in (FP32, BF16)}
    assert sorted(precision for precision, _ in keys) == ["bf16", "bf16", "fp32"]


def test_only_x86_processors_pack_and_bfloat16_only_if_they_multiply_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "_torch_can_pack", lambda precision: True)
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert packs(FP32)
    for is_native in (False, True):
        monkeypatch.setattr(onednn, "native_bf16", lambda device, native=is_native: native)
        assert packs(BF16) == is_native
    assert not packs(dataclasses.replace(FP32, precision="fp16"))
    assert not packs(dataclasses.replace(FP32, device="cuda:0"))
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert not packs(FP32)


def test_a_torch_without_the_operators_answers_all_the_same(network: ResNet50, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    small = Preprocess(resize_size=32, crop_size=32)
    usual = FrozenBackbone(network, small, FP32)(pixels)

    def renamed(*_: object) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_convolution_pointwise'")

    monkeypatch.setattr(PackedConv, "__init__", renamed)
    onednn._torch_can_pack.cache_clear()
    try:
        assert not packs(FP32)
        plain = FrozenBackbone(network, small, FP32)(pixels)
    finally:
        onednn._torch_can_pack.cache_clear()
    assert float((plain - usual).abs().max() / plain.abs().max()) < TOLERANCE


def test_an_operator_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    can_pack()
    forward = PackedConv.forward
    monkeypatch.setattr(PackedConv, "forward", lambda self, x, activation="none": forward(self, x))
    onednn._torch_can_pack.cache_clear()
    try:
        assert not packs(FP32)
    finally:
        onednn._torch_can_pack.cache_clear()


def test_looking_whether_layers_can_be_packed_draws_no_random_number() -> None:
    states = torch.get_rng_state(), random.getstate()
    onednn._torch_can_pack.cache_clear()
    packs(FP32)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]


def test_a_frozen_backbone_is_packed_for_its_own_batch(network: ResNet50, monkeypatch: pytest.MonkeyPatch) -> None:
    can_pack()
    seen: list[tuple[int, int]] = []

    def spied(folded: ResNet50, side: int, batch_size: int, precision: str) -> ResNet50:
        seen.append((side, batch_size))
        return pack(folded, side, batch_size, precision)

    monkeypatch.setattr("resnet_cli.engines.features.pack", spied)
    FrozenBackbone(network, Preprocess(resize_size=32, crop_size=32), FP32)
    assert seen == [(32, inference_batch_size(32, FP32))]
