"""A folder for MNN, run by MNN on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel, channels_first
from resnet_cli.exported.metadata import NOVELTY, PIXELS, PROBS, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.installation import install_command
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.extras import optional_import
from resnet_cli.system.muting import muted
from resnet_cli.system.threads import engine_threads

MODEL_FILE = "model.mnn"


class MnnModel(ExportedModel):
    """A folder for MNN, computed in float32 on the CPU; the resizing is not part of the graph.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
        SetupError: MNN is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        self._mnn = load_mnn("an MNN folder")
        # With "normal" and "low", MNN computes in float16 or bfloat16 on processors that can.
        # Source: https://mnn-docs.readthedocs.io/en/latest/inference/session.html
        config = {"backend": "CPU", "precision": "high", "numThread": engine_threads()}
        nn, file = self._mnn.nn, str(path / MODEL_FILE)
        try:
            # MNN prints its mode, and what is wrong with a file.
            with muted():
                manager = nn.create_runtime_manager((config,))
                # Without names, it tells those of the file.
                found = nn.load_module_from_file(file, [], [], runtime_manager=manager).get_info()
                self._names = [name for name in (PROBS, NOVELTY) if name in found["outputNames"]]
                self._module = nn.load_module_from_file(file, [PIXELS], self._names, runtime_manager=manager)
        except SystemError as error:
            raise ModelError(f"{path}: MNN {self._mnn.version()} cannot read it") from error
        side = self.preprocess.crop_size
        shapes = [one.shape[1:] for one in found["inputs"]]
        if found["inputNames"] != [PIXELS] or shapes != [[3, side, side]] or PROBS not in self._names:
            raise ModelError(f"{path}: damaged: its graph does not fit its metadata")
        self.has_novelty = NOVELTY in self._names
        self._lock = threading.Lock()
        if not self.metadata.files:
            # Only an answer tells how many classes it has.
            self.predict([np.zeros((side, side, 3), np.uint8)])

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, and novelty if the graph has it."""
        pixels = channels_first(inputs).astype(np.float32)
        expr = self._mnn.expr
        # A module keeps its results in memory of its own.
        with self._lock, muted():
            results = self._module.forward([expr.const(pixels, list(pixels.shape), expr.NCHW, expr.float)])
            # MNN computes when a result is read; it is empty if that failed.
            named = {name: np.array(one.read()) for name, one in zip(self._names, results, strict=False)}
        if len(named) < len(self._names) or named[PROBS].shape != (len(inputs), len(self.classes)):
            raise ModelError(f"{self.path}: damaged: MNN cannot run it, or it has other classes than its metadata")
        return ModelOutput(named[PROBS], named.get(NOVELTY))


def load_mnn(purpose: str) -> Any:
    """Imports MNN, which prints what the processor supports.

    Args:
        purpose: What needs it.

    Raises:
        SetupError: It is not installed, or cannot be loaded.
    """
    with optional_import("MNN", name="MNN", purpose=purpose, hint=install_command("mnn")), muted():
        import MNN
    return MNN
