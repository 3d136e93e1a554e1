"""Metrics and files as tables."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_cli.cli.confusion import confused_lines, confusion_table
from resnet_cli.cli.links import link
from resnet_cli.history import has_penalties, kept_text
from resnet_cli.text import percent, percent_range, printable, wrap_prose

if TYPE_CHECKING:
    from resnet_cli.evaluation.label_scores import LabelEvaluation
    from resnet_cli.evaluation.scores import Evaluation
    from resnet_cli.task import TaskName
    from resnet_cli.training.report import FinetuneResult


def plain_table(title: str, *columns: str) -> Table:
    """A table without lines; columns whose name starts with ``>`` are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.caption_justify = "left"
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def result_table(result: FinetuneResult) -> Table:
    """The metrics of a fine-tuning on each split."""
    scores_of = _SCORES[result.val.task]
    columns = [f">{name}" for name in scores_of(result.val)]
    table = plain_table("Results", "split", ">images", *columns, "used for")
    chosen = "choosing the penalty" if has_penalties(result.history) else "choosing the epoch"
    for name, scores, use in (("validation", result.val, chosen), ("test", result.test, "only for scoring")):
        if scores is not None:
            table.add_row(name, f"{scores.num_images:,}", *scores_of(scores).values(), use)
    captions = [kept_text(result.history)]
    if (precision := result.plan.compute.precision) != "fp32":
        captions.append(f"computed in {precision}, less precise than float32")
    table.caption = "\n".join(captions)
    return table


def _single_label_scores(scores: Evaluation) -> dict[str, str]:
    top5 = {} if scores.top5 is None else {"top-5": percent(scores.top5)}
    return {"top-1": percent(scores.top1), **top5, "loss": f"{scores.loss:.3f}"}


def _multi_label_scores(scores: LabelEvaluation) -> dict[str, str]:
    return {
        "mAP": "undefined" if scores.map is None else percent(scores.map),
        "macro F1": percent(scores.macro.f1),
        "exact match": percent(scores.exact_match),
        "loss": f"{scores.loss:.3f}",
    }


#: Task -> the main metrics of a split, by their name in a table.
_SCORES: Mapping[TaskName, Callable[[Any], dict[str, str]]] = {
    "single-label": _single_label_scores,
    "multi-label": _multi_label_scores,
}


def retention_lines(result: FinetuneResult) -> list[RenderableType]:
    """The score on the old classes before and after classes were added."""
    from resnet_cli.task import TASKS

    kept = result.retention
    if kept is None or result.plan.start is None:
        return []
    name = TASKS[result.plan.dataset.task].score_name
    table = plain_table("Old classes", "classified among", ">exemplars", f">{name}")
    table.add_row(f"the {len(result.plan.start.classes)} old classes, before", f"{kept.num:,}", percent(kept.before))
    table.add_row(f"all {len(result.model.classes)} classes, now", f"{kept.num:,}", percent(kept.after))
    return [table]


def seeds_table(results: Sequence[FinetuneResult]) -> RenderableType:
    """The metrics of each seed, their mean and their spread."""
    from resnet_cli.task import TASKS
    from resnet_cli.training.seeds import remark, spread

    split = "test" if results[0].test else "validation"
    name = TASKS[results[0].final.task].score_name
    table = plain_table(f"Results ({split})", "seed", f">{name}", ">loss", "run")
    for result in results:
        run = Text(printable(str(result.run.path)))
        score = percent(result.final.main[1].value)
        table.add_row(str(result.plan.config.seed), score, f"{result.final.loss:.3f}", run)
    table.caption = remark(results)
    found, losses = spread(results), [result.final.loss for result in results]
    table.add_section()
    table.add_row("mean", percent(found.mean), f"{statistics.fmean(losses):.3f}", "")
    table.add_row("std", f"{100 * found.std:.1f} points", f"{statistics.stdev(losses):.3f}", "")
    table.add_row("range", percent_range(found.lowest, found.highest), "", "")
    return table


def confusion_block(scores: Evaluation, *, width: int, where: str = "") -> list[RenderableType]:
    """The confusion matrix, and the most confused pairs of classes."""
    blocks: list[RenderableType] = [
        Text(f"Confusion{where}", style="bold"),
        confusion_table(scores.confusion, scores.classes, width=width),
    ]
    if scores.top1 < 1:
        blocks += [
            Text(),
            Text("Most confused (true → predicted)", style="bold"),
            confused_lines(scores.confusion, scores.classes),
        ]
    return blocks


def files_block(title: str, rows: Sequence[tuple[str, str]], *, width: int) -> RenderableType:
    """Paths or commands with a description; a path is never truncated, so that it can be copied."""
    longest = max(len(left) for left, _ in rows)
    lines = [Text(), Text(title, style="bold")]
    for left, right in rows:
        fits = 2 + longest + 2 + max(len(text) for _, text in rows) <= width
        gap = " " * (longest - len(left) + 2) if fits else "\n      "
        right = right if fits else wrap_prose(right, width, first=6, indent=6)
        # Commands are no files.
        lines.append(Text.assemble("  ", link(left) if os.path.exists(left) else left, gap, (right, "dim")))
    return Group(*lines)
