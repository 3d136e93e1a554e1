"""The part of a graph after the backbone: probabilities, novelty and heat map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import nn

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.engines.layers import AVERAGE, HEAD, add_bytes, add_layer, layer_constants
from resnet_cli.exported.metadata import HEATMAP, NOVELTY, PROBS
from resnet_cli.model.reliability import NUM_NEAREST, NoveltyScorer
from resnet_cli.task import TaskName

#: The constant that logits are divided by.
TEMPERATURE = "temperature"
#: Task -> the operator that makes probabilities of logits, and its attributes.
_ACTIVATIONS: Mapping[TaskName, tuple[str, dict[str, Any]]] = {
    "single-label": ("Softmax", {"axis": 1}),
    "multi-label": ("Sigmoid", {}),
}


def add_probs(graph: GraphWriter, features: str, head: nn.Module, temperature: float, *, task: TaskName) -> str:
    """Adds the head, the temperature, and the softmax or the logistic function.

    Returns:
        ``probs``, float32 [b x k].
    """
    divisor = graph.constant(np.float32(temperature), TEMPERATURE)
    logits = graph.op("Div", add_layer(graph, features, head, HEAD), divisor)
    kind, attributes = _ACTIVATIONS[task]
    return graph.op(kind, logits, name=PROBS, **attributes)


def set_temperature(proto: ModelProto, temperature: float) -> None:
    """Replaces the temperature of a graph."""
    (divisor,) = (constant for constant in proto.graph.initializer if constant.name == TEMPERATURE)
    divisor.CopyFrom(numpy_helper.from_array(np.asarray(temperature, dtype=np.float32), TEMPERATURE))


def add_novelty(graph: GraphWriter, features: str, reference: NDArray[Any], *, small: bool = False) -> str:
    """Adds the comparison with training images of :func:`resnet_cli.model.reliability.novelty`.

    Args:
        graph: The graph to extend.
        features: Name of the float32 [b x 2048] features.
        reference: Features of training images, [m x 2048]; stored as float16, which is precise enough for cosines.
        small: Store them as bytes with a scale per row: half of the size, and cosines differ by less than 0.001.

    Returns:
        ``novelty``, float32 [b].
    """
    graph.prefix = "novelty/"
    novelty_scorer = NoveltyScorer(reference)
    scales, units = novelty_scorer.scales, novelty_scorer.units
    known = add_bytes(graph, units.T, "reference", axis=0) if small else _halves(graph, units.T, "reference")
    scaled = graph.op("Div", features, scales)
    # Not ReduceL2: MNN 3.6.1 ignores its axes, and computes one length for the whole batch.
    squared = graph.op("ReduceSum", graph.op("Mul", scaled, scaled), np.array([1]), keepdims=1)
    lengths = graph.op("Sqrt", squared)
    cosines = graph.op("MatMul", graph.op("Div", scaled, graph.op("Max", lengths, np.float32(1e-12))), known)
    nearest = cosines
    if len(reference) > NUM_NEAREST:
        # Only then: OpenCV 4 refuses to take as many as there are.
        nearest, _ = graph.op_many("TopK", cosines, np.array([NUM_NEAREST]), outputs=2, axis=1, largest=1, sorted=1)
    return graph.op("Sub", np.float32(1), graph.op("ReduceMean", nearest, np.array([1]), keepdims=0), name=NOVELTY)


def add_heat(graph: GraphWriter, head: nn.Module) -> str:
    """Adds the regions that support the most probable class: Grad-CAM of the last stage, not scaled.

    The gradient of the class's logit is the same at every place; see :class:`resnet_cli.engines.explain.GradCam`.

    Args:
        graph: The graph to extend; it contains backbone and head.
        head: Linear layers with ReLUs between them.

    Returns:
        ``heat``, float32 [b x rows x columns], at least 0.
    """
    graph.prefix = "heat/"
    (stage,) = (node.input[0] for node in graph.nodes if node.name == AVERAGE)
    best = graph.op("ArgMax", PROBS, axis=1, keepdims=0)
    if isinstance(head, nn.Linear):
        gradient = graph.op("Gather", layer_constants(graph, head, HEAD, ("weight",))[0], best)  # [b x 2048]
    else:
        *before, last = ((f"{HEAD}.{name}", layer) for name, layer in head.named_children())
        gradient = graph.op("Gather", layer_constants(graph, last[1], last[0], ("weight",))[0], best)
        for name, layer in reversed(before):
            if isinstance(layer, nn.ReLU):
                gradient = graph.op("Mul", gradient, graph.op("Sign", name))
            elif isinstance(layer, nn.Linear):
                gradient = graph.op("MatMul", gradient, layer_constants(graph, layer, name, ("weight",))[0])
    weighted = graph.op("Mul", stage, graph.op("Unsqueeze", gradient, np.array([2, 3])))
    return graph.op("Relu", graph.op("ReduceSum", weighted, np.array([1]), keepdims=0), name=HEATMAP)


def _halves(graph: GraphWriter, array: NDArray[np.float32], name: str) -> str:
    """A float32 constant stored as float16; runtimes convert it once, when they load the file."""
    return graph.cast(graph.constant(array.astype(np.float16), name), np.float32)
