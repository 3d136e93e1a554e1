"""Charts as plain fractions, for a page to draw at any width with texts of one size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

#: What a line or a bar stands for; the page gives each a colour and a dash of its own.
Role: TypeAlias = Literal["train", "val", "ideal", "limit"]
#: Steps between ticks, times a power of ten.
_STEPS = (1, 2, 2.5, 5, 10)
MAX_TICKS = 6
#: Dots beyond so many points would hide their line.
MAX_DOTS = 40


class Tick(NamedTuple):
    """A place in [0, 1] along an axis and what stands there."""

    place: float
    text: str


class Dot(NamedTuple):
    """A point in [0, 1] x [0, 1] from the lower left corner; ``label`` for people who ask what it is."""

    x: float
    y: float
    label: str


class Line(NamedTuple):
    """One line.

    Attributes:
        role: Its looks.
        name: In the legend; empty: it is not there.
        pieces: Each [(x, y), ...] in [0, 1]; a gap stands between them.
        dots: Its points, where there are few.
    """

    role: Role
    name: str
    pieces: list[list[tuple[float, float]]]
    dots: list[Dot]

    @property
    def path(self) -> str:
        """As SVG, in per cent from the upper left corner."""
        return " ".join(
            "M" + "L".join(f"{100 * x:.2f} {100 * (1 - y):.2f}" for x, y in piece) for piece in self.pieces if piece
        )


class Span(NamedTuple):
    """A bar or the reach of an error, in [0, 1] from the lower left corner."""

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
        summary: The whole in one sentence, for those who cannot see it.
        x_title: Below the horizontal axis.
        x_ticks: Along it.
        y_ticks: Along the vertical one.
        lines: From back to front.
        bars: Behind the lines.
        reaches: Thin lines from low to high, such as 95 % intervals.
        mark: Place on the horizontal axis of what is to be seen, such as the best epoch.
        mark_text: What it is.
    """

    title: str
    summary: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: Sequence[Line] = ()
    bars: Sequence[Span] = ()
    reaches: Sequence[Span] = ()
    mark: float | None = None
    mark_text: str = ""


def chart_line(role: Role, name: str, xs: Sequence[float], ys: Sequence[float], labels: Sequence[str]) -> Line:
    """A line through points in [0, 1], with a gap where a value is not finite."""
    pieces: list[list[tuple[float, float]]] = [[]]
    dots = []
    for x, y, label in zip(xs, ys, labels, strict=True):
        if not math.isfinite(y):
            pieces.append([])
            continue
        pieces[-1].append((x, y))
        dots.append(Dot(x, y, label))
    # A point alone is no line, and is seen by its dot.
    few = len(dots) <= MAX_DOTS or not any(len(piece) > 1 for piece in pieces)
    return Line(role, name, [piece for piece in pieces if len(piece) > 1], dots if few else [])


def axis(values: Sequence[float], *, is_share: bool) -> tuple[float, float, list[Tick]]:
    """Ends of an axis that holds some values, both on ticks."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if not is_share:
        low = min(0.0, low)
    step = round_step(max(high - low, 0.02 if is_share else 1e-3) / (MAX_TICKS - 2))
    bottom = math.floor(low / step + 1e-9) * step
    top = max(math.ceil(high / step - 1e-9) * step, bottom + step)
    num = round((top - bottom) / step)
    ticks = [
        Tick(at / num, f"{100 * (bottom + at * step):.4g} %" if is_share else f"{bottom + at * step:.4g}")
        for at in range(num + 1)
    ]
    return bottom, top, ticks


def round_step(least: float) -> float:
    """The smallest round number that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def percent_ticks() -> list[Tick]:
    """Of an axis from 0 to 100 %."""
    return [Tick(percent / 100, f"{percent} %") for percent in (0, 20, 40, 60, 80, 100)]
