"""A network's layers as nodes of a graph, under their names in the model file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.model.network import Bottleneck, ResNet50

#: Results named after their layer, for people who read the file.
AVERAGE, FEATURES, HEAD = "avgpool", "features", "fc"


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
    x = add_layer(graph, add_layer(graph, x, network.conv1, "conv1"), network.bn1, "bn1")
    x = add_layer(graph, graph.op("Relu", x, name="relu"), network.maxpool, "maxpool")
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = add_layer(graph, x, getattr(network, name), name)
    graph.floats = np.float32
    # The mean of 49 float16 values would lose precision.
    x = graph.cast(x, np.float32, name="layer4.single") if half else x
    return graph.op("Flatten", graph.op("GlobalAveragePool", x, name=AVERAGE), axis=1, name=FEATURES)


def add_layer(graph: GraphWriter, x: str, module: nn.Module, name: str) -> str:
    """Adds a module and all modules in it.

    Args:
        graph: The graph to extend.
        x: Name of the module's input.
        module: The module, in eval mode, on the CPU.
        name: Its name in the model file.

    Returns:
        The name of its output.

    Raises:
        TypeError: The module's kind is not known.
    """
    match module:
        case nn.Identity() | nn.Dropout():
            return x
        case nn.Sequential():
            for child, layer in module.named_children():
                x = add_layer(graph, x, layer, f"{name}.{child}")
            return x
        case Bottleneck():
            return _add_bottleneck(graph, x, module, name)
        case nn.Conv2d():
            weights = layer_constants(graph, module, name, ("weight", "bias"))
            pads = [int(pad) for pad in module.padding] * 2
            shape = {
                "kernel_shape": list(module.kernel_size),
                "strides": list(module.stride),
                "dilations": list(module.dilation),
                "pads": pads,
                "group": module.groups,
            }
            return graph.op("Conv", x, *weights, name=name, **shape)
        case nn.BatchNorm2d():
            weights = layer_constants(graph, module, name, ("weight", "bias", "running_mean", "running_var"))
            return graph.op("BatchNormalization", x, *weights, name=name, epsilon=module.eps)
        case nn.ReLU():
            return graph.op("Relu", x, name=name)
        case nn.MaxPool2d(kernel_size=kernel, stride=stride, padding=pad):
            shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
            return graph.op("MaxPool", x, name=name, **shape)
        case nn.Linear():
            weight, bias = layer_constants(graph, module, name, ("weight", "bias"))
            return graph.op("Gemm", x, weight, bias, name=name, transB=1)
    raise TypeError(f"{name}: no ONNX for {type(module).__name__}")


def _add_bottleneck(graph: GraphWriter, x: str, block: Bottleneck, name: str) -> str:
    out = x
    for number in ("1", "2", "3"):
        for part in ("conv", "bn"):
            out = add_layer(graph, out, getattr(block, part + number), f"{name}.{part}{number}")
        if number != "3":
            out = graph.op("Relu", out, name=f"{name}.relu{number}")
    shortcut = x if block.downsample is None else add_layer(graph, x, block.downsample, f"{name}.downsample")
    return graph.op("Relu", graph.op("Add", out, shortcut, name=f"{name}.add"), name=f"{name}.relu3")


def layer_constants(graph: GraphWriter, module: nn.Module, name: str, fields: tuple[str, ...]) -> list[str]:
    """Adds those of a module's tensors that it has, and returns their names."""
    tensors: list[tuple[str, Tensor | None]] = [(field, getattr(module, field)) for field in fields]
    found = []
    for field, tensor in tensors:
        if tensor is not None:
            array = tensor.detach().float().numpy()
            if graph.for_int8 and name.startswith(HEAD) and field == "weight":
                found.append(add_bytes(graph, array, f"{name}.{field}", axis=1))
            else:
                found.append(graph.constant(array.astype(graph.floats, copy=False), f"{name}.{field}"))
    return found


def add_bytes(graph: GraphWriter, array: NDArray[np.float32], name: str, *, axis: int) -> str:
    """A float32 constant stored as signed bytes, with one scale per slice along ``axis``."""
    scale = np.maximum(np.abs(array).max(axis=axis, keepdims=True) / np.float32(127), np.float32(1e-12))
    levels = np.round(array / scale).astype(np.int8)
    return graph.op("Mul", graph.cast(graph.constant(levels, name), np.float32), graph.constant(scale, f"{name}.scale"))
