"""A folder for LiteRT (TensorFlow Lite), run by LiteRT on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import NOVELTY, PROBS, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.extras import optional_import
from resnet_cli.system.muting import STDERR, muted
from resnet_cli.system.threads import num_threads

MODEL_FILE = "model.tflite"
#: The runtime alone: the extra also installs the converter, which is 1 GB.
_INSTALL = "pip install 'ai-edge-litert>=2.3,<2.4'"


class LiteRtModel(ExportedModel):
    """A LiteRT folder, run on the CPU one image at a time; the resizing is not part of the graph.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
        SetupError: LiteRT is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        interpreter = load_interpreter("a LiteRT folder")
        try:
            # It prints "Created TensorFlow Lite XNNPACK delegate for CPU", at no level that can be set.
            with muted(STDERR):
                self._interpreter = interpreter(str(path / MODEL_FILE), num_threads=num_threads())
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{path}: LiteRT cannot read it: {str(error)[:100]}") from error
        side = self.preprocess.crop_size
        inputs = self._interpreter.get_input_details()
        self._outputs = _outputs(self._interpreter, len(self.classes))
        if [(one["shape"].tolist(), one["dtype"]) for one in inputs] != [
            ([1, side, side, 3], np.uint8)
        ] or PROBS not in self._outputs:
            raise ModelError(f"{path}: damaged: its graph does not fit its metadata")
        self._input = inputs[0]["index"]
        self.has_novelty = NOVELTY in self._outputs
        # An interpreter has one set of tensors.
        self._lock = threading.Lock()

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, and novelty if the graph has it."""
        found: dict[str, list[Any]] = {name: [] for name in self._outputs}
        with self._lock:
            for square in inputs:
                self._interpreter.set_tensor(self._input, square[None])
                self._interpreter.invoke()
                for name, rows in found.items():
                    rows.append(self._interpreter.get_tensor(self._outputs[name])[0])
        named = {name: np.array(rows, dtype=np.float32) for name, rows in found.items()}
        return ModelOutput(named[PROBS], named.get(NOVELTY))


def _outputs(interpreter: Any, num_classes: int) -> dict[str, int]:
    """Name of each output in the signature -> index of its tensor; empty if they are not what this program writes."""
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    (key,) = signatures
    details = interpreter.get_signature_runner(key).get_output_details()
    shapes = {PROBS: [1, num_classes], NOVELTY: [1]}
    if any(one["dtype"] != np.float32 or one["shape"].tolist() != shapes.get(name) for name, one in details.items()):
        return {}
    return {name: int(one["index"]) for name, one in details.items()}


def load_interpreter(purpose: str) -> Any:
    """Imports the class that runs a ``.tflite`` file.

    Args:
        purpose: What needs it.

    Raises:
        SetupError: LiteRT is not installed, or cannot be loaded.
    """
    with optional_import("ai_edge_litert.interpreter", name="ai-edge-litert", purpose=purpose, hint=_INSTALL):
        from ai_edge_litert.interpreter import Interpreter
    return Interpreter
