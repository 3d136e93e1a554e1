"""A network of few weights with every kind of layer and stage: what is proved on it does not hang on their number."""

from __future__ import annotations

import pytest
from torch import nn

from resnet_cli import model


def stage(num_in: int, width: int, *, num_blocks: int, stride: int) -> nn.Sequential:
    """Stands for a stage of bottlenecks: as many channels come out, of 20 thousand weights instead of millions."""
    conv = nn.Conv2d(num_in, 4 * width, 3, stride, padding=1, groups=num_in, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(4 * width), nn.ReLU())


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network of the test is narrow."""
    monkeypatch.setattr(model, "_stage", stage)
