"""One optimizer step: forward, backward, clip, update, in as many micro-batches as fitting into memory requires."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.errors import MemoryExhausted
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.system.device import Compute, memory_errors_named
from resnet_cli.system.intraop import ThreadTuner
from resnet_cli.training.batchnorm import smallest_pass, with_statistics
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed
from resnet_cli.training.events import MemoryShort, OnEvent, ignore
from resnet_cli.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Batch:
    """The images of one optimizer step.

    Attributes:
        inputs: [b x ...] on the device.
        targets: The task's targets, or float32 class probabilities [b x k].
        num_images: Number of images in the whole step; more than b if several processes share it.
    """

    inputs: Tensor
    targets: Tensor
    num_images: int


class StepTaker:
    """Takes optimizer steps: forward pass, backward pass, clipping, update.

    Args:
        train_state: State that each step changes.
        loss: (logits float32 [b x k], targets) -> mean loss.
        compute: Device and precision.
        count: (logits [b x k], targets) -> what is counted, from an objective.
        seed: Random seed of dropout.
        clip_grad: Maximum norm of the gradient; None for no clipping.
        on_event: Called when a batch does not fit into memory.
        distributed: The processes that share each step.
        tuner: Chooses the number of threads; None leaves it unchanged.
    """

    def __init__(
        self,
        train_state: TrainState,
        loss: Callable[[Tensor, Tensor], Tensor],
        compute: Compute,
        *,
        count: Callable[[Tensor, Tensor], Tensor] = OBJECTIVES["single-label"].count,
        seed: int = 0,
        clip_grad: float | None = None,
        on_event: OnEvent = ignore,
        distributed: Distributed = SINGLE_PROCESS,
        tuner: ThreadTuner | None = None,
    ) -> None:
        self._tuner = tuner or ThreadTuner(is_fixed=True)
        self._train_state, self._loss, self._compute = train_state, loss, compute
        self._count = count
        self._seed, self._clip_grad, self._on_event, self._distributed = seed, clip_grad, on_event, distributed
        self._scaler = train_state.scaler(compute.type, enabled=compute.precision == "fp16")

    def take(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Takes one optimizer step; halves the micro-batch until it fits into memory.

        Returns:
            The loss of the batch, and 1 if the step was skipped because a value was not finite, otherwise 0.
        """
        state = self._train_state.counters
        statistics = self._train_state.statistics.clone()
        smallest = smallest_pass(self._train_state.network, batch.inputs.shape[-1])
        while True:
            try:
                seen = self._timed_gradients(batch, statistics)
            except MemoryExhausted:
                if state.micro_batch <= smallest:
                    raise
            else:
                break
            # Outside the except block, since a live traceback would keep the tensors that filled the memory.
            self._train_state.optimizer.zero_grad(set_to_none=True)
            self._train_state.statistics.copy_(statistics)
            state.micro_batch = max(smallest, math.ceil(min(state.micro_batch, len(batch.inputs)) / 2))
            self._on_event(MemoryShort(state.epoch, state.micro_batch, batch.num_images))
        # An update that ran out of memory may be partly applied, so it is never repeated.
        with memory_errors_named(batch.num_images):
            return self._clip_and_step(seen, batch.num_images, statistics)

    def _timed_gradients(self, batch: Batch, statistics: Tensor) -> Tensor:
        """Computes the gradients, possibly after trials with other numbers of threads, which leave no trace."""
        while self._tuner.wants_trial:
            counters = [x for x in self._train_state.network.buffers() if x.dtype == torch.int64]
            before = [x.clone() for x in counters]
            with self._tuner.trial():
                self._forward_backward(batch)
            self._train_state.statistics.copy_(statistics)
            for counter, count in zip(counters, before, strict=True):
                counter.copy_(count)
        with self._tuner.timed():
            return self._forward_backward(batch)

    def _forward_backward(self, batch: Batch) -> Tensor:
        """Computes the gradients; returns this process's share of the mean loss, what is counted, and images."""
        train_state, optimizer = self._train_state, self._train_state.optimizer
        # Dropout is a function of (seed, step): nothing else uses this generator during a step. The CPU generator
        # uses only 32 bits of the seed.
        mixed = np.random.SeedSequence((self._seed, train_state.counters.num_steps)).generate_state(1)
        torch.manual_seed(int(mixed[0]))
        optimizer.zero_grad(set_to_none=True)
        seen = torch.zeros_like(train_state.sums)
        size = train_state.counters.micro_batch
        for inputs, targets in zip(torch.split(batch.inputs, size), torch.split(batch.targets, size), strict=True):
            with memory_errors_named(len(inputs)):
                with self._compute.autocast(), with_statistics(train_state.network, inputs):
                    logits = train_state.network(inputs)
                # The mean over all images of the step, whatever the size of the micro-batches.
                loss = self._loss(logits.float(), targets) * (len(inputs) / batch.num_images)
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            counted = self._count(logits.detach(), targets)
            seen += torch.stack([loss.detach(), counted, torch.full_like(loss, len(inputs))])
        return seen

    def _clip_and_step(self, seen: Tensor, num_images: int, statistics: Tensor) -> tuple[Tensor, Tensor]:
        train_state, optimizer = self._train_state, self._train_state.optimizer
        parameters = train_state.parameters()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._distributed.size > 1:
            # Each process adds its share of the change, so the statistics of a frozen BatchNorm stay bit-identical.
            change = (train_state.statistics - statistics) / self._distributed.size
            self._distributed.all_reduce_([*gradients, seen, change])
            train_state.statistics.copy_(statistics + change)
        total = seen[0]
        train_state.sums += torch.stack([total * num_images, *seen[1:]])
        # After the all-reduce: a gradient that overflows in one process then does so in all.
        self._scaler.unscale_(optimizer)
        norm = nn.utils.get_total_norm(gradients)
        # Gradients often overflow in float16: the scaler skips that step by itself.
        is_sound = torch.isfinite(total) & (torch.isfinite(norm) | self._scaler.is_enabled())
        if self._clip_grad is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._clip_grad, norm)
        if self._compute.type == "cuda":
            # The fused optimizers read this flag on the device: a bad step is skipped without synchronization.
            optimizer.found_inf = (~is_sound).float()  # type: ignore[attr-defined]
            optimizer.grad_scale = None  # type: ignore[attr-defined]
            self._scaler.step(optimizer)
            train_state.statistics.copy_(torch.where(is_sound, train_state.statistics, statistics))
        elif bool(is_sound):
            self._scaler.step(optimizer)
        else:
            train_state.statistics.copy_(statistics)
        self._scaler.update()
        return total, (~is_sound).float()
