"""The first lines of ``eval``: what somebody wants to know first, for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from resnet_cli.cli.score_parts import FEW_IMAGES, MAX_NAME_WIDTH, span, worst_first
from resnet_cli.cli.tables import plain_table
from resnet_cli.text import counted, percent, shorten

if TYPE_CHECKING:
    from rich.table import Table

    from resnet_cli.evaluation.intervals import Interval
    from resnet_cli.evaluation.label_scores import LabelEvaluation
    from resnet_cli.evaluation.scores import Evaluation
    from resnet_cli.evaluation.scoring import Scores


def headline(scores: Evaluation) -> list[RenderableType]:
    """Accuracy, calibration, the class that is missed most often, and the share of unfamiliar images."""
    table = _begin(scores)
    _share(table, "top-1", scores.top1_interval)
    _share(table, "top-5", scores.top5_interval)
    _share(table, "macro F1", scores.macro_f1_interval)
    _calibration(table, scores.ece, scores.chance_ece)
    known = [label for label, row in enumerate(scores.per_class) if row.support]
    worst = min(known, key=lambda label: scores.per_class[label].recall)
    row = scores.per_class[worst]
    if row.recall < 1:
        mistakes = scores.confusion[worst].copy()
        mistakes[worst] = 0
        guess = scores.classes[int(mistakes.argmax())]
        most = f"{int(mistakes.max()):,} of {row.support:,} predicted as {_name(guess)}"
        remark = f"{_name(scores.classes[worst])}; {most}"
        table.add_row("lowest recall", percent(row.recall), Text(remark))
    _unfamiliar(table, scores)
    return [table]


def label_headline(scores: LabelEvaluation) -> list[RenderableType]:
    """Average precision, F1, exact matches, calibration, the class with the lowest AP, and unfamiliar images."""
    table = _begin(scores)
    if scores.map is not None:
        table.add_row("mAP", percent(scores.map), _interval(scores.intervals.get("map")))
    table.add_row("micro F1", percent(scores.micro.f1), _interval(scores.intervals.get("micro_f1")))
    table.add_row("exact match", percent(scores.exact_match), _interval(scores.intervals.get("exact_match")))
    _calibration(table, scores.ece, scores.calibration.chance_ece)
    worst = worst_first(scores)[0]
    row = scores.per_class[worst]
    if row.average_precision is not None and row.average_precision < 1:
        found = int(scores.cooccurrence[worst, worst])
        remark = f"{_name(scores.classes[worst])}; {found:,} of {row.support:,} found"
        table.add_row("lowest AP", percent(row.average_precision), Text(remark))
    _unfamiliar(table, scores)
    return [table]


def _begin(scores: Scores) -> Table:
    tta = "" if scores.tta == "none" else f", tta {scores.tta}"
    table = plain_table(f"Scores ({counted(scores.num_images, 'image')}{tta})", "metric", ">value", "remark")
    table.show_header = False
    if scores.num_images < FEW_IMAGES:
        table.caption = f"{counted(scores.num_images, 'image')} are few: the intervals are wide"
    return table


def _interval(interval: Interval | None) -> str:
    return f"95 % interval {span(interval)}" if interval else ""


def _share(table: Table, name: str, interval: Interval | None) -> None:
    if interval is not None:
        table.add_row(name, percent(interval.value), _interval(interval))


def _calibration(table: Table, ece: float, chance_ece: float) -> None:
    remark = f"up to {percent(chance_ece)} by chance if perfectly calibrated"
    table.add_row("ECE", percent(ece), remark)


def _unfamiliar(table: Table, scores: Scores) -> None:
    share = scores.unfamiliar_interval
    if share is not None:
        num = round(share.value * scores.num_images)
        verb = "is" if num == 1 else "are"
        remark = f"{num:,} of {counted(scores.num_images, 'image')} {verb} unlike the training images"
        table.add_row("unfamiliar", percent(share.value), remark)


def _name(name: str) -> str:
    return shorten(name, MAX_NAME_WIDTH)
