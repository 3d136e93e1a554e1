"""Quantizes the backbone of a model in torch, and writes it as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from resnet_cli.engines.backbone_file import ABOUT, FEATURES, SQUARES, checksum_field
from resnet_cli.engines.graph import GraphWriter
from resnet_cli.engines.int8 import begin_with_squares, quantize
from resnet_cli.engines.int8_file import GRAPH_SHA256
from resnet_cli.engines.layers import add_features
from resnet_cli.model.network import ResNet50
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import atomic_path

_IMAGES = "images"


def quantize_backbone(network: ResNet50, squares: Iterable[NDArray[np.uint8]], preprocess: Preprocess) -> ModelProto:
    """A graph from squares, uint8 [b x s x s x 3], to features, float32 [b x 2048], that computes in int8.

    Args:
        network: The network; it is copied, not changed.
        squares: Training images as ``Preprocess`` makes them, uint8 [s x s x 3]; they are read one by one.
        preprocess: Size of the input and normalization.
    """
    side = preprocess.crop_size
    graph = GraphWriter()
    add_features(graph, _IMAGES, network.folded().cpu())
    proto = graph.build({_IMAGES: (np.float32, ["b", 3, side, side])}, {FEATURES: ["b", NUM_FEATURES]})
    return begin_with_squares(quantize(proto, squares, preprocess, images=_IMAGES), side, SQUARES)


def write_int8(proto: ModelProto, path: Path, about: str, texts: Mapping[str, str]) -> None:
    """Writes a quantized backbone with its metadata and a checksum.

    Args:
        proto: From :func:`quantize_backbone`.
        path: The file to write.
        about: From :func:`~resnet_cli.engines.int8_file.describe_int8`.
        texts: More metadata.

    Raises:
        DiskError: It cannot be written.
    """
    graph_sha256 = hashlib.sha256(proto.graph.SerializeToString(deterministic=True)).hexdigest()
    del proto.metadata_props[:]
    helper.set_model_props(proto, {**texts, ABOUT: about, GRAPH_SHA256: graph_sha256})
    data = proto.SerializeToString(deterministic=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data + checksum_field(hashlib.sha256(data).hexdigest()))
