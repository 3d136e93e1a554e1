"""``--format openvino``: a folder with ``model.xml`` and ``model.bin``, converted from its ONNX graph."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.config.export import ExportConfig
from resnet_cli.engines.openvino_backbone import load_openvino
from resnet_cli.errors import DiskError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.openvino import MODEL_FILE, OpenVinoModel
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.exporting.onnx_writer.file import finish, take_pixels, to_onnx
from resnet_cli.model.model_file import Model


class OpenVinoFormat(Format):
    """A folder that ``openvino.Core().read_model`` reads, in float32."""

    name = "openvino"
    input_kind = "pixels"

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
        made = take_pixels(to_onnx(model, with_novelty=config.novelty, with_heat=False), model.preprocess)
        return write_openvino(finish(made, metadata), path, metadata)


def write_openvino(onnx: bytes, folder: Path, metadata: ExportMetadata) -> OpenVinoModel:
    """Converts an ONNX graph that takes ``pixels``, in float32.

    The resizing is not part of the graph: with a graph that resizes, OpenVINO 2026.4 returned different results for the
    first image and for the same image a second time.

    Raises:
        DiskError: The disk is full.
        SetupError: OpenVINO is not installed.
    """
    openvino = load_openvino("--format openvino")
    source = folder / "source.onnx"
    source.write_bytes(onnx)
    converted = openvino.convert_model(source)
    try:
        openvino.save_model(converted, folder / MODEL_FILE, compress_to_fp16=False)
    except RuntimeError as error:
        # It gives no reason: "basic_ios::clear: iostream error".
        raise DiskError(f"OpenVINO cannot write to {folder.parent}: {error}", hint="free some space") from error
    source.unlink()
    metadata.write(folder)
    return OpenVinoModel(folder)
