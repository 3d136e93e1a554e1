"""The temperature of a quantized file: rounding changes how certain a network is, even where its classes stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnet_cli.heads.temperature import TINY, fit_temperature
from resnet_cli.task import softmax


def refit_temperature(
    temperature: float, expected: NDArray[np.float32], found: NDArray[np.float32], labels: NDArray[np.int64]
) -> float:
    """The temperature for a quantized network.

    It is changed by the ratio of what fits the file to what fits the model on the same images. They may be only some of
    the images that the model's own temperature was fitted on, and its ratio would then be one as well.

    Args:
        temperature: That of the model, at which both have computed their probabilities.
        expected: The model's probabilities of validation images [n x k].
        found: The file's probabilities of them [n x k].
        labels: Labels [n].
    """
    before, after = (fit_temperature(_logits(probs), labels) for probs in (expected, found))
    return temperature * after / before


def at_temperature(probs: NDArray[np.float32], temperature: float, other: float) -> NDArray[np.float32]:
    """Probabilities [n x k] of a softmax at one temperature, at another one."""
    return softmax(_logits(probs) * (temperature / other)).astype(np.float32)


def _logits(probs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits up to a constant per image, whose softmax are the probabilities."""
    return np.log(np.maximum(probs.astype(np.float64), TINY))
