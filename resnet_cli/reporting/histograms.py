"""Histograms as plain fractions, for a page to draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bars for each doubling of a size or an aspect.
_BARS_AN_OCTAVE = 4
#: Bars for what a crop cuts away, from nothing to all.
_SHARE_BARS = 20
#: More would write over each other.
_MAX_TICKS = 9


class Bar(NamedTuple):
    """One bar; ``left``, ``width`` and ``height`` in [0, 1], ``label`` for people who ask what it is."""

    left: float
    width: float
    height: float
    label: str


class Histogram(NamedTuple):
    """How many images have which value.

    Attributes:
        title: What the value is.
        summary: The whole in one sentence, for those who cannot see it.
        bars: From left to right, those of height 0 left out.
        ticks: Places in [0, 1] and what stands below them.
        peak: Images of the highest bar.
    """

    title: str
    summary: str
    bars: list[Bar]
    ticks: list[tuple[float, str]]
    peak: int


def side_histogram(sides_px: Sequence[int]) -> Histogram:
    """The shorter sides of images, on a logarithmic axis."""
    places = np.log2(sides_px)
    low, high = math.floor(places.min()), math.floor(places.max()) + 1
    return _histogram(
        places,
        title="Shorter side in pixels",
        span=(low, high),
        num_bars=_BARS_AN_OCTAVE * (high - low),
        ticks=[(power, f"{2**power}") for power in range(low, high + 1)],
        name=lambda left, right: f"{2**left:.0f} to {2**right:.0f} px",
    )


def aspect_histogram(aspects: Sequence[float]) -> Histogram:
    """Widths by heights, on a logarithmic axis with the square in the middle."""
    places = np.log2(aspects)
    reach = math.ceil(max(1.0, np.abs(places).max()))
    # The middle bar has the square in its middle.
    edge = reach + 0.5 / _BARS_AN_OCTAVE
    return _histogram(
        places,
        title="Width : height",
        span=(-edge, edge),
        num_bars=2 * _BARS_AN_OCTAVE * reach + 1,
        ticks=[(power, f"{2 ** max(power, 0)}:{2 ** max(-power, 0)}") for power in range(-reach, reach + 1)],
        name=lambda left, right: f"{_ratio(left)} to {_ratio(right)}",
    )


def cut_histogram(shares: Sequence[float]) -> Histogram:
    """What a centre square cuts away of each image, in [0, 1]."""
    return _histogram(
        np.array(shares),
        title="Cut away by a centre square",
        span=(0, 1),
        num_bars=_SHARE_BARS,
        ticks=[(percent / 100, f"{percent} %") for percent in (0, 25, 50, 75, 100)],
        name=lambda left, right: f"{100 * left:.0f} to {100 * right:.0f} %",
    )


def _ratio(place: float) -> str:
    return f"{2**place:.2f}:1" if place > 0 else f"1:{2**-place:.2f}"


def _histogram(
    places: NDArray[np.float64],
    *,
    title: str,
    span: tuple[float, float],
    num_bars: int,
    ticks: Sequence[tuple[float, str]],
    name: Callable[[float, float], str],
) -> Histogram:
    counts, edges = np.histogram(places, bins=num_bars, range=span)
    low, width = span[0], span[1] - span[0]
    peak = int(counts.max())
    labels = [name(left, right) for left, right in itertools.pairwise(edges.tolist())]
    return Histogram(
        title=title,
        summary=f"{title} of {len(places):,} images; most, {peak:,}, have {labels[int(counts.argmax())]}",
        bars=[
            Bar(index / num_bars, 1 / num_bars, count / peak, f"{label}: {count:,}")
            for index, (count, label) in enumerate(zip(counts.tolist(), labels, strict=True))
            if count
        ],
        ticks=[((place - low) / width, text) for place, text in ticks[:: math.ceil(len(ticks) / _MAX_TICKS)]],
        peak=peak,
    )
