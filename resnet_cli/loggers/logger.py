"""What every logger can do, what it is told about a run, and the numbers that all of them log."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from resnet_cli.evaluation.intervals import ends
from resnet_cli.history import EpochRecord, kept_text
from resnet_cli.system.paths import write_text

if TYPE_CHECKING:
    from resnet_cli.training.events import RunBegan, StepDone
    from resnet_cli.training.report import FinetuneResult

#: Project of W&B and experiment of MLflow, where the user's environment names none.
PROJECT = "resnet-cli"
#: How a run ended.
Status: TypeAlias = Literal["finished", "failed", "killed"]


class Logger(Protocol):
    """One run in one tracker. All calls come from one thread; whatever they raise ends the logging, not the run."""

    def start(self, run: LoggedRun) -> None:
        """Begins a logged run, or continues the one that this run folder was logged as before."""

    def log_step(self, step: StepDone) -> None:
        """Logs an optimizer step."""

    def log_epoch(self, record: EpochRecord) -> None:
        """Logs an epoch, or a penalty of L-BFGS."""

    def log_result(self, outcome: Outcome) -> None:
        """Logs the results, the report and the plots."""

    def close(self, status: Status) -> None:
        """Ends the logged run."""


@dataclasses.dataclass(frozen=True)
class LoggedRun:
    """What a logger is told when a training begins or continues.

    Attributes:
        folder: The run folder.
        config: Field of the config -> value, with every automatic choice filled in; fields without a value are absent.
        tags: Short words to find the run by: its data, mode and weights.
        group: Name of the folder that holds the runs of several seeds; None for a single run.
    """

    folder: Path
    config: Mapping[str, Any]
    tags: tuple[str, ...]
    group: str | None = None

    @classmethod
    def of(cls, event: RunBegan) -> LoggedRun:
        """The run that an event announces."""
        plan = event.plan
        values = plan.resolved_config().model_dump(mode="json")
        seeds = plan.config.out.parent.name if plan.config.out and plan.config.out.name.startswith("seed-") else None
        tags = dict.fromkeys([plan.dataset.name, plan.mode, Path(plan.weights.name).name])
        config = {name: value for name, value in values.items() if value is not None}
        return cls(event.run, config, tuple(tags), seeds)

    @property
    def name(self) -> str:
        """Name of the run: that of its folder, after that of its group."""
        return f"{self.group}/{self.folder.name}" if self.group else self.folder.name

    def remembered(self, tracker: str) -> dict[str, str]:
        """What :meth:`remember` wrote; empty for a run that this tracker does not know."""
        try:
            values = json.loads(self._memory(tracker).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {}

    def remember(self, tracker: str, **values: str) -> None:
        """Writes down where the run is logged, so that a resumed training continues the same logged run."""
        write_text(self._memory(tracker), json.dumps(values) + "\n")

    def _memory(self, tracker: str) -> Path:
        return self.folder / f"{tracker}.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a run, as loggers need them.

    Attributes:
        metrics: Name -> number, such as ``result/test/top1`` with ``result/test/top1_low`` and
            ``result/test/top1_high``, the ends of its 95 % interval.
        kept: What was kept and why.
        plots: Name -> PNG file.
        files: The report and the other files that belong to it.
    """

    metrics: Mapping[str, float]
    kept: str
    plots: Mapping[str, Path]
    files: tuple[Path, ...]

    @classmethod
    def of(cls, result: FinetuneResult) -> Outcome:
        """The outcome of a finished training."""
        folder = result.run.path
        scores = {"val": result.val, "test": result.test}
        metrics = dict(_known(pair for split, one in scores.items() if one for pair in _of_split(split, one)))
        names = ("report.html", "model_card.md", "metrics.json", "history.csv", "config.yaml")
        files = tuple(folder / name for name in names if (folder / name).is_file())
        plots = {path.stem: path for path in sorted((folder / "plots").glob("*.png"))}
        return cls(metrics | {"result/seconds": result.seconds}, kept_text(result.history), plots, files)


def epoch_metrics(record: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch; those of a penalty of L-BFGS have names of their own."""
    score = record.score
    if record.l2 is not None:
        pairs = {
            "penalty/l2": record.l2,
            "penalty/val_loss": record.val_loss,
            "penalty/calibrated_loss": record.val_fitted_loss,
            f"penalty/val_{score}": record.val_score,
        }
    else:
        pairs = {
            "train/loss": record.train_loss,
            f"train/{score}": record.train_score,
            "val/loss": record.val_loss,
            "val/calibrated_loss": record.val_fitted_loss,
            f"val/{score}": record.val_score,
            "lr": record.lr,
            "seconds": record.seconds,
        }
    return dict(_known(pairs.items()))


def _of_split(split: str, scores: Any) -> Iterator[tuple[str, float | None]]:
    """The metrics of a split that are one number each, with the ends of their intervals."""
    for name, value in scores.to_dict().items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"result/{split}/{name}", value
    for name, interval in scores.intervals.items():
        low, high = ends(interval)
        yield f"result/{split}/{name}", interval.value
        yield f"result/{split}/{name}_low", low
        yield f"result/{split}/{name}_high", high


def _known(pairs: Any) -> Iterator[tuple[str, float]]:
    """The pairs whose value is a finite number: trackers treat others each in its own way."""
    for name, value in pairs:
        if value is not None and math.isfinite(value):
            yield name, float(value)
