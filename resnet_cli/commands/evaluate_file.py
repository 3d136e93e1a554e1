"""``eval`` of a file of predictions, and what every evaluation of one model results in; no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from resnet_cli.config.eval import EvalConfig
from resnet_cli.errors import ConfigError, UnreachableTarget
from resnet_cli.evaluation.fail_under import check_fail_under
from resnet_cli.evaluation.predictions_file import check_name, load_parquet, read_predictions, regroup
from resnet_cli.evaluation.scoring import Scores, at_threshold
from resnet_cli.evaluation.targets import AnyTarget
from resnet_cli.system.caches import require_temporary_folder
from resnet_cli.system.paths import check_writable
from resnet_cli.task import TaskName
from resnet_cli.version import SCHEMA_VERSION


class HasTask(Protocol):
    """A model or its scores."""

    @property
    def task(self) -> TaskName:
        """Whether an image has one label or any number."""


@dataclasses.dataclass(frozen=True)
class EvalResult:
    """Result of evaluating one model.

    Attributes:
        data: Name of the data set, or the file of predictions.
        scores: The predictions and their scores.
        model: Path of the model; None for a file of predictions, as are the next two.
        precision: Precision of the predictions.
        split: Name of the split.
        target: The target that was asked for, if any, with its thresholds.
        saved: File that the predictions were written to, if any.
        report: The report page, if one was written.
        unreachable: Why no threshold meets the target that was asked for; None if one does, or none was asked for.
    """

    data: str
    scores: Scores
    model: str | None = None
    precision: str | None = None
    split: str | None = None
    target: AnyTarget | None = None
    saved: Path | None = None
    report: Path | None = None
    unreachable: UnreachableTarget | None = None

    @property
    def written(self) -> list[tuple[str, str]]:
        """The files that were written, each with what it is for."""
        files = []
        if self.saved:
            files.append((str(self.saved), f"again: resnet-cli eval --from-predictions {self.saved}"))
        if self.report:
            files.append((str(self.report), "the report"))
        return files

    def check(self, fail_under: float | None) -> None:
        """Compares top-1 or mAP with ``--fail-under``.

        Raises:
            UnreachableTarget: No threshold meets the target that was asked for.
            VerificationError: Top-1 or mAP is below ``fail_under``.
        """
        if self.unreachable is not None:
            raise self.unreachable
        check_fail_under(self.scores, fail_under, name=f"{self.model or self.data}:")

    def to_dict(self) -> dict[str, Any]:
        """The object that ``eval --json`` prints."""
        head = {"schema_version": SCHEMA_VERSION, "model": self.model, "data": self.data, "precision": self.precision}
        tail = {
            "target": self.target.to_dict() if self.target else None,
            "report": str(self.report) if self.report else None,
        }
        return head | {"split": self.split} | self.scores.to_dict() | seen_dict(self.scores) | tail


def check_one_threshold(scored: HasTask, config: EvalConfig) -> None:
    """Checks that ``--threshold`` has an effect.

    Args:
        scored: A model, or scores.
        config: The options.

    Raises:
        ConfigError: The model gives one label per image.
    """
    if config.threshold is not None and scored.task == "single-label":
        raise ConfigError(
            "--threshold is for multi-label models; this model gives each image exactly one label",
            hint="remove it; predict --threshold marks images whose class is less probable",
        )


def seen_dict(scores: Scores) -> dict[str, Any]:
    """What the model has seen of the data, for JSON: null for a file of predictions."""
    return {"seen": scores.seen.to_dict() if scores.seen else None}


def evaluate_file(config: EvalConfig, specs: Sequence[str] = ()) -> EvalResult:
    """Scores a file of predictions again, without the model and the images.

    Args:
        config: Names the file (``from_predictions``), and how to group the images (``slice``).
        specs: Models and data that the user named, which have no effect.

    Raises:
        ConfigError: The file has another format, the images cannot be grouped like that, or there are ``specs``.
        DataError: It is damaged, or holds something else.
        SetupError: It is Parquet, and pyarrow is not installed.
    """
    assert config.from_predictions is not None
    for spec in specs:
        raise ConfigError(f"{spec} has no effect with --from-predictions", hint=f"remove {spec}")
    scores = read_predictions(config.from_predictions)
    check_one_threshold(scores, config)
    if config.threshold is not None:
        scores = at_threshold(scores, config.threshold)
    if config.slice is not None:
        scores = regroup(scores, config.slice)
    return EvalResult(str(config.from_predictions), scores)


def check_outputs(config: EvalConfig) -> None:
    """Refuses what an evaluation could not write, before anything is computed.

    Raises:
        ConfigError: The extension of ``--save-predictions`` names no format.
        DiskError: A file or folder cannot be created.
        SetupError: A package for the format is missing.
    """
    file = config.save_predictions
    if file is not None:
        check_name(file, "--save-predictions")
        if file.exists():
            raise ConfigError(
                f"--save-predictions {file}: exists already", hint="choose another name, or remove it first"
            )
        check_writable(file)
        if file.suffix.lower() == ".parquet":
            load_parquet(file)
    if not config.no_report:
        require_temporary_folder(config.out)
        if config.out is not None:
            check_writable(config.out / "report.html")
