"""Averages of the weights during training, which are often more accurate than the last weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from resnet_cli.errors import ModelError


class WeightAverage:
    """A running average of a network's parameters and buffers.

    With a decay it is an exponential moving average (EMA, one update per step). Without, every update has the same
    weight (SWA and checkpoint averaging, one update per epoch), and the initial weights have none. BatchNorm's
    statistics are averaged with the weights, so no further pass over the data is needed; its step counters are those of
    the last update.

    Args:
        network: Network on its device; the average starts with its weights, in float32.
        decay: Decay in [0, 1); None for a uniform average.

    Attributes:
        num_updates: Number of updates so far.

    Source: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407; buffers as in
    ``torch.optim.swa_utils.AveragedModel(use_buffers=True)``.
    """

    def __init__(self, network: nn.Module, *, decay: float | None) -> None:
        self.num_updates = 0
        self._decay = decay
        self._average = {
            name: tensor.detach().to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
            for name, tensor in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Adds the network's current weights to the average."""
        floats, others = _split(self._average)
        current, current_others = _split(network.state_dict())
        torch._foreach_lerp_(floats, [tensor.float() for tensor in current], self._weight())
        _copy(others, current_others)
        self.num_updates += 1

    def state(self) -> dict[str, Tensor]:
        """The averaged tensors under the names of the network's state dict; the next update changes them."""
        return dict(self._average)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], num_updates: int) -> None:
        """Restores a saved :meth:`state`.

        Args:
            state: The saved tensors, which are copied.
            num_updates: Number of updates when it was saved.

        Raises:
            ModelError: The tensors do not belong to this network.
        """
        if _shapes(state) != _shapes(self._average):
            raise ModelError("the averaged weights of the checkpoint are not those of this network")
        _copy(self._average.values(), [state[name] for name in self._average])
        self.num_updates = num_updates

    @contextlib.contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Gives the network the averaged weights inside the block, and its own again afterwards, bit by bit."""
        own = network.state_dict()
        kept = [tensor.clone() for tensor in own.values()]
        try:
            with torch.no_grad():
                _copy(own.values(), [self._average[name] for name in own])
            yield
        finally:
            with torch.no_grad():
                _copy(own.values(), kept)

    def _weight(self) -> float:
        """Weight of the next update.

        Without this warmup, the initial weights would still have an effect after thousands of steps.
        Source: ``tf.train.ExponentialMovingAverage``, with ``num_updates``.
        """
        if self._decay is None:
            return 1 / (self.num_updates + 1)
        return 1 - min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))


def _split(state: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Floating-point tensors, and the rest."""
    floats = [tensor for tensor in state.values() if tensor.is_floating_point()]
    return floats, [tensor for tensor in state.values() if not tensor.is_floating_point()]


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    """Copies all tensors in one call: on a GPU, 320 calls would take longer than the copying."""
    if pairs := list(zip(targets, sources, strict=True)):
        torch._foreach_copy_([target for target, _ in pairs], [source for _, source in pairs])


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
