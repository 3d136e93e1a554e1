"""A network of few weights with every kind of layer and stage: what is proved on it does not hang on their number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_cli.model import network as network_module
from resnet_cli.model.model_file import Model
from resnet_cli.preprocess import Preprocess


def stage(num_in: int, width: int, *, num_blocks: int, stride: int) -> nn.Sequential:
    """Stands for a stage of bottlenecks: as many channels come out, of 20 thousand weights instead of millions."""
    conv = nn.Conv2d(num_in, 4 * width, 3, stride, padding=1, groups=num_in, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(4 * width), nn.ReLU())


def make_narrow(patch: pytest.MonkeyPatch) -> None:
    """Every network that is built until the patch is undone is narrow."""
    patch.setattr(network_module, "_stage", stage)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network of the test is narrow."""
    make_narrow(monkeypatch)


@pytest.fixture
def narrow_unless_trained(request: pytest.FixtureRequest) -> None:
    """The same for tests that do without the session's runs, whose network is a whole one."""
    if not {"full_run", "frozen_run"} & {*request.fixturenames}:
        request.getfixturevalue("narrow")


def narrow_model(classes: tuple[str, ...], preprocess: Preprocess) -> Model:
    """A model with a linear head of random weights; for tests that use ``narrow``."""
    torch.manual_seed(0)
    network = network_module.ResNet50(len(classes)).eval()
    assert isinstance(network.fc, nn.Linear)
    nn.init.normal_(network.fc.weight)
    return Model(network, classes, preprocess)
