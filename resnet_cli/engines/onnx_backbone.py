"""The backbone in ONNX Runtime; no torch."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.engines.backbone_file import ABOUT, FEATURES, SQUARES, is_whole, mark_used, path_of
from resnet_cli.system.no_telemetry import import_onnxruntime
from resnet_cli.system.threads import num_threads

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


def find_onnx_backbone(about: str) -> OnnxBackbone | None:
    """Opens the file of a backbone in the cache folder; None if there is none. A damaged one is deleted.

    Args:
        about: From :func:`~resnet_cli.engines.backbone_file.describe`.
    """
    path = path_of(about)
    try:
        if is_whole(path):
            session = load_session(path)
            if session.get_modelmeta().custom_metadata_map.get(ABOUT) == about:
                mark_used(path)
                return OnnxBackbone(session)
    except OSError:
        return None
    except Exception:  # noqa: BLE001
        # The runtime's errors have no other common base class: it is too old for the file, or the file is not its.
        pass
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Loads an ONNX file with one thread per core that this process may use, or ``OMP_NUM_THREADS``, as in torch.

    Raises:
        Exception: The file cannot be read by this version of the runtime.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = engine_threads()
    # Threads that wait for work by spinning take cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Errors only: the runtime's messages belong in the errors that this program raises.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def engine_threads() -> int:
    """Number of threads of an engine: ``OMP_NUM_THREADS`` if it is set, as for torch, else one per processor."""
    with contextlib.suppress(KeyError, ValueError):
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return num_threads()
