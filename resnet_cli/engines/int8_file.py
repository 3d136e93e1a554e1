"""The quantized backbone of a model as an ONNX file beside it: its place, its check and how it is opened; no torch.

Other than the file in float32, which any model with the same backbone shares, it belongs to one model: it was
calibrated on the model's training images, and contains what the model achieves with it on its validation images.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_cli.engines.backbone_file import ABOUT, describe, is_whole, mark_used, path_of
from resnet_cli.errors import SetupError
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.preprocess import Preprocess

if TYPE_CHECKING:
    from resnet_cli.engines.onnx_backbone import OnnxBackbone

#: Name of the file in a run folder.
INT8_FILE = "backbone.int8.onnx"
#: Name of the metadata entry that holds the checksum of the graph alone, without the results that are stored beside it.
GRAPH_SHA256 = "resnet_cli.graph_sha256"
#: Version of the quantization; raised when the same training images would give other features.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Int8Backbone:
    """A quantized backbone, opened.

    Attributes:
        path: The file.
        backbone: The backbone in ONNX Runtime.
        texts: The file's metadata.
    """

    path: Path
    backbone: OnnxBackbone
    texts: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The checksum of the graph, which features in the cache belong to."""
        return self.texts[GRAPH_SHA256]


def describe_int8(backbone_hash: str, preprocess: Preprocess, model_sha256: str) -> str:
    """Everything that a quantized file depends on, as JSON.

    Args:
        backbone_hash: From :func:`resnet_cli.model.network.backbone_hash`.
        preprocess: Size of the input and normalization.
        model_sha256: SHA-256 of the file of the model that was quantized; empty for a file that a training made,
            before its model was there.
    """
    common = json.loads(describe(backbone_hash, preprocess, "int8"))
    return json.dumps(common | {"quantization": _VERSION, "model": model_sha256})


def int8_places(model_path: Path | None, about: str) -> Iterator[Path]:
    """Where the file is looked for and written: in the run folder, else in the cache folder."""
    if model_path is not None and model_path.name == MODEL_FILE:
        yield model_path.resolve().with_name(INT8_FILE)
    yield path_of(about)


def find_int8(model_path: Path | None, about: str, sha256: str | None = None) -> Int8Backbone | None:
    """Opens the quantized backbone of a model; None if there is none, or it is damaged or of another model.

    Args:
        model_path: The model's file.
        about: From :func:`describe_int8`.
        sha256: The checksum of its graph, if the model names one.
    """
    return next(filter(None, (open_int8(path, about, sha256) for path in int8_places(model_path, about))), None)


def open_int8(path: Path, about: str, sha256: str | None = None) -> Int8Backbone | None:
    """Opens one file; None if it is missing, damaged, described otherwise or, with ``sha256``, of another graph.

    Raises:
        SetupError: ONNX Runtime cannot be imported.
    """
    from resnet_cli.engines.onnx_backbone import OnnxBackbone, load_session

    try:
        if not is_whole(path):
            return None
        session = load_session(path)
        texts = dict(session.get_modelmeta().custom_metadata_map)
    except SetupError:
        raise
    except Exception:  # noqa: BLE001
        # The runtime's errors have no other common base class.
        return None
    if texts.get(ABOUT) != about or GRAPH_SHA256 not in texts or sha256 not in {None, texts[GRAPH_SHA256]}:
        return None
    mark_used(path)
    return Int8Backbone(path, OnnxBackbone(session, "int8"), texts)
