"""The state of a training, and how a checkpoint captures and restores it bit by bit."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from resnet_cli.history import EpochRecord
from resnet_cli.training.averaging import WeightAverage
from resnet_cli.training.checkpoint import Checkpoint


@dataclasses.dataclass
class TrainCounters:
    """Progress of a training.

    Attributes:
        epoch: Current epoch, from 1.
        step: Number of its steps that are done.
        num_steps: Number of all steps so far.
        rate: Factor of every learning rate; below 1 after a divergence.
        num_retries: Number of divergences so far.
        micro_batch: Images that go through the network at once.
        threads: Pairs of a step (from 0) and the number of threads that share an operation from it on, on a CPU; the
            last digits of sums depend on it.
        elapsed_s: Wall time of the run so far.
        history: One record per epoch; a probe before the first epoch is epoch 0.
    """

    epoch: int = 1
    step: int = 0
    num_steps: int = 0
    rate: float = 1.0
    num_retries: int = 0
    micro_batch: int = 0
    threads: list[list[int]] = dataclasses.field(default_factory=list)
    elapsed_s: float = 0.0
    history: list[EpochRecord] = dataclasses.field(default_factory=list)


class TrainState:
    """A network, its optimizer, the average of its weights and the counters.

    Args:
        network: Network on its device.
        optimizer: Optimizer of the network's parameters.
        average: Average of the weights; None if they are not averaged.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> None:
        self.network = network
        self.optimizer = optimizer
        self.average = average
        self.counters = TrainCounters()
        self._scaler: torch.amp.GradScaler | None = None
        self._scaler_values: dict[str, Any] = {}
        device = next(network.parameters()).device
        #: Sums over the current epoch: loss x images, what the objective counts, images.
        self.sums = torch.zeros(3, device=device)
        self.statistics = _pool_statistics(network)

    def capture(self, *, copy: bool = False) -> Checkpoint:
        """Returns the whole state.

        Args:
            copy: Whether to copy the tensors, which further steps would change otherwise.
        """
        tensors: dict[str, Tensor] = {f"network.{name}": x for name, x in self.network.state_dict().items()}
        for index, parameter in enumerate(self._parameters()):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{key}"] = value
        values: dict[str, Any] = dataclasses.asdict(self.counters)
        values["history"] = [record.to_dict() for record in self.counters.history]
        if self.average is not None:
            tensors |= {f"average.{name}": x for name, x in self.average.state().items()}
            values["num_averaged"] = self.average.num_updates
        if scaler_values := self._scaler.state_dict() if self._scaler else self._scaler_values:
            values["scaler"] = scaler_values
        tensors["sums"] = self.sums
        if copy:
            tensors = {name: x.detach().clone() for name, x in tensors.items()}
        return Checkpoint(tensors, values)

    def use_threads(self, count: int) -> None:
        """Records how many threads share an operation from the next step on."""
        self.counters.threads.append([self.counters.num_steps, count])

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restores a state from :meth:`capture`, of a network and an optimizer with the same settings."""
        values = dict(checkpoint.values)
        num_averaged = values.pop("num_averaged", 0)
        self._scaler_values = values.pop("scaler", {})
        if self._scaler and self._scaler_values:
            self._scaler.load_state_dict(self._scaler_values)
        history = [EpochRecord.from_dict(record) for record in values.pop("history")]
        names = {field.name for field in dataclasses.fields(TrainCounters)}
        self.counters = TrainCounters(**{name: x for name, x in values.items() if name in names}, history=history)
        self.network.load_state_dict(checkpoint.part("network."))
        self.optimizer.state.clear()
        saved = checkpoint.part("optimizer.")
        parameters = self._parameters()
        for name, value in saved.items():
            index, _, key = name.partition(".")
            parameter = parameters[int(index)]
            # Momentum has the memory format of its weights (channels last), otherwise another kernel would be used.
            like = parameter if value.shape == parameter.shape else value
            self.optimizer.state[parameter][key] = torch.empty_like(
                like, dtype=value.dtype, device=parameter.device
            ).copy_(value)
        if self.average is not None:
            self.average.load(checkpoint.part("average."), num_averaged)
        self.sums.copy_(checkpoint.tensors["sums"])

    def scaler(self, device_type: str, *, enabled: bool) -> torch.amp.GradScaler:
        """The gradient scaler for float16; all step takers share it."""
        if self._scaler is None:
            self._scaler = torch.amp.GradScaler(device_type, enabled=enabled)
            if self._scaler_values:
                self._scaler.load_state_dict(self._scaler_values)
        return self._scaler

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that have a gradient."""
        return [parameter for parameter in self._parameters() if parameter.grad is not None]

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Gives the network the averaged weights inside the block, if there are any."""
        if self.average is None or not self.average.num_updates:
            yield
            return
        with self.average.applied(self.network):
            yield

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def _pool_statistics(network: nn.Module) -> Tensor:
    """Joins all running means and variances of BatchNorm in one tensor, of which the layers use views.

    A single non-finite forward pass would spoil them for good, so they are copied before every step: with one copy
    instead of 106 small ones.
    """
    owners = [
        (module, name)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
        for name in ("running_mean", "running_var")
    ]
    tensors = [getattr(module, name) for module, name in owners]
    if not tensors:
        return torch.empty(0)
    pool = torch.cat(tensors)
    for (module, name), part in zip(owners, torch.split(pool, [len(x) for x in tensors]), strict=True):
        setattr(module, name, part)
    return pool
