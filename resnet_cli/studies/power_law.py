"""The power law of a learning curve: how the error falls with the number of training images.

Sources: Cortes et al. 1993, "Learning curves: asymptotic values and rate of convergence"; Hestness et al. 2017,
https://arxiv.org/abs/1712.00409. Its limits: Viering and Loog 2022, https://arxiv.org/abs/2103.10948.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Exponents that are tried. Source: between 0.07 and 0.5 in Hestness et al. 2017; heads on frozen features reach 1.
EXPONENTS = np.geomspace(0.05, 2, 48)

Errors = NDArray[np.float64]


class PowerLaw(NamedTuple):
    """The error with n images: ``asymptote + scale * n ** -exponent``; each parameter is a number or an array."""

    asymptote: Any
    scale: Any
    exponent: Any

    def error(self, num_images: float) -> Any:
        """The expected error rate of a head trained on this many images."""
        return self.asymptote + self.scale * num_images**-self.exponent


def fit_power_law(sizes: Sequence[int], errors: Errors) -> PowerLaw:
    """Fits the law by least squares, weighted by the sizes, since the error of a larger subset varies less.

    Args:
        sizes: Numbers of images [s], at least 3.
        errors: Error rates [... x s].

    Returns:
        The law; its parameters are arrays [...] of numbers that are not negative.
    """
    weights = np.array(sizes, dtype=np.float64)
    weights /= weights.sum()
    # Sizes are relative to the largest, so that the scale has the magnitude of the errors.
    falls = (np.array(sizes) / sizes[-1]) ** -EXPONENTS[:, None]  # [c x s]
    targets = np.asarray(errors)[..., None, :]  # [... x 1 x s]
    mean_fall = falls @ weights  # [c]
    mean_error = targets @ weights  # [... x 1]
    spread = ((falls - mean_fall[:, None]) ** 2) @ weights
    slope = ((targets - mean_error[..., None]) * (falls - mean_fall[:, None])) @ weights / spread  # [... x c]
    scale = np.maximum(slope, 0)
    asymptote = mean_error - scale * mean_fall
    # If the best asymptote is below 0, take the best line through 0.
    through_zero = (targets * falls) @ weights / (falls**2 @ weights)
    scale = np.where(asymptote < 0, np.maximum(through_zero, 0), scale)
    asymptote = np.maximum(asymptote, 0)
    off = ((asymptote[..., None] + scale[..., None] * falls - targets) ** 2) @ weights  # [... x c]
    best = off.argmin(axis=-1)
    exponent = EXPONENTS[best]
    chosen = np.take_along_axis(scale, best[..., None], axis=-1)[..., 0]
    return PowerLaw(
        np.take_along_axis(asymptote, best[..., None], axis=-1)[..., 0], chosen * sizes[-1] ** exponent, exponent
    )
