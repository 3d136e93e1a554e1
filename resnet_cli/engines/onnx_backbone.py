"""The backbone in ONNX Runtime; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.engines.backbone_file import FEATURES, SQUARES
from resnet_cli.errors import SetupError
from resnet_cli.installation import install_command
from resnet_cli.system.no_telemetry import import_onnxruntime
from resnet_cli.system.threads import engine_threads

if TYPE_CHECKING:
    import onnxruntime


class OnnxBackbone:
    """A backbone file, loaded by ONNX Runtime; see :class:`~resnet_cli.engines.base.Backbone`.

    Args:
        session: The file, loaded.
        precision: The precision of its weights.
    """

    engine = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession, precision: str = "fp32") -> None:
        self.precision = precision
        self._session = session

    def __call__(self, squares: NDArray[np.uint8], /) -> NDArray[np.floating[Any]]:
        """Squares uint8 [b x s x s x 3] -> features, float32 [b x 2048]."""
        (features,) = self._session.run([FEATURES], {SQUARES: squares})
        return np.asarray(features)


def load_onnxruntime() -> Any:
    """Imports ONNX Runtime.

    Raises:
        SetupError: It is not installed, or cannot be loaded.
    """
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise SetupError(f"ONNX Runtime cannot be imported: {error}", hint=install_command()) from error


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Loads an ONNX file with one thread per core that this process may use, or ``OMP_NUM_THREADS``, as in torch.

    Raises:
        SetupError: ONNX Runtime cannot be imported.
        Exception: The file cannot be read by this version of the runtime.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = engine_threads()
    # Threads that wait for work by spinning take cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Errors only: the runtime's messages belong in the errors that this program raises.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
