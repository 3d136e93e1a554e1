"""An exported graph without its preprocessing, for servers that resize images on other threads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from resnet_cli.exported.metadata import IMAGES, RAW_IMAGES, ExportMetadata
from resnet_cli.preprocess import Preprocess


def cut_preprocessing(path: Path) -> bytes:
    """Reads an exported file; a graph that takes whole images then begins with the network's input.

    Raises:
        ModelError: The metadata are damaged.
        ValueError: The graph was not written by this program.
        google.protobuf.message.DecodeError: The file is not an ONNX file.
    """
    proto = onnx.load(path, load_external_data=False)
    graph = proto.graph
    if [node.name for node in graph.input] != [RAW_IMAGES]:
        return path.read_bytes()
    ends = [index for index, node in enumerate(graph.node) if IMAGES in node.output]
    texts = {text.key: text.value for text in proto.metadata_props}
    if len(ends) != 1:
        raise ValueError("its preprocessing cannot be told from its network")
    metadata = ExportMetadata.from_texts(texts, str(path))
    side = Preprocess.from_dict(dict(metadata.preprocess)).crop_size
    nodes = list(graph.node)[ends[0] + 1 :]
    used = {name for node in nodes for name in node.input}
    constants = [constant for constant in graph.initializer if constant.name in used]
    images = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, ["b", 3, side, side])
    made = helper.make_graph(nodes, graph.name, [images], graph.output, constants)
    del graph.node[:], graph.initializer[:]
    graph.CopyFrom(made)
    del proto.metadata_props[:]
    helper.set_model_props(proto, texts | dataclasses.replace(metadata, input_kind="tensor").to_texts())
    data: bytes = proto.SerializeToString()
    return data
