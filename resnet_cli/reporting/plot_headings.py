"""What is written around the plots of a report: what each shows with its main result, and where it comes from."""

from __future__ import annotations

from resnet_cli.history import kept_text
from resnet_cli.reporting.figures import Heading
from resnet_cli.reporting.prediction_plot import ShownPredictions
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.system.paths import shorten_home
from resnet_cli.text import counted, percent, percent_range, share_or_dash
from resnet_cli.version import __version__

SEPARATOR = "  ·  "


def heading(content: ReportContent, title: str, detail: str = "") -> Heading:
    """The heading of a plot of a report.

    Args:
        content: The content of the report.
        title: What the plot shows, and the main result.
        detail: What the second line says after the names of the run and of the data.
    """
    parts = [content.provenance.run, content.title, detail or counts_text(content)]
    return Heading(title, SEPARATOR.join(filter(None, parts)), foot(content.provenance))


def foot(provenance: Provenance) -> str:
    """Where a plot comes from, in one line: the data, the day and the version."""
    parts = [provenance.data, provenance.date[:10], f"resnet-cli {__version__}"]
    return SEPARATOR.join(shorten_home(part) for part in parts if part)


def counts_text(content: ReportContent) -> str:
    """The number of images and the main score with its interval."""
    evaluation = content.evaluation
    num = counted(evaluation.num_images, "image")
    return num if evaluation.score is None else f"{num}, {score_text(content)} ({interval_text(content)})"


def score_text(content: ReportContent) -> str:
    """The main score: ``top-1 96.1 %``."""
    return f"{content.evaluation.main[0]} {share_or_dash(content.evaluation.score)}"


def interval_text(content: ReportContent) -> str:
    """Its interval: ``95 % interval 91.7 to 98.2 %``."""
    interval = content.evaluation.main[1]
    return f"95 % interval {percent_range(interval.low, interval.high)}"


def curves_heading(content: ReportContent) -> Heading:
    """The heading of the curves: what was kept, and why."""
    kept = kept_text(content.history)
    return heading(content, kept[0].upper() + kept[1:])


def predictions_heading(content: ReportContent, shown: ShownPredictions) -> Heading:
    """The heading of the images: how many are wrong, and how many of them are shown."""
    num_wrong, num_right = shown.num_wrong, shown.num_right
    num = counted(num_wrong + num_right, "prediction")
    if not num_wrong:
        return heading(content, f"All {num} are right", f"shown: {_shown(len(shown.right), num_right, 'right')}")
    how = "is wrong" if num_wrong == 1 else "are wrong"
    title = f"{num_wrong:,} of {num} {how} ({percent(num_wrong / (num_wrong + num_right))})"
    parts = [(len(shown.wrong), num_wrong, "wrong"), (len(shown.right), num_right, "right")]
    return heading(content, title, "shown: " + ", then ".join(_shown(*part) for part in parts if part[0]))


def _shown(num: int, total: int, word: str) -> str:
    return f"all {num} {word} ones" if num == total else f"{num} of the {total:,} {word} ones"
