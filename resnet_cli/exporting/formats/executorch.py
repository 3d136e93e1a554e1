"""``--format executorch``: a folder with ``model.pte``, for phones; computed by XNNPACK.

Source: https://docs.pytorch.org/executorch/stable/backends/xnnpack/xnnpack-overview.html
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_cli.config.export import ExportConfig
from resnet_cli.exported.executorch import MODEL_FILE, ExecuTorchModel, load_runtime
from resnet_cli.exported.metadata import NOVELTY, ExportMetadata
from resnet_cli.exporting.formats.base import Calibration, Format, clear
from resnet_cli.exporting.formats.converter import converting
from resnet_cli.exporting.formats.torch_program import TorchProgram
from resnet_cli.installation import install_command
from resnet_cli.model.model_file import Model
from resnet_cli.system.extras import optional_import
from resnet_cli.system.muting import quiet

#: Weight of one more image in the moving average of ranges: about the mean over the last 16 images.
_AVERAGING = 1 / 16


class ExecuTorchFormat(Format):
    """A folder with a program of ExecuTorch for one image at a time, in float32 or int8.

    XNNPACK computes the network; pooling and the search for the nearest training images use other operators. The batch
    is not variable: the memory of a program is planned when it is written.
    """

    name = "executorch"
    files = (MODEL_FILE,)

    def __init__(self) -> None:
        self._program: TorchProgram | None = None

    def require(self, model: Model, config: ExportConfig) -> None:
        """Refuses the format without ExecuTorch, or with a torch that does not fit it.

        Raises:
            SetupError: It is not installed, or the versions do not fit.
        """
        load_runtime("--format executorch")
        purpose, hint = "--format executorch", install_command("executorch")
        with optional_import("executorch.exir", name="ExecuTorch's compiler", purpose=purpose, hint=hint), quiet():
            from executorch.backends.xnnpack.partition import xnnpack_partitioner  # noqa: F401
            from executorch.exir import to_edge_transform_and_lower  # noqa: F401

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> ExecuTorchModel:
        """Compiles the program and opens it; see :meth:`Format.write`."""
        square = _square(model)
        program = TorchProgram(model, takes="squares", with_novelty=NOVELTY in metadata.outputs).eval()
        with quiet(), torch.no_grad():
            if metadata.precision == "int8":
                program.backbone = _quantize(program.backbone, square, calibration)
            self._program = program
            (path / MODEL_FILE).write_bytes(_compile(program, square, path))
        self.write_texts(path, metadata)
        return ExecuTorchModel(path)

    def rewrite(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> ExecuTorchModel:
        """Replaces the temperature of the quantized program, and the metadata; see :meth:`Format.rewrite`."""
        program = self._program
        assert program is not None
        before, after = program.temperature.clone(), torch.tensor(float(model.temperature))
        if before != after:
            program.temperature.copy_(after)
            data = _with_temperature((path / MODEL_FILE).read_bytes(), before, after)
            if data is None:
                with quiet(), torch.no_grad():
                    data = _compile(program, _square(model), path)
            clear(path)
            (path / MODEL_FILE).write_bytes(data)
        self.write_texts(path, metadata)
        return ExecuTorchModel(path)


def _square(model: Model) -> Tensor:
    """An input of the program, uint8 [1 x s x s x 3]."""
    return torch.zeros(1, *[model.preprocess.crop_size] * 2, 3, dtype=torch.uint8)


def _with_temperature(data: bytes, before: Tensor, after: Tensor) -> bytes | None:
    """A compiled program with another temperature; None if the temperature is not found exactly once.

    Compiling again takes as long as the rest of the export. The check in a fresh process would notice if another number
    had been replaced.
    """
    old, new = (temperature.numpy().tobytes() for temperature in (before, after))
    return data.replace(old, new) if data.count(old) == 1 else None


def _compile(program: nn.Module, square: Tensor, folder: Path) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(program, (square,))
    # The description of every part of the network is compiled in files.
    with converting(folder):
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        compiled: bytes = lowered.to_executorch().buffer
    return compiled


def _quantize(backbone: nn.Module, square: Tensor, calibration: Calibration) -> nn.Module:
    """The backbone with weights and activations in int8: the weights per channel, the activations per tensor."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MovingAverageMinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True)
    # A moving average of ranges, instead of the default: a histogram of every activation.
    observer = MovingAverageMinMaxObserver.with_args(averaging_constant=_AVERAGING, eps=2**-12)
    activation = dataclasses.replace(config.input_activation, observer_or_fake_quant_ctr=observer)
    config = dataclasses.replace(config, input_activation=activation, output_activation=activation)
    exported = torch.export.export(backbone, (square,))
    prepared: Any = prepare_pt2e(exported.module(), XNNPACKQuantizer().set_global(config))
    for one in calibration():
        prepared(torch.from_numpy(one)[None])
    quantized: nn.Module = convert_pt2e(prepared)
    return quantized
