"""``--format openvino``: a folder with ``model.xml`` and ``model.bin``, converted from its ONNX graph."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar

from onnx import ModelProto

from resnet_cli.config.export import ExportConfig
from resnet_cli.engines import int8
from resnet_cli.engines.openvino_backbone import load_openvino
from resnet_cli.exported.metadata import IMAGES, NOVELTY, ExportMetadata
from resnet_cli.exported.openvino import MODEL_FILE, WEIGHTS_FILE, OpenVinoModel
from resnet_cli.exporting.formats.base import Calibration, Format, clear
from resnet_cli.exporting.formats.converter import converting
from resnet_cli.exporting.onnx_writer.file import finish, take_pixels, to_onnx
from resnet_cli.exporting.onnx_writer.network import set_temperature
from resnet_cli.model.model_file import Model


class OpenVinoFormat(Format):
    """A folder that ``openvino.Core().read_model`` reads."""

    name = "openvino"
    files = (MODEL_FILE, WEIGHTS_FILE)
    input_kind = "pixels"
    # The ONNX graph too.
    room: ClassVar = {"fp32": 2.0, "fp16": 1.5, "int8": 0.5}

    def __init__(self) -> None:
        self._made: ModelProto | None = None

    def require(self, model: Model, config: ExportConfig) -> None:
        """Refuses the format without OpenVINO.

        Raises:
            SetupError: OpenVINO is not installed.
        """
        load_openvino("--format openvino")

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> OpenVinoModel:
        """Converts the ONNX graph; see :meth:`Format.write`."""
        is_int8 = metadata.precision == "int8"
        made = to_onnx(
            model, precision="int8" if is_int8 else "fp32", with_novelty=NOVELTY in metadata.outputs, with_heat=False
        )
        if is_int8:
            made = int8.quantize(made, calibration(), model.preprocess, images=IMAGES)
        self._made = take_pixels(made, model.preprocess)
        return self._convert(self._made, metadata, path)

    def rewrite(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> OpenVinoModel:
        """Converts the same network with another temperature and other metadata; see :meth:`Format.rewrite`."""
        assert self._made is not None
        set_temperature(self._made, model.temperature)
        clear(path)
        return self._convert(self._made, metadata, path)

    def _convert(self, made: ModelProto, metadata: ExportMetadata, path: Path) -> OpenVinoModel:
        write_openvino(finish(made, metadata), path, half=metadata.precision == "fp16")
        self.write_texts(path, metadata)
        return OpenVinoModel(path)


def write_openvino(onnx: bytes, folder: Path, *, half: bool = False) -> None:
    """Converts an ONNX graph that takes ``pixels``.

    The resizing is not part of the graph: OpenVINO adds its products in another order, which rounds a few pixels to the
    next level. The folder cannot say that it needs float32: OpenVINO 2026.4 ignores ``INFERENCE_PRECISION_HINT`` in the
    model's ``runtime_options``, and with an attribute ``precise`` on every layer it still computes convolutions in
    bfloat16.

    Args:
        onnx: The ONNX file; a quantized one stays quantized.
        folder: An empty folder.
        half: Store the weights in float16; OpenVINO still computes in float32.

    Raises:
        OSError: The disk is full.
        SetupError: OpenVINO is not installed.
    """
    openvino = load_openvino("--format openvino")
    with converting(folder) as temporary:
        source = temporary / "source.onnx"
        source.write_bytes(onnx)
        converted = openvino.convert_model(source)
        try:
            openvino.save_model(converted, folder / MODEL_FILE, compress_to_fp16=half)
        except RuntimeError as error:
            # It gives no reason: "basic_ios::clear: iostream error".
            raise OSError(errno.EIO, f"OpenVINO: {error}") from error
