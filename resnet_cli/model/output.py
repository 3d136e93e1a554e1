"""What a model computes for a batch of images, in torch or exported. No torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Width of the backbone's output: a feature is a row of this many numbers.
NUM_FEATURES = 2048


class ModelOutput(NamedTuple):
    """What a model computes for a batch of b images and k classes.

    Attributes:
        probs: Probabilities at the model's temperature, float32 [b x k].
        novelty: How unlike all training images each image is, float32 [b]; None if the model cannot tell.
        features: The backbone's output, [b x 2048]; None if the model does not give it.
        heatmap: How much each place of the last stage supports the most probable class, [b x rows x columns], not
            scaled; None if that takes another forward pass (:meth:`~resnet_cli.prediction.Predictor.heatmap`) or is not
            known.
    """

    probs: NDArray[np.float32]
    novelty: NDArray[np.float32] | None = None
    features: NDArray[np.floating[Any]] | None = None
    heatmap: NDArray[np.float32] | None = None

    def row(self, index: int) -> ModelOutput:
        """The output for one image, as a batch of one."""
        return ModelOutput(self.probs[index : index + 1], *(x if x is None else x[index : index + 1] for x in self[1:]))
