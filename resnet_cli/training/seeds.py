"""The same training with several seeds: mean and spread of the results."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from resnet_cli.runs import RunFolder
from resnet_cli.system.paths import refuse_existing
from resnet_cli.training.carry_out import run_plan
from resnet_cli.training.events import OnEvent, PlanMade
from resnet_cli.training.plan import Plan
from resnet_cli.training.report import FinetuneResult
from resnet_cli.version import SCHEMA_VERSION


@dataclasses.dataclass(frozen=True)
class Spread:
    """Top-1 over several seeds.

    Attributes:
        mean: Mean over the runs.
        std: Sample standard deviation.
        lowest: Lowest value.
        highest: Highest value.
    """

    mean: float
    std: float
    lowest: float
    highest: float


def run_seeds(plan: Plan, *, on_event: OnEvent) -> list[FinetuneResult]:
    """Carries out a plan once for each seed, in one folder; the split is the same.

    Args:
        plan: The plan, whose config has the first seed and the number of seeds.
        on_event: Called with every event; each run begins with its plan.
    """
    refuse_existing(plan.config.out)
    parent = RunFolder.create(plan.config.out, f"{plan.dataset.name}-seeds").path
    results = []
    for number in range(plan.config.seeds):
        seed = plan.config.seed + number
        config = plan.config.model_copy(update={"seed": seed, "seeds": 1, "out": parent / f"seed-{seed}"})
        choices = (dataclasses.replace(x, value=str(seed)) if x.name == "seed" else x for x in plan.choices)
        one = dataclasses.replace(plan, config=config, choices=tuple(choices))
        on_event(PlanMade(one))
        try:
            results.append(run_plan(one, on_event=on_event))
        finally:
            # The folder is empty if no run was kept.
            with contextlib.suppress(OSError):
                parent.rmdir()
    return results


def spread(results: Sequence[FinetuneResult]) -> Spread:
    """Spread of top-1 on the test split if there is one, otherwise on the validation split."""
    values = [result.final.top1 for result in results]
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), std, min(values), max(values))


def to_dict(results: Sequence[FinetuneResult]) -> dict[str, Any]:
    """What ``finetune --seeds N --json`` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "top1": dataclasses.asdict(spread(results)),
        "runs": [result.to_dict() for result in results],
    }
