"""``--format litert``: a folder with ``model.tflite`` for LiteRT (TensorFlow Lite), converted by litert-torch."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import SetupError, missing_extra
from resnet_cli.exported.litert import MODEL_FILE, LiteRtModel, load_interpreter
from resnet_cli.exported.metadata import NOVELTY, PROBS, ExportMetadata
from resnet_cli.exporting.formats.base import Calibration, Format, clear
from resnet_cli.exporting.formats.converter import IMPORTED, converting, require_start, run_converter
from resnet_cli.exporting.formats.litert_conversion import INPUT, PROGRAM_FILE, SQUARES_FILE
from resnet_cli.exporting.formats.torch_program import TorchProgram
from resnet_cli.installation import install_command
from resnet_cli.model.model_file import Model
from resnet_cli.system.extras import is_installed

#: The first version of torch that litert-torch does not support. Source: the requirements of litert-torch 0.10.0.
TORCH_TOO_NEW = (2, 15)
#: Imports what the conversion imports, in a process of its own: these packages take seconds, and print.
_IMPORT = f"import litert_torch, ai_edge_quantizer.quantizer; print('{IMPORTED}')"


class LiteRtProgram(TorchProgram):
    """From squares to named outputs, in operators that LiteRT has.

    Args:
        model: The model; it is copied, not changed.
        with_novelty: Whether training features are inside, if the model holds any.

    Attributes:
        last: The last layer of the head, which includes the temperature: LiteRT's converter merges the division into
            it, and rounds differently then.
    """

    def __init__(self, model: Model, *, with_novelty: bool) -> None:
        super().__init__(model, takes="squares", with_novelty=with_novelty)
        network: nn.Module = self.backbone._network  # type: ignore[assignment]
        # Everything is at least 0 there. By default, LiteRT gets a border of minus infinity, which int8 does not have.
        network.maxpool = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))
        self.last = last_layer(self._head)
        with torch.no_grad():
            for parameter in self.last.parameters():
                parameter.div_(model.temperature)

    def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Squares uint8 [1 x s x s x 3] -> ``probs`` [1 x k] and, if training features are inside, ``novelty`` [1]."""
        features = self.backbone(images)
        outputs = {PROBS: self._activation(self._head(features))}
        novelty = self._novelty(features)
        return outputs if novelty is None else outputs | {NOVELTY: novelty}

    def _mean_of_largest(self, values: Tensor, num: int) -> Tensor:
        """Mean of the ``num`` largest values of each row, [b x m] -> [b].

        litert-torch converts ``topk`` into STABLEHLO_SORT, which no LiteRT runtime can run.
        """
        places = torch.arange(values.shape[1])
        largest = [values.amax(dim=1)]
        for _ in range(num - 1):
            # Of equal values, only the first is removed. No cosine is as small as what takes its place.
            values = torch.where(places == values.argmax(dim=1, keepdim=True), -2.0, values)
            largest.append(values.amax(dim=1))
        # Not a sum: --int8 quantizes every addition, and there are no others than those of the residual blocks.
        return torch.stack(largest, dim=1).mean(dim=1)


def last_layer(head: nn.Module) -> nn.Linear:
    """The layer of a head that computes logits."""
    layer = head[-1] if isinstance(head, nn.Sequential) else head
    assert isinstance(layer, nn.Linear)
    return layer


class LiteRtFormat(Format):
    """A folder whose model LiteRT's interpreter runs on phones, in float32, half precision or int8."""

    name = "litert"
    files = (MODEL_FILE,)
    # The program of torch too; the converter always writes float32 first.
    room: ClassVar = {"fp32": 2.0, "fp16": 2.0, "int8": 2.0}

    def require(self, model: Model, config: ExportConfig) -> None:
        """Refuses the format without its packages, or with a torch that its converter does not support.

        Raises:
            SetupError: litert-torch or ai-edge-litert is not installed or cannot be used, or torch is too new.
        """
        first = ".".join(map(str, TORCH_TOO_NEW))
        if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= TORCH_TOO_NEW:
            raise SetupError(
                f"--format litert: its converter, litert-torch, needs torch 2.11 or later and below {first}, and torch "
                f"{torch.__version__} is installed",
                hint=f"in an environment of its own: {install_command('litert')} 'torch<{first}'",
            )
        if not is_installed("litert_torch"):
            raise missing_extra("--format litert needs litert-torch, which is not installed", "litert")
        load_interpreter("--format litert")
        require_start((sys.executable, "-P", "-c", _IMPORT), IMPORTED, name="litert-torch", extra="litert")

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> LiteRtModel:
        """Converts the model in a process of its own; see :meth:`Format.write`."""
        program = LiteRtProgram(model, with_novelty=NOVELTY in metadata.outputs).eval()
        side = model.preprocess.crop_size
        # Read before the block: temporary folders that reading images makes would be removed with the converter's.
        squares = np.stack(list(calibration())) if metadata.precision == "int8" else None
        with converting(path) as folder:
            given = {INPUT: torch.zeros(1, side, side, 3, dtype=torch.uint8)}
            torch.export.save(torch.export.export(program, (), given), folder / PROGRAM_FILE)
            if squares is not None:
                np.save(folder / SQUARES_FILE, squares)
            # -P: a module in the current folder must not be imported in place of another one.
            command = [sys.executable, "-P", "-m", "resnet_cli.exporting.formats.litert_conversion", metadata.precision]
            name = f"litert-torch {importlib.metadata.version('litert-torch')}"
            run_converter(command, folder / MODEL_FILE, name=name)
            (folder / MODEL_FILE).rename(path / MODEL_FILE)
        self.write_texts(path, metadata)
        return LiteRtModel(path)

    def rewrite(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> LiteRtModel:
        """Replaces the temperature, which only an int8 file changes, and the metadata; see :meth:`Format.rewrite`."""
        written = ExportMetadata.read(path).temperature
        data = (path / MODEL_FILE).read_bytes()
        if written != model.temperature:
            replaced = _with_temperature(data, last_layer(model.network.fc), written, model.temperature)
            if replaced is None:
                return super().rewrite(model, metadata, config, path, calibration=calibration)  # type: ignore[return-value]
            data = replaced
        clear(path)
        (path / MODEL_FILE).write_bytes(data)
        self.write_texts(path, metadata)
        return LiteRtModel(path)


def _with_temperature(data: bytes, layer: nn.Linear, old: float, new: float) -> bytes | None:
    """A file whose last layer is divided by another temperature; None if that layer is not found exactly once."""
    for parameter in (layer.weight, layer.bias):
        values = parameter.detach().cpu().float()
        before, after = ((values / temperature).numpy().tobytes() for temperature in (old, new))
        if before != after and data.count(before) != 1:
            return None
        data = data.replace(before, after)
    return data
