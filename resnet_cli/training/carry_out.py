"""Carries out a plan in a run folder, which it creates or continues; the main process writes the journal."""

from __future__ import annotations

import shlex
from pathlib import Path

from resnet_cli.config.base import typed_flags
from resnet_cli.engine_predictor import prepare_engine
from resnet_cli.runs import RunFolder
from resnet_cli.system.events import Status, Warned
from resnet_cli.system.intraop import fixed_threads
from resnet_cli.training.assembly import run_bytes
from resnet_cli.training.calibrate import missing_thresholds
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed
from resnet_cli.training.events import Event, OnEvent, RunBegan, RunDone, ignore
from resnet_cli.training.journal import JOURNAL, Journal
from resnet_cli.training.plan import Plan
from resnet_cli.training.report import FinetuneResult
from resnet_cli.training.run import TrainingRun


def run_plan(
    plan: Plan, *, on_event: OnEvent, folder: RunFolder | None = None, distributed: Distributed = SINGLE_PROCESS
) -> FinetuneResult:
    """Carries out a plan and writes the run folder.

    Args:
        plan: From :func:`~resnet_cli.training.plan.make_plan`.
        on_event: Called with every event.
        folder: Run folder that continues from its newest checkpoint; None creates a new one.
        distributed: The processes that share the training. This is the main process; the others call
            :func:`run_worker`.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``. A new run folder is removed unless it holds a model or a
            checkpoint.
        Interrupted: A signal arrived; the text says what is kept.
    """
    is_new = folder is None
    if folder is None:
        folder = RunFolder.create(plan.config.out, plan.dataset.name, num_bytes=run_bytes(plan))
    try:
        with Journal(folder.path / JOURNAL) as journal:
            folder.reopen()
            command = made_by(plan)
            folder.write_inputs(plan.resolved_config(), plan.dataset, plan.skipped, plan.used_images, command=command)

            def notify(event: Event) -> None:
                journal(event)
                on_event(event)

            notify(RunBegan(folder.path, plan))
            distributed.broadcast(str(folder.path))
            with fixed_threads(plan.threads):
                result = TrainingRun(plan, folder, notify, distributed).carry_out()
                notify(Status("preparing the model for predictions"))
                prepare_engine(result.model)
            if text := missing_thresholds(result.model):
                notify(Warned([text]))
            notify(RunDone(result))
            return result
    finally:
        if is_new:
            folder.discard()


def made_by(plan: Plan) -> str:
    """The command line that makes the same plan, with the flags that the user gave."""
    # With several seeds, each run has a seed of its own.
    given = [name for name, origin in plan.origins.items() if origin == "flag" or name == "seed"]
    words = typed_flags(plan.config, [name for name in given if name not in {"data", "seeds"}])
    files = dict.fromkeys(origin for origin in plan.origins.values() if origin not in {"flag", "default"})
    configs = [word for file in files for word in ("--config", file)]
    return shlex.join(["resnet-cli", "finetune", str(plan.config.data), *configs, *words])


def run_worker(plan: Plan, distributed: Distributed) -> None:
    """Takes part in a training of the main process; writes and reports nothing.

    Args:
        plan: The plan, the same as in the main process.
        distributed: The processes; this is not the main process.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
        Interrupted: A signal reached one of the processes.
    """
    folder = RunFolder(Path(distributed.broadcast("")))
    with fixed_threads(plan.threads):
        TrainingRun(plan, folder, ignore, distributed).run_worker()
