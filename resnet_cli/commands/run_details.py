"""``runs show``: what one run was trained on, how, how well, and what to do with it."""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_cli.commands.run_files import FILES, FileProblem, read_history
from resnet_cli.commands.run_list import find_run
from resnet_cli.commands.run_summary import RunSummary, summarize
from resnet_cli.history import EpochRecord, kept_text
from resnet_cli.system.paths import folder_bytes
from resnet_cli.version import SCHEMA_VERSION

#: Settings that say how a model was trained, in the order in which they are shown.
_HOW = (
    "weights",
    "mode",
    "unfreeze",
    "head",
    "solver",
    "image_size",
    "epochs",
    "batch_size",
    "optimizer",
    "lr",
    "head_lr",
    "seed",
    "precision",
)


@dataclasses.dataclass(frozen=True)
class RunDetails:
    """Everything that a run's small files say.

    Attributes:
        summary: The run as it is listed.
        history: Its history; empty if there is none.
        kept: What chose the epoch that was kept, in words; empty if not known.
        files: Name, size and purpose of its files and folders.
        commands: Purpose -> command.
    """

    summary: RunSummary
    history: tuple[EpochRecord, ...]
    kept: str
    files: tuple[tuple[str, int, str], ...]
    commands: Mapping[str, str]

    @property
    def num_images(self) -> dict[str, int]:
        """Split -> number of its images; empty if not known."""
        counts = self.summary.metrics.get("num_images")
        found = counts if isinstance(counts, dict) else {}
        return {split: num for split, value in found.items() if (num := _count(value)) is not None}

    @property
    def seconds(self) -> float | None:
        """How long the training took; None if not known."""
        value = self.summary.metrics.get("seconds")
        return float(value) if isinstance(value, int | float) and 0 <= value < math.inf else None

    @property
    def trained_on(self) -> dict[str, str]:
        """The data, its images in each split, and its classes, for people."""
        about, config = self.summary.metrics, self.summary.config
        num_classes, num_skipped = _count(about.get("num_classes")), _count(about.get("num_skipped"))
        facts = {"data": config.get("data") or "not known"}
        if self.num_images:
            words = {"train": "training", "val": "validation", "test": "test"}
            shown = [f"{num:,} {words.get(split, split)}" for split, num in self.num_images.items() if num]
            facts["images"] = ", ".join(shown)
        if num_classes:
            facts["classes"] = f"{num_classes:,}"
        if num_skipped:
            facts["skipped"] = f"{num_skipped:,} unreadable images (skipped.csv)"
        return facts

    @property
    def how(self) -> dict[str, str]:
        """The settings that say how it was trained."""
        config = self.summary.config
        found = {name.replace("_", " "): value for name in _HOW if (value := config.get(name)) is not None}
        return {
            name: value for name, value in found.items() if value not in {"0", "none"} or name in {"seed", "weights"}
        }

    def to_dict(self) -> dict[str, Any]:
        """The object that ``runs show --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            **self.summary.to_dict(),
            "num_classes": _count(self.summary.metrics.get("num_classes")),
            "num_images": self.num_images or None,
            "seconds": self.seconds,
            "kept": self.kept or None,
            "config": {name: value for name, value in self.summary.config.items() if name != "made_by"},
            "history": [_finite(record.to_dict()) for record in self.history],
            "files": [{"name": name, "num_bytes": num, "about": about} for name, num, about in self.files],
            "commands": dict(self.commands),
        }


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values; those that are not finite, which JSON does not have, become None."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def show_run(spec: str | os.PathLike[str]) -> RunDetails:
    """Reads what there is to know about a run.

    Args:
        spec: A run folder, ``runs/latest``, or a name below ``runs``.

    Raises:
        ConfigError: There is no such run.
    """
    return details_of(summarize(find_run(spec)))


def details_of(summary: RunSummary) -> RunDetails:
    """The details of a run that is listed."""
    history = _history(summary.path)
    return RunDetails(summary, history, _kept(summary, history), _files(summary), _commands(summary))


def _history(path: Path) -> tuple[EpochRecord, ...]:
    """The rows that have what every row should have; the first versions wrote no calibrated loss."""
    try:
        rows = read_history(path)
    except FileProblem:
        return ()
    names = {field.name for field in dataclasses.fields(EpochRecord)}
    records = []
    for row in rows:
        values: dict[str, Any] = {"val_fitted_loss": row.get("val_loss"), "train_top1": None, "val_top1": None}
        values |= {name: value for name, value in row.items() if name in names}
        values["epoch"] = int(values["epoch"])
        try:
            records.append(EpochRecord(**values))
        except TypeError:
            # A column is missing.
            continue
    needed = ("train_loss", "val_loss", "val_fitted_loss")
    return tuple(record for record in records if all(getattr(record, name) is not None for name in needed))


def _kept(summary: RunSummary, history: tuple[EpochRecord, ...]) -> str:
    if not history:
        return ""
    try:
        has_loss = any(row.get("val_fitted_loss") is not None for row in read_history(summary.path))
    except FileProblem:
        has_loss = False
    if has_loss:
        return kept_text(history)
    best = summary.metrics.get("best_epoch")
    return f"kept epoch {best}" if isinstance(best, int) else ""


def _files(summary: RunSummary) -> tuple[tuple[str, int, str], ...]:
    found = []
    for name, about in FILES.items():
        path = summary.path / name
        try:
            about_file = path.stat()
        except OSError:
            continue
        num = folder_bytes(path) if stat.S_ISDIR(about_file.st_mode) else about_file.st_size
        if name == "checkpoints":
            about += "; can be deleted to save space" if summary.state == "finished" else ""
        found.append((name, num, about))
    return tuple(found)


def _commands(summary: RunSummary) -> dict[str, str]:
    run = shlex.quote(str(summary.path))
    commands = {}
    if made_by := summary.config.get("made_by"):
        commands["made_by"] = made_by
    if summary.is_resumable:
        commands["resume"] = f"resnet-cli finetune --resume {run}"
    elif summary.state == "finished" and summary.num_checkpoints and summary.epochs_done:
        commands["extend"] = f"resnet-cli finetune --resume {run} --epochs {2 * summary.epochs_done}"
    if summary.has_model:
        commands["predict"] = f"resnet-cli predict photo.jpg --model {run}"
        if summary.state != "damaged":
            commands["evaluate"] = f"resnet-cli eval {run}"
        commands["export"] = f"resnet-cli export {run} --out model.onnx"
    if summary.config:
        commands["again"] = f"resnet-cli finetune --config {shlex.quote(str(summary.path / 'config.yaml'))}"
    if summary.state in {"failed", "damaged"}:
        commands["remove"] = f"resnet-cli runs rm {run}"
    return commands
