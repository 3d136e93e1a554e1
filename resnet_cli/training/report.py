"""The result of a fine-tuning, and what a finished run writes besides its model: history, metrics, plots."""

from __future__ import annotations

import base64
import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from resnet_cli.data.dataset import SPLITS, Split
from resnet_cli.evaluation.fail_under import check_fail_under
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.history import EpochRecord, has_penalties
from resnet_cli.model.model_file import Model
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_files import write_report_files
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.runs import RunFolder
from resnet_cli.task import TASKS
from resnet_cli.text import Summarized, duration, percent
from resnet_cli.training.exemplars import Retention
from resnet_cli.training.plan import Plan
from resnet_cli.version import SCHEMA_VERSION


@dataclasses.dataclass(frozen=True, repr=False)
class FinetuneResult(Summarized):
    """The result of a fine-tuning.

    Attributes:
        run: The run folder.
        model: The model of the best epoch on the validation split.
        plan: The plan of the training.
        history: One record per epoch.
        best: Record of the best epoch.
        val: Evaluation on the validation split, which chose the epoch.
        test: Evaluation on the held-out test split; None if there is none.
        seconds: Wall time from the plan to the last evaluation.
        retention: Top-1 on the old classes before and after; None without ``add``.
        threads: Pairs of a step (from 0; with L-BFGS a penalty) and the number of threads that share an operation from
            it on, on which the last digits of sums depend. Empty on a GPU.
    """

    run: RunFolder
    model: Model
    plan: Plan
    history: tuple[EpochRecord, ...]
    best: EpochRecord
    val: Scores
    test: Scores | None
    seconds: float
    retention: Retention | None = None
    threads: Sequence[Sequence[int]] = ()

    def summary(self) -> dict[str, str]:
        """The run and its main metrics."""
        name, val = self.val.main
        test = {} if self.test is None else {f"test {name}": percent(self.test.main[1].value)}
        return {
            "run": str(self.run.path),
            "mode": self.plan.mode,
            "classes": f"{len(self.model.classes):,}",
            f"validation {name}": percent(val.value),
            **test,
            "time": duration(self.seconds),
        }

    def _repr_html_(self) -> str:
        """The table, and below it the plots that the run folder has by now, inside the text."""
        plots = (self.run.path / "plots" / f"{name}.png" for name in ("curves", "confusion", "predictions"))
        images = (base64.b64encode(path.read_bytes()).decode() for path in plots if path.is_file())
        return super()._repr_html_() + "".join(
            f'<img src="data:image/png;base64,{image}" style="max-width: 100%; max-height: 26em" alt="">'
            for image in images
        )

    @property
    def final(self) -> Scores:
        """The evaluation to report: that of the test split if there is one, otherwise of the validation split."""
        return self.test or self.val

    def check(self, least: float | None) -> None:
        """Compares the main score of the reported split with the least that is required.

        Raises:
            VerificationError: It is below ``least``.
        """
        name = f"{self.run.path}: {'test' if self.test else 'validation'}"
        hint = f"see where it is wrong: resnet-cli eval {self.run.path}"
        check_fail_under(self.final, least, name=name, hint=hint)

    def to_dict(self) -> dict[str, Any]:
        """The summary that ``finetune --json`` prints."""
        key, is_path = TASKS[self.val.task].score, has_penalties(self.history)
        return {
            "schema_version": SCHEMA_VERSION,
            "run": str(self.run.path),
            "model": str(self.run.model_path),
            "mode": self.plan.mode,
            "weights": self.plan.weights.name,
            "weights_reading": self.plan.weights.reading,
            "precision": self.plan.compute.precision,
            "num_classes": len(self.model.classes),
            "num_skipped": len(self.plan.skipped),
            "num_images": {split: len(self.plan.dataset.split(split)) for split in SPLITS},
            "epochs": None if is_path else self.history[-1].epoch,
            "threads": [list(since) for since in self.threads],
            "best_epoch": None if is_path else self.best.epoch,
            "penalties": len(self.history) if is_path else None,
            # With several labels per image, each class has its own.
            "best_penalty": self.best.l2 if is_path and key == "top1" else None,
            f"val_{key}": self.val.score,
            f"test_{key}": self.test.score if self.test else None,
            "old_classes": dataclasses.asdict(self.retention) if self.retention else None,
            "seconds": round(self.seconds, 3),
        }


def write_report(result: FinetuneResult) -> None:
    """Writes the rest of the run folder besides the model: history, metrics, plots, the report and the model card.

    Raises:
        DiskError: The disk is full.
    """
    run = result.run
    run.write_history(result.history)
    write_report_files(run.path, report_content(result))
    # Last, since a run that has it is finished: one that is killed before can be resumed, and writes its report again.
    run.write_metrics(
        result.to_dict() | {"val": result.val.to_dict(), "test": result.test.to_dict() if result.test else None}
    )


def report_content(result: FinetuneResult) -> ReportContent:
    """The content of a run's report."""
    plan, model, final = result.plan, result.model, result.final
    split: Split = "test" if result.test else "val"
    items = plan.dataset.split(split)
    decisions = kind_of(final).decisions(model.reliability, final)
    return ReportContent(
        title=f"{plan.dataset.name}, {'test' if result.test else 'validation'} split",
        command=f"resnet-cli finetune --config {shlex.quote(str(result.run.path / 'config.yaml'))}",
        facts=[(choice.name, choice.value, choice.why) for choice in plan.choices if choice.name != "out"],
        evaluation=final,
        items=items,
        data=plan.dataset.name,
        split=split,
        overlays=kind_of(final).heat_maps(model, items, final, plan.compute),
        history=result.history,
        best_epoch=result.best.epoch,
        selections=decisions.selections,
        thresholds=decisions.thresholds,
        threshold_note=decisions.threshold_note,
        precision_targets=decisions.precision_targets,
        most_novel=model.reliability.most_novel if model.reliability else None,
        findings=plan.findings,
        warnings=[
            _what_chose(result),
            *_why_epoch_0(result),
            *(text for text in plan.warnings if text not in plan.notes),
        ],
        other=result.val if result.test else None,
        bit_depth=model.preprocess.bit_depth,
        preprocess=model.preprocess,
        provenance=Provenance.now(
            run=result.run.path.resolve().name,
            data=plan.dataset.spec,
            seconds=result.seconds,
            device=str(plan.compute.device),
        ),
    )


def _what_chose(result: FinetuneResult) -> str:
    chosen = "the epoch" if result.plan.takes_steps else "the weight penalty"
    fitted = kind_of(result.final).fitted
    if result.test:
        return f"The validation split chose {chosen}{fitted}; the test split was held out."
    return (
        f"There is no test split: these images also chose {chosen}{fitted}, so the metrics are optimistic. "
        "Set some images aside in a folder named test."
    )


def _why_epoch_0(result: FinetuneResult) -> list[str]:
    if result.best.epoch or len(result.history) == 1:
        return []
    start = "the head of L-BFGS" if result.plan.is_frozen else "the linear probe"
    return [f"Epoch 0, {start}, was kept: no later epoch had a lower validation loss at its best temperature."]
