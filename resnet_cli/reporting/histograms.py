"""Histograms: sizes and shapes of images, novelty."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.reporting.charts import Chart, Span, Tick
from resnet_cli.text import counted

#: Bars for each doubling of a size or an aspect ratio.
_BARS_PER_OCTAVE = 4
#: Bars for the share of an image that a crop removes, from nothing to all.
_SHARE_BARS = 20
#: The texts of more ticks would overlap.
_MAX_TICKS = 9


def side_histogram(sides_px: Sequence[int] | NDArray[Any]) -> Chart:
    """The shorter sides of images, on a logarithmic axis."""
    places = np.log2(sides_px)
    low, high = math.floor(places.min()), math.floor(places.max()) + 1
    return histogram(
        places,
        title="Shorter side in pixels",
        span=(low, high),
        num_bars=_BARS_PER_OCTAVE * (high - low),
        ticks=[(power, f"{2**power}") for power in range(low, high + 1)],
        name=lambda left, right: f"{2**left:.0f} to {2**right:.0f} px",
    )


def aspect_histogram(aspects: Sequence[float] | NDArray[Any]) -> Chart:
    """Widths by heights, on a logarithmic axis with the square in the middle."""
    places = np.log2(aspects)
    reach = math.ceil(max(1.0, np.abs(places).max()))
    # The middle bar has the square in its middle.
    edge = reach + 0.5 / _BARS_PER_OCTAVE
    return histogram(
        places,
        title="Width : height",
        span=(-edge, edge),
        num_bars=2 * _BARS_PER_OCTAVE * reach + 1,
        ticks=[(power, f"{2 ** max(power, 0)}:{2 ** max(-power, 0)}") for power in range(-reach, reach + 1)],
        name=lambda left, right: f"{_ratio(left)} to {_ratio(right)}",
    )


def cut_histogram(shares: Sequence[float] | NDArray[Any]) -> Chart:
    """The share of each image that a square center crop removes, in [0, 1]."""
    return histogram(
        np.asarray(shares),
        title="Removed by a square center crop",
        span=(0, 1),
        num_bars=_SHARE_BARS,
        ticks=[(percent / 100, f"{percent} %") for percent in (0, 25, 50, 75, 100)],
        name=lambda left, right: f"{100 * left:.0f} to {100 * right:.0f} %",
    )


def labels_histogram(per_image: Mapping[int, int]) -> Chart:
    """Numbers of labels of images.

    Args:
        per_image: Number of labels -> number of images with this number of labels.
    """
    most = max(per_image)
    return histogram(
        np.repeat(np.array(list(per_image), dtype=np.float64), list(per_image.values())),
        title="Labels per image",
        span=(-0.5, most + 0.5),
        num_bars=most + 1,
        ticks=[(number, str(number)) for number in range(most + 1)],
        name=lambda left, right: counted(round((left + right) / 2), "label"),
    )


def _ratio(place: float) -> str:
    return f"{2**place:.2f}:1" if place > 0 else f"1:{2**-place:.2f}"


def histogram(
    places: NDArray[np.floating[Any]],
    *,
    title: str,
    span: tuple[float, float],
    num_bars: int,
    ticks: Sequence[tuple[float, str]],
    name: Callable[[float, float], str],
) -> Chart:
    """A histogram with bars of equal width.

    Args:
        places: At least one value within ``span``.
        title: What the values are.
        span: Both ends of the axis.
        num_bars: Number of bars, of which empty ones are omitted.
        ticks: (value, text) along the axis; of very many, every n-th is shown.
        name: Takes both ends of a bar and returns its name.
    """
    counts, edges = np.histogram(places, bins=num_bars, range=span)
    low, width = span[0], span[1] - span[0]
    peak = int(counts.max())
    labels = [name(left, right) for left, right in itertools.pairwise(edges.tolist())]
    return Chart(
        title=title,
        summary=f"{title} of {len(places):,} images; most, {peak:,}, have {labels[int(counts.argmax())]}",
        x_title="",
        x_ticks=[Tick((place - low) / width, text) for place, text in ticks[:: math.ceil(len(ticks) / _MAX_TICKS)]],
        y_ticks=[Tick(0.0, "0"), Tick(1.0, f"{peak:,}")],
        bars=[
            Span(index / num_bars, 1 / num_bars, 0.0, count / peak, f"{label}: {count:,}")
            for index, (count, label) in enumerate(zip(counts.tolist(), labels, strict=True))
            if count
        ],
    )
