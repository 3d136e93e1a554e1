"""PNG plots of a run: its charts, and a grid of predictions.

Figures are made without pyplot: nothing global changes, so a notebook keeps its backend and style. matplotlib is
imported when a figure is made and not before.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.reporting.charts import Chart, Role
from resnet_cli.system.caches import import_matplotlib
from resnet_cli.system.paths import atomic_path
from resnet_cli.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
# Blue and orange can be distinguished with every common color blindness. Source: Okabe & Ito, "Color Universal
# Design" (2008), https://jfly.uni-koeln.de/color/
BLUE, ORANGE, RED = "#0072B2", "#E69F00", "#B2182B"
INK, FAINT = "#333333", "#DDDDDD"
# A third of the time of zlib's default, for a slightly larger file.
_PNG = {"compress_level": 3}

# Images up to this side are shown with visible pixels; smoothing would only blur them.
PIXELATED_UP_TO_PX = 64


#: How each role of a chart is drawn.
_LOOKS: dict[Role, dict[str, Any]] = {
    "train": {"color": ORANGE, "linestyle": (0, (4, 2)), "linewidth": 1.6},
    "val": {"color": BLUE, "linestyle": "-", "linewidth": 1.6},
    "ideal": {"color": INK, "linestyle": (0, (2, 3)), "linewidth": 1.2},
}


def draw_charts(charts: Sequence[Chart], path: Path, *, columns: int | None = None) -> None:
    """Draws charts side by side, as a page shows them.

    Args:
        charts: At least one.
        path: The PNG file to write.
        columns: Charts per row; None for one row.

    Raises:
        DiskError: The file cannot be written.
    """
    columns = min(columns or len(charts), len(charts))
    rows = math.ceil(len(charts) / columns)
    figure = new_figure(4.5 * columns, 3.6 * rows, is_constrained=True)
    places = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for chart, axes in zip(charts, places, strict=False):
        _draw_chart(chart, axes)
    for axes in places[len(charts) :]:
        axes.set_axis_off()
    save_figure(figure, path)


def _draw_chart(chart: Chart, axes: Axes) -> None:
    low, high = chart.x_range

    def place(x: float) -> float:
        return round(low + (high - low) * x, 9)

    for bar in chart.bars:
        left, width = place(bar.left), place(bar.left + bar.width) - place(bar.left)
        axes.bar(left, bar.height, width, align="edge", color=_LOOKS[bar.role]["color"], alpha=0.25, edgecolor="white")
    for bar in chart.error_bars:
        axes.vlines(place(bar.left), bar.bottom, bar.bottom + bar.height, color=BLUE, linewidth=1, alpha=0.6)
    for line in chart.lines:
        look = _LOOKS[line.role]
        for piece in line.pieces:
            xs, ys = [place(x) for x, _ in piece], [y for _, y in piece]
            axes.plot(xs, ys, clip_on=False, **look)
            if line.is_filled:
                axes.fill_between(xs, ys, color=look["color"], alpha=0.12, linewidth=0)
        if line.dots:
            xs, ys = [place(dot.x) for dot in line.dots], [dot.y for dot in line.dots]
            axes.plot(xs, ys, "o", markersize=4, color=look["color"], clip_on=False)
        if line.name:
            axes.plot([], [], label=line.name, marker="o" if line.dots else "", markersize=4, **look)
    if chart.mark is not None:
        axes.axvline(place(chart.mark), color=INK, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        side = "left" if chart.mark < 0.6 else "right"
        style: dict[str, Any] = {"fontsize": 8, "color": INK, "ha": side, "va": "bottom"}
        axes.text(place(chart.mark), 1.0, f" {chart.mark_text} ", **style)
    title = chart.title + "".join(
        f"{', ' if at else chr(10)}{name} {text}" for at, (name, text) in enumerate(chart.figures)
    )
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=14 if chart.mark is not None else None)
    axes.set_xlabel(chart.x_title, fontsize=9, color=INK)
    axes.set(xlim=chart.x_range, ylim=(0, 1))
    axes.set_xticks([place(tick.place) for tick in chart.x_ticks], [tick.text for tick in chart.x_ticks])
    axes.set_yticks([tick.place for tick in chart.y_ticks], [tick.text for tick in chart.y_ticks])
    axes.tick_params(labelsize=9, labelcolor=INK, color=FAINT)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    if any(line.name for line in chart.lines):
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def plot_predictions(
    images: Sequence[NDArray[np.uint8]],
    true: Sequence[str],
    predicted: Sequence[str],
    probs: Sequence[float | None],
    path: Path,
    columns: int = 5,
) -> None:
    """Draws a grid of images, each under its predicted class and probability.

    Wrong predictions are red and name the true class in brackets.

    Args:
        images: Images [h x w x 3], [h x w x 1] or [h x w], uint8, of any sizes.
        true: True class, or labels, of each image.
        predicted: Predicted class, or labels, of each image.
        probs: Probability of each predicted class, in [0, 1]; None for several labels.
        path: The PNG file to write.
        columns: Images per row.

    Raises:
        ValueError: There are no images, no columns, or the sequences differ in length.
        DiskError: The file cannot be written.
    """
    if len(images) == 0 or columns < 1:
        raise ValueError("there is nothing to plot: give at least one image and one column")
    items = list(zip(images, true, predicted, probs, strict=True))
    columns = min(columns, len(items))
    rows = math.ceil(len(items) / columns)
    image_in, gap_in, title_in = 1.9, 0.2, 0.5
    width, height = columns * (image_in + gap_in), rows * (image_in + title_in)
    figure = new_figure(width, height)
    # One frame in inches for all images: invisible ticks of many axes would take longer than the images.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    for index, (image, truth, guess, prob) in enumerate(items):
        row, column = divmod(index, columns)
        centre, top = (column + 0.5) * (image_in + gap_in), height - row * (image_in + title_in) - title_in
        scale = image_in / max(image.shape[:2])
        high, wide = (scale * side for side in image.shape[:2])
        tiny = max(image.shape[:2]) <= PIXELATED_UP_TO_PX
        axes.imshow(
            image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image,
            extent=(centre - wide / 2, centre + wide / 2, top - high, top),
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest" if tiny else "auto",
        )
        wrong = guess != truth
        title = (shorten(guess, 24) if prob is None else f"{shorten(guess, 19)} {prob:.2f}") + (
            f"\n({shorten(truth, 22)})" if wrong else ""
        )
        style: dict[str, Any] = {"fontsize": 9, "fontfamily": font_families(), "parse_math": False}
        axes.text(centre, top + 0.06, title, ha="center", va="bottom", color=RED if wrong else INK, **style)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    save_figure(figure, path)


@functools.cache
def font_families() -> list[str]:
    """Matplotlib's font, then installed fonts with characters that it lacks (CJK, symbols)."""
    import_matplotlib()
    from matplotlib.font_manager import fontManager

    wider = ("Noto Sans CJK SC", "Microsoft YaHei", "Hiragino Sans GB", "Arial Unicode MS", "Segoe UI Symbol")
    # For a font that is not installed, matplotlib logs a warning for every text.
    return ["DejaVu Sans", *(name for name in wider if name in fontManager.get_font_names())]


def new_figure(width_in: float, height_in: float, *, is_constrained: bool = False) -> Figure:
    """A white figure without a window."""
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), facecolor="white", layout="constrained" if is_constrained else None)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes the figure as PNG, atomically.

    Raises:
        DiskError: The file cannot be written.
    """
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # Characters that no installed font has are drawn as boxes; users need no warning about that.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12, pil_kwargs=_PNG)
