"""Opens a backbone file in an engine; no torch."""

from __future__ import annotations

import contextlib
from pathlib import Path

from resnet_cli.engines.backbone_file import is_whole, mark_used, path_of
from resnet_cli.engines.base import Backbone
from resnet_cli.errors import ModelError, SetupError
from resnet_cli.system.threads import engine_threads

#: The description of a file is in its first bytes, with the nodes of the graph.
_HEAD_BYTES = 1_000_000


def find_file(about: str) -> Path | None:
    """The file of a backbone in the cache folder; None if there is no whole one. A damaged one is deleted.

    Args:
        about: From :func:`~resnet_cli.engines.backbone_file.describe`.
    """
    path = path_of(about)
    try:
        if is_whole(path):
            with path.open("rb") as file:
                if about.encode() in file.read(_HEAD_BYTES):
                    mark_used(path)
                    return path
    except OSError:
        return None
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def import_engine(engine: str) -> None:
    """Imports the library of an engine other than torch.

    Raises:
        ImportError: ONNX Runtime cannot be imported.
        SetupError: OpenVINO is not installed.
    """
    if engine == "openvino":
        from resnet_cli.engines.openvino_backbone import load_openvino

        load_openvino("--engine openvino")
    elif engine == "onnxruntime":
        from resnet_cli.system.no_telemetry import import_onnxruntime

        import_onnxruntime()


def open_file(path: Path, engine: str, precision: str) -> Backbone:
    """Opens a backbone file.

    Args:
        path: The file: of int8 for int8, else of fp32.
        engine: ``onnxruntime`` or ``openvino``.
        precision: The precision to compute in.

    Raises:
        SetupError: The engine is not installed.
        ModelError: It cannot read the file.
    """
    if engine == "openvino":
        from resnet_cli.engines.openvino_backbone import OpenVinoBackbone

        return OpenVinoBackbone(path, precision, engine_threads())
    from resnet_cli.engines.onnx_backbone import OnnxBackbone, load_session

    try:
        return OnnxBackbone(load_session(path), precision)
    except SetupError:
        raise
    except Exception as error:
        # The runtime's errors have no other common base class.
        raise ModelError(f"{path}: ONNX Runtime cannot read it: {str(error)[:200]}") from error
