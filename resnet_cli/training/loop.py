"""The one training loop: a head on features and a whole network on pictures run through the same lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_cli.device import Compute, memory_errors_named
from resnet_cli.errors import DivergedError
from resnet_cli.training.events import EpochDone, EpochRecord, OnEvent, StepDone
from resnet_cli.training.schedule import cosine

#: Share of all steps until the rate peaks.
WARMUP_FRACTION = 0.1


def make_optimizer(
    kind: Literal["sgd", "adamw"], parts: Sequence[tuple[Iterable[nn.Parameter], float]], *, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; BatchNorm's parameters and biases (all vectors) do not decay.

    Args:
        kind: Which of the two.
        parts: Parameters and their peak rate.
        weight_decay: Of the others.

    Source: no decay of vectors: He et al. 2019, https://arxiv.org/abs/1812.01187, section 3.1.
    """
    groups: list[dict[str, Any]] = []
    for part, lr in parts:
        parameters = list(part)
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups += [
            {"params": matrices, "lr": lr, "weight_decay": weight_decay},
            {"params": vectors, "lr": lr, "weight_decay": 0.0},
        ]
    # Fused: one pass over 25 million weights instead of one for each term of the update.
    fused = groups[0]["params"][0].device.type in {"cpu", "cuda"}
    if kind == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.SGD(groups, lr=parts[0][1], momentum=0.9, nesterov=True, fused=fused)


def fit(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
    validate: Callable[[], tuple[float, float]],
    *,
    epochs: int,
    steps_per_epoch: int,
    compute: Compute,
    set_train_mode: Callable[[], None],
    on_best: Callable[[EpochRecord], None],
    on_event: OnEvent,
) -> list[EpochRecord]:
    """Trains for a number of epochs and reports the best one on validation.

    Args:
        network: Inputs -> logits [b x k].
        optimizer: Each group's ``lr`` is its peak.
        batches: Epoch (from 1) -> batches of (inputs on the device, labels int64 [b] on the device); the
            order is a function of the seed and the epoch.
        validate: -> (loss, top1) on the validation split.
        epochs: At least 1.
        steps_per_epoch: Batches an epoch.
        compute: Device and precision.
        set_train_mode: Called before each epoch.
        on_best: Called after an epoch that is the best so far (higher top1, then lower loss).
        on_event: Told of every step and epoch.

    Returns:
        One record an epoch.

    Raises:
        DivergedError: The loss is not finite; the step is not taken. Or that of the validation is not.
        MemoryExhausted: A batch does not fit.
    """
    total_steps = epochs * steps_per_epoch
    warmup_steps = min(math.ceil(WARMUP_FRACTION * total_steps), total_steps - 1)
    peaks = [group["lr"] for group in optimizer.param_groups]
    history: list[EpochRecord] = []
    best: tuple[float, float] | None = None
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        set_train_mode()
        loss_sum, num_right, num_seen = 0.0, 0, 0
        for step, (inputs, labels) in enumerate(batches(epoch), start=1):
            at = (epoch - 1) * steps_per_epoch + step - 1
            multiplier = cosine(at, total_steps=total_steps, warmup_steps=warmup_steps)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * multiplier
            with memory_errors_named(len(labels)):
                with compute.autocast():
                    logits = network(inputs)
                loss = F.cross_entropy(logits.float(), labels)
                value = loss.item()
                _check_finite(value, f"the loss became {value} in epoch {epoch}, step {step}")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            # Sums divided once: the short last batch counts by its size.
            loss_sum += value * len(labels)
            num_right += int((logits.detach().argmax(dim=1) == labels).sum())
            num_seen += len(labels)
            rate = num_seen / (time.perf_counter() - began)
            on_event(StepDone(epoch, step, steps_per_epoch, value, rate))
        val_loss, val_top1 = validate()
        # The epoch's last step has no later loss that would show it.
        _check_finite(val_loss, f"the validation loss became {val_loss} after epoch {epoch}")
        record = EpochRecord(
            epoch=epoch,
            train_loss=loss_sum / num_seen,
            train_top1=num_right / num_seen,
            val_loss=val_loss,
            val_top1=val_top1,
            lr=optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - began,
        )
        history.append(record)
        is_best = best is None or (val_top1, -val_loss) > best
        if is_best:
            best = (val_top1, -val_loss)
            on_best(record)
        on_event(EpochDone(record, is_best))
    return history


def _check_finite(loss: float, message: str) -> None:
    if not math.isfinite(loss):
        raise DivergedError(message, hint="try lower rates: --lr or --head-lr at a tenth of what the plan shows")
