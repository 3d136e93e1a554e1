"""A decoded picture to the network's input, as nodes of a graph: what ``Preprocess`` does, and Pillow's pixels exactly.

Resizing is two matrix products with rounding to whole levels after each. The matrices are made in the graph from the
picture's size, with Pillow's own bounds, weights of 22 bits and order of passes. The operator ``Resize`` with
``antialias`` was up to 9 levels off (bilinear, large reductions, ONNX Runtime 1.32), resizes what the crop then throws
away, and is missing in several runtimes.

Source: Pillow's ``src/libImaging/Resample.c`` (``precompute_coeffs``, ``normalize_coeffs_8bpc``,
``ImagingResampleInner``) and its ``Image.resize``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import PIL

from resnet_cli.exporting.graph import GraphWriter
from resnet_cli.preprocess import MAX_ASPECT, REDUCING_GAP, Preprocess

#: Half the width of the filter, in pixels of the coarser grid.
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
#: The sharpness of Pillow's bicubic filter.
_CUBIC_A = -0.5
#: Bits of a weight behind the point.
_PRECISION = 22
#: Of these bits, the last ones that are summed apart: float32 then holds both sums without a rounding.
_LOW_BITS = 10
#: Output pixels computed together: each group of them looks at its own part of the picture only.
_TILE = 32
#: From this version on, Pillow resizes tall pictures vertically first.
_PILLOW_ORDERS = 13


class _Axis(NamedTuple):
    """One axis of the picture; names of int64 scalars in the graph.

    Attributes:
        length: Pixels of the source.
        resized: Pixels of the whole picture after resizing.
        offset: Of the square's first pixel among those; negative where the square begins before the picture.
        block: Source pixels that are averaged before the filter: 1, but for panoramas; None where it is never more.
        is_part: Whether nothing but the square is resized, as for panoramas; None where that is never so.
    """

    length: str
    resized: str
    offset: str
    block: str | None = None
    is_part: str | None = None


class _Weights(NamedTuple):
    """How much each source pixel counts for each of the square's; names in the graph.

    Attributes:
        high: float32 [s x n], multiples of 2 ** -12; n is at least the length of the axis.
        low: float32 [s x n], what is missing in ``high``.
        starts: First source pixel that any of a tile's pixels looks at, int64 [tiles].
        ends: The one after the last, int64 [tiles].
        num_tiles: How many.
    """

    high: str
    low: str
    starts: str
    ends: str
    num_tiles: int


def add_preprocessing(graph: GraphWriter, pictures: str, preprocess: Preprocess, *, name: str) -> None:
    """Adds the way from pictures to the network's input.

    Args:
        graph: Is added to.
        pictures: Name of the uint8 [b x h x w x 3] input, RGB.
        preprocess: Fit, sizes, filter, mean and std.
        name: Of the float32 [b x 3 x s x s] result.
    """
    graph.prefix = "preprocess/"
    shape = graph.op("Shape", pictures)
    height, width = (graph.op("Gather", shape, np.int64(index)) for index in (1, 2))
    across, down = _axes(graph, width, height, preprocess)
    columns, rows = (_weights(graph, axis, preprocess) for axis in (across, down))

    def horizontal_first(branch: GraphWriter) -> str:
        return _second_pass(branch, _first_pass(branch, pictures, 2, columns, rows), 1, rows)

    def vertical_first(branch: GraphWriter) -> str:
        return _second_pass(branch, _first_pass(branch, pictures, 1, rows, columns), 2, columns)

    if int(PIL.__version__.partition(".")[0]) >= _PILLOW_ORDERS:
        is_tall = _is_tall(graph, across, down, preprocess)
        square = graph.op_if(is_tall, vertical_first, horizontal_first)
    else:
        square = horizontal_first(graph)
    if preprocess.fit == "pad":
        square = _on_mean_colour(graph, square, across, down, preprocess)
    mean, std = (
        np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) * np.float32(255)
        for values in (preprocess.mean, preprocess.std)
    )
    graph.op("Div", graph.op("Sub", square, mean), std, name=name)


def _axes(graph: GraphWriter, width: str, height: str, preprocess: Preprocess) -> list[_Axis]:
    """Where the square lies in the resized picture: the integers and roundings of ``Preprocess``."""
    side = np.int64(preprocess.crop_size)
    lengths = (width, height)
    short, long = (graph.op(kind, width, height) for kind in ("Min", "Max"))
    axes = []
    if preprocess.fit == "crop":
        resized = [graph.op("Div", graph.op("Mul", x, np.int64(preprocess.resize_size)), short) for x in lengths]
        is_part = graph.op("Greater", graph.op("Max", *resized), np.int64(MAX_ASPECT * preprocess.resize_size))
        for length, new in zip(lengths, resized, strict=True):
            axes.append(_Axis(length, new, _half(graph, graph.op("Sub", new, side)), is_part=is_part))
        return axes
    is_panorama = graph.op("Greater", long, graph.op("Mul", short, np.int64(MAX_ASPECT)))
    for length in lengths:
        new, offset = graph.constant(side), graph.constant(np.int64(0))
        if preprocess.fit == "pad":
            # In double, as Python has it: 45 * (224 / 320) is less than 31.5.
            scale = graph.op("Div", np.float64(side), graph.cast(long, np.float64))
            scaled = graph.op("Round", graph.op("Mul", graph.cast(length, np.float64), scale))
            new = graph.op("Max", graph.cast(scaled, np.int64), np.int64(1))
            offset = graph.op("Neg", _half(graph, graph.op("Sub", side, new)))
        gaps = graph.op("Div", _ratio(graph, length, new), np.float64(REDUCING_GAP))
        block = graph.op("Max", graph.cast(gaps, np.int64), np.int64(1))
        axes.append(_Axis(length, new, offset, graph.op("Where", is_panorama, block, np.int64(1))))
    return axes


def _is_tall(graph: GraphWriter, across: _Axis, down: _Axis, preprocess: Preprocess) -> str:
    """Whether the vertical pass comes first: the height loses more than twice the pixels that the width loses."""
    lost = []
    for axis in (across, down):
        length, resized = axis.length, axis.resized
        if axis.block is not None:
            length = graph.op("Div", graph.op("Sub", graph.op("Add", length, axis.block), np.int64(1)), axis.block)
        if axis.is_part is not None:
            resized = graph.op("Where", axis.is_part, np.int64(preprocess.crop_size), resized)
        lost.append(graph.op("Sub", length, resized))
    loses_more = graph.op("Greater", lost[1], graph.op("Mul", lost[0], np.int64(2)))
    return graph.op("And", graph.op("Greater", lost[1], np.int64(0)), loses_more)


def _weights(graph: GraphWriter, axis: _Axis, preprocess: Preprocess) -> _Weights:
    """Pillow's bounds and weights, as matrices."""
    steps = graph.op("Add", np.arange(preprocess.crop_size), axis.offset)
    if preprocess.fit == "pad":
        # Pixels beside the picture get the colour of its edge here, and the mean colour later.
        last = graph.op("Sub", axis.resized, np.int64(1))
        steps = graph.op("Min", graph.op("Max", steps, np.int64(0)), last)
    length, reduction = axis.length, _ratio(graph, axis.length, axis.resized)
    if axis.block is not None:
        reduction = graph.op("Div", reduction, graph.cast(axis.block, np.float64))
        length = graph.op("Div", graph.op("Sub", graph.op("Add", length, axis.block), np.int64(1)), axis.block)
    # Of each of the square's pixels, in source pixels (or blocks of them): float64 [s].
    centres = graph.op("Mul", graph.op("Add", graph.cast(steps, np.float64), np.float64(0.5)), reduction)
    if axis.is_part is not None:
        part, step = _part(graph, axis, reduction, preprocess)
        centres, reduction = (graph.op("Where", axis.is_part, x, y) for x, y in ((part, centres), (step, reduction)))
    coarse = graph.op("Max", reduction, np.float64(1))
    reach = graph.op("Mul", coarse, np.float64(_SUPPORT[preprocess.interpolation]))
    half = np.float64(0.5)
    low = graph.cast(graph.op("Add", graph.op("Sub", centres, reach), half), np.int64)
    high = graph.cast(graph.op("Add", graph.op("Add", centres, reach), half), np.int64)
    starts, ends = graph.op("Max", low, np.int64(0)), graph.op("Min", high, length)
    # Every pixel looks at so many: [s x taps] is all there is to compute.
    taps = graph.op("Add", graph.op("Mul", graph.cast(graph.op("Ceil", reach), np.int64), np.int64(2)), np.int64(1))
    one = np.array([1])
    places = graph.op(
        "Add", graph.op("Unsqueeze", starts, one), graph.op("Range", np.int64(0), taps, np.int64(1))
    )  # int64 [s x taps]
    corners = graph.op("Unsqueeze", graph.op("Sub", centres, half), one)
    away = graph.op("Abs", graph.op("Div", graph.op("Sub", graph.cast(places, np.float64), corners), coarse))
    is_near = graph.op("Less", places, graph.op("Unsqueeze", ends, one))
    values = graph.op("Where", is_near, _kernel(graph, away, preprocess), np.float64(0))
    values = graph.op("Div", values, graph.op("ReduceSum", values, one, keepdims=1))
    upper, lower = (_dense(graph, part, places, length, taps) for part in _parts(graph, values))
    if axis.block is not None:
        upper, lower = (_of_pixels(graph, weights, axis.length, axis.block) for weights in (upper, lower))
        starts = graph.op("Mul", starts, axis.block)
        ends = graph.op("Min", graph.op("Mul", ends, axis.block), axis.length)
    heads = np.arange(0, preprocess.crop_size, _TILE)
    tails = np.minimum(heads + _TILE, preprocess.crop_size) - 1
    return _Weights(upper, lower, graph.op("Gather", starts, heads), graph.op("Gather", ends, tails), len(heads))


def _part(graph: GraphWriter, axis: _Axis, reduction: str, preprocess: Preprocess) -> tuple[str, str]:
    """Where only a part is resized: centres float64 [s] and reduction, from bounds that Pillow takes in float32."""
    side = preprocess.crop_size
    start = graph.op("Mul", graph.cast(axis.offset, np.float64), reduction)
    stop = graph.op("Mul", graph.cast(graph.op("Add", axis.offset, np.int64(side)), np.float64), reduction)
    stop = graph.op("Min", stop, graph.cast(axis.length, np.float64))
    first, last = (graph.cast(x, np.float32) for x in (start, stop))
    step = graph.op("Div", graph.cast(graph.op("Sub", last, first), np.float64), np.float64(side))
    away = graph.op("Mul", np.arange(side) + 0.5, step)
    return graph.op("Add", away, graph.cast(first, np.float64)), step


def _kernel(graph: GraphWriter, t: str, preprocess: Preprocess) -> str:
    """The filter at the distance ``t``, which is at least 0, in pixels of the coarser grid; float64."""
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
    """Weights rounded to Pillow's bits, as the sum of two float32: upper bits and the rest."""
    half = np.float64(0.5)
    whole = graph.op("Floor", graph.op("Add", graph.op("Mul", weights, np.float64(2**_PRECISION)), half))
    unit = np.float64(2**_LOW_BITS)
    upper = graph.op("Mul", graph.op("Floor", graph.op("Add", graph.op("Div", whole, unit), half)), unit)
    both = (upper, graph.op("Sub", whole, upper))
    return [graph.cast(graph.op("Mul", part, np.float64(2.0**-_PRECISION)), np.float32) for part in both]


def _dense(graph: GraphWriter, values: str, places: str, length: str, taps: str) -> str:
    """Values [s x taps] at their places in a matrix of zeros [s x (length + taps)]."""
    side = graph.op("Gather", graph.op("Shape", places), np.array([0]))
    width = graph.op("Unsqueeze", graph.op("Add", length, taps), np.array([0]))
    zeros = graph.op("Expand", np.float32(0), graph.op("Concat", side, width, axis=0))
    return graph.op("ScatterElements", zeros, places, values, axis=1)


def _of_pixels(graph: GraphWriter, weights: str, length: str, block: str) -> str:
    """Weights of blocks as weights of their pixels: each block counts as one, the last one may be smaller."""
    pixels = graph.op("Range", np.int64(0), length, np.int64(1))
    blocks = graph.op("Div", pixels, block)
    left = graph.op("Sub", length, graph.op("Mul", blocks, block))
    sizes = graph.cast(graph.op("Min", left, block), np.float32)
    return graph.op("Div", graph.op("Gather", weights, blocks, axis=1), sizes)


def _first_pass(graph: GraphWriter, pictures: str, dimension: int, along: _Weights, other: _Weights) -> str:
    """Resizes one axis, reading only what the result needs of the other.

    Args:
        graph: Is added to.
        pictures: uint8 [b x h x w x 3].
        dimension: 2 for columns, 1 for rows.
        along: Of that axis.
        other: Of the other axis.

    Returns:
        Whole levels, float32 [b x 3 x h' x s] or [b x 3 x s x w'].
    """
    first, last = _bounds(graph, other)
    axes = np.array([dimension, 3 - dimension])
    sums: tuple[list[str], list[str]] = ([], [])
    for tile in range(along.num_tiles):
        start, end = (graph.op("Gather", x, np.array([tile])) for x in (along.starts, along.ends))
        corners = (graph.op("Concat", x, y, axis=0) for x, y in ((start, first), (end, last)))
        part = graph.op("Slice", pictures, *corners, axes)
        planes = graph.cast(graph.op("Transpose", part, perm=[0, 3, 1, 2]), np.float32)
        for weights, found in zip((along.high, along.low), sums, strict=True):
            row = np.array([tile * _TILE])
            low, high = (graph.op("Concat", x, y, axis=0) for x, y in ((row, start), (row + _TILE, end)))
            matrix = graph.op("Slice", weights, low, high, np.array([0, 1]))
            if dimension == 2:
                found.append(graph.op("MatMul", planes, graph.op("Transpose", matrix, perm=[1, 0])))
            else:
                found.append(graph.op("MatMul", matrix, planes))
    return _levels(graph, *(graph.op("Concat", *found, axis=dimension + 1) for found in sums))


def _second_pass(graph: GraphWriter, planes: str, dimension: int, along: _Weights) -> str:
    """Resizes the other axis of float32 [b x 3 x h x w] planes that hold no more than it needs."""
    sums = []
    for weights in (along.high, along.low):
        matrix = graph.op("Slice", weights, *_bounds(graph, along), np.array([1]))
        if dimension == 2:
            sums.append(graph.op("MatMul", planes, graph.op("Transpose", matrix, perm=[1, 0])))
        else:
            sums.append(graph.op("MatMul", matrix, planes))
    return _levels(graph, *sums)


def _bounds(graph: GraphWriter, weights: _Weights) -> list[str]:
    """The first source pixel that is looked at and the one after the last, int64 [1] each."""
    ends = ((weights.starts, 0), (weights.ends, weights.num_tiles - 1))
    return [graph.op("Gather", x, np.array([index])) for x, index in ends]


def _levels(graph: GraphWriter, high: str, low: str) -> str:
    """Adds two exact sums and rounds to whole levels, halves up; the bicubic filter also leaves the range."""
    raised = graph.op("Add", high, np.float32(0.5))
    whole = graph.op("Floor", raised)
    # What is behind the point first: beside whole levels the last bits of the sum would be rounded away.
    carry = graph.op("Floor", graph.op("Add", graph.op("Sub", raised, whole), low))
    return graph.op("Clip", graph.op("Add", whole, carry), np.float32(0), np.float32(255))


def _ratio(graph: GraphWriter, above: str, below: str) -> str:
    """Of two int64, in float64."""
    return graph.op("Div", graph.cast(above, np.float64), graph.cast(below, np.float64))


def _half(graph: GraphWriter, number: str) -> str:
    """Half of an int64, rounded to the even one as Python does."""
    return graph.cast(graph.op("Round", graph.op("Mul", graph.cast(number, np.float64), np.float64(0.5))), np.int64)


def _on_mean_colour(graph: GraphWriter, square: str, across: _Axis, down: _Axis, preprocess: Preprocess) -> str:
    """Fills the square with the mean colour where there is no picture."""
    steps = np.arange(preprocess.crop_size)
    inside = []
    for axis, dimension in ((across, 0), (down, 1)):
        index = graph.op("Add", steps, axis.offset)
        within = graph.op("And", graph.op("Greater", index, np.int64(-1)), graph.op("Less", index, axis.resized))
        inside.append(graph.op("Unsqueeze", within, np.array([dimension])))
    colour = np.array(preprocess.mean_colour, dtype=np.float32).reshape(1, 3, 1, 1)
    return graph.op("Where", graph.op("And", *inside), square, colour)
