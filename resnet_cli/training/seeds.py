"""The same training with several seeds: mean and spread of the results.

A seed changes what is random. A training by steps depends on it; the split stays the same, so that all runs are
evaluated on the same images. L-BFGS finds the same head with every seed: there each seed draws another split, and data
with a validation split of their own leave nothing to vary.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from resnet_cli.config.base import Resolved
from resnet_cli.runs import RunFolder
from resnet_cli.system.events import WorkDone
from resnet_cli.system.paths import refuse_existing
from resnet_cli.task import TASKS
from resnet_cli.training.carry_out import run_plan
from resnet_cli.training.events import OnEvent, PlanMade
from resnet_cli.training.plan import Plan, make_plan
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
    """Carries out a plan once for each seed, in one folder.

    Args:
        plan: The plan, whose config has the first seed and the number of seeds. Its ``draws_split`` decides whether the
            split differs too.
        on_event: Called with every event; each run begins with its plan.
    """
    refuse_existing(plan.config.out)
    parent = RunFolder.create(plan.config.out, f"{plan.dataset.name}-seeds").path
    results = []
    for number in range(plan.config.seeds):
        seed = plan.config.seed + number
        changes = {"seed": seed, "seeds": 1, "out": parent / f"seed-{seed}"}
        one = _with_split(plan, number, changes, on_event) if plan.draws_split else _with_seed(plan, changes)
        on_event(PlanMade(one))
        try:
            results.append(run_plan(one, on_event=on_event))
        finally:
            # The folder is empty if no run was kept.
            with contextlib.suppress(OSError):
                parent.rmdir()
    return results


def _with_seed(plan: Plan, changes: dict[str, Any]) -> Plan:
    """The same plan with another seed."""
    seed = str(changes["seed"])
    choices = (dataclasses.replace(x, value=seed) if x.name == "seed" else x for x in plan.choices)
    return dataclasses.replace(plan, config=plan.config.model_copy(update=changes), choices=tuple(choices))


def _with_split(plan: Plan, number: int, changes: dict[str, Any], on_event: OnEvent) -> Plan:
    """A plan on another random split of the same data, which were checked already."""
    config = plan.config.model_copy(update=changes | {"split_seed": plan.config.split_seed + number})

    def on_work(*work: Any) -> None:
        on_event(WorkDone(*work))

    made = make_plan(Resolved(config, dict(plan.origins)), on_work=on_work)
    return dataclasses.replace(made, compute=plan.compute, step_compute=plan.step_compute)


def remark(results: Sequence[FinetuneResult]) -> str | None:
    """What else there is to know about the spread of these results; None if there is nothing."""
    plans = [result.plan for result in results]
    if plans[0].draws_split:
        if all(result.final.names == results[0].final.names for result in results):
            return "each seed draws other training images"
        return "each seed draws another split: the rows are evaluated on different images, which adds to the spread"
    if all(result.best.epoch == 0 and result.plan.solver in {"lbfgs", "lbfgs-sgd"} for result in results):
        return "every run kept the L-BFGS head, which is the same for every seed, so the rows show no variation"
    return None


def spread(results: Sequence[FinetuneResult]) -> Spread:
    """Spread of the main score on the test split if there is one, otherwise on the validation split."""
    values = [result.final.main[1].value for result in results]
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), std, min(values), max(values))


def to_dict(results: Sequence[FinetuneResult]) -> dict[str, Any]:
    """What ``finetune --seeds N --json`` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "varies": "split" if results[0].plan.draws_split else "training",
        TASKS[results[0].final.task].score: dataclasses.asdict(spread(results)),
        "runs": [result.to_dict() for result in results],
    }
