"""Events and results of commands as messages for the page."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.data.inspection.findings import find_problems, ranked
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.history import EpochRecord, kept_record, kept_text
from resnet_cli.system.events import Status, Warned, Work, WorkDone
from resnet_cli.text import duration, percent, percent_range, plain, size
from resnet_cli.training.events import (
    EpochDone,
    MemoryShort,
    PlanMade,
    RateLowered,
    Resumed,
    Saved,
    StepDone,
    ThreadsChanged,
)

if TYPE_CHECKING:
    from resnet_cli.commands.export import ExportResult
    from resnet_cli.commands.inspect import InspectResult
    from resnet_cli.training.report import FinetuneResult

#: Kind of work -> what is said while it lasts.
WORK: dict[Work, str] = {
    "download": "downloading",
    "unpack": "unpacking",
    "features": "computing image features",
    "check": "checking the images",
    "compare": "comparing the images",
    "validate": "validating",
    "evaluate": "evaluating",
    "quantize": "quantizing",
    "report": "writing the report",
    "predict": "predicting",
}
#: Wrong images, and images of one finding, that the page shows; the report has the others.
MAX_SHOWN = 60
#: Classes up to which the page shows the confusion matrix.
MAX_MATRIX = 20


def is_frequent(event: Any) -> bool:
    """Whether an event is progress that another one of its kind will follow."""
    is_over = isinstance(event, WorkDone) and event.done == event.total
    return isinstance(event, StepDone | WorkDone) and not is_over


@functools.singledispatch
def describe(event: Any) -> dict[str, Any] | None:
    """An event as a message; None for one that the page does not show."""
    return None


@describe.register
def _(event: WorkDone) -> dict[str, Any]:
    return {"doing": WORK[event.task], "done": event.done, "total": event.total}


@describe.register
def _(event: Status) -> dict[str, Any]:
    return {"doing": event.text, "done": 0, "total": None}


@describe.register
def _(event: StepDone) -> dict[str, Any]:
    return {"doing": f"training, epoch {event.epoch}", "done": event.step, "total": event.steps}


@describe.register
def _(event: PlanMade) -> dict[str, Any]:
    plan = event.plan
    rows = [{"name": one.name, "value": one.value, "why": one.why} for one in plan.choices]
    return {"plan": rows, "warnings": [text for text in plan.warnings if text not in plan.notes]}


@describe.register
def _(event: EpochDone) -> dict[str, Any]:
    return {"epoch": _epoch(event.record, is_kept=event.is_best)}


@describe.register
def _(event: Warned) -> dict[str, Any]:
    return {"warnings": list(event.texts)[:MAX_SHOWN]}


@describe.register
def _(event: RateLowered) -> dict[str, Any]:
    return {"warnings": [f"{event.reason}: continuing from the last good epoch at a lower learning rate"]}


@describe.register
def _(event: MemoryShort) -> dict[str, Any]:
    return {"warnings": [f"memory is short: {event.micro_batch} images at once from now on, with the same result"]}


@describe.register
def _(event: Resumed) -> dict[str, Any]:
    kept = kept_record(event.history) if event.history else None
    return {
        "doing": f"continuing in epoch {event.epoch}",
        "done": 0,
        "total": None,
        "warnings": list(event.warnings),
        "epochs": [_epoch(record, is_kept=record is kept) for record in event.history],
    }


@describe.register(ThreadsChanged)
@describe.register(Saved)
def _(event: ThreadsChanged | Saved) -> None:
    return None


def _epoch(record: EpochRecord, *, is_kept: bool) -> dict[str, Any]:
    return {
        "number": record.epoch,
        "penalty": record.l2 if record.epoch else None,
        "train_loss": record.train_loss,
        "val_loss": record.val_fitted_loss,
        "score": record.val_score,
        "text": record.val_text,
        "is_kept": is_kept,
    }


def inspection_result(result: InspectResult) -> dict[str, Any]:
    """What the page shows of an inspection: findings in sentences, and the images that they are about."""
    found = result.inspection
    report = plain(result.report())
    images = {
        "unreadable": [one["path"] for one in report["unreadable"]],
        "exact_duplicates": [name for group in report["exact_duplicates"] for name in group],
        "near_duplicates": [name for pair in report["near_duplicates"] for name in pair["paths"]],
        "label_conflicts": [name for one in report["label_conflicts"] for name in one["paths"]],
        **report["looks"],
    }
    return {
        "num_images": report["num_images"],
        "classes": [one["name"] for one in report["classes"]],
        "findings": [
            {"rank": rank, "text": one.message, "fix": one.fix, "images": images.get(one.code, [])[:MAX_SHOWN]}
            for rank, one in ranked(find_problems(found))
        ],
    }


def training_result(result: FinetuneResult) -> dict[str, Any]:
    """What the page shows of a training that is over."""
    final, plan = result.final, result.plan
    name, score = final.main
    found: dict[str, Any] = {
        "run": result.run.path.name,
        "mode": plan.mode,
        "kept": kept_text(result.history),
        "seconds": result.seconds,
        "took": duration(result.seconds),
        "split": "test" if result.test else "validation",
        "num_images": final.num_images,
        "num_train": len(plan.dataset.split("train")),
        "score_name": name,
        "score": percent(score.value),
        "interval": percent_range(score.low, score.high),
        "classes": list(result.model.classes),
        "confusion": None,
        "wrong": [],
        "num_wrong": 0,
    }
    if isinstance(final, Evaluation):
        wrong = sorted((~final.is_right).nonzero()[0].tolist(), key=lambda at: -final.confidence[at])
        found["num_wrong"] = len(wrong)
        found["wrong"] = [
            {
                "path": final.names[at],
                "label": final.classes[final.labels[at]],
                "predicted": final.classes[final.predicted[at]],
                "prob": percent(float(final.confidence[at])),
            }
            for at in wrong[:MAX_SHOWN]
        ]
        if len(final.classes) <= MAX_MATRIX:
            found["confusion"] = final.confusion.tolist()
    return found


def export_result(result: ExportResult) -> dict[str, Any]:
    """What the page shows of an exported file."""
    path = Path(result.path)
    return {
        "file": path.name,
        "is_folder": path.is_dir(),
        "size": size(result.num_bytes),
        "format": result.format,
        "precision": result.number,
        "parity": result.summary(),
    }
