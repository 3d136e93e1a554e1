"""Averages by their formulas, their place in a checkpoint, and what lending them leaves behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from resnet_cli.errors import ModelError
from resnet_cli.training.averaging import WeightAverage


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def train_step(network: nn.Module, seed: int) -> None:
    """Moves every parameter and buffer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor += torch.randn(tensor.shape, generator=generator)
            else:
                tensor += 1


def snapshots(network: nn.Module, num: int) -> list[dict[str, Tensor]]:
    """The states after 0, 1, ... ``num`` steps; the network ends at the last."""
    found = [copy.deepcopy(network.state_dict())]
    for seed in range(num):
        train_step(network, seed)
        found.append(copy.deepcopy(network.state_dict()))
    return found


def averaged(states: list[dict[str, Tensor]], decay: float | None) -> WeightAverage:
    network = small()
    network.load_state_dict(states[0])
    average = WeightAverage(network, decay=decay)
    for state in states[1:]:
        network.load_state_dict(state)
        average.update(network)
    return average


def test_without_a_decay_every_update_counts_the_same_and_the_start_does_not() -> None:
    states = snapshots(small(), 5)
    found = averaged(states, None).state()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, torch.stack([state[name] for state in states[1:]]).mean(dim=0), atol=1e-6)


def test_it_is_torchs_own_average() -> None:
    network = small()
    theirs = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
    ours = WeightAverage(network, decay=None)
    for seed in range(4):
        train_step(network, seed)
        ours.update(network)
        theirs.update_parameters(network)
    reference = theirs.module.state_dict()
    for name, tensor in ours.state().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, reference[name], atol=1e-6)


@pytest.mark.parametrize("num", [1, 3, 30])
def test_with_a_decay_it_follows_the_weights_and_warms_up(num: int) -> None:
    states = snapshots(small(), num)
    decays = [0.1, 2 / 11, 3 / 12, *(min(0.6, (1 + t) / (10 + t)) for t in range(3, 30))][:num]
    found = averaged(states, 0.6).state()
    for name, tensor in found.items():
        if not tensor.is_floating_point():
            continue
        expected = states[0][name].double()
        for decay, state in zip(decays, states[1:], strict=True):
            expected = decay * expected + (1 - decay) * state[name].double()
        assert torch.allclose(tensor.double(), expected, atol=1e-5)


@pytest.mark.parametrize("decay", [None, 0.0, 0.9, 0.9999])
def test_what_does_not_train_stays_bit_by_bit(decay: float | None) -> None:
    states = [copy.deepcopy(small().state_dict())] * 20
    found = averaged(states, decay).state()
    assert all(torch.equal(found[name], states[0][name]) for name in states[0])


@pytest.mark.parametrize("decay", [None, 0.99])
def test_step_counters_are_those_of_the_last_update(decay: float | None) -> None:
    states = snapshots(small(), 3)
    assert int(averaged(states, decay).state()["1.num_batches_tracked"]) == 3


@pytest.mark.parametrize("decay", [None, 0.99])
def test_an_average_that_is_loaded_goes_on_as_if_never_interrupted(decay: float | None) -> None:
    network = small()
    states = snapshots(network, 8)
    whole = averaged(states, decay)
    half = averaged(states[:5], decay)
    saved = {name: tensor.clone() for name, tensor in half.state().items()}
    resumed = WeightAverage(network, decay=decay)
    resumed.load(saved, half.num_updates)
    before = copy.deepcopy(saved)
    for state in states[5:]:
        network.load_state_dict(state)
        resumed.update(network)
    assert resumed.num_updates == whole.num_updates == 8
    assert all(torch.equal(resumed.state()[name], tensor) for name, tensor in whole.state().items())
    assert all(torch.equal(saved[name], before[name]) for name in saved)


def test_an_average_of_another_network_is_refused() -> None:
    average = WeightAverage(small(), decay=0.9)
    state = average.state()
    for wrong in ({}, state | {"more": torch.zeros(1)}, state | {"0.weight": torch.zeros(1)}):
        with pytest.raises(ModelError, match="not those of this network"):
            average.load(wrong, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_a_network_lent_the_average_has_its_own_weights_again_afterwards(fails: bool) -> None:
    network = small()
    average = averaged(snapshots(network, 3), None)
    own = {name: (tensor, tensor.clone()) for name, tensor in network.state_dict().items()}
    try:
        with average.applied(network):
            lent = network.state_dict()
            assert all(torch.equal(lent[name], tensor) for name, tensor in average.state().items())
            assert not torch.equal(lent["0.weight"], own["0.weight"][1])
            train_step(network, 0)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    after = network.state_dict()
    for name, (tensor, value) in own.items():
        assert torch.equal(after[name], value)
        assert after[name].data_ptr() == tensor.data_ptr()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_average_shares_no_memory_with_the_network() -> None:
    network = small()
    average = WeightAverage(network, decay=0.9)
    before = copy.deepcopy(average.state())
    train_step(network, 0)
    assert all(torch.equal(average.state()[name], tensor) for name, tensor in before.items())


def test_half_precision_is_averaged_in_float32() -> None:
    network = nn.Linear(2, 1, bias=False).bfloat16()
    average = WeightAverage(network, decay=None)
    for value in (1.0, 1.0078125):
        nn.init.constant_(network.weight, value)
        average.update(network)
    assert average.state()["weight"].dtype == torch.float32
    assert average.state()["weight"].tolist() == [[1.00390625, 1.00390625]]


def test_a_network_without_counters_is_averaged_too() -> None:
    head = nn.Linear(2, 2)
    average = WeightAverage(head, decay=0.9)
    average.update(head)
    with average.applied(head):
        pass
    assert average.num_updates == 1
