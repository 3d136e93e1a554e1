"""Fine-tuning from the flags to the results: plan, dry run, several processes, several seeds, resumed runs."""

from __future__ import annotations

import dataclasses
import urllib.parse
from pathlib import Path
from typing import Any

from resnet_cli.config.base import Resolved, resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError
from resnet_cli.exported.opening import resolve_model
from resnet_cli.loggers.listener import Logged, require
from resnet_cli.runs import RunFolder
from resnet_cli.system.caches import require_temporary_folder
from resnet_cli.system.events import Noted, Status, WorkDone
from resnet_cli.system.paths import RUNS, check_writable
from resnet_cli.text import size
from resnet_cli.training import launch
from resnet_cli.training.carry_out import run_plan, run_worker
from resnet_cli.training.distributed import Distributed
from resnet_cli.training.estimate import Estimate, estimate
from resnet_cli.training.events import OnEvent, PlanMade, ignore
from resnet_cli.training.launch import FinetuneRequest
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.resume import find_run, plan_resumed
from resnet_cli.training.seeds import run_seeds, to_dict
from resnet_cli.version import SCHEMA_VERSION


@dataclasses.dataclass(frozen=True)
class DryRun:
    """A plan that was not carried out, and its cost."""

    plan: Plan
    cost: Estimate

    def to_dict(self) -> dict[str, Any]:
        """What ``finetune --dry-run --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "plan": [dataclasses.asdict(choice) for choice in self.plan.choices],
            "warnings": list(self.plan.warnings),
            "estimate": {"seconds": round(self.cost.seconds), "memory_bytes": self.cost.memory_bytes},
        }


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """The results of a training, one for each seed."""

    results: tuple[FinetuneResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """What ``finetune --json`` prints."""
        return self.results[0].to_dict() if len(self.results) == 1 else to_dict(self.results)

    def check(self) -> None:
        """Compares each result with ``--fail-under``.

        Raises:
            VerificationError: A result is below it.
        """
        for result in self.results:
            result.check(result.plan.config.fail_under)


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Another process reports the results, or has reported why there are none."""

    exit_code: int


def run_finetune(request: FinetuneRequest, *, on_event: OnEvent = ignore) -> DryRun | Finetuned | Elsewhere:
    """Carries out what the command line asks for, in this process or in several.

    Args:
        request: What the user asks for.
        on_event: Called with every event of this process.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
        Interrupted: A signal; its text says what was saved.
    """
    num_started, devices, out = launch.num_started(), request.flags.get("devices"), request.flags.get("out")
    if num_started and devices:
        raise ConfigError(
            f"--devices {devices} has no effect under torchrun, which has started {num_started} processes",
            hint="remove it",
        )
    if launch.is_restarted(out):
        request = dataclasses.replace(request, data=str(out), flags={}, config_file=None, resume=True)
    run, resolved, config = _resolve(request, num_started)
    require(config.trackers)
    num = num_started or config.devices or 1
    if num > 1 and not num_started and not request.dry_run:
        return Elsewhere(launch.launch(num, request, config, run=run, on_event=on_event))
    try:
        with launch.joined(num_started) as distributed:
            heard = on_event if distributed.is_main else ignore
            return _carry_out(request, resolved, run, distributed=distributed, on_event=heard)
    except launch.WorkerEnded as ended:
        return Elsewhere(ended.exit_code)


def _resolve(
    request: FinetuneRequest, num_started: int | None
) -> tuple[RunFolder | None, Resolved[FinetuneConfig] | None, FinetuneConfig]:
    """The run to continue, else the config of a new one; and what is known of the config before there is a plan."""
    if request.resume:
        run = find_run(None if request.data is None else Path(request.data))
        machine = {name: request.flags.get(name) for name in ("device", "devices", "log_to", "tensorboard")}
        require_temporary_folder(run.path)
        return run, None, resolve(FinetuneConfig, machine, run.path / "config.yaml").config
    flags = {**request.flags, "data": request.data}
    if num_started:
        flags["devices"] = num_started
    resolved = resolve(FinetuneConfig, flags, request.config_file)
    require_temporary_folder(resolved.config.out or RUNS)
    if not request.dry_run and resolved.config.out is None:
        check_writable(RUNS / "run")
    return None, resolved, resolved.config


def _carry_out(
    request: FinetuneRequest,
    resolved: Resolved[FinetuneConfig] | None,
    run: RunFolder | None,
    *,
    distributed: Distributed,
    on_event: OnEvent,
) -> DryRun | Finetuned | Elsewhere:
    if resolved is not None:
        resolved = _name_weights(resolved, distributed)

    def make() -> Plan:
        def on_work(*work: Any) -> None:
            on_event(WorkDone(*work))

        if run is None:
            assert resolved is not None
            return make_plan(resolved, on_work=on_work)
        changes = {**request.flags, "devices": None, "config": request.config_file}
        return plan_resumed(run, changes, data=request.moved_to, on_work=on_work)

    if resolved is not None and request.data is None and resolved.origins.get("data") == "default":
        if text := _about_download(resolved.config):
            on_event(Noted(text))
    on_event(Status("reading the data"))
    plan = distributed.main_process_first(make)
    compute, step_compute = distributed.place(plan.compute), distributed.place(plan.step_compute)
    plan = dataclasses.replace(plan, compute=compute, step_compute=step_compute)
    if request.dry_run:
        if not distributed.is_main:
            return Elsewhere(0)
        on_event(Status("timing the network"))
        return DryRun(plan, estimate(plan))
    if not distributed.is_main:
        run_worker(plan, distributed)
        return Elsewhere(0)
    with Logged(plan.config.trackers, on_event) as logged:
        logged(PlanMade(plan))
        if plan.config.seeds > 1:
            return Finetuned(tuple(run_seeds(plan, on_event=logged)))
        return Finetuned((run_plan(plan, on_event=logged, folder=run, distributed=distributed),))


def _about_download(config: FinetuneConfig) -> str | None:
    """What a training without DATA needs and does not have; None if it is on this machine already."""
    from resnet_cli.data.sources.named.registered import is_here
    from resnet_cli.network.download import is_offline
    from resnet_cli.network.known_sets import DATASETS

    known = DATASETS[config.data]
    if is_here(known.name):
        return None
    host = urllib.parse.urlsplit(known.files[0].url).hostname
    verb = "needed" if is_offline(config.offline) else "downloaded"
    return (
        f"No DATA was given, so {known.name} is {verb}: {size(known.num_bytes or 0)} from {host}, "
        f"{known.description}. To train on your own images: resnet-cli finetune FOLDER, with one subfolder per class"
    )


def _name_weights(resolved: Resolved[FinetuneConfig], distributed: Distributed) -> Resolved[FinetuneConfig]:
    """The config with the file or folder that ``--weights`` means at this moment, the same one in all processes."""
    weights = resolved.config.weights
    if weights not in {"auto", "none"}:
        weights = distributed.broadcast(resolve_model(weights))
    return dataclasses.replace(resolved, config=resolved.config.model_copy(update={"weights": weights}))
