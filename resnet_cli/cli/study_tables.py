"""The studies of ``eval`` as tables and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from resnet_cli.cli.tables import files_block, plain_table
from resnet_cli.text import percent, printable

if TYPE_CHECKING:
    from rich.table import Table

    from resnet_cli.commands.study_results import AuditResult, StudyResult
    from resnet_cli.data.dataset import Item
    from resnet_cli.studies.label_audit import LabelAudit
    from resnet_cli.studies.learning_curve import LearningCurve
    from resnet_cli.studies.robustness_scores import Robustness
    from resnet_cli.studies.value_audit import Suspect, ValueAudit

#: Most rows in a table of images, and in other tables; JSON and the written files have all.
MAX_ROWS, MAX_FEW = 20, 5
#: Width of the bars in characters.
BAR_WIDTH = 24
#: A loss in percentage points above which a cell is red.
MUCH_POINTS = 10


def study_lines(result: StudyResult) -> list[str]:
    """What ``--quiet`` prints of a study."""
    from resnet_cli.commands.study_results import AuditResult, CurveResult

    if isinstance(result, CurveResult):
        twice = result.curve.twice
        value, low, high = (100 * end for end in twice.gain)
        return [f"{twice.name}: {value:+.1f} points ({low:+.1f} to {high:+.1f})"]
    if isinstance(result, AuditResult):
        return [path for path, _ in result.written]
    return [percent(result.found.mean_score)]


def study_blocks(result: StudyResult, *, width: int) -> list[RenderableType]:
    """The result of a study as tables and sentences."""
    from resnet_cli.commands.study_results import AuditResult, CurveResult

    if isinstance(result, CurveResult):
        blocks = curve_blocks(result.curve, result.split)
    elif isinstance(result, AuditResult):
        blocks = _audit_blocks(result)
    else:
        blocks = robustness_blocks(result.found)
    return [*blocks, *([files_block("Written", result.written, width=width)] if result.written else [])]


def _audit_blocks(result: AuditResult) -> list[RenderableType]:
    from resnet_cli.studies.value_audit import ValueAudit

    if isinstance(result.audit, ValueAudit):
        return value_blocks(result.audit, result.items)
    return audit_blocks(result.audit, result.items)


def curve_blocks(curve: LearningCurve, split: str) -> list[RenderableType]:
    """The curve, the forecasts, and a sentence on what they mean."""
    score = curve.score_name
    title = f"Learning curve (on {curve.num_evaluated:,} {split} images)"
    table = plain_table(title, ">train images", f">{score}", "between", "errors")
    most = max(step.error.value for step in curve.steps) or 1
    for step in curve.steps:
        spread = f"{percent(1 - step.error.high)} to {percent(1 - step.error.low)}" if step.num_draws > 1 else ""
        bar = Text(_bar(step.error.value / most), style="cyan")
        table.add_row(f"{step.num_images:,}", percent(1 - step.error.value), spread, bar)
    table.caption = f"{curve.steps[0].num_draws} random subsets of each size but the last"
    if curve.steps[-1].num_images < curve.num_train:
        table.caption += f"; {curve.steps[-1].num_images:,} of the {curve.num_train:,} images are enough for a curve"
    more = plain_table("Forecast for more images of the same kind", "with", ">images", f">{score}", ">gain", "95 %")
    for found in curve.forecasts:
        gain = f"{100 * found.gain.value:+.1f} points"
        ends = f"{100 * found.gain.low:+.1f} to {100 * found.gain.high:+.1f}"
        name = found.name + (" *" if found.is_guess else "")
        more.add_row(name, f"{found.num_images:,}", percent(found.score.value), gain, ends)
    if any(found.is_guess for found in curve.forecasts):
        more.caption = "* a guess: far beyond the number of images available"
    return [table, more, Text(curve.conclusion)]


def audit_blocks(audit: LabelAudit, items: Sequence[Item]) -> list[RenderableType]:
    """The estimate, the worst labels, and which labels are confused with which."""
    likely = audit.likely()
    blocks: list[RenderableType] = [Text(audit_sentence(audit)), Text()]
    title = "Likely wrong, the worst first" if likely else "The least certain labels"
    table = plain_table(title, "image", "label", ">prob", "looks like", ">prob")
    for at in likely[:MAX_ROWS] or audit.order[:MAX_FEW].tolist():
        table.add_row(
            _name(items[at].name),
            _name(audit.classes[audit.labels[at]]),
            percent(audit.label_probs[at]),
            _name(audit.classes[audit.suggested[at]]),
            percent(audit.suggested_probs[at]),
        )
    if len(likely) > MAX_ROWS:
        table.caption = f"the first {MAX_ROWS} of {len(likely):,}; the written files and --json have more"
    if not likely:
        return [*blocks, table]
    pairs = Counter((int(audit.labels[at]), int(audit.suggested[at])) for at in likely)
    mixed = plain_table("Labeled as, looks like", "label", "looks like", ">labels", "")
    most = max(pairs.values())
    for (label, suggested), count in pairs.most_common(MAX_FEW):
        bar = Text(_bar(count / most), style="cyan")
        mixed.add_row(_name(audit.classes[label]), _name(audit.classes[suggested]), f"{count:,}", bar)
    return [*blocks, table, mixed]


def audit_sentence(audit: LabelAudit) -> str:
    """A sentence on the estimated number of wrong labels."""
    value, low, high = (round(end) for end in audit.num_wrong)
    checked = f"{len(audit.order):,} labels"
    unchecked = f" {audit.num_unchecked:,} were not checked: too few of their class." if audit.num_unchecked else ""
    if not value:
        most = f"; up to {high:,} may still be wrong" if high else ""
        return f"None of {checked} stands out as wrong{most}.{unchecked}"
    return (
        f"Of {checked}, about {value:,} ({percent(value / len(audit.order))}) are probably wrong, "
        f"between {low:,} and {high:,}.{unchecked}"
    )


def value_blocks(audit: ValueAudit, items: Sequence[Item]) -> list[RenderableType]:
    """The estimates, the worst values, and the number of suspects per class."""
    blocks: list[RenderableType] = [Text(value_sentence(audit)), Text()]
    tables = (
        ("Likely missing or wrong, the worst first", audit.suspects, ("remove", "add")),
        ("Unknown values, the most certain first", audit.unknown, ("probably not", "probably")),
    )
    for title, suspects, words in tables:
        if suspects:
            blocks.append(_suspects_table(title, audit, suspects, items, words=words))
    if audit.by_class:
        by_class = plain_table("By class", "class", ">likely missing", ">likely wrong")
        for label, missing, wrong in audit.by_class[:MAX_ROWS]:
            by_class.add_row(_name(audit.classes[label]), f"{missing:,}", f"{wrong:,}")
        blocks.append(by_class)
    return blocks


def _suspects_table(
    title: str, audit: ValueAudit, suspects: Sequence[Suspect], items: Sequence[Item], *, words: tuple[str, str]
) -> Table:
    table = plain_table(title, "image", "labels", "suggestion", ">prob")
    for one in suspects[:MAX_ROWS]:
        labels = ", ".join(audit.classes[label] for label in items[one.image].labels) or "none"
        suggestion = f"{words[one.suggested]} {audit.classes[one.label]}"
        table.add_row(_name(items[one.image].name), _name(labels), _name(suggestion), percent(one.prob))
    table.caption = "prob: probability that the image has the label"
    if len(suspects) > MAX_ROWS:
        table.caption += f"; the first {MAX_ROWS} of {len(suspects):,}; the written files and --json have more"
    return table


def value_sentence(audit: ValueAudit) -> str:
    """A sentence on the estimated numbers of missing and wrong labels."""
    checked = f"{audit.num_checked:,} values (one per image and class)"
    unchecked = (
        f" {audit.num_unchecked:,} were not checked: too few images have, or lack, the label."
        if audit.num_unchecked
        else ""
    )
    parts = []
    for estimate, what in ((audit.num_missing, "missing"), (audit.num_wrong, "wrong")):
        value, low, high = (round(end) for end in estimate)
        parts.append(f"about {value:,} labels are probably {what} (between {low:,} and {high:,})")
    return f"Of {checked}, {' and '.join(parts)}.{unchecked}"


def robustness_blocks(found: Robustness) -> list[RenderableType]:
    """The score for each kind and strength, and a sentence on the worst kind."""
    num = (
        f"{found.num_images:,}"
        + (f" of {found.num_available:,}" if found.num_available > found.num_images else "")
        + " images"
    )
    strengths = (f">{at + 1}" for at in range(len(found.kinds[0].cells)))
    score = found.score_name.capitalize() if found.score_name.islower() else found.score_name
    table = plain_table(f"{score} in % on corrupted images ({num})", "corruption", *strengths, ">mean", ">drop", "95 %")
    for kind in sorted(found.kinds, key=lambda row: row.mean_score):
        cells = [
            Text(f"{100 * cell.score.value:.1f}", style="red" if 100 * cell.drop.value > MUCH_POINTS else "")
            for cell in kind.cells
        ]
        lost = f"{100 * kind.drop.value:.1f}", f"{100 * kind.drop.low:.1f} to {100 * kind.drop.high:.1f}"
        table.add_row(kind.name, *cells, f"{100 * kind.mean_score:.1f}", *lost)
    lost_score = "accuracy" if found.task == "single-label" else score
    table.caption = (
        f"strength 1 is the weakest; drop: mean {lost_score} lost, in percentage points, with its 95 % interval"
    )
    clean = f"{percent(found.clean.value)} ({percent(found.clean.low)} to {percent(found.clean.high)})"
    return [
        Text(f"{score} on the same images without corruption: {clean}"),
        Text(),
        table,
        Text(found.conclusion),
    ]


def _bar(share: float) -> str:
    return "█" * round(BAR_WIDTH * share)


def _name(name: str) -> Text:
    return Text(printable(name))
