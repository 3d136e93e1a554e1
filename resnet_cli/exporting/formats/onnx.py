"""``--format onnx``: one file that ONNX Runtime and many other engines read."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto

from resnet_cli.config.export import ExportConfig
from resnet_cli.engines import int8
from resnet_cli.exported.metadata import HEATMAP, IMAGES, NOVELTY, ExportMetadata
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.exporting.onnx_writer.file import finish, take_images, to_onnx
from resnet_cli.exporting.onnx_writer.network import set_temperature
from resnet_cli.model.model_file import Model


class OnnxFormat(Format):
    """An ONNX file that takes decoded images of any size, or the network's input."""

    name = "onnx"
    is_folder = False
    input_kind = "picture"

    def __init__(self) -> None:
        self._made: ModelProto | None = None

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> OnnxModel:
        """Writes the graph and opens it with ONNX Runtime; see :meth:`Format.write`."""
        made = to_onnx(
            model,
            precision=metadata.precision,
            with_novelty=NOVELTY in metadata.outputs,
            with_heat=HEATMAP in metadata.outputs,
        )
        if metadata.precision == "int8":
            made = int8.quantize(made, calibration(), model.preprocess, images=IMAGES)
        if metadata.input_kind == "picture":
            made = take_images(made, model.preprocess)
        self._made = made
        return _save(made, metadata, path)

    def rewrite(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> OnnxModel:
        """Writes the same network with another temperature and other metadata; see :meth:`Format.rewrite`."""
        assert self._made is not None
        set_temperature(self._made, model.temperature)
        return _save(self._made, metadata, path)


def _save(made: ModelProto, metadata: ExportMetadata, path: Path) -> OnnxModel:
    path.write_bytes(finish(made, metadata))
    return OnnxModel.load(path)
