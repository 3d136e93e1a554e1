"""Images/s of a finetune, and of a bare training loop; for ``training.py``."""

from __future__ import annotations

import time

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from resnet_cli.training.events import EpochDone, Event, PlanMade, StepDone
from resnet_cli.training.plan import Plan


class Watch:
    """Records a finetune's plan, and the images/s and seconds of each epoch with steps."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.epochs_s: list[float] = []
        self._plan: Plan | None = None
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, StepDone] | None = None

    def __call__(self, event: Event) -> None:
        """Records the time of the first and last reported step of each epoch."""
        now = time.perf_counter()
        if isinstance(event, PlanMade):
            self._plan = event.plan
        elif isinstance(event, StepDone):
            self._first = self._first or (now, event.step)
            self._last = (now, event)
        elif isinstance(event, EpochDone) and self._first and self._last:
            (began, first), (ended, last) = self._first, self._last
            images = (last.step - first) * len(self.plan.dataset.split("train")) / last.steps
            self.rates.append(images / (ended - began) if images else float("nan"))
            self.epochs_s.append(event.record.seconds)
            self._first = self._last = None

    @property
    def plan(self) -> Plan:
        """The finetune's plan."""
        assert self._plan is not None
        return self._plan


class BareLoop:
    """The minimum for any trainer: torchvision's network on a batch that is ready.

    Args:
        plan: Plan of the finetune to compare with: batch size, image size, precision, optimizer, BatchNorm's mode.
    """

    def __init__(self, plan: Plan) -> None:
        size, self._compute, self._batch_size = plan.preprocess.crop_size, plan.compute, plan.batch_size
        network = torchvision.models.resnet50(num_classes=len(plan.dataset.classes)).to(self._compute.device)
        self._network = network.to(memory_format=torch.channels_last).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(plan.train_batchnorm)
        self._inputs = self._compute.to_device(torch.randn(self._batch_size, 3, size, size))
        self._labels = torch.arange(self._batch_size, device=self._compute.device) % len(plan.dataset.classes)
        parameters, fused = list(network.parameters()), self._compute.type in {"cpu", "cuda"}
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(parameters, lr=1e-3, fused=fused)
            if plan.rates.optimizer == "adamw"
            else torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, nesterov=True, fused=fused)
        )

    def rate(self, num_steps: int) -> float:
        """Images/s over this many steps, after one that does not count."""
        self._step()
        began = time.perf_counter()
        for _ in range(num_steps):
            loss = self._step()
        # Reading the last loss waits for the GPU.
        loss.item()
        return num_steps * self._batch_size / (time.perf_counter() - began)

    def _step(self) -> torch.Tensor:
        with self._compute.autocast():
            loss = F.cross_entropy(self._network(self._inputs), self._labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()
