"""A folder for OpenVINO, run by OpenVINO on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.errors import ModelError, missing_extra
from resnet_cli.exported.base import ExportedModel, channels_first, read_about
from resnet_cli.exported.metadata import NOVELTY, PIXELS, PROBS
from resnet_cli.images import Pixels
from resnet_cli.prediction import Answers

MODEL_FILE = "model.xml"


class OpenVinoModel(ExportedModel):
    """The folder, answered by OpenVINO on the CPU in float32; the resizing is not inside.

    Args:
        path: A folder with all files.

    Raises:
        ModelError: It is damaged.
        SetupError: OpenVINO is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(read_about(path), path)
        core = load_openvino().Core()
        try:
            # Where a CPU has bfloat16, OpenVINO would otherwise compute in it.
            self._compiled = core.compile_model(path / MODEL_FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot read it: {str(error)[:100]}") from error
        self._names = [next(iter(output.get_names())) for output in self._compiled.outputs]
        self.has_novelty = NOVELTY in self._names

    def answer(self, seen: list[Pixels]) -> Answers:
        """Probabilities, and novelty where the graph has it."""
        found = self._compiled({PIXELS: channels_first(seen)})
        named = {name: np.array(found[index]) for index, name in enumerate(self._names)}
        return Answers(named[PROBS], named.get(NOVELTY))


def load_openvino() -> Any:
    """Imports OpenVINO.

    Raises:
        SetupError: It is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing_extra("--format openvino needs OpenVINO, which is not installed", "openvino") from error
    return openvino
