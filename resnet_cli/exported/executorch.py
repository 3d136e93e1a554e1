"""A folder for ExecuTorch, run by ExecuTorch's own runtime on the CPU. Its Python package loads torch."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.installation import install_command
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.extras import optional_import, require_version
from resnet_cli.system.muting import STDERR, muted, quiet
from resnet_cli.system.threads import num_threads

MODEL_FILE = "model.pte"
#: The module that runs programs. Not `executorch.runtime`, which imports the compiler too, for many seconds.
_RUNTIME = "executorch.extension.pybindings._C"
#: ExecuTorch's name of the only method.
_METHOD = "forward"


class ExecuTorchModel(ExportedModel):
    """An ExecuTorch folder, opened.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
        SetupError: ExecuTorch is not installed, or not with a torch that fits it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        runtime = load_runtime("an ExecuTorch folder")
        try:
            # It describes the processor, and what is wrong with a file: through sys.stderr, and from C++.
            with contextlib.redirect_stderr(io.StringIO()), muted(STDERR):
                # Otherwise it takes every core of the machine.
                if runtime._threadpool_get_thread_count() != num_threads():
                    runtime._unsafe_reset_threadpool(num_threads())
                program = runtime._load_program(
                    str(path / MODEL_FILE), program_verification=runtime.Verification.InternalConsistency
                )
                self._method = program.load_method(_METHOD)
        except RuntimeError as error:
            raise ModelError(f"{path / MODEL_FILE}: ExecuTorch cannot read it: {str(error)[:100]}") from error
        # The method refers to memory of the program.
        self._program = program
        found = self._method.method_meta()
        outputs = [found.output_tensor_meta(index).sizes() for index in range(found.num_outputs())]
        side = self.preprocess.crop_size
        if found.input_tensor_meta(0).sizes() != (1, side, side, 3) or outputs[0] != (1, len(self.classes)):
            raise ModelError(f"{path}: damaged: its program does not fit its metadata")
        self.has_novelty = len(outputs) > 1

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, and novelty if the program has it; one image at a time, as its memory is planned."""
        # It reads memory in the order of a contiguous tensor, whatever the order of the tensor is.
        rows = [self._method([torch.from_numpy(np.array(square, order="C"))[None]]) for square in inputs]
        probs, *novelty = (torch.cat(parts).numpy() for parts in zip(*rows, strict=True))
        return ModelOutput(probs, novelty[0] if novelty else None)


@functools.cache
def load_runtime(purpose: str) -> Any:
    """Imports ExecuTorch's runtime.

    Args:
        purpose: What needs it, in words.

    Raises:
        SetupError: It is not installed, or not with a torch that fits it.
    """
    hint = install_command("executorch")
    with optional_import(_RUNTIME, name="ExecuTorch", purpose=purpose, hint=hint):
        importlib.import_module(_RUNTIME.rpartition(".")[0])
    require_version("executorch", "1.5.1", "1.6", purpose=purpose, extra="executorch")
    # ExecuTorch does not say which torch it was compiled for. With torch 2.11 it is imported, and no image is computed.
    require_version("torch", "2.14", "2.16", purpose=f"{purpose}: ExecuTorch 1.5", extra="executorch")
    with optional_import(_RUNTIME, name="ExecuTorch", purpose=purpose, hint=hint), quiet():
        return importlib.import_module(_RUNTIME)
