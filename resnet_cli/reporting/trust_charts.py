"""The charts of how far predictions can be trusted: calibration, risk at each coverage, novelty."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.calibration import Bin
from resnet_cli.evaluation.intervals import wilson
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.charts import Chart, Dot, Line, Span, axis, chart_line, percent_ticks
from resnet_cli.reporting.histograms import histogram
from resnet_cli.reporting.metrics import before_temperature
from resnet_cli.text import percent

#: Points of a risk-coverage line; the eye cannot tell more apart.
MAX_PLACES = 300
#: The axis of an error rate covers at least this much.
_LEAST_RISK = 0.02
#: Bars of the novelty chart.
_NUM_BARS = 30


class Binned(Protocol):
    """The calibration of one label per image, or of each label."""

    @property
    def ece(self) -> float:
        """Expected calibration error."""

    @property
    def brier(self) -> float:
        """Brier score."""

    @property
    def loss(self) -> float:
        """Cross-entropy in nats."""

    @property
    def bins(self) -> tuple[Bin, ...]:
        """The bins of the diagram."""


class Words(NamedTuple):
    """What a reliability diagram calls its parts.

    Attributes:
        confidence: The value of the horizontal axis.
        images: What is counted.
        correct: What a share of them is.
        x_title: Text below the horizontal axis.
        line: Name of the line.
    """

    confidence: str
    images: str
    correct: str
    x_title: str
    line: str


SINGLE_LABEL = Words("confidence", "images", "correct", "confidence (predicted probability)", "accuracy")


def calibration_charts(evaluation: Evaluation) -> list[Chart]:
    """Accuracy against confidence, before and after the temperature; one chart if it changes nothing visible."""
    before, after = before_temperature(evaluation), evaluation.calibration
    if before is None:
        return [reliability_chart("Calibration", after)]
    return [
        reliability_chart("Before temperature scaling", before),
        reliability_chart("After temperature scaling", after),
    ]


def reliability_chart(title: str, calibration: Binned, words: Words = SINGLE_LABEL) -> Chart:
    """Accuracy against confidence: a point on the diagonal is as often right as its probability says."""
    bins = [found for found in calibration.bins if found.num]
    most = max(found.num for found in bins)
    rights = [wilson(round(found.accuracy * found.num), found.num) for found in bins]
    labels = [
        f"{words.confidence} {100 * found.low:.0f} to {100 * found.high:.0f} %: {found.num:,} {words.images}, "
        f"{percent(right.value)} {words.correct} (95 % interval: {100 * right.low:.0f} to {100 * right.high:.0f} %)"
        for found, right in zip(bins, rights, strict=True)
    ]
    dots = [Dot(found.confidence, right.value, label) for found, right, label in zip(bins, rights, labels, strict=True)]
    return Chart(
        title=title,
        summary=f"{title}: expected calibration error {percent(calibration.ece)}. {'; '.join(labels)}",
        x_title=words.x_title,
        x_ticks=percent_ticks(),
        y_ticks=percent_ticks(),
        lines=[
            Line("ideal", "perfect calibration", [[(0.0, 0.0), (1.0, 1.0)]], []),
            Line("val", words.line, [[(dot.x, dot.y) for dot in dots]], dots),
        ],
        # A fifth of the height: how many images each point is made of.
        bars=[
            Span(found.low, found.high - found.low, 0.0, 0.2 * found.num / most, label)
            for found, label in zip(bins, labels, strict=True)
        ],
        error_bars=[
            Span(found.confidence, 0.0, right.low, right.high - right.low)
            for found, right in zip(bins, rights, strict=True)
        ],
        figures=[
            ("ECE", percent(calibration.ece)),
            ("Brier", f"{calibration.brier:.3f}"),
            ("NLL", f"{calibration.loss:.3f}"),
        ],
    )


def risk_line(evaluation: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The error rate among the most confident images, for each share of images.

    Returns:
        Coverage [m], rising to 1, and risk [m]; images of equal confidence are added together.

    Source: El-Yaniv and Wiener 2010, https://jmlr.org/papers/v11/el-yaniv10a.html.
    """
    order = np.argsort(-evaluation.confidence, kind="stable")
    wrong = np.cumsum(~evaluation.is_right[order])
    ends = np.append(np.flatnonzero(np.diff(evaluation.confidence[order])), len(order) - 1)
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, MAX_PLACES).round().astype(np.intp))]
    return (ends + 1) / len(order), wrong[ends] / (ends + 1)


def risk_chart(evaluation: Evaluation) -> Chart:
    """The error rate as less and less confident images are included."""
    coverage, risk = risk_line(evaluation)
    _, top, y_ticks = axis([0.0, max(_LEAST_RISK, float(risk.max()))], is_share=True)
    labels = [
        f"{100 * part:.0f} % of the images: {percent(wrong)} of them wrong"
        for part, wrong in zip(coverage.tolist(), risk.tolist(), strict=True)
    ]
    half = min(int(np.searchsorted(coverage, 0.5)), len(labels) - 1)
    return Chart(
        title="Error rate against coverage",
        summary=f"Error rate against coverage: {labels[-1]}; {labels[half]}",
        x_title="coverage (most confident images first)",
        x_ticks=percent_ticks(),
        y_ticks=y_ticks,
        lines=[chart_line("val", "", coverage.tolist(), (risk / top).tolist(), labels, is_filled=True)],
        figures=[("All images", percent(float(risk[-1])))],
    )


def novelty_chart(novelty: NDArray[np.float32], most_novel: float | None) -> Chart:
    """How unlike the training images the evaluated ones are, and above which novelty they count as unlike them."""
    high = max(float(novelty.max()), (most_novel or 0.0)) * 1.05 + 1e-6
    _, top, ticks = axis([0.0, high], is_share=False)
    chart = histogram(
        novelty,
        title="Novelty: distance from the training images",
        span=(0.0, high),
        num_bars=_NUM_BARS,
        ticks=[(tick.place * top, tick.text) for tick in ticks if tick.place * top <= high],
        name=lambda left, right: f"{left:.3f} to {right:.3f}",
    )._replace(x_title="novelty (1 - cosine to the nearest training images)")
    if most_novel is None:
        return chart
    mark = most_novel / high
    return chart._replace(
        summary=f"{chart.summary}; above {most_novel:.3f} they count as unlike the training images",
        bars=[bar._replace(role="train") if bar.left >= mark else bar for bar in chart.bars],
        mark=mark,
        mark_text="limit",
    )
