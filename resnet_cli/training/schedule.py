"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math


def cosine(step: int, *, total_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then half a cosine down to zero.

    Args:
        step: 0 for the first optimizer step.
        total_steps: Steps of the whole training.
        warmup_steps: Steps until the peak; fewer than ``total_steps``.

    Returns:
        A multiplier of the peak rate, in (0, 1].

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))
