"""A model for OpenVINO: a folder with ``model.xml`` and ``model.bin``, made from our ONNX graph."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.openvino import MODEL_FILE, OpenVinoModel, load_openvino


def write_openvino(onnx: bytes, folder: Path, about: ExportMetadata) -> OpenVinoModel:
    """Converts a graph of ours that takes ``pixels``, in float32.

    The resizing stays outside: OpenVINO 2026.4 answered the first image of a graph that resizes otherwise than the
    same image a second time.

    Raises:
        SetupError: OpenVINO is not installed.
    """
    openvino = load_openvino()
    source = folder / "source.onnx"
    source.write_bytes(onnx)
    openvino.save_model(openvino.convert_model(source), folder / MODEL_FILE, compress_to_fp16=False)
    source.unlink()
    about.write(folder)
    return OpenVinoModel(folder)
