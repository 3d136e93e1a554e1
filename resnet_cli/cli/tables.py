"""Plans, metrics and files as tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_cli.cli.confusion import confused_lines, confusion_table
from resnet_cli.cli.links import link
from resnet_cli.text import percent, printable

if TYPE_CHECKING:
    from resnet_cli.evaluation.label_scores import LabelEvaluation
    from resnet_cli.evaluation.scores import Evaluation
    from resnet_cli.task import TaskName
    from resnet_cli.training.plan import Plan
    from resnet_cli.training.report import FinetuneResult


def plain_table(title: str, *columns: str) -> Table:
    """A table without lines; columns whose name starts with ``>`` are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.caption_justify = "left"
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def plan_table(plan: Plan) -> Table:
    """Every decision of a plan, its origin and its reason."""
    table = plain_table("Plan", "what", "value", "set by", "why")
    for choice in plan.choices:
        cells = [printable(choice.value), printable(choice.origin), printable(choice.why)]
        table.add_row(choice.name, Text(cells[0]), Text(cells[1], style="dim"), Text(cells[2], style="dim"))
    return table


def result_table(result: FinetuneResult) -> Table:
    """The metrics of a fine-tuning on each split."""
    scores_of = _SCORES[result.val.task]
    columns = [f">{name}" for name in scores_of(result.val)]
    table = plain_table("Results", "split", ">images", *columns, "role")
    for name, scores, part in (("validation", result.val, _chosen(result)), ("test", result.test, "held out")):
        if scores is not None:
            table.add_row(name, f"{scores.num_images:,}", *scores_of(scores).values(), part)
    if (precision := result.plan.compute.precision) != "fp32":
        table.caption = f"computed in {precision}, less precise than float32"
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


def _chosen(result: FinetuneResult) -> str:
    """The choice that the validation split was used for."""
    best = result.best
    if best.epoch == 0 and result.plan.is_frozen:
        return "kept epoch 0, the L-BFGS head: no later epoch had a lower loss"
    if best.epoch == 0:
        return f"chose the probe over {len(result.history) - 1} epochs"
    if best.l2 is not None and result.plan.dataset.task == "multi-label":
        return f"chose one of {len(result.history)} penalties per class"
    if best.l2 is not None:
        return f"chose the penalty {best.l2:g}, one of {len(result.history)}"
    return f"chose epoch {best.epoch} of {result.history[-1].epoch}"


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
    found = spread(results)
    table.add_section()
    table.add_row("mean", percent(found.mean), "", "")
    table.add_row("std", f"{100 * found.std:.1f} points", "", f"{percent(found.lowest)} to {percent(found.highest)}")
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
        # Commands are no files.
        lines.append(Text.assemble("  ", link(left) if os.path.exists(left) else left, gap, (right, "dim")))
    return Group(*lines)
