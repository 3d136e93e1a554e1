"""A head in numpy gives the probabilities of the head in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from resnet_cli.heads.arrays import array_probs
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.network import make_head
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.task import TaskName


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
@pytest.mark.parametrize("hidden", [(), (16, 8)])
def test_the_probabilities_are_those_of_torch(task: TaskName, hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = make_head(5, hidden)
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.normal_(layer.bias)
    features = torch.rand(9, NUM_FEATURES) * torch.tensor([0.1, 1, 100]).repeat(3)[:, None]
    arrays = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]
    found = array_probs(arrays, features.numpy(), 0.3, task=task)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, head_probs(head, features, 0.3, task=task), atol=1e-5)
