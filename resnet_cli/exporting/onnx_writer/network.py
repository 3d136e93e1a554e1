"""A network's layers as nodes of a graph, under their names in the model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_cli.exported.metadata import HEATMAP, NOVELTY, PROBS
from resnet_cli.exporting.onnx_writer.graph import GraphWriter
from resnet_cli.model.network import Bottleneck, ResNet50
from resnet_cli.model.reliability import NUM_NEAREST, NoveltyScorer
from resnet_cli.task import TaskName

#: Results named after their layer, for people who read the file.
AVERAGE, FEATURES, HEAD = "avgpool", "features", "fc"
#: Task -> the operator that makes probabilities of logits, and its attributes.
_ACTIVATIONS: Mapping[TaskName, tuple[str, dict[str, Any]]] = {
    "single-label": ("Softmax", {"axis": 1}),
    "multi-label": ("Sigmoid", {}),
}


def add_features(graph: GraphWriter, images: str, network: ResNet50, *, half: bool = False) -> str:
    """Adds the backbone.

    Args:
        graph: The graph to extend.
        images: Name of a float32 [b x 3 x s x s] result.
        network: The network with folded BatchNorms, in eval mode, on the CPU.
        half: Compute in float16 up to the average pooling after the last stage.

    Returns:
        The name of the float32 [b x 2048] result.
    """
    graph.prefix = ""
    graph.floats = np.float16 if half else np.float32
    x = graph.cast(images, np.float16, name="images.half") if half else images
    x = _add(graph, _add(graph, x, network.conv1, "conv1"), network.bn1, "bn1")
    if graph.for_int8:
        # The same in reverse order, and with an operator that no runtime moves into int8, where pooling is slow.
        x = graph.op("Max", _add(graph, x, network.maxpool, "maxpool"), np.float32(0), name="relu")
    else:
        x = _add(graph, graph.op("Relu", x, name="relu"), network.maxpool, "maxpool")
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = _add(graph, x, getattr(network, name), name)
    graph.floats = np.float32
    # The mean of 49 float16 values would lose precision.
    x = graph.cast(x, np.float32, name="layer4.single") if half else x
    return graph.op("Flatten", graph.op("GlobalAveragePool", x, name=AVERAGE), axis=1, name=FEATURES)


def add_probs(graph: GraphWriter, features: str, head: nn.Module, temperature: float, *, task: TaskName) -> str:
    """Adds the head, the temperature, and the softmax or the logistic function.

    Returns:
        ``probs``, float32 [b x k].
    """
    logits = graph.op("Div", _add(graph, features, head, HEAD), np.float32(temperature))
    kind, attributes = _ACTIVATIONS[task]
    return graph.op(kind, logits, name=PROBS, **attributes)


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
    known = _bytes(graph, units.T, "reference", axis=0) if small else _halves(graph, units.T, "reference")
    scaled = graph.op("Div", features, scales)
    lengths = graph.op("ReduceL2", scaled, np.array([1]), keepdims=1)
    cosines = graph.op("MatMul", graph.op("Div", scaled, graph.op("Max", lengths, np.float32(1e-12))), known)
    num_nearest = np.array([min(NUM_NEAREST, len(reference))])
    nearest, _ = graph.op_many("TopK", cosines, num_nearest, outputs=2, axis=1)
    return graph.op("Sub", np.float32(1), graph.op("ReduceMean", nearest, np.array([1]), keepdims=0), name=NOVELTY)


def add_heat(graph: GraphWriter, head: nn.Module) -> str:
    """Adds the regions that support the most probable class: Grad-CAM of the last stage, not scaled.

    The gradient of the class's logit is the same at every place; see :class:`resnet_cli.model.explain.GradCam`.

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
        gradient = graph.op("Gather", _constants(graph, head, HEAD, ("weight",))[0], best)  # [b x 2048]
    else:
        *before, last = ((f"{HEAD}.{name}", layer) for name, layer in head.named_children())
        gradient = graph.op("Gather", _constants(graph, last[1], last[0], ("weight",))[0], best)
        for name, layer in reversed(before):
            if isinstance(layer, nn.ReLU):
                gradient = graph.op("Mul", gradient, graph.op("Sign", name))
            elif isinstance(layer, nn.Linear):
                gradient = graph.op("MatMul", gradient, _constants(graph, layer, name, ("weight",))[0])
    weighted = graph.op("Mul", stage, graph.op("Unsqueeze", gradient, np.array([2, 3])))
    return graph.op("Relu", graph.op("ReduceSum", weighted, np.array([1]), keepdims=0), name=HEATMAP)


def _add(graph: GraphWriter, x: str, module: nn.Module, name: str) -> str:
    """Adds one module and all modules in it."""
    match module:
        case nn.Identity() | nn.Dropout():
            return x
        case nn.Sequential():
            for child, layer in module.named_children():
                x = _add(graph, x, layer, f"{name}.{child}")
            return x
        case Bottleneck():
            return _add_bottleneck(graph, x, module, name)
        case nn.Conv2d():
            weights = _constants(graph, module, name, ("weight", "bias"))
            pads = [int(pad) for pad in module.padding] * 2
            strides, group = list(module.stride), module.groups
            return graph.op("Conv", x, *weights, name=name, strides=strides, pads=pads, group=group)
        case nn.BatchNorm2d():
            weights = _constants(graph, module, name, ("weight", "bias", "running_mean", "running_var"))
            return graph.op("BatchNormalization", x, *weights, name=name, epsilon=module.eps)
        case nn.ReLU():
            return graph.op("Relu", x, name=name)
        case nn.MaxPool2d(kernel_size=kernel, stride=stride, padding=pad):
            shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
            return graph.op("MaxPool", x, name=name, **shape)
        case nn.Linear():
            weight, bias = _constants(graph, module, name, ("weight", "bias"))
            return graph.op("Gemm", x, weight, bias, name=name, transB=1)
    raise TypeError(f"{name}: no ONNX for {type(module).__name__}")


def _add_bottleneck(graph: GraphWriter, x: str, block: Bottleneck, name: str) -> str:
    out = x
    for number in ("1", "2", "3"):
        for part in ("conv", "bn"):
            out = _add(graph, out, getattr(block, part + number), f"{name}.{part}{number}")
        if number != "3":
            out = graph.op("Relu", out, name=f"{name}.relu{number}")
    shortcut = x if block.downsample is None else _add(graph, x, block.downsample, f"{name}.downsample")
    return graph.op("Relu", graph.op("Add", out, shortcut, name=f"{name}.add"), name=f"{name}.relu3")


def _constants(graph: GraphWriter, module: nn.Module, name: str, fields: tuple[str, ...]) -> list[str]:
    tensors: list[tuple[str, Tensor | None]] = [(field, getattr(module, field)) for field in fields]
    found = []
    for field, tensor in tensors:
        if tensor is not None:
            array = tensor.detach().float().numpy()
            if graph.for_int8 and name.startswith(HEAD) and field == "weight":
                found.append(_bytes(graph, array, f"{name}.{field}", axis=1))
            else:
                found.append(graph.constant(array.astype(graph.floats), f"{name}.{field}"))
    return found


def _halves(graph: GraphWriter, array: NDArray[np.float32], name: str) -> str:
    """A float32 constant stored as float16; runtimes convert it once, when they load the file."""
    return graph.cast(graph.constant(array.astype(np.float16), name), np.float32)


def _bytes(graph: GraphWriter, array: NDArray[np.float32], name: str, *, axis: int) -> str:
    """A float32 constant stored as signed bytes, with one scale per slice along ``axis``."""
    scale = np.maximum(np.abs(array).max(axis=axis, keepdims=True) / np.float32(127), np.float32(1e-12))
    levels = np.round(array / scale).astype(np.int8)
    return graph.op("Mul", graph.cast(graph.constant(levels, name), np.float32), graph.constant(scale, f"{name}.scale"))
