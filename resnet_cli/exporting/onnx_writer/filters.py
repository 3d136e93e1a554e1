"""Weights of source pixels for each pixel of a resized image: Pillow's filters as nodes of a graph.

Source: Pillow's ``src/libImaging/Resample.c``: ``precompute_coeffs``, ``normalize_coeffs_8bpc``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.preprocess import Preprocess

#: Half the width of the filter, in pixels of the coarser grid.
_SUPPORT = {"bilinear": 1, "bicubic": 2}
#: The sharpness of Pillow's bicubic filter.
_CUBIC_A = -0.5
#: Fractional bits of a weight.
_PRECISION = 22
#: The lowest of these bits, which are summed separately: float32 then holds both sums exactly.
_LOW_BITS = 10
#: How much the rounding of a panorama's bounds to float32 moves a center at most, in source pixels.
_ROUNDING = 2.0**-7
#: Output pixels computed together: each group reads only its own part of the image.
TILE = 32


class Axis(NamedTuple):
    """One axis of the image; names of int64 scalars in the graph.

    Attributes:
        length: Number of source pixels.
        resized: Number of pixels of the whole image after resizing.
        offset: Index of the square's first pixel among those; negative if the square begins before the image.
        is_part: Whether only the square is resized, as for panoramas; None if that is never the case.
    """

    length: str
    resized: str
    offset: str
    is_part: str | None = None


class FilterWeights(NamedTuple):
    """The weight of each source pixel for each pixel of the square; names in the graph.

    Attributes:
        high: float32 [s x n], multiples of 2 ** -12; n is at least the length of the axis.
        low: float32 [s x n], the remainders.
        starts: First source pixel that a pixel of the tile reads, int64 [tiles].
        ends: The source pixel after the last one that is read, int64 [tiles].
        num_tiles: Number of tiles.
    """

    high: str
    low: str
    starts: str
    ends: str
    num_tiles: int


def add_weights(graph: GraphWriter, axis: Axis, preprocess: Preprocess) -> FilterWeights:
    """Pillow's bounds and weights as matrices."""
    steps = graph.op("Add", np.arange(preprocess.crop_size), axis.offset)
    if preprocess.fit == "pad":
        # Pixels beside the image get the color of its edge here, and the mean color later.
        last = graph.op("Sub", axis.resized, np.int64(1))
        steps = graph.op("Min", graph.op("Max", steps, np.int64(0)), last)
    length, reduction = axis.length, add_ratio(graph, axis.length, axis.resized)
    # The center of each pixel of the square, in source pixels: float64 [s].
    centers = graph.op("Mul", graph.op("Add", graph.cast(steps, np.float64), np.float64(0.5)), reduction)
    if axis.is_part is not None:
        part, step = _part(graph, axis, reduction, preprocess)
        centers, reduction = (graph.op("Where", axis.is_part, x, y) for x, y in ((part, centers), (step, reduction)))
    pixels, fractions = _split(graph, centers, steps, length, axis.resized)
    coarse = graph.op("Max", reduction, np.float64(1))
    # How far the filter reaches on each side, in source pixels: only [s x taps] weights need to be computed.
    support = graph.op("Mul", graph.op("Max", length, axis.resized), np.int64(_SUPPORT[preprocess.interpolation]))
    reach = graph.op("Div", graph.op("Sub", graph.op("Add", support, axis.resized), np.int64(1)), axis.resized)
    after = graph.op("Add", reach, np.int64(1))
    away = graph.op("Range", graph.op("Neg", reach), after, np.int64(1))
    one = np.array([1])
    places = graph.op("Add", graph.op("Unsqueeze", pixels, one), away)  # int64 [s x taps]
    corners = graph.op("Unsqueeze", graph.op("Sub", fractions, np.float64(0.5)), one)
    distances = graph.op("Abs", graph.op("Div", graph.op("Sub", graph.cast(away, np.float64), corners), coarse))
    is_inside = graph.op("And", graph.op("Greater", places, np.int64(-1)), graph.op("Less", places, length))
    values = graph.op("Where", is_inside, _kernel(graph, distances, preprocess), np.float64(0))
    values = graph.op("Div", values, graph.op("ReduceSum", values, one, keepdims=1))
    # Places beside the image share one more column, of zeros.
    places = graph.op("Where", is_inside, places, length)
    upper, lower = (_dense(graph, part, places, length) for part in _parts(graph, values))
    heads = np.arange(0, preprocess.crop_size, TILE)
    tails = np.minimum(heads + TILE, preprocess.crop_size) - 1
    starts = graph.op("Max", graph.op("Sub", graph.op("Gather", pixels, heads), reach), np.int64(0))
    ends = graph.op("Min", graph.op("Add", graph.op("Gather", pixels, tails), after), length)
    return FilterWeights(upper, lower, starts, ends, len(heads))


def _split(graph: GraphWriter, centers: str, steps: str, length: str, divisor: str) -> tuple[str, str]:
    """Centers as whole source pixels, int64 [s], and the rest, float64 [s].

    The whole pixels are computed with integers, and the rest is kept close to what follows from integers. Runtimes that
    compute floats more coarsely than the graph says, as OpenVINO does with bfloat16, then still find the right pixels.
    """
    numerator = graph.op("Mul", graph.op("Add", graph.op("Mul", steps, np.int64(2)), np.int64(1)), length)
    denominator = graph.op("Mul", divisor, np.int64(2))
    pixels = graph.op("Div", numerator, denominator)
    rest = add_ratio(graph, graph.op("Sub", numerator, graph.op("Mul", pixels, denominator)), denominator)
    exact = graph.op("Sub", centers, graph.cast(pixels, np.float64))
    above = graph.op("Max", exact, graph.op("Sub", rest, np.float64(_ROUNDING)))
    return pixels, graph.op("Min", above, graph.op("Add", rest, np.float64(_ROUNDING)))


def _part(graph: GraphWriter, axis: Axis, reduction: str, preprocess: Preprocess) -> tuple[str, str]:
    """Centers, float64 [s], and reduction if only a part is resized; Pillow takes its bounds in float32."""
    side = preprocess.crop_size
    start = graph.op("Mul", graph.cast(axis.offset, np.float64), reduction)
    stop = graph.op("Mul", graph.cast(graph.op("Add", axis.offset, np.int64(side)), np.float64), reduction)
    stop = graph.op("Min", stop, graph.cast(axis.length, np.float64))
    first, last = (graph.cast(x, np.float32) for x in (start, stop))
    step = graph.op("Div", graph.cast(graph.op("Sub", last, first), np.float64), np.float64(side))
    away = graph.op("Mul", np.arange(side) + 0.5, step)
    return graph.op("Add", away, graph.cast(first, np.float64)), step


def _kernel(graph: GraphWriter, t: str, preprocess: Preprocess) -> str:
    """The filter at the distance ``t`` >= 0, in pixels of the coarser grid; float64."""
    one = np.float64(1)
    if preprocess.interpolation == "bilinear":
        return graph.op("Max", graph.op("Sub", one, t), np.float64(0))
    # Within 1: ((a + 2) t - (a + 3)) t t + 1; within 2: (((t - 5) t + 8) t - 4) a, which is 0 at 2.
    inner = graph.op("Sub", graph.op("Mul", t, np.float64(_CUBIC_A + 2)), np.float64(_CUBIC_A + 3))
    inner = graph.op("Add", graph.op("Mul", inner, graph.op("Mul", t, t)), one)
    capped = graph.op("Min", t, np.float64(2))
    outer = graph.op("Mul", graph.op("Sub", capped, np.float64(5)), capped)
    outer = graph.op("Mul", graph.op("Add", outer, np.float64(8)), capped)
    outer = graph.op("Mul", graph.op("Sub", outer, np.float64(4)), np.float64(_CUBIC_A))
    return graph.op("Where", graph.op("Less", t, one), inner, outer)


def _parts(graph: GraphWriter, weights: str) -> list[str]:
    """Weights rounded to Pillow's bits, as the sum of two float32: upper bits and remainders."""
    half = np.float64(0.5)
    whole = graph.op("Floor", graph.op("Add", graph.op("Mul", weights, np.float64(2**_PRECISION)), half))
    unit = np.float64(2**_LOW_BITS)
    upper = graph.op("Mul", graph.op("Floor", graph.op("Add", graph.op("Div", whole, unit), half)), unit)
    both = (upper, graph.op("Sub", whole, upper))
    return [graph.cast(graph.op("Mul", part, np.float64(2.0**-_PRECISION)), np.float32) for part in both]


def _dense(graph: GraphWriter, values: str, places: str, length: str) -> str:
    """Values [s x taps] at their places in a matrix of zeros [s x (length + 1)]."""
    side = graph.op("Gather", graph.op("Shape", places), np.array([0]))
    width = graph.op("Unsqueeze", graph.op("Add", length, np.int64(1)), np.array([0]))
    zeros = graph.op("Expand", np.float32(0), graph.op("Concat", side, width, axis=0))
    return graph.op("ScatterElements", zeros, places, values, axis=1)


def add_ratio(graph: GraphWriter, above: str, below: str) -> str:
    """The ratio of two int64, in float64."""
    return graph.op("Div", graph.cast(above, np.float64), graph.cast(below, np.float64))
