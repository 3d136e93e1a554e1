"""What every engine offers: a backbone that turns squares into features. No torch, no onnx."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: Name of this program in ONNX files, which tells its files from others.
PRODUCER = "resnet-cli"


class Backbone(Protocol):
    """A backbone that is ready for inference.

    Attributes:
        engine: The runtime that computes it: ``torch``, ``onnxruntime`` or ``openvino``.
        precision: The precision that it computes in: fp32, bf16, fp16 or int8.
    """

    engine: str
    precision: str

    def __call__(self, squares: NDArray[np.uint8], /) -> NDArray[np.floating[Any]]:
        """Squares of ``Preprocess``, uint8 [b x s x s x 3] -> features, float32 [b x 2048]."""
