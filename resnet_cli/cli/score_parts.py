"""What the tables of both tasks have in common: rows that fit, bars, intervals, seen and unfamiliar images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from resnet_cli.cli.tables import plain_table
from resnet_cli.text import percent, percent_range, share_or_dash

if TYPE_CHECKING:
    from resnet_cli.evaluation.intervals import Interval
    from resnet_cli.evaluation.label_scores import LabelEvaluation
    from resnet_cli.evaluation.scoring import Scores

#: Most rows shown in a terminal; JSON has all of them.
MAX_CLASS_ROWS = 30
MAX_SLICE_ROWS = 20
BAR_WIDTH = 10
BAR_STYLE = "#2171b5"
MAX_NAME_WIDTH = 28
#: With fewer images a caption says that the intervals are wide.
FEW_IMAGES = 30
#: A temperature closer to 1 than this changes nothing visible.
NO_CHANGE = 0.005


def span(interval: Interval) -> str:
    """The ends of the interval of a share: ``92.1 to 98.0 %``."""
    return percent_range(interval.low, interval.high)


def bar(share: float, width: int = BAR_WIDTH) -> Text:
    """A share as a bar."""
    filled = round(share * width)
    return Text.assemble(("█" * filled, BAR_STYLE), ("░" * (width - filled), "dim"))


def worst_first(scores: LabelEvaluation) -> list[int]:
    """The classes of a multi-label model by average precision, the lowest first; those without one come last, by F1."""

    def key(label: int) -> tuple[bool, float, float]:
        row = scores.per_class[label]
        return row.average_precision is None, row.average_precision or 0, row.f1

    return sorted(range(len(scores.classes)), key=key)


def spaced(*groups: Sequence[RenderableType]) -> list[RenderableType]:
    """Groups of blocks with an empty line between them, so that no heading is glued to the text above it."""
    blocks: list[RenderableType] = []
    for group in filter(None, groups):
        # A table without a caption ends with an empty line of its own.
        is_apart = not blocks or (isinstance(blocks[-1], Table) and blocks[-1].caption is None)
        blocks += group if is_apart else [Text(), *group]
    return blocks


def calibration_remark(chance_ece: float) -> Text:
    """What the ECE of a perfectly calibrated model would be; a caption would be as narrow as the table."""
    return Text(f"a perfectly calibrated model would show an ECE of up to {percent(chance_ece)} by chance", style="dim")


def seen_table(scores: Scores) -> list[RenderableType]:
    """The main metric on images that the model has seen beside that on the others."""
    if scores.seen is None or scores.seen.scores is None:
        return []
    metric, score = scores.main
    table = plain_table("Seen in training", "images", f">{metric}", ">95 % interval", ">loss", ">number")
    apart = scores.seen.scores
    rows = [
        ("new to the model", scores.score, score, scores.loss, scores.num_images),
        ("seen in training", apart.value, apart.score, apart.loss, apart.num_images),
    ]
    for name, value, one, loss, num_images in rows:
        table.add_row(name, share_or_dash(value), span(one), f"{loss:.3f}", f"{num_images:,}")
    return [table]


def unfamiliar_lines(scores: Scores) -> list[RenderableType]:
    """How many images are unlike the training images; empty if the model cannot tell."""
    unfamiliar = scores.unfamiliar_interval
    if unfamiliar is None:
        return []
    num = round(unfamiliar.value * scores.num_images)
    share = f"{num:,} of {scores.num_images:,} images ({percent(unfamiliar.value)})"
    return [
        Text(f"{share} are unlike the training images"),
        Text("(5 % of the validation images are, by definition; predict marks such images)", style="dim"),
    ]
