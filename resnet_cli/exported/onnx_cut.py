"""An exported graph without its preprocessing, for whoever resizes images on threads of their own."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from resnet_cli.exported.metadata import IMAGES, RAW_IMAGES


def cut_preprocessing(path: Path) -> bytes:
    """Reads a file of ours; one that takes ``image`` then begins with the network's input, as ``tensor`` does.

    Raises:
        ValueError: The graph is none of ours.
        google.protobuf.message.DecodeError: Nor is the file one of ONNX.
    """
    proto = onnx.load(path, load_external_data=False)
    graph = proto.graph
    if [node.name for node in graph.input] != [RAW_IMAGES]:
        return path.read_bytes()
    ends = [index for index, node in enumerate(graph.node) if IMAGES in node.output]
    takes = [text for text in proto.metadata_props if text.key == "takes"]
    if len(ends) != 1 or len(takes) != 1:
        raise ValueError("its preprocessing cannot be told from its network")
    takes[0].value = "tensor"
    nodes = list(graph.node)[ends[0] + 1 :]
    used = {name for node in nodes for name in node.input}
    constants = [constant for constant in graph.initializer if constant.name in used]
    images = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, ["b", 3, "s", "s"])
    made = helper.make_graph(nodes, graph.name, [images], graph.output, constants)
    del graph.node[:], graph.initializer[:]
    graph.CopyFrom(made)
    data: bytes = proto.SerializeToString()
    return data
