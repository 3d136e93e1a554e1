"""Quantizes the backbone of a float graph to int8, with value ranges measured on training images.

Nothing between the image and the average pooling is computed in float: the pixels themselves are the first
convolution's input, and pooling and sums are quantized too. ResNet-50 at 224 px on 2 cores of a Zen 4 processor with
VNNI, images per second of processor time at batch sizes 1 and 16: 67 and 63 with the first convolution in float, 81 and
75 as here, 23 and 24 in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.engines.onnx_backbone import load_onnxruntime
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.threads import num_threads

#: Training images that the value ranges are measured on.
NUM_CALIBRATION = 64
#: Largest level of a weight; -128 is not used, so that positive and negative weights are treated alike.
_MAX_LEVEL = 127
#: Largest sum of two neighboring weights: processors without VNNI add the products of two neighbors in 16 bits, and
#: 255 * 128 still fits. One level is left for rounding.
#: Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When and why do I need to try
#: U8U8".
_MAX_PAIR = 127
#: Largest level of a bias, which is stored in 32 bits and to which the products are added.
_MAX_BIAS = 2**30
#: Name of the result that holds the network's input as levels, uint8 [b x 3 x s x s].
LEVELS = "images.levels"

Floats = NDArray[np.float32]


class _Ranges:
    """What calibration measures on the float graph.

    Attributes:
        span: Result -> its smallest and largest value: the mean over the images of each image's own. With the extremes
            of all images, the error of the features was 8.8 % instead of 7.7 %, measured on 151 photos.
        mean: Result that is the input of a convolution -> the mean of each channel, [channels].
    """

    def __init__(self) -> None:
        self.span: dict[str, tuple[float, float]] = {}
        self.mean: dict[str, Floats] = {}


def quantize(
    proto: ModelProto, squares: Iterable[NDArray[np.uint8]], preprocess: Preprocess, *, images: str
) -> ModelProto:
    """Quantizes everything up to the average pooling: weights per channel, activations per tensor.

    The sums of products cannot overflow on any processor, so the file may be used on another one.

    Args:
        proto: A float32 graph that starts at the network's input and has folded BatchNorms.
        squares: Training images as ``Preprocess`` makes them, uint8 [s x s x 3]; they are read one by one.
        preprocess: The normalization.
        images: Name of the graph's input, float32 [b x 3 x s x s], normalized.

    Returns:
        A graph with the same inputs and outputs.
    """
    ranges = _measure(proto, squares, preprocess, images)
    graph = GraphWriter("int8/")
    mean, std = _statistics(preprocess)
    levels = graph.op("Add", graph.op("Mul", images, std.reshape(1, 3, 1, 1)), mean.reshape(1, 3, 1, 1))
    graph.op("QuantizeLinear", levels, np.float32(1), np.uint8(0), name=LEVELS)
    writer = _Writer(proto, graph, ranges, preprocess)
    nodes = list(proto.graph.node)
    pooling = next(index for index, node in enumerate(nodes) if node.op_type == "GlobalAveragePool")
    for node in nodes[:pooling]:
        writer.add(node)
    for node in nodes[pooling:]:
        copied = NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = [writer.results.get(name, name) for name in node.input]
        graph.nodes.append(copied)
    return _replaced(proto, graph)


def begin_with_squares(proto: ModelProto, side: int, name: str) -> ModelProto:
    """A quantized graph that takes squares directly, uint8 [b x s x s x 3], without the way through floats.

    Args:
        proto: A graph of :func:`quantize`.
        side: Side of the squares in pixels.
        name: Name of the input.
    """
    made = ModelProto()
    made.CopyFrom(proto)
    begin = next(index for index, node in enumerate(proto.graph.node) if LEVELS in node.output)
    transposed = helper.make_node("Transpose", [name], [LEVELS], name=LEVELS, perm=[0, 3, 1, 2])
    del made.graph.input[:], made.graph.node[:], made.graph.initializer[:]
    made.graph.input.append(helper.make_tensor_value_info(name, TensorProto.UINT8, ["b", side, side, 3]))
    made.graph.node.extend([transposed, *list(proto.graph.node)[begin + 1 :]])
    used = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(one for one in proto.graph.initializer if one.name in used)
    return made


class _Writer:
    """Writes the quantized nodes; a result of the float graph has the same name with a suffix.

    Attributes:
        results: Result of the float graph -> the result with its values in the new graph.
    """

    def __init__(self, proto: ModelProto, graph: GraphWriter, ranges: _Ranges, preprocess: Preprocess) -> None:
        self.results: dict[str, str] = {}
        self._graph, self._ranges, self._preprocess = graph, ranges, preprocess
        self._constants = {one.name: one for one in proto.graph.initializer}
        self._scales: dict[str, np.float32] = {}
        self._before_relu = _before_relu(proto)
        self._stem = next(node for node in proto.graph.node if node.op_type == "Conv")

    def add(self, node: NodeProto) -> None:
        """Adds one node of the float graph."""
        (result,) = node.output
        sources = [self.results.get(name, name) for name in node.input]
        if node.op_type == "Conv":
            self.results[result] = self._convolution(node)
        elif node.op_type == "Relu":
            # Levels are not negative: the quantization that follows is the ReLU.
            self.results[result] = sources[0]
        else:
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            self.results[result] = self._graph.op(node.op_type, *sources, name=node.name, **attributes)
        if node.op_type == "MaxPool":
            self._round(result, self._scales[node.input[0]], np.uint8(0))
        elif result not in self._before_relu:
            low, high = self._ranges.span[result]
            scale = np.float32(max(high - low, 1e-6) / 255)
            self._round(result, scale, np.uint8(np.clip(round(-low / float(scale)), 0, 255)))

    def _round(self, result: str, scale: np.float32, zero: np.uint8) -> None:
        scales, zeros = (self._graph.constant(*one) for one in ((scale, f"{result}.scale"), (zero, f"{result}.zero")))
        levels = self._graph.op("QuantizeLinear", self.results[result], scales, zeros, name=f"{result}.levels")
        self.results[result] = self._graph.op("DequantizeLinear", levels, scales, zeros, name=f"{result}.rounded")
        self._scales[result] = scale

    def _convolution(self, node: NodeProto) -> str:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        weight, *biases = (numpy_helper.to_array(self._constants[name]).astype(np.float32) for name in node.input[1:])
        bias = biases[0] if biases else np.zeros(len(weight), dtype=np.float32)
        if node is self._stem:
            # Normalization is part of the weights, and pixels are their own levels. Without the ones that are added at
            # the border, 0 would be black instead of the mean color.
            mean, std = _statistics(self._preprocess)
            weight = weight / std.reshape(1, 3, 1, 1)
            bias = bias - np.einsum("oihw,i->o", weight, mean)
            x, scale = self._padded(attributes["pads"]), np.float32(1)
            attributes["pads"] = [0, 0, 0, 0]
            average = self._ranges.mean[node.input[0]] * std + mean
        else:
            x, scale = self.results[node.input[0]], self._scales[node.input[0]]
            average = self._ranges.mean[node.input[0]]
        scales = np.maximum(_scales(weight), np.abs(bias) / (scale * np.float32(_MAX_BIAS)))
        each = scales.reshape(-1, 1, 1, 1)
        levels = np.clip(np.round(weight / each), -_MAX_LEVEL, _MAX_LEVEL).astype(np.int8)
        # What rounding the weights changes of the mean output is given to the bias.
        # Source: Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2.
        groups = average.reshape(attributes["group"], -1).repeat(len(weight) // attributes["group"], axis=0)
        bias = bias + np.einsum("oihw,oi->o", weight - levels * each, groups)
        return self._graph.op(
            "Conv",
            x,
            self._stored(levels, scales, f"{node.name}.weight"),
            self._stored(np.round(bias / (scale * scales)).astype(np.int32), scale * scales, f"{node.name}.bias"),
            name=node.name,
            **attributes,
        )

    def _padded(self, pads: list[int]) -> str:
        """The input as levels, with a border of the mean color."""
        graph, x = self._graph, LEVELS
        if any(pads):
            where = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]])
            channels = graph.op_many("Split", LEVELS, outputs=3, axis=1, num_outputs=3)
            colors = zip(channels, self._preprocess.mean_color, strict=True)
            x = graph.op("Concat", *(graph.op("Pad", one, where, np.uint8(color)) for one, color in colors), axis=1)
        return graph.op("DequantizeLinear", x, np.float32(1), np.uint8(0), name="images.rounded")

    def _stored(self, levels: NDArray[Any], scales: Floats, name: str) -> str:
        graph = self._graph
        constants = [graph.constant(levels, f"{name}.levels"), graph.constant(scales, f"{name}.scale")]
        zeros = graph.constant(np.zeros(len(scales), levels.dtype), f"{name}.zero")
        return graph.op("DequantizeLinear", *constants, zeros, name=f"{name}.rounded", axis=0)


def _scales(weight: Floats) -> Floats:
    """The value of one level of each output channel's weights [o x i x h x w], [o].

    As fine as possible, so that no weight exceeds ``_MAX_LEVEL`` and no two weights whose products a processor adds in
    16 bits exceed ``_MAX_PAIR``. Which weights are neighbors depends on the order in which a runtime stores them. With
    7 bits for all weights instead, the error of the features was 9.3 % instead of 8.0 % (7.7 % with 8 bits).
    """
    num = len(weight)
    orders = [weight.reshape(num, -1), weight.transpose(0, 2, 3, 1).reshape(num, -1)]
    if weight.shape[1] % 2:
        # Some runtimes fill the channels up to an even number.
        even = np.pad(weight, ((0, 0), (0, 1), (0, 0), (0, 0)))
        orders.append(even.transpose(0, 2, 3, 1).reshape(num, -1))
    found: Floats = np.abs(weight).reshape(num, -1).max(axis=1) / np.float32(_MAX_LEVEL)
    for order in orders:
        pairs = np.pad(order, ((0, 0), (0, order.shape[1] % 2))).reshape(num, -1, 2)
        # The products have the sign of the weights, since levels of activations are not negative.
        sums = np.maximum(np.maximum(pairs, 0).sum(axis=2), np.maximum(-pairs, 0).sum(axis=2))
        found = np.maximum(found, sums.max(axis=1) / np.float32(_MAX_PAIR))
    return np.maximum(found, np.float32(1e-12))


def _measure(proto: ModelProto, squares: Iterable[NDArray[np.uint8]], preprocess: Preprocess, images: str) -> _Ranges:
    """Runs the float graph on images, one by one."""
    nodes = list(proto.graph.node)
    before_relu = _before_relu(proto)
    pooling = next(index for index, node in enumerate(nodes) if node.op_type == "GlobalAveragePool")
    results = [name for node in nodes[:pooling] for name in node.output if name not in before_relu]
    inputs = {node.input[0] for node in nodes if node.op_type == "Conv"}
    outputs = [(kind, name) for name in results for kind in ("ReduceMin", "ReduceMax")]
    outputs += [("ReduceMean", name) for name in sorted(inputs)]
    session = _measuring(proto, nodes[:pooling], outputs)
    sums: list[NDArray[np.float64]] = []
    count = 0
    mean, std = _statistics(preprocess)
    for square in squares:
        normalized = ((square.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None]
        found = [one.astype(np.float64) for one in session.run(None, {images: np.ascontiguousarray(normalized)})]
        sums = [old + new for old, new in zip(sums, found, strict=True)] if count else found
        count += 1
    means = {key: total / count for key, total in zip(outputs, sums, strict=True)}
    ranges = _Ranges()
    for name in results:
        # Zero has a level of its own: it is what convolutions are padded with.
        low, high = min(0.0, float(means["ReduceMin", name])), max(0.0, float(means["ReduceMax", name]))
        ranges.span[name] = low, high
    ranges.mean = {name: means["ReduceMean", name].astype(np.float32) for name in inputs}
    return ranges


def _measuring(proto: ModelProto, nodes: list[NodeProto], outputs: list[tuple[str, str]]) -> Any:
    """A session of the float graph up to the pooling, whose outputs are what is measured."""
    graph = GraphWriter("measure/")
    graph.nodes = list(nodes)
    names = []
    for kind, name in outputs:
        axes = np.array([0, 2, 3] if kind == "ReduceMean" else [0, 1, 2, 3])
        names.append(graph.op(kind, name, axes, keepdims=0))
    used = {name for node in nodes for name in node.input}
    made = graph.build({}, {})
    made.graph.initializer.extend(one for one in proto.graph.initializer if one.name in used)
    made.graph.input.extend(proto.graph.input)
    made.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads()
    options.log_severity_level = 3
    # Threads that wait for work by spinning take cores from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _before_relu(proto: ModelProto) -> set[str]:
    """Results that only a ReLU reads: they need no levels of their own."""
    readers: dict[str, list[str]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    return {name for name, kinds in readers.items() if kinds == ["Relu"]}


def _statistics(preprocess: Preprocess) -> tuple[Floats, Floats]:
    """Mean and std of each channel of the levels from 0 to 255, [3] each."""
    mean, std = (np.array(x, dtype=np.float32) * np.float32(255) for x in (preprocess.mean, preprocess.std))
    return mean, std


def _replaced(proto: ModelProto, graph: GraphWriter) -> ModelProto:
    """The float graph with the new nodes, and without the constants that are no longer used."""
    made = ModelProto()
    made.CopyFrom(proto)
    used = {name for node in graph.nodes for name in node.input}
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(graph.nodes)
    made.graph.initializer.extend(one for one in proto.graph.initializer if one.name in used)
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in graph.constants.items())
    return made
