"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["cosine", "linear", "constant", "one-cycle"]

#: Share of all steps in which one-cycle increases the learning rate. Source: fastai's ``fit_one_cycle``, ``pct_start``.
ONE_CYCLE_RISE = 0.25
#: Start and end of one-cycle, as multiples of the peak. Source: ``torch.optim.lr_scheduler.OneCycleLR``,
#: ``div_factor`` and ``final_div_factor``.
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


def lr_multiplier(name: ScheduleName, step: int, *, total_steps: int, warmup_steps: int) -> float:
    """The learning rate at a step, as a multiple of the peak learning rate.

    Args:
        name: ``cosine`` and ``linear`` decrease to zero after a linear warmup, ``constant`` stays at the peak;
            ``one-cycle`` has its own warmup and ignores ``warmup_steps``.
        step: Number of the optimizer step, from 0; below ``total_steps``.
        total_steps: Number of steps of the whole training.
        warmup_steps: Number of steps until the peak; fewer than ``total_steps``.

    Returns:
        The factor, in (0, 1].

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983 (cosine); Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677, section 2.2 (warmup).
    """
    if name == "one-cycle":
        return _one_cycle(step, total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if name == "linear" else 1.0


def _one_cycle(step: int, total_steps: int) -> float:
    """Half a cosine up, half a cosine down.

    Source: Smith and Topin 2019, https://arxiv.org/abs/1708.07120; the form is that of
    ``torch.optim.lr_scheduler.OneCycleLR`` with two phases. With four steps or fewer there is no warmup, and
    the first step is the peak.
    """
    peak = max(0.0, ONE_CYCLE_RISE * total_steps - 1)
    if step < peak:
        return _anneal(ONE_CYCLE_START, 1.0, step / peak)
    return _anneal(1.0, ONE_CYCLE_END, (step - peak) / max(1.0, total_steps - 1 - peak))


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * progress) + 1)
