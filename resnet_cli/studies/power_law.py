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
    """The error with n images: ``asymptote + scale * n ** -exponent``; each a number or an array of them."""

    asymptote: Any
    scale: Any
    exponent: Any

    def error(self, num_images: float) -> Any:
        """The expected share of wrong answers of a head trained on so many images."""
        return self.asymptote + self.scale * num_images**-self.exponent


def fit_power_law(sizes: Sequence[int], errors: Errors) -> PowerLaw:
    """The law with the least squared distance to errors; a part counts by its size, as its error varies the less.

    Args:
        sizes: [s], at least 3.
        errors: [... x s].

    Returns:
        Three arrays [...], none below 0.
    """
    weights = np.array(sizes, dtype=np.float64)
    weights /= weights.sum()
    # Sizes are relative to the largest: the scale is then of the order of the errors.
    falls = (np.array(sizes) / sizes[-1]) ** -EXPONENTS[:, None]  # [c x s]
    targets = np.asarray(errors)[..., None, :]  # [... x 1 x s]
    mean_fall = falls @ weights  # [c]
    mean_error = targets @ weights  # [... x 1]
    spread = ((falls - mean_fall[:, None]) ** 2) @ weights
    slope = ((targets - mean_error[..., None]) * (falls - mean_fall[:, None])) @ weights / spread  # [... x c]
    scale = np.maximum(slope, 0)
    asymptote = mean_error - scale * mean_fall
    # Where the best asymptote would be below 0, the best line through 0.
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
