"""Temperature scaling: one divisor of the logits, fitted on the validation split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.task import softmax

#: Range of the scale of logits (one over the temperature), and how many times the interval of its logarithm is halved.
SCALES = (2.0**-4, 2.0**8)
HALVINGS = 20
#: Replaces a probability of zero before taking its logarithm.
TINY = float(np.finfo(np.float32).tiny)


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Finds the divisor of the logits with the lowest loss.

    The targets are smoothed by the weight of one image, so that a few images that are all classified correctly do not
    lead to certainty.

    Args:
        logits: Logits [n x k], or logarithms of probabilities: their softmax is the same.
        labels: Labels [n].

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2; smoothing: Platt 1999, section 2.2.
    """
    exact = np.asarray(logits, dtype=np.float64)
    doubt = 1 / (len(labels) + 2)
    aims = (1 - doubt) * exact[np.arange(len(labels)), labels] + doubt * exact.mean(axis=1)
    low, high = (math.log(scale) for scale in SCALES)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # The loss is convex in the scale, with this slope.
        expected = (softmax(math.exp(middle) * exact) * exact).sum(axis=1)
        if float((expected - aims).mean()) < 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)
