"""``--format mnn``: a folder with ``model.mnn``, converted by MNN's own converter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from resnet_cli.config.export import ExportConfig
from resnet_cli.exported.metadata import NOVELTY, ExportMetadata, FilePrecision
from resnet_cli.exported.mnn import MODEL_FILE, MnnModel, load_mnn
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.exporting.formats.converter import IMPORTED, converting, require_start, run_converter
from resnet_cli.exporting.onnx_writer.file import finish, take_pixels, to_onnx
from resnet_cli.model.model_file import Model

#: Calls the C++ part of the converter. Its Python part, ``MNN.tools.mnnconvert``, would run ``pip install`` and then
#: report the conversion, with an identifier of the machine, to a server. Source: MNN/tools/utils/log.py.
_CONVERT = "import sys, _tools; sys.exit(0 if _tools.mnnconvert(sys.argv) else 1)"
#: Imports it alone.
_IMPORT = f"import _tools; print('{IMPORTED}')"
#: Precision of the weights -> options of the converter.
#: Source: https://mnn-docs.readthedocs.io/en/latest/tools/convert.html
_OPTIONS: dict[FilePrecision, tuple[str, ...]] = {"fp32": (), "fp16": ("--fp16",), "int8": ("--weightQuantBits", "8")}


class MnnFormat(Format):
    """A folder that ``MNN::Interpreter`` and ``MNN::Express::Module`` read.

    The input is what ``MNN::CV::ImageProcess`` makes of an RGB image: normalization is part of the graph.
    """

    name = "mnn"
    files = (MODEL_FILE,)
    input_kind = "float_pixels"
    # The ONNX graph too.
    room: ClassVar = {"fp32": 2.0, "fp16": 1.5, "int8": 1.25}

    def require(self, model: Model, config: ExportConfig) -> None:
        """Refuses the format without MNN.

        Raises:
            SetupError: It is not installed, or cannot be used.
        """
        load_mnn("--format mnn")
        require_start((sys.executable, "-P", "-c", _IMPORT), IMPORTED, name="MNN's converter", extra="mnn")

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> MnnModel:
        """Converts the ONNX graph; see :meth:`Format.write`. In int8, weights alone are quantized, per channel.

        Raises:
            SetupError: MNN cannot convert the graph.
        """
        made = take_pixels(
            to_onnx(model, with_novelty=NOVELTY in metadata.outputs, with_heat=False), model.preprocess, as_floats=True
        )
        with converting(path) as folder:
            source = folder / "model.onnx"
            source.write_bytes(finish(made, metadata))
            files = ["--modelFile", source.name, "--MNNModel", MODEL_FILE]
            command = [sys.executable, "-P", "-c", _CONVERT, "-f", "ONNX", *files, *_OPTIONS[metadata.precision]]
            written = source.with_name(MODEL_FILE)
            run_converter(command, written, name=f"MNN {load_mnn('--format mnn').version()}")
            written.rename(path / MODEL_FILE)
        self.write_texts(path, metadata)
        return MnnModel(path)
