"""Continuing an interrupted run, or extending a finished one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.runs import RunFolder, is_run
from resnet_cli.system.events import OnWork
from resnet_cli.system.latest import real_path
from resnet_cli.system.paths import RUNS
from resnet_cli.training.checkpoint import read_newest, read_values, require_same_inputs
from resnet_cli.training.journal import JOURNAL, being_trained, is_open
from resnet_cli.training.plan import Plan, make_plan

#: Flags that extend a finished run.
EXTENDING = ("epochs", "max_time", "patience", "target")
#: Flags that may change when a run is resumed; any other would make it another training.
CHANGEABLE = (*EXTENDING, "fail_under", "checkpoint_every", "device", "offline", "log_to", "tensorboard")


def find_run(path: Path | None) -> RunFolder:
    """Finds the run folder to continue; by default the newest one that is neither finished nor still training.

    Raises:
        ConfigError: There is no such folder.
    """
    if path is None:
        folders = [*RUNS.glob("*/"), *RUNS.glob("*/seed-*/")]
        unfinished = [folder for folder in folders if not folder.is_symlink() and _is_interrupted(folder)]
        if not unfinished:
            raise ConfigError(
                f"--resume: no run in {RUNS} was interrupted", hint="name one: resnet-cli finetune --resume runs/NAME"
            )
        return RunFolder(max(unfinished, key=_began_at))
    path = real_path(path)
    if path.name == MODEL_FILE:
        path = path.parent
    if os.path.isfile(path / JOURNAL) and not os.path.isfile(path / "split.csv"):
        if is_open(path / JOURNAL):
            raise being_trained(path)
        raise ConfigError(
            f"--resume {path}: its training ended before anything was saved",
            hint=f"remove it, then start again: rm -r {shlex.quote(str(path))}",
        )
    if not is_run(path):
        raise ConfigError(
            f"--resume {path}: not a run folder", hint="it has a config.yaml and a split.csv; see the folder runs"
        )
    return RunFolder(path)


def plan_resumed(
    run: RunFolder, changes: Mapping[str, Any], *, data: str | None = None, on_work: OnWork = lambda *_: None
) -> Plan:
    """Makes the plan of a run again, on the same images.

    A finished run continues if it is given more epochs: its steps are kept, and from the next step on the learning rate
    follows the schedule of the new length, as if it had been planned from the start.

    Args:
        run: The run folder, from :func:`find_run`.
        changes: Field of the config -> new value; only the fields in :data:`CHANGEABLE`, and ``weights`` if they were
            moved.
        data: Where the images are now; None: where they were.
        on_work: Called with the progress of downloads and of the check of the images.

    Raises:
        ConfigError: The run is finished or another process is training it, or a change would make it another
            training.
        DataError: Its images are missing or have changed.
        ModelError: Its initial weights have changed.
    """
    if is_open(run.path / JOURNAL):
        raise being_trained(run.path)
    file = run.path / "config.yaml"
    before = resolve(FinetuneConfig, {}, file).config
    given = {name: value for name, value in changes.items() if value is not None}
    has_lost_weights = Path(before.weights).is_absolute() and not Path(before.weights).exists()
    refused = [name for name in given if name not in CHANGEABLE and not (name == "weights" and has_lost_weights)]
    if refused:
        raise ConfigError(
            f"--{refused[0].replace('_', '-')} cannot change when a run is resumed",
            hint="remove it, or start a new run without --resume",
        )
    if has_lost_weights and "weights" not in given:
        raise ConfigError(
            f"{run.path} began with the weights {before.weights}, which are no longer there",
            hint=f"if they were moved: {run.resume_command} --weights FILE",
        )
    resolved = resolve(FinetuneConfig, given if data is None else {**given, "data": data}, file)
    if run.is_finished:
        _check_extension(run, before, resolved.config, given)
    plan = make_plan(resolved, on_work=on_work, run=run.path)
    # Before anything is written: a run that cannot be continued stays as it is.
    if plan.takes_steps and (values := read_values(run.checkpoints_path)) is not None:
        require_same_inputs(values, data=plan.fingerprint, weights=plan.weights.sha256)
    return plan


def _check_extension(run: RunFolder, before: FinetuneConfig, after: FinetuneConfig, given: Mapping[str, Any]) -> None:
    again = f"start from its model: resnet-cli finetune DATA --weights {shlex.quote(str(run.path))}"
    if before.epochs is None:
        raise ConfigError(f"{run.path} is finished: a head that L-BFGS fitted has no epochs to continue", hint=again)
    found = read_newest(run.checkpoints_path)
    if found is None:
        raise ConfigError(f"{run.path} is finished and has no checkpoint to continue from", hint=again)
    done = found[0].values["epoch"] - 1
    if (after.epochs or 0) <= done or not any(name in given for name in EXTENDING):
        raise ConfigError(
            f"{run.path} is finished: {done} epochs",
            hint=f"train more epochs: {run.resume_command} --epochs {2 * done}",
        )


def _began_at(run: Path) -> float:
    """When a run began, or was resumed; 0 if it was removed in the meantime."""
    try:
        return (run / "config.yaml").stat().st_mtime
    except OSError:
        return 0.0


def _is_interrupted(folder: Path) -> bool:
    return is_run(folder) and not RunFolder(folder).is_finished and not is_open(folder / JOURNAL)
