"""What the studies of ``eval`` result in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from resnet_cli.data.dataset import Item
from resnet_cli.evaluation.seen_images import SeenImages
from resnet_cli.studies.label_audit import LabelAudit
from resnet_cli.studies.learning_curve import LearningCurve
from resnet_cli.studies.robustness_scores import Robustness
from resnet_cli.studies.value_audit import ValueAudit
from resnet_cli.text import Summarized, percent
from resnet_cli.version import SCHEMA_VERSION


@dataclasses.dataclass(frozen=True, repr=False)
class CurveResult(Summarized):
    """Result of ``eval --learning-curve``.

    Attributes:
        model: Path of the model.
        data: Name of the data set.
        backbone: Which backbone computed the features; empty if it is the model's own.
        split: The split that the heads were evaluated on: ``test`` or ``val``.
        curve: The learning curve.
        files: The page and the plot, if they were written.
    """

    model: str
    data: str
    backbone: str
    split: str
    curve: LearningCurve
    files: tuple[Path, ...] = ()

    @property
    def written(self) -> list[tuple[str, str]]:
        """The files that were written, each with what it is for."""
        return list(zip(map(str, self.files), ("the curve and its forecasts, as a page", "its chart"), strict=False))

    def summary(self) -> dict[str, str]:
        """The model, the data and the main metrics."""
        return {
            "model": self.model,
            "data": self.data,
            self.curve.score_name: percent(self.curve.score),
            "with twice the images": f"{100 * self.curve.twice.gain.value:+.1f} points",
        }

    def to_dict(self) -> dict[str, Any]:
        """The object that ``eval --learning-curve --json`` prints."""
        found = {"judged": self.split, "learning_curve": self.curve.to_dict()}
        return _head(self) | found | {"written": list(map(str, self.files))}


@dataclasses.dataclass(frozen=True, repr=False)
class AuditResult(Summarized):
    """Result of ``eval --label-audit``.

    Attributes:
        model: Path of the model.
        data: Name of the data set.
        backbone: Which backbone computed the features; empty if it is the model's own.
        audit: The ranked labels.
        items: The images that they belong to.
        table: The CSV file to correct.
        sheet: The page with the images.
        next_step: What to do with the table, in words.
    """

    model: str
    data: str
    backbone: str
    audit: LabelAudit | ValueAudit
    items: tuple[Item, ...]
    table: Path
    sheet: Path
    next_step: str

    @property
    def written(self) -> list[tuple[str, str]]:
        """The files that were written, each with what it is for."""
        return [(str(self.sheet), "the labels to check, with their images"), (str(self.table), self.next_step)]

    def summary(self) -> dict[str, str]:
        """The model, the data and the main metrics."""
        missing = {}
        if isinstance(self.audit, ValueAudit):
            missing = {"missing labels (estimate)": f"{self.audit.num_missing.value:.0f}"}
        return {
            "model": self.model,
            "data": self.data,
            **missing,
            "wrong labels (estimate)": f"{self.audit.num_wrong.value:.0f}",
            "page": str(self.sheet),
            "table": str(self.table),
        }

    def to_dict(self) -> dict[str, Any]:
        """The object that ``eval --label-audit --json`` prints."""
        audit = self.audit.to_dict(self.items)
        return _head(self) | {"label_audit": audit, "written": [path for path, _ in self.written]}


@dataclasses.dataclass(frozen=True, repr=False)
class RobustnessResult(Summarized):
    """Result of ``eval --robustness``.

    Attributes:
        model: Path of the model.
        data: Name of the data set and of the split.
        found: The score for each kind and strength of corruption.
        seen: Images of the data that the model has seen in its training; None if this was not asked.
        files: The page and the plot, if they were written.
    """

    model: str
    data: str
    found: Robustness
    seen: SeenImages | None = None
    files: tuple[Path, ...] = ()
    backbone: ClassVar[str] = ""

    @property
    def written(self) -> list[tuple[str, str]]:
        """The files that were written, each with what it is for."""
        return list(zip(map(str, self.files), ("each kind and strength, as a page", "its charts"), strict=False))

    def summary(self) -> dict[str, str]:
        """The model, the data and the main metrics."""
        return {
            "model": self.model,
            "data": self.data,
            f"{self.found.score_name} on clean images": percent(self.found.clean.value),
            "on corrupted images": percent(self.found.mean_score),
        }

    def to_dict(self) -> dict[str, Any]:
        """The object that ``eval --robustness --json`` prints."""
        head = {"schema_version": SCHEMA_VERSION, "model": self.model, "data": self.data}
        seen = self.seen.to_dict() if self.seen else None
        return head | {"robustness": self.found.to_dict(), "seen": seen, "written": list(map(str, self.files))}


StudyResult = CurveResult | AuditResult | RobustnessResult


def _head(result: CurveResult | AuditResult) -> dict[str, Any]:
    backbone = result.backbone or "the model's own"
    return {"schema_version": SCHEMA_VERSION, "model": result.model, "data": result.data, "backbone": backbone}
