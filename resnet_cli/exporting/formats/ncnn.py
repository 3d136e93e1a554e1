"""``--format ncnn``: a folder with ``model.ncnn.param`` and ``model.ncnn.bin``, converted by pnnx."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import ClassVar

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ModelError, SetupError, VerificationError, missing_extra
from resnet_cli.exported.metadata import PIXELS, PROBS, ExportMetadata
from resnet_cli.exported.ncnn import BIN_FILE, PARAM_FILE, NcnnModel, load_ncnn
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.exporting.formats.converter import converting, require_start, run_converter
from resnet_cli.exporting.onnx_writer.file import finish, take_pixels, to_onnx
from resnet_cli.installation import install_command
from resnet_cli.model.model_file import Model

#: Files that pnnx writes besides those that ncnn reads: 280 MB.
_SIDE_FILES = ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnpy")
#: What pnnx calls the input and the output of a graph.
_NAMES = {"in0": PIXELS, "out0": PROBS}


class NcnnFormat(Format):
    """A folder that ``ncnn::Net`` reads, in float32 or with weights in float16.

    The input is what ``ncnn::Mat::from_pixels`` makes of an RGB image: normalization is part of the graph.
    """

    name = "ncnn"
    files = (PARAM_FILE, BIN_FILE)
    input_kind = "float_pixels"
    # ncnn has no operator that finds the greatest of many numbers.
    has_novelty = False
    # The ONNX graph too, and what pnnx simplifies it to.
    room: ClassVar = {"fp32": 3.0, "fp16": 2.5}

    def require(self, model: Model, config: ExportConfig) -> None:
        """Refuses the format without pnnx, which converts, and ncnn, which checks.

        Raises:
            SetupError: One of them is not installed, or cannot be used.
        """
        load_ncnn("--format ncnn")
        # Without a model, it says how it is used.
        require_start((str(_pnnx()),), "Usage: pnnx", name="pnnx", extra="ncnn")

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> NcnnModel:
        """Converts the ONNX graph and loads the result with ncnn; see :meth:`Format.write`.

        Raises:
            SetupError: pnnx cannot convert the graph.
            VerificationError: ncnn cannot load what pnnx wrote. pnnx also writes layers that ncnn does not have.
        """
        made = to_onnx(model, with_novelty=False, with_heat=False)
        onnx = finish(take_pixels(made, model.preprocess, as_floats=True), metadata)
        name = f"pnnx {importlib.metadata.version('pnnx')}"
        with converting(path) as folder:
            source, side = folder / "model.onnx", model.preprocess.crop_size
            source.write_bytes(onnx)
            shape, half = f"inputshape=[1,3,{side},{side}]f32", f"fp16={int(metadata.precision == 'fp16')}"
            nowhere = [f"{file}={os.devnull}" for file in _SIDE_FILES]
            command = [str(_pnnx()), source.name, shape, half, *nowhere]
            run_converter(command, source.with_name(BIN_FILE), name=name)
            text = source.with_name(PARAM_FILE).read_text(encoding="ascii")
            (path / PARAM_FILE).write_text(_renamed(text), encoding="ascii", newline="\n")
            source.with_name(BIN_FILE).rename(path / BIN_FILE)
        self.write_texts(path, metadata)
        try:
            return NcnnModel(path)
        except ModelError as error:
            reason = error.message.removeprefix(f"{path}: ")
            raise VerificationError(
                f"--format ncnn: {reason}: {name} has written layers that it does not have",
                hint=f"install versions that fit each other: {install_command('ncnn')}",
            ) from error


def _pnnx() -> Path:
    """The program of the package pnnx, which imports torch and prints when it is imported itself.

    Raises:
        SetupError: It is not installed.
    """
    found = importlib.util.find_spec("pnnx")
    if found is None or found.origin is None:
        raise missing_extra("--format ncnn needs pnnx, which is not installed", "ncnn")
    folder = Path(found.origin).parent
    for program in (folder / "pnnx", folder / "pnnx.exe"):
        if program.is_file():
            return program
    raise SetupError(f"{folder}: this pnnx contains no program", hint=install_command("ncnn"))


def _renamed(param: str) -> str:
    """Renames the input and the output in ncnn's description of a graph.

    Lines are: type, name, number of inputs, number of outputs, names of both, parameters.

    Source: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
    """
    lines = [" ".join(_NAMES.get(word, word) for word in line.split()) for line in param.splitlines()]
    return "\n".join(lines) + "\n"
