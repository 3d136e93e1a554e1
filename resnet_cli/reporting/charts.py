"""Charts described once, in fractions of their frame: a page draws them as SVG, ``plots.draw_charts`` as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

#: What a line or a bar shows; each drawing gives it a color and a dash of its own. The numbered ones are classes,
#: models or kinds, in the colors of ``palette.SERIES``; ``macro`` and ``micro`` are averages of classes.
Role: TypeAlias = Literal[
    "train",
    "val",
    "test",
    "ideal",
    "macro",
    "micro",
    "series-0",
    "series-1",
    "series-2",
    "series-3",
    "series-4",
    "series-5",
    "series-6",
    "series-7",
]
#: Steps between ticks, times a power of ten.
_STEPS = (1, 2, 2.5, 5, 10)
MAX_TICKS = 6
#: With more points than this, dots would hide their line.
MAX_DOTS = 40


class Tick(NamedTuple):
    """A place in [0, 1] along an axis, and its text."""

    place: float
    text: str


class Dot(NamedTuple):
    """A point in [0, 1] x [0, 1] from the lower left corner; ``label`` is the text of its tooltip."""

    x: float
    y: float
    label: str


class Line(NamedTuple):
    """One line.

    Attributes:
        role: What it shows.
        name: Its name in the legend; empty for a line that the legend omits.
        pieces: Runs of points [(x, y), ...] in [0, 1], with a gap between two runs.
        dots: Its points, if there are few.
        is_filled: Whether the area below it is shaded.
    """

    role: Role
    name: str
    pieces: list[list[tuple[float, float]]]
    dots: list[Dot]
    is_filled: bool = False

    @property
    def path(self) -> str:
        """The line as an SVG path, in percent from the upper left corner."""
        return " ".join(
            "M" + "L".join(f"{100 * x:.2f} {100 * (1 - y):.2f}" for x, y in piece) for piece in self.pieces if piece
        )


class Span(NamedTuple):
    """A bar, or an error bar of width 0; in [0, 1] from the lower left corner. ``label`` is its tooltip."""

    left: float
    width: float
    bottom: float
    height: float
    label: str = ""
    role: Role = "val"


class Chart(NamedTuple):
    """One chart.

    Attributes:
        title: What it shows.
        summary: The whole chart in one sentence, for screen readers.
        x_title: Text below the horizontal axis.
        x_ticks: Ticks of the horizontal axis.
        y_ticks: Ticks of the vertical axis.
        lines: Lines, from back to front.
        bars: Bars behind the lines.
        error_bars: Thin vertical lines, such as 95 % intervals.
        mark: Place of a dashed vertical line, such as the best epoch.
        mark_text: Text beside that line.
        figures: (name, value) of a few numbers that belong to the chart.
        x_range: Values at both ends of the horizontal axis.
    """

    title: str
    summary: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: Sequence[Line] = ()
    bars: Sequence[Span] = ()
    error_bars: Sequence[Span] = ()
    mark: float | None = None
    mark_text: str = ""
    figures: Sequence[tuple[str, str]] = ()
    x_range: tuple[float, float] = (0.0, 1.0)


def chart_line(
    role: Role, name: str, xs: Sequence[float], ys: Sequence[float], labels: Sequence[str], *, is_filled: bool = False
) -> Line:
    """A line through points in [0, 1], with a gap where a value is not finite."""
    pieces: list[list[tuple[float, float]]] = [[]]
    dots = []
    for x, y, label in zip(xs, ys, labels, strict=True):
        if not math.isfinite(y):
            pieces.append([])
            continue
        pieces[-1].append((x, y))
        dots.append(Dot(x, y, label))
    # A single point makes no line; only its dot shows it.
    few = len(dots) <= MAX_DOTS or not any(len(piece) > 1 for piece in pieces)
    return Line(role, name, [piece for piece in pieces if len(piece) > 1], dots if few else [], is_filled)


def axis(values: Sequence[float], *, is_share: bool) -> tuple[float, float, list[Tick]]:
    """Both ends of an axis that covers some values, and its ticks; each end is a tick."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if not is_share:
        low = min(0.0, low)
    step = round_step(max(high - low, 0.02 if is_share else 1e-3) / (MAX_TICKS - 2))
    bottom = math.floor(low / step + 1e-9) * step
    top = max(math.ceil(high / step - 1e-9) * step, bottom + step)
    if is_share and top > 1 + 1e-9 and bottom - step > -1e-9:
        # Values that are all 100 % have nothing above them.
        bottom, top = bottom - step, top - step
    num = round((top - bottom) / step)
    ticks = [
        Tick(at / num, f"{100 * (bottom + at * step):.4g} %" if is_share else f"{bottom + at * step:.4g}")
        for at in range(num + 1)
    ]
    return bottom, top, ticks


def round_step(least: float) -> float:
    """The smallest round number that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def percent_ticks() -> list[Tick]:
    """Ticks of an axis from 0 to 100 %."""
    return [Tick(percent / 100, f"{percent} %") for percent in (0, 20, 40, 60, 80, 100)]
