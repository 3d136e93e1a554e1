"""Charts as PNG plots, each drawn as a page shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.reporting import palette
from resnet_cli.reporting.charts import Chart, Line
from resnet_cli.reporting.figures import INK, LINE, MUTED, Heading, Plot, fitted, font_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Size of a chart with its texts in inches, and the room for its axes in it: left, top, right, bottom.
CHART_IN = (4.75, 3.75)
#: Size of a chart that is alone: narrower, it would have no room for its heading.
_ALONE_IN = (8.0, 4.25)
_ROOM = (0.85, 0.5, 0.3, 0.62)
#: Height of the second line of a title.
_FIGURES_IN = 0.2
_COLORS: dict[str, str] = {
    "train": palette.TRAIN.light,
    "val": palette.VAL.light,
    "test": palette.TEST.light,
    "ideal": MUTED,
    "macro": INK,
    "micro": INK,
    **{f"series-{at}": shade.light for at, shade in enumerate(palette.SERIES)},
}
_DASHES: dict[str, Any] = {"train": (0, (4, 2)), "micro": (0, (5, 3)), "ideal": (0, (2, 3))}


def draw_charts(
    charts: Sequence[Chart], path: Path, heading: Heading | None = None, *, columns: int | None = None
) -> None:
    """Draws charts side by side, as a page shows them.

    Args:
        charts: At least one.
        path: The PNG file to write.
        heading: What is written around them.
        columns: Charts per row; None for one row.

    Raises:
        DiskError: The file cannot be written.
    """
    columns = min(columns or len(charts), len(charts))
    rows = math.ceil(len(charts) / columns)
    width, height = CHART_IN if len(charts) > 1 else _ALONE_IN
    plot = Plot(columns * width + 0.1, rows * height, heading)
    for at, chart in enumerate(charts):
        row, column = divmod(at, columns)
        add_chart(plot, chart, (0.05 + column * width, plot.top_in + row * height, width, height))
    plot.save(path)


def add_chart(plot: Plot, chart: Chart, place: tuple[float, float, float, float]) -> None:
    """Draws a chart with its texts into a part of a figure.

    Args:
        plot: The figure.
        chart: The chart.
        place: Left, top, width and height of the part, in inches from the upper left corner.
    """
    left, top, width, height = place
    lines = (1 if chart.title else 0, 1 if chart.figures else 0, 1 if chart.mark is not None else 0)
    above = 0.1 + lines[0] * 0.28 + (lines[1] + lines[2]) * _FIGURES_IN
    room_left = max(_ROOM[0], 0.3 + 0.09 * max(len(tick.text) for tick in chart.y_ticks))
    axes = plot.axes(
        left + room_left,
        top + above,
        width - room_left - _ROOM[2],
        height - above - _ROOM[3],
    )
    _draw_chart(chart, axes)
    gap_pt = 5 + (lines[2] * _FIGURES_IN) * 72
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    if chart.figures:
        text = "   ".join(f"{name} {value}" for name, value in chart.figures)
        axes.annotate(fitted(text, width - 0.5, 8.5), (0, 1), (0, gap_pt), fontsize=8.5, color=MUTED, **style)
        gap_pt += _FIGURES_IN * 72
    title = fitted(chart.title, width - 0.5, 10.5)
    axes.annotate(title, (0, 1), (0, gap_pt), fontsize=10.5, color=INK, **style, **font_style(title))


def _draw_chart(chart: Chart, axes: Axes) -> None:
    low, high = chart.x_range

    def place(x: float) -> float:
        return round(low + (high - low) * x, 9)

    for bar in chart.bars:
        left, width = place(bar.left), place(bar.left + bar.width) - place(bar.left)
        color = _COLORS[bar.role]
        axes.bar(left, bar.height, width, bar.bottom, align="edge", color=color, alpha=0.35, edgecolor="white")
    for bar in chart.error_bars:
        color = _COLORS[bar.role]
        axes.vlines(place(bar.left), bar.bottom, bar.bottom + bar.height, color=color, linewidth=1.2, alpha=0.6)
    for line in chart.lines:
        _draw_line(line, axes, place)
    if chart.mark is not None:
        axes.axvline(place(chart.mark), color=INK, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        side = "left" if chart.mark < 0.6 else "right"
        style: dict[str, Any] = {"fontsize": 8.5, "color": INK, "ha": side, "va": "bottom"}
        axes.annotate(chart.mark_text, (place(chart.mark), 1.0), (0, 3), textcoords="offset points", **style)
    axes.set_xlabel(chart.x_title, fontsize=9, color=MUTED)
    axes.set(xlim=chart.x_range, ylim=(0, 1))
    axes.set_xticks([place(tick.place) for tick in chart.x_ticks], [tick.text for tick in chart.x_ticks])
    axes.set_yticks([tick.place for tick in chart.y_ticks], [tick.text for tick in chart.y_ticks])
    axes.tick_params(labelsize=9, labelcolor=INK, color=LINE)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    if any(line.name for line in chart.lines):
        names = [line.name for line in chart.lines if line.name]
        # Without a place, Matplotlib warns where the search for the best one takes a second, as on a busy machine.
        style = {"framealpha": 0.85, "edgecolor": "none", "fontsize": 9, "labelcolor": INK}
        legend = axes.legend(loc="best", frameon=True, **style)
        for text in legend.get_texts():
            text.set(**font_style(*names))


def _draw_line(line: Line, axes: Axes, place: Any) -> None:
    color = _COLORS[line.role]
    look: dict[str, Any] = {"color": color, "linestyle": _DASHES.get(line.role, "-"), "linewidth": 1.8}
    for piece in line.pieces:
        xs, ys = [place(x) for x, _ in piece], [y for _, y in piece]
        axes.plot(xs, ys, clip_on=False, **look)
        if line.is_filled:
            axes.fill_between(xs, ys, color=color, alpha=0.12, linewidth=0)
    if line.dots:
        xs, ys = [place(dot.x) for dot in line.dots], [dot.y for dot in line.dots]
        axes.plot(xs, ys, "o", markersize=4.5, color=color, clip_on=False)
    if line.name:
        axes.plot([], [], label=line.name, marker="o" if line.dots else "", markersize=4.5, **look)
