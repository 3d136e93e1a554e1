"""The tables of ``eval``: about one page; everything else is in ``--json`` and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from resnet_cli.cli.headlines import headline
from resnet_cli.cli.score_parts import (
    FEW_IMAGES,
    MAX_CLASS_ROWS,
    MAX_NAME_WIDTH,
    MAX_SLICE_ROWS,
    NO_CHANGE,
    bar,
    calibration_remark,
    seen_table,
    spaced,
    span,
    unfamiliar_lines,
)
from resnet_cli.cli.tables import confusion_block, plain_table
from resnet_cli.text import model_letters, percent, printable, shorten

if TYPE_CHECKING:
    from rich.table import Table

    from resnet_cli.evaluation.comparison import Comparison
    from resnet_cli.evaluation.coverage import CoverageRow, Target
    from resnet_cli.evaluation.intervals import Interval
    from resnet_cli.evaluation.scores import Evaluation

#: Narrower terminals show no bars.
MIN_WIDTH_WITH_BARS = 72


def evaluation_tables(
    scores: Evaluation, target: Target | None = None, *, width: int, is_short: bool = False
) -> list[RenderableType]:
    """Metrics with intervals, calibration, classes, groups, the confusion matrix, and accuracy against coverage.

    Args:
        scores: What is shown.
        target: The threshold for the error target that the user asked for, if any.
        width: Columns of the terminal.
        is_short: Show the most important numbers, and only the tables that the user asked for.
    """
    slices = [_slices(scores, width=width)] if scores.slices else []
    wanted = _target_lines(target) if target is not None else []
    if is_short:
        return spaced(headline(scores), seen_table(scores), slices, wanted)
    return spaced(
        [_figures(scores)],
        seen_table(scores),
        _calibration(scores),
        [_classes(scores, width=width)],
        slices,
        confusion_block(scores, width=width),
        _coverage(scores),
        wanted,
        unfamiliar_lines(scores),
    )


def comparison_tables(
    found: Sequence[tuple[str, Evaluation]], comparisons: Sequence[Comparison], *, names: Sequence[str] = ()
) -> list[RenderableType]:
    """Several models side by side, and whether their differences are significant.

    Args:
        found: Name and metrics of each model.
        comparisons: The first model compared with each of the others.
        names: A short name of each model; by default A, B, C and so on.
    """
    names = names or model_letters(len(found))
    table = plain_table(f"{found[0][1].num_images:,} images", "", ">top-1", ">95 %", ">loss", ">ECE", "model")
    for name, (path, scores) in zip(names, found, strict=True):
        cells = [percent(scores.top1), span(scores.top1_interval), f"{scores.loss:.3f}", percent(scores.ece)]
        table.add_row(Text(name, style="bold"), *cells, Text(printable(path), style="dim"))
    pairs = plain_table("Image by image", "", ">both right", ">only first", ">only second", ">neither", ">p")
    lines: list[RenderableType] = []
    for name, comparison in zip(names[1:], comparisons, strict=True):
        counts = (comparison.both_right, comparison.only_first, comparison.only_second, comparison.both_wrong)
        pairs.add_row(f"{names[0]}, {name}", *(f"{count:,}" for count in counts), f"{comparison.p_value:.2g}")
        lines.append(Text(comparison.verdict(names[0], name)))
    pairs.caption = "p: McNemar's exact test" + (
        f"; multiply by {len(comparisons)} (Bonferroni)" if len(lines) > 1 else ""
    )
    return [table, pairs, *lines]


def _figures(scores: Evaluation) -> Table:
    table = plain_table(f"Scores ({scores.num_images:,} images)", "metric", ">value", ">95 % interval")

    def share(name: str, interval: Interval | None) -> None:
        if interval is not None:
            table.add_row(name, percent(interval.value), span(interval))

    def number(name: str, interval: Interval | None) -> None:
        if interval is not None:
            ends = f"{interval.low:.3f} to {interval.high:.3f}"
            table.add_row(name, f"{interval.value:.3f}", ends if scores.num_images > 1 else "")

    share("top-1", scores.top1_interval)
    share("top-5", scores.top5_interval)
    share("balanced accuracy", scores.balanced_accuracy_interval)
    share("macro F1", scores.macro_f1_interval)
    number("loss", scores.loss_interval)
    number("Cohen's kappa", scores.kappa_interval)
    number("MCC", scores.mcc_interval)
    number("ROC-AUC", scores.roc_auc_interval)
    if scores.average_precision is not None:
        table.add_row("average precision", f"{scores.average_precision:.3f}", "")
    if scores.tta != "none":
        table.add_row("tta", scores.tta, "")
    if scores.num_images < FEW_IMAGES:
        table.caption = f"{scores.num_images} images are few: the intervals are wide"
    return table


def _calibration(scores: Evaluation) -> list[RenderableType]:
    table = plain_table("Calibration", "probabilities", ">ECE", ">Brier", ">loss")
    rows = [("as predicted", scores.calibration)]
    if scores.uncalibrated is not None and abs(scores.temperature - 1) >= NO_CHANGE:
        rows = [
            ("without temperature", scores.uncalibrated),
            (f"at temperature {scores.temperature:.2f}", scores.calibration),
        ]
    for name, found in rows:
        table.add_row(name, percent(found.ece), f"{found.brier:.3f}", f"{found.loss:.3f}")
    return [table, calibration_remark(scores.chance_ece)]


def _classes(scores: Evaluation, *, width: int) -> Table:
    with_bars = width >= MIN_WIDTH_WITH_BARS
    table = plain_table("Per class", "class", *["recall"] * with_bars, ">recall", ">precision", ">F1", ">images")
    if with_bars:
        table.columns[1].header = ""
    labels: Sequence[int] = range(len(scores.classes))
    is_known, notes = scores.occurs, []
    if len(scores.classes) > MAX_CLASS_ROWS:
        # Classes without any metric come last.
        labels = sorted(labels, key=lambda label: (not is_known[label], scores.per_class[label].f1))[:MAX_CLASS_ROWS]
        notes.append(f"the {MAX_CLASS_ROWS} classes with the lowest F1 of {len(scores.classes):,}; --json has all")
    for label in labels:
        row = scores.per_class[label]
        # The recall of a class without images is not 0 %.
        shown = [percent(row.recall) if row.support else "-"]
        shown += [percent(figure) if is_known[label] else "-" for figure in (row.precision, row.f1)]
        bars = [bar(row.recall) if row.support else Text()] * with_bars
        table.add_row(Text(shorten(scores.classes[label], MAX_NAME_WIDTH)), *bars, *shown, f"{row.support:,}")
    table.add_section()
    for name, average in (("macro average", scores.macro), ("weighted average", scores.weighted)):
        shown = [percent(figure) for figure in (average.recall, average.precision, average.f1)]
        table.add_row(name, *[bar(average.recall)] * with_bars, *shown, f"{average.support:,}")
    if any(is_known[label] and not row.support for label, row in enumerate(scores.per_class)):
        notes.append("a class that is predicted but has no images counts as 0 in the macro average")
    table.caption = "; ".join(notes) or None
    return table


def _slices(scores: Evaluation, *, width: int) -> Table:
    with_bars = width >= MIN_WIDTH_WITH_BARS
    table = plain_table("Per group", "group", *["top-1"] * with_bars, ">top-1", ">95 % interval", ">loss", ">images")
    if with_bars:
        table.columns[1].header = ""
    for one in scores.slices[:MAX_SLICE_ROWS]:
        name = Text(shorten(one.group, MAX_NAME_WIDTH)) if one.group else Text("(no group)", style="dim")
        cells = [percent(one.top1.value), span(one.top1), f"{one.loss:.3f}", f"{one.num_images:,}"]
        table.add_row(name, *[bar(one.top1.value)] * with_bars, *cells)
    if len(scores.slices) > MAX_SLICE_ROWS:
        table.caption = f"the {MAX_SLICE_ROWS} lowest of {len(scores.slices):,} groups; --json has all"
    return table


def _coverage(scores: Evaluation) -> list[RenderableType]:
    """How many predictions are wrong if only the most confident ones are kept."""
    rows = list(scores.risk_coverage)
    if scores.top1 == 1 or len(rows) < 2:
        return []
    title = "Accuracy against coverage"
    table = plain_table(title, ">coverage", ">min. confidence", ">error rate", ">95 % interval")
    for row in rows:
        table.add_row(*_coverage_cells(row))
    return [table]


def _coverage_cells(row: CoverageRow) -> list[str]:
    wrong = ["-", ""] if row.error is None else [percent(row.error.value), span(row.error)]
    return [percent(row.coverage), percent(row.min_prob), *wrong]


def _target_lines(target: Target) -> list[RenderableType]:
    known, observed = target.validation, target.observed
    wrong = (
        "no image reaches it"
        if observed.error is None
        else f"{percent(observed.error.value)} wrong ({span(observed.error)})"
    )
    return [
        Text(
            f"At most {100 * target.target_error:g} % wrong: keep predictions with at least {percent(known.min_prob)}",
            "bold",
        ),
        Text(
            f"  on validation   {percent(known.coverage)} coverage, {percent(known.error)} wrong "
            f"(at 95 % confidence below {100 * known.error_bound:.2f} %)"
        ),
        Text(f"  here            {percent(observed.coverage)} coverage, {wrong}"),
        Text(f"  use it: predict --abstain --target-error {100 * target.target_error:g}%", style="dim"),
    ]
