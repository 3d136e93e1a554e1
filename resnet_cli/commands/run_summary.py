"""One run as far as its small files tell, in whatever state it is; no torch and no numpy."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resnet_cli.commands.run_files import (
    FileProblem,
    Score,
    is_share,
    read_config,
    read_history,
    read_metrics,
    scores_of,
)
from resnet_cli.system.latest import real_path
from resnet_cli.system.paths import LATEST, folder_bytes
from resnet_cli.training.journal import JOURNAL, is_open

#: ``interrupted`` can be resumed; ``failed`` ended before there was anything to resume; ``damaged`` misses a file.
State: TypeAlias = Literal["running", "finished", "interrupted", "failed", "damaged"]
#: Where files cannot be locked, a run whose journal was written in these last seconds counts as running.
FRESH_S = 120.0
INPUTS = ("config.yaml", "split.csv")
MODEL = "model.safetensors"
#: Files that a training writes, by which the time of its last activity is known; an evaluation writes none of them.
_DATED = ("metrics.json", "history.csv", JOURNAL, MODEL, *INPUTS)


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """One run, as far as its small files tell.

    Attributes:
        path: The run folder.
        name: Its path below the folder that was listed.
        state: Whether it is finished, or can be resumed.
        is_latest: Whether ``runs/latest`` points to it.
        config: The values of its ``config.yaml`` as text; empty if that cannot be read.
        metrics: What its ``metrics.json`` says; empty without one.
        scores: Its main scores, that of the test split first; of an unfinished run those of its history so far.
        epochs_done: Epochs that are complete; None if not known or if L-BFGS fitted the head.
        num_checkpoints: Number of its checkpoints.
        num_bytes: Size of its files.
        changed: When its training last wrote something, in seconds since 1970.
        problems: What is wrong with it, in sentences without a period.
    """

    path: Path
    name: str
    state: State
    is_latest: bool
    config: Mapping[str, str | None]
    metrics: Mapping[str, Any]
    scores: tuple[Score, ...]
    epochs_done: int | None
    num_checkpoints: int
    num_bytes: int
    changed: float
    problems: tuple[str, ...]

    @property
    def mode(self) -> str | None:
        """How it was trained."""
        return self._text("mode") or self.config.get("mode")

    @property
    def is_resumable(self) -> bool:
        """Whether ``finetune --resume`` continues it."""
        return self.state == "interrupted"

    @property
    def has_model(self) -> bool:
        """Whether there is a model to predict with."""
        return (self.path / MODEL).is_file()

    @property
    def epochs_text(self) -> str:
        """``10``, ``3 of 10``, or how else the head was fitted."""
        planned, done = self.config.get("epochs"), self.epochs_done
        if planned is None:
            return "L-BFGS" if self.config.get("mode") == "frozen" else "-" if done is None else str(done)
        if self.state in {"running", "interrupted"}:
            return f"{done or 0} of {planned}"
        return planned if done is None or str(done) == planned else f"{done} of {planned}"

    def _text(self, key: str) -> str | None:
        value = self.metrics.get(key)
        return value if isinstance(value, str) else None

    def to_dict(self) -> dict[str, Any]:
        """One element of what ``runs --json`` prints."""
        changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.changed))
        return {
            "run": str(self.path),
            "name": self.name,
            "state": self.state,
            "is_latest": self.is_latest,
            "is_resumable": self.is_resumable,
            "has_model": self.has_model,
            "data": self.config.get("data"),
            "mode": self.mode,
            "weights": self._text("weights") or self.config.get("weights"),
            "epochs": _whole(self.config.get("epochs")),
            "epochs_done": self.epochs_done,
            "scores": [score.to_dict() for score in self.scores],
            "num_checkpoints": self.num_checkpoints,
            "num_bytes": self.num_bytes,
            "changed": changed,
            "problems": list(self.problems),
        }


def names_in(folder: Path) -> set[str]:
    """Names of the files in a folder; empty if it cannot be read."""
    try:
        return set(os.listdir(folder))
    except (OSError, ValueError):
        # A name with a null character is a ValueError.
        return set()


def summarize(path: Path, *, below: Path | None = None) -> RunSummary:
    """Reads the small files of one run folder; whatever is wrong with them is in the result.

    Args:
        path: The run folder.
        below: The folder that is listed, for the name of the run.
    """
    names, problems = names_in(path), []
    config, metrics = dict[str, str | None](), dict[str, Any]()
    is_running = _is_running(path)
    try:
        config = read_config(path)
    except FileProblem as problem:
        problems.append(str(problem))
    if "metrics.json" in names:
        try:
            metrics = read_metrics(path)
        except FileProblem as problem:
            problems.append(str(problem))
    if "split.csv" not in names:
        problems.append("split.csv is missing")
    if "metrics.json" in names and MODEL not in names:
        problems.append(f"{MODEL} is missing")
    state = _state(names, is_running=is_running, is_sound=not problems)
    if state == "running":
        problems = []
    elif state == "failed":
        problems = ["it ended before anything was saved"]
    scores, done = tuple(scores_of(metrics)), _whole(metrics.get("epochs"))
    if not metrics and state in {"running", "interrupted", "damaged"}:
        scores, done = _so_far(path)
    if config and config.get("epochs") is None:
        done = None
    return RunSummary(
        path=path,
        name=str(path.relative_to(below)) if below else path.name,
        state=state,
        is_latest=_is_latest(path),
        config=config,
        metrics=metrics,
        scores=scores,
        epochs_done=done,
        num_checkpoints=len(list((path / "checkpoints").glob("step-*.safetensors"))),
        num_bytes=folder_bytes(path),
        changed=_changed(path),
        problems=tuple(problems),
    )


def _state(names: set[str], *, is_running: bool, is_sound: bool) -> State:
    if is_running:
        return "running"
    if not is_sound:
        # Without its inputs and without a result, a training has ended at its very beginning.
        return "failed" if names.isdisjoint({"metrics.json", MODEL, *INPUTS, "checkpoints"}) else "damaged"
    return "finished" if "metrics.json" in names else "interrupted"


def _is_running(path: Path) -> bool:
    """Whether a process trains this run: it has locked the journal, or writes to it where there are no locks."""
    is_locked = is_open(path / JOURNAL)
    if is_locked is None:
        return not (path / "metrics.json").exists() and time.time() - _changed(path) < FRESH_S
    return is_locked


def _so_far(path: Path) -> tuple[tuple[Score, ...], int | None]:
    """The validation score that an unfinished training would keep now, and the number of its epochs."""
    try:
        rows = read_history(path)
    except FileProblem:
        return (), None
    if not rows:
        return (), None

    def loss(row: Mapping[str, float | None]) -> float:
        found = row.get("val_fitted_loss", row.get("val_loss"))
        return float("inf") if found is None or found != found else found

    kept = min(rows, key=loss)
    done = int(rows[-1]["epoch"] or 0)
    for key in ("top1", "map"):
        value = kept.get(f"val_{key}")
        if is_share(value):
            return (Score("val", key, value, None, None, None),), done
    return (), done


def _is_latest(path: Path) -> bool:
    try:
        return os.path.lexists(LATEST) and os.path.samefile(real_path(LATEST), path)
    except OSError:
        return False


def _changed(path: Path) -> float:
    times = []
    for name in _DATED:
        try:
            times.append(os.lstat(path / name).st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
