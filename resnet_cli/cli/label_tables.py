"""The tables of ``eval`` for a multi-label model; everything else is in ``--json`` and in the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_cli.cli.confusion import cooccurrence_table
from resnet_cli.cli.headlines import label_headline
from resnet_cli.cli.score_parts import (
    FEW_IMAGES,
    MAX_CLASS_ROWS,
    MAX_NAME_WIDTH,
    MAX_SLICE_ROWS,
    NO_CHANGE,
    calibration_remark,
    seen_table,
    spaced,
    span,
    unfamiliar_lines,
    worst_first,
)
from resnet_cli.cli.tables import plain_table
from resnet_cli.text import counted, model_letters, percent, printable, share_or_dash, shorten

if TYPE_CHECKING:
    from resnet_cli.evaluation.intervals import Interval
    from resnet_cli.evaluation.label_comparison import LabelComparison
    from resnet_cli.evaluation.label_scores import LabelEvaluation
    from resnet_cli.evaluation.label_targets import LabelTarget

#: Rows of the list of wrong labels, and of the table of the worst mistakes.
MAX_PAIRS = 8
MAX_MISTAKE_ROWS = 10
#: Columns that the numbers of a class take, and the fewest that its name is shortened to.
NUMBERS_WIDTH = 68
MIN_NAME_WIDTH = 12
#: Shares in the first table: name in JSON -> name shown.
_SHARES = {
    "map": "mAP",
    "micro_map": "micro mAP",
    "weighted_map": "weighted mAP",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "exact_match": "exact match",
    "hamming_loss": "Hamming loss",
}
#: Numbers in the first table.
_NUMBERS = {
    "loss": "loss",
    "roc_auc": "ROC-AUC",
    "ranking_average_precision": "label ranking AP",
    "ranking_loss": "ranking loss",
    "coverage_error": "coverage error",
    "one_error": "one-error",
}


def label_tables(
    scores: LabelEvaluation, target: LabelTarget | None = None, *, width: int, is_short: bool = False
) -> list[RenderableType]:
    """Metrics with intervals, calibration, classes, groups, wrong labels and the worst mistakes.

    Args:
        scores: What is shown.
        target: The thresholds for the target that the user asked for, if any.
        width: Columns of the terminal.
        is_short: Show the most important numbers, and only the tables that the user asked for.
    """
    slices = [_slices(scores)] if scores.slices else []
    wanted = _target(target, scores.classes) if target is not None else []
    if is_short:
        return spaced(label_headline(scores), _remarks(scores), seen_table(scores), slices, wanted)
    return spaced(
        [_figures(scores)],
        _remarks(scores),
        seen_table(scores),
        _calibration(scores),
        [_classes(scores, width=width)],
        slices,
        label_pairs_block(scores, width=width),
        _mistakes(scores, width=width),
        wanted,
        unfamiliar_lines(scores),
    )


def label_comparison_tables(
    found: Sequence[tuple[str, LabelEvaluation]], comparisons: Sequence[LabelComparison], *, names: Sequence[str] = ()
) -> list[RenderableType]:
    """Several models side by side, and whether their differences are significant.

    Args:
        found: Name and metrics of each model.
        comparisons: The first model compared with each of the others.
        names: A short name of each model; by default A, B, C and so on.
    """
    names = names or model_letters(len(found))
    table = plain_table(
        f"{counted(found[0][1].num_images, 'image')}", "", ">mAP", ">95 %", ">exact match", ">loss", ">ECE", "model"
    )
    for name, (path, scores) in zip(names, found, strict=True):
        of_map = scores.intervals.get("map")
        cells = [share_or_dash(scores.map), span(of_map) if of_map else "", percent(scores.exact_match)]
        numbers = [f"{scores.loss:.3f}", percent(scores.ece)]
        table.add_row(Text(name, style="bold"), *cells, *numbers, Text(printable(path), style="dim"))
    pairs = plain_table("Exact match", "", ">both right", ">only first", ">only second", ">neither", ">p")
    lines: list[RenderableType] = []
    for name, comparison in zip(names[1:], comparisons, strict=True):
        exact = comparison.exact_match
        counts = (exact.both_right, exact.only_first, exact.only_second, exact.both_wrong)
        pairs.add_row(f"{names[0]}, {name}", *(f"{count:,}" for count in counts), f"{exact.p_value:.2g}")
        lines.append(Text(comparison.verdict(names[0], name)))
    pairs.caption = "p: McNemar's exact test; the sentence below is about mAP, by the paired bootstrap" + (
        f"; multiply p by {len(comparisons)} (Bonferroni)" if len(lines) > 1 else ""
    )
    return [table, pairs, *lines]


def label_pairs_block(scores: LabelEvaluation, *, width: int, where: str = "") -> list[RenderableType]:
    """Which wrong labels come with which true ones: a matrix, or the worst classes, and the most common pairs."""
    supports = [row.support for row in scores.per_class]
    table = cooccurrence_table(scores.pairs, supports, scores.classes, width=width)
    pairs = _pairs(scores)
    return [Text(f"Wrong labels{where}", style="bold"), table, *([Text(), *pairs] if pairs else [])]


def _figures(scores: LabelEvaluation) -> Table:
    table = plain_table(f"Scores ({counted(scores.num_images, 'image')})", "metric", ">value", ">95 % interval")
    averages = {f"{name}_f1": getattr(scores, name).f1 for name in ("macro", "micro")}
    values = scores.figures | averages
    for key, name in _SHARES.items():
        if (value := values[key]) is not None:
            interval = scores.intervals.get(key)
            table.add_row(name, percent(value), span(interval) if interval else "")
    for key, name in _NUMBERS.items():
        if (value := values[key]) is not None:
            table.add_row(name, f"{value:.3f}", _number_span(scores.intervals.get(key)))
    true, predicted = scores.mean_labels
    table.add_row("labels per image", f"{true:.2f}", f"{predicted:.2f} predicted")
    if scores.tta != "none":
        table.add_row("tta", scores.tta, "")
    return table


def _remarks(scores: LabelEvaluation) -> list[RenderableType]:
    """What the reader must know about the images: negatives, unknown values, and few images."""
    notes = []
    if scores.map is None:
        notes.append("no class has both positives and negatives, so there is no mAP")
    if num := scores.num_negatives:
        notes.append(f"{counted(num, 'image')} without a label")
    if num := scores.num_unknown:
        notes.append(f"{num:,} of {scores.targets.size:,} values are unknown and count nowhere")
    if num := scores.num_images - scores.num_scored:
        notes.append(f"{counted(num, 'image')} without any known value")
    if scores.num_images < FEW_IMAGES:
        notes.append(f"{counted(scores.num_images, 'image')} are few: the intervals are wide")
    # Beside a narrow table, a caption would take many lines.
    return [Text("; ".join(notes), style="dim")] if notes else []


def _number_span(interval: Interval | None) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if interval and math.isfinite(interval.high) else ""


def _calibration(scores: LabelEvaluation) -> list[RenderableType]:
    table = plain_table("Calibration (mean over classes)", "probabilities", ">ECE", ">Brier", ">loss")
    rows = [("as predicted", scores.calibration)]
    raw = scores.uncalibrated
    if raw is not None and abs(raw.loss - scores.loss) >= NO_CHANGE / 10:
        rows = [("before scaling", raw), ("scaled on validation", scores.calibration)]
    for name, found in rows:
        table.add_row(name, percent(found.ece), f"{found.brier:.3f}", f"{found.loss:.3f}")
    return [table, calibration_remark(scores.calibration.chance_ece)]


def _classes(scores: LabelEvaluation, *, width: int) -> Table:
    table = plain_table(
        "Per class, lowest AP first", "class", ">AP", ">precision", ">recall", ">F1", ">threshold", ">positives"
    )
    order = worst_first(scores)
    for label in order[:MAX_CLASS_ROWS]:
        row = scores.per_class[label]
        threshold = percent(row.threshold) if math.isfinite(row.threshold) else "never"
        # A class that is never predicted has no precision, one without positives no recall.
        shown = [
            share_or_dash(row.average_precision),
            percent(row.precision) if row.num_predicted else "-",
            percent(row.recall) if row.support else "-",
            percent(row.f1) if row.counts else "-",
        ]
        name = Text(shorten(scores.classes[label], max(MIN_NAME_WIDTH, min(MAX_NAME_WIDTH, width - NUMBERS_WIDTH))))
        table.add_row(name, *shown, threshold, f"{row.support:,}")
    table.add_section()
    of_map = {"macro": scores.map, "micro": scores.micro_map, "weighted": scores.weighted_map}
    for average, value in of_map.items():
        one = getattr(scores, average)
        cells = [share_or_dash(value), *(percent(figure) for figure in (one.precision, one.recall, one.f1))]
        table.add_row(average, *cells, "", f"{one.support:,}")
    notes = []
    if len(order) > MAX_CLASS_ROWS:
        notes.append(f"the {MAX_CLASS_ROWS} classes with the lowest AP of {len(order):,}; --json has all")
    if any(row.num_predicted and not row.support for row in scores.per_class):
        notes.append("a class that is predicted but has no positives counts as 0 in the macro average of F1")
    table.caption = "; ".join(notes) or None
    return table


def _slices(scores: LabelEvaluation) -> Table:
    table = plain_table("Per group", "group", ">mAP", ">95 % interval", ">exact match", ">loss", ">images")
    for one in scores.slices[:MAX_SLICE_ROWS]:
        name = Text(shorten(one.group, MAX_NAME_WIDTH)) if one.group else Text("(no group)", style="dim")
        interval = span(one.map_interval) if one.map_interval else ""
        cells = [share_or_dash(one.map), interval, percent(one.exact_match.value), f"{one.loss:.3f}"]
        table.add_row(name, *cells, f"{one.num_images:,}")
    if len(scores.slices) > MAX_SLICE_ROWS:
        table.caption = f"the {MAX_SLICE_ROWS} lowest of {len(scores.slices):,} groups; --json has all"
    return table


def _pairs(scores: LabelEvaluation) -> list[RenderableType]:
    from resnet_cli.evaluation.label_mistakes import most_common_pairs

    pairs = most_common_pairs(scores.pairs, MAX_PAIRS)
    if not pairs:
        return []
    table = plain_table("Most common wrong labels", "true", "predicted", "", ">images", ">of true")
    for pair in pairs:
        names = [Text(shorten(scores.classes[label], 24)) for label in (pair.true, pair.predicted)]
        how = "instead" if pair.is_instead else "in addition"
        share = pair.num / scores.per_class[pair.true].support
        table.add_row(*names, Text(how, style="dim"), f"{pair.num:,}", percent(share))
    return [table]


def _mistakes(scores: LabelEvaluation, *, width: int) -> list[RenderableType]:
    """The worst missed image and the worst false alarm of each class, for the classes with the lowest AP."""
    table = plain_table("Worst mistakes", "class", ">missed", "least probable", ">false", "most probable")
    room = max(12, (width - 46) // 2)
    for label in worst_first(scores):
        row, found = scores.per_class[label], int(scores.cooccurrence[label, label])
        nums = row.support - found, row.num_predicted - found
        if table.row_count == MAX_MISTAKE_ROWS:
            break
        if not any(nums):
            continue
        cells: list[str | Text] = []
        for num, images in zip(nums, scores.worst_mistakes(label, limit=1), strict=True):
            named = [Text(f"{shorten(scores.names[i], room)} {percent(float(scores.probs[i, label]))}") for i in images]
            cells += [f"{num:,}", *(named or [Text()])]
        table.add_row(Text(shorten(scores.classes[label], 16)), *cells)
    return [table] if table.row_count else []


def _target(target: LabelTarget, classes: Sequence[str]) -> list[RenderableType]:
    """For each class the threshold, what the validation images guarantee, and what is observed on these images."""
    share = f"{100 * target.target:g} %"
    table = plain_table(
        f"{target.metric.capitalize()} of at least {share} per class",
        *("class", ">threshold", ">bound", ">here", ">95 % interval", "held"),
    )
    for name, row in zip(classes, target.rows, strict=True):
        cut = "never" if row.threshold is None else percent(row.threshold)
        observed = row.observed
        here = ["-", ""] if observed is None else [percent(observed.value), span(observed)]
        table.add_row(Text(shorten(name, MAX_NAME_WIDTH - 6)), cut, share_or_dash(row.bound), *here, row.verdict)
    table.caption = target.in_words
    lines: list[RenderableType] = [table]
    if target.caveat:
        lines.append(Text(target.caveat))
    lines.append(Text(f"use it: predict {target.flag} {100 * target.target:g}%", style="dim"))
    return [Group(*lines)]
