"""PNG plots of how far answers can be trusted: calibration, and what is wrong at which coverage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.calibration import Calibration
from resnet_cli.evaluation.intervals import wilson
from resnet_cli.reporting.plots import BLUE, INK, new_figure, save_figure, soften
from resnet_cli.text import percent


def plot_reliability(before: Calibration | None, after: Calibration, path: Path) -> None:
    """Draws how often answers are right against how sure they are; on the diagonal one is the other.

    Bars at the foot show how many answers stand behind each point, thin lines the 95 % intervals.

    Args:
        before: Without the temperature; None draws one diagram alone.
        after: As answered.
        path: The PNG file to write.

    Raises:
        DiskError: The file cannot be written.
    """
    from matplotlib.ticker import PercentFormatter

    shown = [("As answered", after)]
    if before is not None:
        shown = [("Before the temperature", before), ("After the temperature", after)]
    figure = new_figure(4.5 * len(shown), 4.3, layout="constrained")
    for axes, (title, calibration) in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        bins = [found for found in calibration.bins if found.num]
        rights = [wilson(round(found.accuracy * found.num), found.num) for found in bins]
        confidences = [found.confidence for found in bins]
        most = max(found.num for found in bins)
        heights = [0.2 * found.num / most for found in bins]
        lows, widths = [found.low for found in bins], [found.high - found.low for found in bins]
        axes.bar(lows, heights, widths, align="edge", color=BLUE, alpha=0.25, edgecolor="white")
        axes.plot([0, 1], [0, 1], linestyle=(0, (2, 3)), linewidth=1.2, color=INK, label="as sure as right")
        axes.vlines(confidences, [r.low for r in rights], [r.high for r in rights], color=BLUE, linewidth=1, alpha=0.6)
        axes.plot(
            confidences,
            [r.value for r in rights],
            "o-",
            color=BLUE,
            markersize=4.5,
            clip_on=False,
            label="how often right",
        )
        figures = f"ECE {percent(calibration.ece)}, Brier {calibration.brier:.3f}, NLL {calibration.loss:.3f}"
        axes.set_title(f"{title}\n{figures}", loc="left", fontsize=10, color=INK)
        axes.set_xlabel("how sure (probability of the answer)", fontsize=9, color=INK)
        axes.set_ylabel("right answers", fontsize=9, color=INK)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        soften(axes)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    save_figure(figure, path)


def plot_risk_coverage(coverage: NDArray[np.floating[Any]], risk: NDArray[np.floating[Any]], path: Path) -> None:
    """Draws the share of wrong answers among the answered, the surest images answered first.

    Args:
        coverage: Share of images answered, [m], rising to 1.
        risk: Share of wrong answers among them, [m].
        path: The PNG file to write.

    Raises:
        DiskError: The file cannot be written.
    """
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    figure = new_figure(5.4, 3.6, layout="constrained")
    axes = figure.subplots()
    axes.plot(coverage, risk, "o-" if len(risk) == 1 else "-", color=BLUE, linewidth=1.6)
    axes.fill_between(coverage, risk, color=BLUE, alpha=0.12, linewidth=0)
    axes.set_title(f"All answered: {percent(risk[-1])} wrong", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("images answered, the surest first", fontsize=9, color=INK)
    axes.set_ylabel("wrong among the answered", fontsize=9, color=INK)
    axes.set(xlim=(0, 1.01), ylim=(0, max(0.02, 1.08 * float(np.max(risk)))))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
    soften(axes)
    save_figure(figure, path)
