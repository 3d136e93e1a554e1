"""Lays small gray images over each other: what is left of a difference once a small crop is undone.

An image and all its slight shifts and stretches fill, to first order, a space of five dimensions. How well that
space holds another image is one small product, cheap enough for a million pairs; only pairs that pass are moved.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

#: Cells a side of every image here.
SIDE = 16
#: Frequencies a side that make a look: in higher ones a crop changes everything.
_FREQUENCIES = 8
_LOOK_SIZE = _FREQUENCIES**2 - 1
#: The image, its shift and stretch along x, its shift and stretch along y.
_NUM_MOTIONS = 5
#: Shift in cells, stretch as a share, along x and y: twice what cropping 8 % from each side takes.
_MOST = np.array([2, 0.25, 2, 0.25], np.float32)
_ALIGNMENT_STEPS = 5
#: What a motion costs: the noise of a cell over that of the motion, squared (a cell, and 6 %). Where a ramp may be
#: explained by contrast, by a shift or by a stretch, it stays where it is.
_COSTS = np.array([0, 1, 300, 1, 300], np.float32)
#: Images described at once: 20 MB.
_BLOCK = 4096


class Overlay(NamedTuple):
    """What two aligned images have in common; each an array of one value a pair.

    Attributes:
        edges: Correlation of the edges, in [-1, 1].
        gain: Contrast of the fixed image over that of the moved one.
        offset: Brightness of the fixed image at equal contrast, less the other's, of 255.
    """

    edges: Floats
    gain: Floats
    offset: Floats


def describe(images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Sums up images for a search.

    Args:
        images: Gray [n x SIDE x SIDE].

    Returns:
        Looks [n x 63] of length 1, whose product is their likeness; and for each image an orthonormal basis
        [n x 5 x 63] of the looks that it has when it is slightly moved.

    Source: Simard, LeCun, Denker, "Efficient Pattern Recognition Using a New Transformation Distance", NIPS 1992.
    """
    operators = _operators()
    looks = np.empty((len(images), _LOOK_SIZE), np.float32)
    spaces = np.empty((len(images), _NUM_MOTIONS, _LOOK_SIZE), np.float32)
    for start in range(0, len(images), _BLOCK):
        block = slice(start, start + _BLOCK)
        gray = images[block].reshape(-1, SIDE**2).astype(np.float32)
        tangents = (gray @ operators).reshape(-1, _NUM_MOTIONS, _LOOK_SIZE)
        looks[block] = unit(tangents[:, 0])
        # Cholesky and not QR: three times faster, and exact enough.
        spaces[block] = np.linalg.solve(np.linalg.cholesky(_squares(tangents)), tangents)
    return looks, spaces


def explained(spaces: Floats, looks: Floats) -> Floats:
    """How much, in [0, 1], of each look [n x 63] lies in the space [n x 5 x 63] beside it."""
    return _float32(((spaces @ looks[:, :, None]) ** 2).sum(axis=(1, 2)))


def overlay(moved: NDArray[np.uint8], fixed: NDArray[np.uint8]) -> Overlay:
    """Moves each image over its partner and compares them.

    Args:
        moved: Gray [n x SIDE x SIDE]; of an image and a crop of it, the whole image.
        fixed: Their partners, likewise.
    """
    one, other = align(moved.astype(np.float32), fixed.astype(np.float32)), fixed.astype(np.float32)
    one_flat, other_flat = _centred(one), _centred(other)
    gain = (one_flat * other_flat).sum(axis=1) / np.maximum((one_flat**2).sum(axis=1), 1)
    offset = _inner(other).mean(axis=(1, 2)) - gain * _inner(one).mean(axis=(1, 2))
    return Overlay(_float32((_edges(one) * _edges(other)).sum(axis=1)), _float32(gain), _float32(offset))


def align(moved: Floats, fixed: Floats) -> Floats:
    """Shifts and stretches each image [n x SIDE x SIDE] to fit its partner, by least squares.

    Source: Lucas and Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision",
    IJCAI 1981.
    """
    target = _centred(fixed)[:, :, None]
    motion = np.zeros((len(moved), _NUM_MOTIONS - 1), np.float32)
    for _ in range(_ALIGNMENT_STEPS):
        tangents = _motions(_move(moved, motion))
        tangents = _centred(tangents.reshape(-1, SIDE, SIDE)).reshape(len(moved), _NUM_MOTIONS, -1)
        weights = np.linalg.solve(_squares(tangents) + np.diag(_COSTS), tangents @ target)[:, :, 0]
        # The first weight is the contrast, by which the others are scaled.
        step = weights[:, 1:] / np.maximum(weights[:, :1], 0.3)
        motion = np.clip(motion + step, -_MOST, _MOST)
    return _move(moved, motion)


def unit(rows: Floats) -> Floats:
    """Rows of length 1; those of length 0 stay."""
    return _float32(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))


@functools.cache
def _operators() -> Floats:
    """Takes an image [256] to its look and the look's change by each motion [256 x (5 * 63)].

    A look is a discrete cosine transform without the mean. Natural images hold less of a frequency the higher it
    is; each is weighted up by its height.
    """
    cells = np.eye(SIDE**2, dtype=np.float32).reshape(-1, SIDE, SIDE)
    frequency = np.arange(_FREQUENCIES)
    waves = np.cos(np.pi * frequency[:, None] * (np.arange(SIDE) + 0.5) / SIDE)
    waves[0] /= 2**0.5
    looks = waves @ _motions(cells) @ waves.T * np.hypot(frequency[:, None], frequency)
    return _float32(looks.reshape(SIDE**2, _NUM_MOTIONS, -1)[:, :, 1:].reshape(SIDE**2, -1))


def _motions(images: Floats) -> Floats:
    """[n x s x s] -> [n x 5 x s x s]: the image, and its change by a shift and a stretch along x, then along y."""
    along_y, along_x = np.gradient(images, axis=(1, 2))
    place = _places()
    return _float32(np.stack([images, along_x, along_x * place, along_y, along_y * place[:, None]], axis=1))


def _move(images: Floats, motion: Floats) -> Floats:
    across, down = _resampling(motion[:, 0], motion[:, 1]), _resampling(motion[:, 2], motion[:, 3])
    return _float32(down @ images @ np.swapaxes(across, 1, 2))


def _resampling(shift: Floats, stretch: Floats) -> Floats:
    """The matrix [n x s x s] that moves a line of cells.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with a = -1/2.
    """
    places = _places() * (1 + stretch[:, None]) + shift[:, None]
    edge = (SIDE - 1) / 2
    t = np.abs(np.clip(places, -edge, edge)[:, :, None] - _places())
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return _float32(np.where(t < 1, near, np.where(t < 2, far, 0)))


def _places() -> Floats:
    """Cell centres along a side, counted from the middle."""
    return np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)


def _inner(images: Floats) -> Floats:
    # The outermost cells are what a crop takes away.
    return images[..., 1:-1, 1:-1]


def _centred(images: Floats) -> Floats:
    """Inner cells in one row [n x (s - 2)^2], less their mean."""
    flat = _inner(images).reshape(len(images), -1)
    return _float32(flat - flat.mean(axis=1, keepdims=True))


def _edges(images: Floats) -> Floats:
    """Differences along x and y at the inner cells, together of length 1."""
    along_x = images[:, 1:-1, 2:] - images[:, 1:-1, :-2]
    along_y = images[:, 2:, 1:-1] - images[:, :-2, 1:-1]
    return unit(np.stack([along_x, along_y], axis=1).reshape(len(images), -1))


def _squares(tangents: Floats) -> Floats:
    """Products [n x 5 x 5] of tangents [n x 5 x d], invertible even where a motion changes nothing."""
    squares = tangents @ np.swapaxes(tangents, 1, 2)
    trace = np.trace(squares, axis1=1, axis2=2)[:, None, None]
    return _float32(squares + np.eye(_NUM_MOTIONS) * (1e-5 * trace + 1e-3))


def _float32(values: NDArray[np.floating]) -> Floats:
    return np.asarray(values, np.float32)
