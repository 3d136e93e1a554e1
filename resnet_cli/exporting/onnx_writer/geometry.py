"""From a decoded image to the network's input, as nodes of a graph: ``Preprocess``, with exactly Pillow's pixels.

Resizing is two matrix products with rounding to whole levels after each. The graph computes the matrices from the
image's size, with Pillow's own bounds, weights of 22 bits and order of passes. The operator ``Resize`` with
``antialias`` was up to 9 levels off (bilinear, large reductions, ONNX Runtime 1.32), resizes pixels that the crop
then discards, and is missing in several runtimes.

Source: Pillow's ``src/libImaging/Resample.c`` (``ImagingResampleInner``) and its ``Image.resize``.
"""

from __future__ import annotations

import numpy as np
import PIL

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.exporting.onnx_writer.filters import TILE, Axis, FilterWeights, add_weights
from resnet_cli.preprocess import MAX_ASPECT, Preprocess

#: Since this version, Pillow resizes tall images vertically first.
_PILLOW_ORDERS = 13


def add_preprocessing(graph: GraphWriter, images: str, preprocess: Preprocess, *, name: str) -> None:
    """Adds the nodes from images to the network's input.

    Args:
        graph: The graph to extend.
        images: Name of the uint8 [b x h x w x 3] input, RGB.
        preprocess: Fit, sizes, filter, mean and std.
        name: Name of the float32 [b x 3 x s x s] result.
    """
    graph.prefix = "preprocess/"
    shape = graph.op("Shape", images)
    height, width = (graph.op("Gather", shape, np.int64(index)) for index in (1, 2))
    across, down = _axes(graph, width, height, preprocess)
    columns, rows = (add_weights(graph, axis, preprocess) for axis in (across, down))

    chooses = int(PIL.__version__.partition(".")[0]) >= _PILLOW_ORDERS
    if preprocess.fit == "crop" and not chooses:
        square = _passes(graph, images, 2, columns, rows)
    else:
        is_tall = _is_tall(graph, across, down, preprocess)
        if not chooses:
            # Preprocess itself resizes tall panoramas vertically first.
            is_panorama = graph.op("Greater", height, graph.op("Mul", width, np.int64(MAX_ASPECT)))
            is_tall = graph.op("And", is_tall, is_panorama)
        square = _in_order(graph, images, columns, rows, is_tall)
    if preprocess.fit == "pad":
        square = _on_mean_color(graph, square, across, down, preprocess)
    add_normalization(graph, square, preprocess, name=name)


def add_normalization(graph: GraphWriter, levels: str, preprocess: Preprocess, *, name: str) -> None:
    """Adds mean and std.

    Args:
        graph: The graph to extend.
        levels: Name of the float32 [b x 3 x s x s] values from 0 to 255.
        preprocess: Source of mean and std.
        name: Name of the result.
    """
    mean, std = (
        np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) * np.float32(255)
        for values in (preprocess.mean, preprocess.std)
    )
    graph.op("Div", graph.op("Sub", levels, mean), std, name=name)


def _axes(graph: GraphWriter, width: str, height: str, preprocess: Preprocess) -> list[Axis]:
    """The place of the square in the resized image, with the integers and roundings of ``Preprocess``."""
    side = np.int64(preprocess.crop_size)
    lengths = (width, height)
    axes = []
    if preprocess.fit == "crop":
        short = graph.op("Min", width, height)
        resized = [graph.op("Div", graph.op("Mul", x, np.int64(preprocess.resize_size)), short) for x in lengths]
        is_part = graph.op("Greater", graph.op("Max", *resized), np.int64(MAX_ASPECT * preprocess.resize_size))
        for length, new in zip(lengths, resized, strict=True):
            axes.append(Axis(length, new, _half(graph, graph.op("Sub", new, side)), is_part=is_part))
        return axes
    long = graph.op("Max", width, height)
    for length in lengths:
        new, offset = graph.constant(side), graph.constant(np.int64(0))
        if preprocess.fit == "pad":
            # In double precision, as in Python: 45 * (224 / 320) is less than 31.5.
            scale = graph.op("Div", np.float64(side), graph.cast(long, np.float64))
            scaled = graph.op("Round", graph.op("Mul", graph.cast(length, np.float64), scale))
            new = _near(graph, graph.cast(scaled, np.int64), graph.op("Mul", length, side), long)
            new = graph.op("Max", new, np.int64(1))
            offset = graph.op("Neg", _half(graph, graph.op("Sub", side, new)))
        axes.append(Axis(length, new, offset))
    return axes


def _is_tall(graph: GraphWriter, across: Axis, down: Axis, preprocess: Preprocess) -> str:
    """Whether the vertical pass comes first: the height loses more than twice the pixels that the width loses."""
    lost = []
    for axis in (across, down):
        resized = axis.resized
        if axis.is_part is not None:
            resized = graph.op("Where", axis.is_part, np.int64(preprocess.crop_size), resized)
        lost.append(graph.op("Sub", axis.length, resized))
    loses_more = graph.op("Greater", lost[1], graph.op("Mul", lost[0], np.int64(2)))
    return graph.op("And", graph.op("Greater", lost[1], np.int64(0)), loses_more)


def _in_order(graph: GraphWriter, images: str, columns: FilterWeights, rows: FilterWeights, is_tall: str) -> str:
    """Both passes in the order that depends on the size, without a branch.

    Both orders are computed, but the one that is not needed reads a single pixel. Engines that compute both branches of
    an ``If``, or refuse it, get the same result at the same speed.
    """
    is_wide = graph.op("Not", is_tall)
    wide = _passes(graph, images, 2, *(_only_if(graph, is_wide, weights) for weights in (columns, rows)))
    tall = _passes(graph, images, 1, *(_only_if(graph, is_tall, weights) for weights in (rows, columns)))
    return graph.op("Where", is_tall, tall, wide)


def _only_if(graph: GraphWriter, condition: str, weights: FilterWeights) -> FilterWeights:
    """The weights as they are, or those of the first source pixel alone."""
    starts = graph.op("Where", condition, weights.starts, np.int64(0))
    return weights._replace(starts=starts, ends=graph.op("Where", condition, weights.ends, np.int64(1)))


def _passes(graph: GraphWriter, images: str, dimension: int, along: FilterWeights, other: FilterWeights) -> str:
    """Resizes along one axis (2 for columns, 1 for rows), then along the other."""
    starts, ends = _bounds(graph, other)
    needed = starts[0], ends[-1]
    planes = _first_pass(graph, images, dimension, along, needed)
    return _second_pass(graph, planes, 3 - dimension, other, needed)


def _first_pass(graph: GraphWriter, images: str, dimension: int, along: FilterWeights, needed: tuple[str, str]) -> str:
    """Resizes along one axis, reading only what the result needs along the other.

    Args:
        graph: The graph to extend.
        images: uint8 [b x h x w x 3].
        dimension: 2 for columns, 1 for rows.
        along: Weights of that axis.
        needed: The first pixel along the other axis and the one after the last, int64 [1] each.

    Returns:
        Whole levels, float32 [b x 3 x h' x s] or [b x 3 x s x w'].
    """
    axes = np.array([dimension, 3 - dimension])
    sums: tuple[list[str], list[str]] = ([], [])
    for tile, (start, end) in enumerate(zip(*_bounds(graph, along), strict=True)):
        corners = (graph.op("Concat", x, y, axis=0) for x, y in zip((start, end), needed, strict=True))
        part = graph.op("Slice", images, *corners, axes)
        planes = graph.cast(graph.op("Transpose", part, perm=[0, 3, 1, 2]), np.float32)
        row = np.array([tile * TILE])
        low, high = (graph.op("Concat", x, y, axis=0) for x, y in ((row, start), (row + TILE, end)))
        for weights, found in zip((along.high, along.low), sums, strict=True):
            matrix = graph.op("Slice", weights, low, high, np.array([0, 1]))
            found.append(_product(graph, planes, matrix, dimension))
    return _levels(graph, *(graph.op("Concat", *found, axis=dimension + 1) for found in sums))


def _second_pass(graph: GraphWriter, planes: str, dimension: int, along: FilterWeights, needed: tuple[str, str]) -> str:
    """Resizes float32 [b x 3 x h x w] planes, which hold only what is needed, along the other axis."""
    matrices = (graph.op("Slice", weights, *needed, np.array([1])) for weights in (along.high, along.low))
    return _levels(graph, *(_product(graph, planes, matrix, dimension) for matrix in matrices))


def _product(graph: GraphWriter, planes: str, matrix: str, dimension: int) -> str:
    """Planes [b x 3 x h x w] times weights, along columns (2) or rows (1)."""
    if dimension == 2:
        return graph.op("MatMul", planes, graph.op("Transpose", matrix, perm=[1, 0]))
    return graph.op("MatMul", matrix, planes)


def _bounds(graph: GraphWriter, weights: FilterWeights) -> tuple[list[str], list[str]]:
    """For each tile, the first source pixel that it reads and the one after the last, int64 [1] each."""
    sizes = np.ones(weights.num_tiles, dtype=np.int64)
    starts, ends = (
        graph.op_many("Split", x, sizes, outputs=weights.num_tiles, axis=0) for x in (weights.starts, weights.ends)
    )
    return starts, ends


def _levels(graph: GraphWriter, high: str, low: str) -> str:
    """Adds two exact sums, rounds to whole levels, halves up, and clips, since the bicubic filter overshoots."""
    raised = graph.op("Add", high, np.float32(0.5))
    whole = graph.op("Floor", raised)
    # The fractional part first: added to whole levels, the last bits of the sum would be lost.
    carry = graph.op("Floor", graph.op("Add", graph.op("Sub", raised, whole), low))
    return graph.op("Clip", graph.op("Add", whole, carry), np.float32(0), np.float32(255))


def _half(graph: GraphWriter, number: str) -> str:
    """Half of an int64 >= 0, rounded half to even as in Python."""
    # Only numbers like 3, whose half is between an odd and an even one, are rounded up.
    rest = graph.op("Sub", number, graph.op("Mul", graph.op("Div", number, np.int64(4)), np.int64(4)))
    return graph.op("Div", graph.op("Add", number, graph.op("Div", rest, np.int64(3))), np.int64(2))


def _near(graph: GraphWriter, rounded: str, above: str, below: str) -> str:
    """A rounded ratio, kept within one of what follows from integers; see ``_split`` in ``filters.py``."""
    twice = graph.op("Add", graph.op("Mul", above, np.int64(2)), below)
    half_up = graph.op("Div", twice, graph.op("Mul", below, np.int64(2)))
    return graph.op("Max", graph.op("Min", rounded, half_up), graph.op("Sub", half_up, np.int64(1)))


def _on_mean_color(graph: GraphWriter, square: str, across: Axis, down: Axis, preprocess: Preprocess) -> str:
    """Fills the square with the mean color where there is no image."""
    steps = np.arange(preprocess.crop_size)
    inside = []
    for axis, dimension in ((across, 0), (down, 1)):
        index = graph.op("Add", steps, axis.offset)
        within = graph.op("And", graph.op("Greater", index, np.int64(-1)), graph.op("Less", index, axis.resized))
        inside.append(graph.op("Unsqueeze", within, np.array([dimension])))
    color = np.array(preprocess.mean_color, dtype=np.float32).reshape(1, 3, 1, 1)
    return graph.op("Where", graph.op("And", *inside), square, color)
