"""The tensors of one ResNet-50 under the names and in the wrappers of other trainers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from resnet_cli.model.output import NUM_FEATURES

State = Mapping[str, Tensor]


def without_head(state: State) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def other_values(state: State) -> dict[str, Tensor]:
    """Another network of the same shapes: what is read by mistake is seen."""
    return {name: tensor + 1000 for name, tensor in state.items()}


def linear(name: str, num_out: int, num_in: int = NUM_FEATURES) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.zeros(num_out, num_in), f"{name}.bias": torch.zeros(num_out)}


def transformers(state: State) -> dict[str, Tensor]:
    """Source: transformers/models/resnet/modeling_resnet.py, ResNetForImageClassification."""
    found = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "fc":
            new = f"classifier.1.{parts[1]}"
        elif parts[0] in {"conv1", "bn1"}:
            new = f"resnet.embedder.embedder.{'convolution' if parts[0] == 'conv1' else 'normalization'}.{parts[1]}"
        else:
            stage, block, kind, *rest = parts
            where = f"resnet.encoder.stages.{int(stage[-1]) - 1}.layers.{block}"
            if kind == "downsample":
                new = f"{where}.shortcut.{'convolution' if rest[0] == '0' else 'normalization'}.{rest[1]}"
            else:
                part = "convolution" if kind.startswith("conv") else "normalization"
                new = f"{where}.layer.{int(kind[-1]) - 1}.{part}.{rest[0]}"
        found[new] = tensor
    return found


def children(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """``nn.Sequential(*list(network.children())[:-1])``, whose ReLU and pooling have no tensors."""
    at = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    found = {}
    for name, tensor in without_head(network.state_dict()).items():
        first, _, rest = name.partition(".")
        found[f"{prefix}{at[first]}.{rest}"] = tensor
    return found


def _moco(network: nn.Module) -> dict[str, Any]:
    body = without_head(network.state_dict())
    query = {**prefixed("module.encoder_q.", body), **linear("module.encoder_q.fc", 128)}
    key = {**prefixed("module.encoder_k.", other_values(body)), **linear("module.encoder_k.fc", 128)}
    return {"epoch": 200, "arch": "resnet50", "state_dict": {**key, **query, "module.queue": torch.zeros(128, 64)}}


def _dino(network: nn.Module) -> dict[str, Any]:
    body = without_head(network.state_dict())
    student = {**prefixed("module.backbone.", other_values(body)), **linear("module.head.mlp.0", 64)}
    return {
        "student": student,
        "teacher": {**prefixed("backbone.", body), **linear("head.mlp.0", 64)},
        "args": argparse.Namespace(arch="resnet50", lr=0.03),
    }


def _ema(network: nn.Module) -> dict[str, Any]:
    state = network.state_dict()
    averaged = {"n_averaged": torch.tensor(3), **prefixed("module.", state)}
    return {"model": other_values(state), "model_ema": averaged, "args": argparse.Namespace(model="resnet50")}


#: Trainer -> (what it saves, how a plan says so, outputs of its head; None without one).
TRAINERS: dict[str, tuple[Callable[[nn.Module], Any], str, int | None]] = {
    "torchvision": (lambda net: net.state_dict(), "", 1000),
    "Lightning": (
        lambda net: {"state_dict": prefixed("model.", net.state_dict()), "hyper_parameters": {"lr": 0.1}},
        'state_dict without "model."',
        1000,
    ),
    "DistributedDataParallel": (lambda net: {"model": prefixed("module.", net.state_dict())},
                                'model without "module."', 1000),
    "torch.compile": (lambda net: prefixed("_orig_mod.", net.state_dict()), 'without "_orig_mod."', 1000),
    "torch.compile of a stage": (
        lambda net: {name.replace("layer1.", "layer1._orig_mod."): x for name, x in net.state_dict().items()},
        'without "_orig_mod."',
        1000,
    ),
    "wrapped three times": (
        lambda net: {"model": prefixed("module._orig_mod.backbone.", without_head(net.state_dict()))},
        'model without "module._orig_mod.backbone."',
        None,
    ),
    "timm": (
        lambda net: {"state_dict": other_values(net.state_dict()), "state_dict_ema": net.state_dict(),
                     "arch": "resnet50", "args": argparse.Namespace(model="resnet50"), "version": 2},
        "state_dict_ema, one of 2 copies (not state_dict)",
        1000,
    ),
    "torchvision with EMA": (_ema, 'model_ema without "module.", one of 2 copies (not model)', 1000),
    "mmpretrain": (
        lambda net: {"meta": {}, "state_dict": {**prefixed("backbone.", without_head(net.state_dict())),
                                                **linear("head.fc", 20)}},
        'state_dict without "backbone."',
        20,
    ),
    "MoCo": (
        _moco,
        'state_dict without "module.encoder_q.", one of 2 copies (not state_dict without "module.encoder_k.")',
        128,
    ),
    "DINO": (_dino, 'teacher without "backbone.", one of 2 copies (not student without "module.backbone.")', None),
    "BYOL": (
        lambda net: {**prefixed("target_network.encoder.", other_values(without_head(net.state_dict()))),
                     **prefixed("online_network.encoder.", without_head(net.state_dict())),
                     **linear("online_network.projector.0", 4096)},
        'without "online_network.encoder.", one of 2 copies (not without "target_network.encoder.")',
        None,
    ),
    "SwAV": (
        lambda net: {**prefixed("module.", without_head(net.state_dict())),
                     "module.prototypes.weight": torch.zeros(30, 128)},
        'without "module."',
        None,
    ),
    "VISSL": (
        lambda net: {"classy_state_dict": {"base_model": {"model": {
            "trunk": prefixed("_feature_blocks.", without_head(net.state_dict())), "heads": {}}}}},
        'classy_state_dict.base_model.model.trunk without "_feature_blocks."',
        None,
    ),
    "a detector": (
        lambda net: {name: x for name, x in prefixed("backbone.body.", without_head(net.state_dict())).items()
                     if not name.endswith("num_batches_tracked")},
        'without "backbone.body."',
        None,
    ),
    "transformers": (lambda net: transformers(net.state_dict()),
                     'without "resnet." in the layout of transformers', 1000),
    "fastai": (
        lambda net: {"model": {**children(net, "0."), **linear("1.8", 10, 512)}, "opt": {"hypers": []}},
        'model without "0." in the layout of an nn.Sequential of torchvision\'s layers',
        None,
    ),
    "nn.Sequential": (children, "in the layout of an nn.Sequential of torchvision's layers", None),
}  # fmt: skip
