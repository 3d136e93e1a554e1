"""``runs rm``: removes run folders, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.commands.run_files import FILES
from resnet_cli.commands.run_list import find_run, is_run_like, run_folders
from resnet_cli.commands.run_summary import RunSummary, summarize
from resnet_cli.errors import ConfigError
from resnet_cli.system.latest import mark_latest, real_path
from resnet_cli.system.paths import LATEST, RUNS, disk_errors, user_path
from resnet_cli.version import SCHEMA_VERSION

#: They are removed last: a removal that is cut short leaves a folder that is still known as a run.
_LAST = ("config.yaml", "split.csv")


@dataclasses.dataclass(frozen=True)
class Removed:
    """The runs that were removed.

    Attributes:
        runs: The runs, as they were.
        latest: Where ``runs/latest`` points now; None if there is none.
    """

    runs: tuple[RunSummary, ...]
    latest: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The object that ``runs rm --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "removed": [{"run": str(run.path), "num_bytes": run.num_bytes} for run in self.runs],
            "num_bytes": sum(run.num_bytes for run in self.runs),
            "latest": None if self.latest is None else str(self.latest),
        }


def runs_to_remove(specs: Sequence[str], *, force: bool) -> tuple[RunSummary, ...]:
    """The runs that a user names, checked before anything is removed.

    Args:
        specs: Run folders, names below ``runs``, or folders of runs with several seeds.
        force: Whether runs that are training or can be resumed may be removed.

    Raises:
        ConfigError: Something is not a run, is a link to one, holds another run, or must not be removed.
    """
    paths = list(dict.fromkeys(path for spec in specs for path in _folders_of(spec)))
    runs = tuple(summarize(path) for path in paths)
    for run in runs:
        inner = next(run_folders(run.path), None)
        if inner is not None:
            raise ConfigError(f"{run.path} contains another run, {inner}", hint="move that one, or remove it first")
        if not force:
            _refuse_valuable(run)
    return runs


def foreign_names(folder: Path) -> list[str]:
    """The files and folders in a run folder that no command writes there; they are removed with it."""
    return sorted(name for name in os.listdir(folder) if name not in FILES and not name.endswith(".tmp"))


def _folders_of(spec: str) -> list[Path]:
    typed = user_path(spec)
    if not spec:
        return [find_run(spec)]
    for path in (typed, RUNS / spec):
        if os.path.islink(path) and path.name != LATEST.name and os.path.isdir(path):
            raise ConfigError(
                f"{path} is a link to {os.path.realpath(path)}",
                hint=f"name the run itself, or remove the link: rm {shlex.quote(str(path))}",
            )
        if os.path.isdir(path) and not is_run_like(real_path(path)):
            # The runs of several seeds, if there is nothing else in their folder.
            inner = list(run_folders(path))
            if inner and sorted(one.name for one in inner) == sorted(os.listdir(path)) and _are_seeds(inner):
                return inner
    return [find_run(spec)]


def _are_seeds(paths: Sequence[Path]) -> bool:
    return all(path.name.startswith("seed-") for path in paths)


def _refuse_valuable(run: RunSummary) -> None:
    name = shlex.quote(str(run.path))
    if run.state == "running":
        raise ConfigError(f"{run.path} is still training", hint="stop the training first, or remove it with --force")
    if run.num_checkpoints and run.state in {"interrupted", "damaged"} and "metrics.json" not in os.listdir(run.path):
        raise ConfigError(
            f"{run.path} was interrupted, and its checkpoint is all that it can be resumed from",
            hint=f"resume it: resnet-cli finetune --resume {name}, or remove it with --force",
        )


def remove_runs(
    runs: Sequence[RunSummary], *, force: bool, on_removed: Callable[[Path], None] = lambda _: None
) -> Removed:
    """Removes the runs of :func:`runs_to_remove`.

    Links inside a run are removed, and what they point to is kept. If ``runs/latest`` pointed to one of the runs, it
    points to the newest run with a model that is left, or is removed.

    Args:
        runs: The runs.
        force: As for :func:`runs_to_remove`; each run is checked again before it is removed.
        on_removed: Called with each folder that is gone.

    Raises:
        ConfigError: A training has begun in one of them in the meantime.
        DiskError: A file cannot be removed.
    """
    is_latest_gone = os.path.lexists(LATEST) and any(run.is_latest for run in runs)
    done: list[RunSummary] = []
    try:
        for run in runs:
            if not force:
                _refuse_valuable(summarize(run.path))
            _remove(run.path)
            done.append(run)
            on_removed(run.path)
    finally:
        latest = _repair_latest() if is_latest_gone else _latest()
    return Removed(tuple(done), latest)


def _remove(folder: Path) -> None:
    # The folder that this process is in has no name that could be removed.
    folder = folder.resolve()
    with disk_errors(folder, "remove", hint="fix its permissions, then remove it again"):
        names = sorted(os.listdir(folder), key=lambda name: (name in _LAST, name))
        for name in names:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        folder.rmdir()
    if _are_seeds([folder]):
        # The folder of several seeds, if this was the last of them.
        _remove_if_empty(folder.parent)


def _remove_if_empty(folder: Path) -> None:
    if not os.listdir(folder):
        folder.rmdir()


def _repair_latest() -> Path | None:
    """Points ``runs/latest`` to the newest run with a model, or removes it."""
    left = [summarize(path, below=RUNS) for path in run_folders(RUNS)]
    with_model = [run for run in left if run.has_model]
    if os.path.exists(LATEST) and is_run_like(real_path(LATEST)):
        return _latest()
    if with_model:
        mark_latest(max(with_model, key=lambda run: run.changed).path)
    else:
        with disk_errors(LATEST, "remove"):
            LATEST.unlink(missing_ok=True)
    return _latest()


def _latest() -> Path | None:
    return real_path(LATEST) if os.path.lexists(LATEST) else None
