"""Writes the backbone of a model in torch as an ONNX file into the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, helper, numpy_helper

from resnet_cli.engines.backbone_file import (
    ABOUT,
    FEATURES,
    MAX_ENGINES_BYTES,
    SQUARES,
    checksum_field,
    describe,
    is_whole,
    mark_used,
    path_of,
)
from resnet_cli.engines.graph import GraphWriter
from resnet_cli.engines.layers import add_features
from resnet_cli.errors import DiskError
from resnet_cli.model.network import ResNet50, backbone_hash
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.caches import evict, warn_unwritable
from resnet_cli.system.locks import locked
from resnet_cli.system.paths import atomic_path, engines_dir, make_dir


def keep_backbone(network: ResNet50, preprocess: Preprocess) -> Path | None:
    """Writes the file of a backbone unless a whole one is there; one process does it if several want to.

    Args:
        network: The network; it is copied, not changed.
        preprocess: Size of the input and normalization.

    Returns:
        The file; None, after a warning, if the cache folder cannot be written.
    """
    about = describe(backbone_hash(network), preprocess)
    path = path_of(about)
    try:
        with locked(make_dir(path.parent) / f"{path.name}.lock"):
            with contextlib.suppress(OSError):
                if is_whole(path):
                    mark_used(path)
                    return path
            # No other process writes this file now, so these were left by processes that were killed.
            for left in path.parent.glob(f".{path.name}.*.tmp"):
                left.unlink(missing_ok=True)
            write_backbone(network, preprocess, about, path)
    except (DiskError, OSError) as error:
        warn_unwritable(engines_dir(), error)
        return None
    evict(engines_dir().glob("*.onnx"), MAX_ENGINES_BYTES)
    return path


def write_backbone(network: ResNet50, preprocess: Preprocess, about: str, path: Path) -> None:
    """Writes a graph from squares, uint8 [b x s x s x 3], to features, float32 [b x 2048].

    Tensors are written one by one, so that memory holds the weights only twice: the network and its folded copy. Each
    is a message of its own that readers merge with the others, as the encoding of ONNX files allows.

    Args:
        network: The network; it is copied, not changed.
        preprocess: Size of the input and normalization.
        about: From :func:`~resnet_cli.engines.backbone_file.describe`.
        path: The file to write.

    Raises:
        DiskError: It cannot be written.
    """
    side = preprocess.crop_size
    graph = GraphWriter("preprocess/")
    levels = graph.cast(SQUARES, np.float32)
    # In the order of `Preprocess.normalize`, so that the network gets the same bits.
    mean, std = (np.array(values, np.float32) * np.float32(255) for values in (preprocess.mean, preprocess.std))
    normal = graph.op("Div", graph.op("Sub", levels, mean), std)
    images = graph.op("Transpose", normal, perm=[0, 3, 1, 2])
    add_features(graph, images, network.folded().cpu())
    proto = graph.build_nodes({SQUARES: (np.uint8, ["b", side, side, 3])}, {FEATURES: ["b", NUM_FEATURES]})
    helper.set_model_props(proto, {ABOUT: about})
    digest = hashlib.sha256()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        parts = (
            ModelProto(graph=GraphProto(initializer=[numpy_helper.from_array(array, name)]))
            for name, array in graph.constants.items()
        )
        for part in itertools.chain([proto], parts):
            data = part.SerializeToString()
            digest.update(data)
            file.write(data)
        file.write(checksum_field(digest.hexdigest()))
