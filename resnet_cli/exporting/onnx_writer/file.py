"""A model as a single ``.onnx`` file, with preprocessing, classes and temperature inside."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, helper

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.engines.layers import add_features
from resnet_cli.exported.metadata import IMAGES, PIXELS, RAW_IMAGES, ExportMetadata, FilePrecision
from resnet_cli.exporting.onnx_writer.geometry import add_normalization, add_preprocessing
from resnet_cli.exporting.onnx_writer.network import add_heat, add_novelty, add_probs
from resnet_cli.model.heatmap import STRIDE_PX
from resnet_cli.model.model_file import Model
from resnet_cli.preprocess import Preprocess

#: Training features in an int8 file: those of 1,000 images take 2 MB beside the network's 23.6 MB.
MAX_SMALL_REFERENCE = 1_000


def to_onnx(
    model: Model, *, precision: FilePrecision = "fp32", with_novelty: bool = True, with_heat: bool = True
) -> ModelProto:
    """Writes a model as an ONNX graph that starts at the network's input.

    Args:
        model: The model; its network is copied and its BatchNorms are folded.
        precision: ``fp16`` computes the backbone in float16. ``int8`` stores head and training features as bytes; the
            convolutions, still float32, become int8 in :func:`resnet_cli.engines.int8.quantize`.
        with_novelty: Also compute how unlike the training images an image is, if the model holds training features.
        with_heat: Also compute which regions of the image support its most probable class.

    Returns:
        A graph with the input ``images``, float32 [b x 3 x s x s], resized and normalized, and the outputs ``probs``
        [b x k] and, if possible, ``novelty`` [b] and ``heat`` [b x s/32 x s/32].
    """
    side = model.preprocess.crop_size
    graph = GraphWriter()
    graph.for_int8 = precision == "int8"
    network = model.network.folded().cpu()
    features = add_features(graph, IMAGES, network, half=precision == "fp16")
    outputs: dict[str, list[int | str]] = {
        add_probs(graph, features, network.fc, model.temperature, task=model.task): ["b", len(model.classes)]
    }
    reference = model.reference
    if with_novelty and reference is not None:
        if precision == "int8" and len(reference) > MAX_SMALL_REFERENCE:
            # Rows are sorted by class: with rows at equal distances, every class keeps its share.
            reference = reference[np.linspace(0, len(reference) - 1, MAX_SMALL_REFERENCE).round().astype(int)]
        outputs[add_novelty(graph, features, reference, small=precision == "int8")] = ["b"]
    if with_heat:
        outputs[add_heat(graph, network.fc)] = ["b", *[math.ceil(side / STRIDE_PX)] * 2]
    return graph.build({IMAGES: (np.float32, ["b", 3, side, side])}, outputs)


def take_images(proto: ModelProto, preprocess: Preprocess) -> ModelProto:
    """Adds the preprocessing in front of a graph that starts at the network's input.

    Returns:
        A graph with the input ``images``, uint8 [b x h x w x 3] RGB, upright, of any size.
    """
    before = GraphWriter()
    add_preprocessing(before, RAW_IMAGES, preprocess, name=IMAGES)
    return _begin_with(before.build({RAW_IMAGES: (np.uint8, ["b", "h", "w", 3])}, {}).graph, proto)


def take_pixels(proto: ModelProto, preprocess: Preprocess, *, as_floats: bool = False) -> ModelProto:
    """Adds only the normalization in front of a graph that starts at the network's input.

    Args:
        proto: The graph.
        preprocess: Source of mean and std.
        as_floats: Whether the pixels are float32; they are from 0 to 255 nevertheless.

    Returns:
        A graph with the input ``pixels``, uint8 or float32 [b x 3 x s x s]: the output of ``Preprocess``.
    """
    before, side = GraphWriter("preprocess/"), preprocess.crop_size
    levels = PIXELS if as_floats else before.cast(PIXELS, np.float32)
    add_normalization(before, levels, preprocess, name=IMAGES)
    dtype = np.float32 if as_floats else np.uint8
    return _begin_with(before.build({PIXELS: (dtype, ["b", 3, side, side])}, {}).graph, proto)


def _begin_with(first: GraphProto, proto: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(proto)
    del made.graph.input[:], made.graph.node[:]
    made.graph.input.extend(first.input)
    made.graph.node.extend([*first.node, *proto.graph.node])
    made.graph.initializer.extend(first.initializer)
    return made


def finish(proto: ModelProto, metadata: ExportMetadata) -> bytes:
    """Adds the metadata, checks the whole file and returns its bytes."""
    del proto.metadata_props[:]
    helper.set_model_props(proto, metadata.to_texts())
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString()
    return data
