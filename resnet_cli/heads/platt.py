"""Platt scaling: a scale and a shift of each multi-label class's logits, fitted on the validation split.

It is to sigmoid probabilities what the temperature is to those of a softmax.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Range of the scales, as for temperatures.
SCALES = (2.0**-4, 2.0**8)
#: Maximum number of Newton steps; fewer than ten are usual.
MAX_STEPS = 50
#: Change of the loss in nats below which the fit ends.
TOLERANCE = 1e-10
#: Added to the diagonal of the Hessian, which is singular where all logits of a class are equal.
RIDGE = 1e-9


def fit_scaling(
    logits: NDArray[np.floating[Any]], targets: NDArray[np.int8], *, prior: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Finds each class's scale and shift [k] for which ``sigmoid(scale * logit + shift)`` has the lowest loss.

    Each target is smoothed by the weight of one image, so that a few images that are all right do not lead to
    certainty. A class whose known values are all the same keeps scale 1 and shift 0: nothing shows how to change them.
    A scale outside the range, as that of logits that rank no better than chance, becomes the nearest within it.

    Args:
        logits: Logits [n x k].
        targets: int8 [n x k]: 1 yes, 0 no, -1 unknown; unknown values have no effect.
        prior: Precision of a normal prior of scales around 1 and shifts around 0: a class with few values of a kind
            then stays near them.

    Source: Platt 1999, "Probabilistic outputs for support vector machines", section 2.2; Newton's method with
    backtracking: Lin et al. 2007, https://doi.org/10.1007/s10994-007-5018-6.
    """
    is_known = targets >= 0
    exact = np.where(is_known, np.asarray(logits, dtype=np.float64), 0.0)
    num_yes, num_no = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
    is_fitted = (num_yes > 0) & (num_no > 0)
    aims = np.where(targets == 1, (num_yes + 1) / (num_yes + 2), 1 / (num_no + 2))
    shares = is_known / np.maximum(num_yes + num_no, 1)
    # Losses are means over the known values.
    pull = prior / np.maximum(num_yes + num_no, 1)
    scale, shift = _newton(exact, aims, shares, np.ones(len(num_yes)), pull=pull, fits_scale=True)
    limited = np.clip(scale, *SCALES)
    if (limited != scale).any():
        _, shift = _newton(exact, aims, shares, limited, pull=pull, fits_scale=False)
    return np.where(is_fitted, limited, 1.0), np.where(is_fitted, shift, 0.0)


def _newton(
    logits: NDArray[np.float64],
    aims: NDArray[np.float64],
    shares: NDArray[np.float64],
    scale: NDArray[np.float64],
    *,
    pull: NDArray[np.float64],
    fits_scale: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimizes the loss of all classes at once; each takes its own steps."""

    def losses(scale: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """The loss of each class with the penalty of the prior, [k]."""
        return _losses(scale * logits + shift, aims, shares) + pull / 2 * ((scale - 1) ** 2 + shift**2)

    shift = np.zeros_like(scale)
    loss = losses(scale, shift)
    for _ in range(MAX_STEPS):
        probs = _sigmoid(scale * logits + shift)
        errors, curvatures = shares * (probs - aims), shares * probs * (1 - probs)
        slope_b, curve_b = errors.sum(axis=0) + pull * shift, curvatures.sum(axis=0) + pull + RIDGE
        if fits_scale:
            slope_a = (errors * logits).sum(axis=0) + pull * (scale - 1)
            curve_a = (curvatures * logits**2).sum(axis=0) + pull + RIDGE
            both = (curvatures * logits).sum(axis=0)
            area = curve_a * curve_b - both**2
            step_a = (both * slope_b - curve_b * slope_a) / area
            step_b = (both * slope_a - curve_a * slope_b) / area
        else:
            step_a, step_b = np.zeros_like(scale), -slope_b / curve_b
        size = np.ones_like(scale)
        for _ in range(30):
            now = losses(scale + size * step_a, shift + size * step_b)
            is_worse = ~(now <= loss + 1e-14)
            if not is_worse.any():
                break
            size = np.where(is_worse, size / 2, size)
        size, now = np.where(is_worse, 0.0, size), np.where(is_worse, loss, now)
        scale, shift = scale + size * step_a, shift + size * step_b
        gain, loss = loss - now, now
        if (gain <= TOLERANCE).all():
            break
    return scale, shift


def _losses(logits: NDArray[np.float64], aims: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    losses: NDArray[np.float64] = (shares * (np.logaddexp(0.0, logits) - aims * logits)).sum(axis=0)
    return losses


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    odds = np.exp(-np.abs(logits))
    probs: NDArray[np.float64] = np.where(logits >= 0, 1.0, odds) / (1 + odds)
    return probs
