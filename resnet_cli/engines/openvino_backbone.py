"""The backbone in OpenVINO; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ModelError
from resnet_cli.installation import install_command
from resnet_cli.system.extras import optional_import

#: The precision of a backbone -> what OpenVINO calls it. The file of an int8 backbone says itself which of its layers
#: are int8; the others are float32. By default, OpenVINO computes in bfloat16 on processors that have it.
#: Source: https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html
_PRECISIONS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}


class OpenVinoBackbone:
    """A backbone file, compiled by OpenVINO for the CPU; see :class:`~resnet_cli.engines.base.Backbone`.

    Compiling takes 0.3 s (ResNet-50, one core), which OpenVINO's cache of compiled models would not make shorter.

    Args:
        path: An ONNX file with one input, squares, and one output, features.
        precision: fp32, bf16 (only on processors that multiply it) or int8 (a quantized file).
        threads: Number of threads that compute.

    Raises:
        SetupError: OpenVINO is not installed.
        ModelError: The file is damaged.
    """

    engine = "openvino"

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        openvino = load_openvino("--engine openvino")
        self.precision = precision
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Threads that are bound to cores would wait for the threads that decode images on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._compiled = openvino.Core().compile_model(path, "CPU", options)
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot read it: {str(error)[:200]}") from error
        self._request = self._compiled.create_infer_request()

    def __call__(self, squares: NDArray[np.uint8], /) -> NDArray[np.floating[Any]]:
        """Squares uint8 [b x s x s x 3] -> features, float32 [b x 2048]."""
        found = self._request.infer([np.ascontiguousarray(squares)], share_inputs=True)
        # The request writes its next results into the same memory.
        return np.array(found[0], dtype=np.float32)


def load_openvino(purpose: str) -> Any:
    """Imports OpenVINO.

    Args:
        purpose: The flag that needs it.

    Raises:
        SetupError: It is not installed, or cannot be loaded.
    """
    with optional_import("openvino", name="OpenVINO", purpose=purpose, hint=install_command("openvino")):
        import openvino
    return openvino
