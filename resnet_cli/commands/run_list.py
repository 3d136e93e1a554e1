"""``runs``: the runs below a folder, newest first, in whatever state they are; no torch and no numpy."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnet_cli.commands.run_summary import INPUTS, MODEL, RunSummary, names_in, summarize
from resnet_cli.errors import ConfigError
from resnet_cli.system.latest import real_path
from resnet_cli.system.paths import LATEST, RUNS, user_path
from resnet_cli.training.journal import JOURNAL
from resnet_cli.version import SCHEMA_VERSION

_LIST_RUNS = "list the runs: resnet-cli runs"


@dataclasses.dataclass(frozen=True)
class RunList:
    """The runs below a folder, newest first."""

    folder: Path
    runs: tuple[RunSummary, ...]

    def to_dict(self) -> dict[str, Any]:
        """The object that ``runs --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "folder": str(self.folder),
            "runs": [run.to_dict() for run in self.runs],
        }


def list_runs(folder: Path | None = None) -> RunList:
    """Lists the runs in a folder and, of runs with several seeds, those one level below.

    Args:
        folder: The folder; None for ``runs``, which may be missing.

    Raises:
        ConfigError: There is no such folder.
    """
    if folder is not None and not os.path.isdir(user_path(folder)):
        raise ConfigError(f"{folder}: no such folder", hint="list the runs of this folder: resnet-cli runs")
    top = RUNS if folder is None else user_path(folder)
    if is_run_like(top):
        return RunList(top.parent, (summarize(top),))
    found = [summarize(path, below=top) for path in run_folders(top)]
    return RunList(top, tuple(sorted(found, key=lambda run: (-run.changed, run.name))))


def run_folders(top: Path) -> Iterator[Path]:
    """The run folders in a folder, and those one level below it, such as ``NAME/seed-0``; links are not followed."""
    for path in _folders_in(top):
        if is_run_like(path):
            yield path
        else:
            yield from filter(is_run_like, _folders_in(path))


def _folders_in(top: Path) -> list[Path]:
    try:
        with os.scandir(top) as entries:
            return sorted(top / entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def is_run_like(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not, or what a killed training or a lost file has left of one."""
    names = names_in(folder)
    return JOURNAL in names or names.issuperset(INPUTS) or (INPUTS[0] in names and MODEL in names)


def find_run(spec: str | os.PathLike[str]) -> Path:
    """The folder of the run that a user names: a path, ``runs/latest``, or a name below ``runs``.

    Raises:
        ConfigError: There is no such run.
    """
    if not os.fspath(spec):
        # As a path it would be the current folder, which may be a run.
        raise ConfigError("RUN is empty", hint="is a shell variable unset?")
    for path in (user_path(spec), RUNS / spec):
        real = real_path(path)
        if real.name == MODEL and os.path.isfile(real):
            real = real.parent
        if is_run_like(real):
            return real
    if user_path(spec) in {LATEST, Path(LATEST.name)} and os.path.lexists(LATEST):
        raise ConfigError(f"{spec}: it points to a run that does not exist", hint=_LIST_RUNS)
    if os.path.isdir(user_path(spec)):
        raise ConfigError(f"{spec}: not a run folder", hint=_LIST_RUNS)
    names = [str(path.relative_to(RUNS)) for path in run_folders(RUNS)]
    close = difflib.get_close_matches(user_path(spec).name, names, n=1)
    known = _LIST_RUNS if names else "train one: resnet-cli finetune DATA"
    hint = f"did you mean {close[0]}?" if close else known
    raise ConfigError(f"{spec}: no such run", hint=hint)
