"""A folder for OpenVINO, run by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.engines.openvino_backbone import load_openvino
from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel, channels_first
from resnet_cli.exported.metadata import NOVELTY, PIXELS, PROBS, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput

#: The graph, and its constants.
MODEL_FILE, WEIGHTS_FILE = "model.xml", "model.bin"


class OpenVinoModel(ExportedModel):
    """An OpenVINO folder, run on the CPU in float32; the resizing is not part of the graph.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
        SetupError: OpenVINO is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        core = load_openvino("an OpenVINO folder").Core()
        try:
            # Otherwise OpenVINO computes in bfloat16 on CPUs that have it.
            self._compiled = core.compile_model(path / MODEL_FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot read it: {str(error)[:100]}") from error
        inputs, outputs = _shapes(self._compiled.inputs), _shapes(self._compiled.outputs)
        side, num_classes = self.preprocess.crop_size, len(self.classes)
        fits = inputs.get(PIXELS, "").endswith(f",3,{side},{side}]")
        # The texts beside the graph may be those of another model.
        if not fits or not outputs.get(PROBS, "").endswith(f",{num_classes}]"):
            raise ModelError(f"{path}: damaged: its graph does not fit its metadata")
        self._names = [name for name in (PROBS, NOVELTY) if name in outputs]
        self.has_novelty = NOVELTY in self._names

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, and novelty if the graph has it."""
        found = self._compiled({PIXELS: channels_first(inputs)})
        named = {name: np.array(found[name]) for name in self._names}
        return ModelOutput(named[PROBS], named.get(NOVELTY))


def _shapes(ports: Any) -> dict[str, str]:
    """Names of the inputs or outputs, which may have several, -> their shape in words, such as ``[?,3,224,224]``."""
    return {name: str(port.get_partial_shape()) for port in ports for name in port.get_names()}
