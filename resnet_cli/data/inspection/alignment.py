"""Aligns small gray images to compare them after a small crop is undone.

To first order, an image and all its slight shifts and stretches span a space of five dimensions. How well that space
explains another image is one small product, cheap enough for a million pairs; only pairs that pass are aligned.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

#: Number of cells per side of every image here.
SIDE = 16
#: Number of frequencies per side in a descriptor: a crop changes higher ones completely.
_FREQUENCIES = 8
DESCRIPTOR_SIZE = _FREQUENCIES**2 - 1
#: Basis: the image, its shift and stretch along x, its shift and stretch along y.
NUM_MOTIONS = 5
#: Shift in cells, stretch as a share, along x and y: twice what cropping 8 % from each side takes.
_MOST = np.array([2, 0.25, 2, 0.25], np.float32)
_ALIGNMENT_STEPS = 5
#: Regularization of each motion: the squared ratio of a cell's noise to the motion's (one cell, and 6 %). A ramp that
#: contrast, a shift or a stretch could explain is not moved.
_COSTS = np.array([0, 1, 300, 1, 300], np.float32)
#: Number of images that are described at once: 20 MB.
_BLOCK = 4096


class Overlay(NamedTuple):
    """How aligned pairs of images compare; each attribute has one value per pair.

    Attributes:
        edges: Correlation of the edges, in [-1, 1].
        gain: Ratio of the fixed image's contrast to that of the moved one.
        offset: Difference in brightness at equal contrast, fixed minus moved, on a scale of 255.
    """

    edges: Floats
    gain: Floats
    offset: Floats


def describe(images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Computes descriptors of images for a search.

    Args:
        images: Gray [n x SIDE x SIDE].

    Returns:
        Descriptors [n x 63] of length 1, whose product is the similarity; and for each image an orthonormal basis
        [n x 5 x 63] of the descriptors of its slight motions.

    Source: Simard, LeCun, Denker, "Efficient Pattern Recognition Using a New Transformation Distance", NIPS 1992.
    """
    operators = _operators()
    descriptors = np.empty((len(images), DESCRIPTOR_SIZE), np.float32)
    spaces = np.empty((len(images), NUM_MOTIONS, DESCRIPTOR_SIZE), np.float32)
    for start in range(0, len(images), _BLOCK):
        block = slice(start, start + _BLOCK)
        gray = images[block].reshape(-1, SIDE**2).astype(np.float32)
        tangents = (gray @ operators).reshape(-1, NUM_MOTIONS, DESCRIPTOR_SIZE)
        descriptors[block] = unit(tangents[:, 0])
        # Cholesky instead of QR: three times faster, and exact enough.
        spaces[block] = np.linalg.solve(np.linalg.cholesky(_squares(tangents)), tangents)
    return descriptors, spaces


def explained(spaces: Floats, descriptors: Floats) -> Floats:
    """Share in [0, 1] of each descriptor [n x 63] that the corresponding basis [n x 5 x 63] explains."""
    return _float32(((spaces @ descriptors[:, :, None]) ** 2).sum(axis=(1, 2)))


def overlay(moved: NDArray[np.uint8], fixed: NDArray[np.uint8]) -> Overlay:
    """Aligns each image with its partner and compares them.

    Args:
        moved: Gray [n x SIDE x SIDE]; for an image and a crop of it, the whole image.
        fixed: Their partners, gray [n x SIDE x SIDE].
    """
    one, other = align(moved.astype(np.float32), fixed.astype(np.float32)), fixed.astype(np.float32)
    one_flat, other_flat = _centered(one), _centered(other)
    gain = (one_flat * other_flat).sum(axis=1) / np.maximum((one_flat**2).sum(axis=1), 1)
    offset = _inner(other).mean(axis=(1, 2)) - gain * _inner(one).mean(axis=(1, 2))
    return Overlay(_float32((_edges(one) * _edges(other)).sum(axis=1)), _float32(gain), _float32(offset))


def align(moved: Floats, fixed: Floats) -> Floats:
    """Shifts and stretches each image [n x SIDE x SIDE] to fit its partner, by least squares.

    Source: Lucas and Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision",
    IJCAI 1981.
    """
    target = _centered(fixed)[:, :, None]
    motion = np.zeros((len(moved), NUM_MOTIONS - 1), np.float32)
    for _ in range(_ALIGNMENT_STEPS):
        tangents = _motions(_move(moved, motion))
        tangents = _centered(tangents.reshape(-1, SIDE, SIDE)).reshape(len(moved), NUM_MOTIONS, -1)
        weights = np.linalg.solve(_squares(tangents) + np.diag(_COSTS), tangents @ target)[:, :, 0]
        # The first weight is the contrast, by which the others are scaled.
        step = weights[:, 1:] / np.maximum(weights[:, :1], 0.3)
        motion = np.clip(motion + step, -_MOST, _MOST)
    return _move(moved, motion)


def unit(rows: Floats) -> Floats:
    """Rows scaled to length 1; rows of length 0 are not changed."""
    return _float32(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))


@functools.cache
def _operators() -> Floats:
    """Matrix from an image [256] to its descriptor and the change of it by each motion: [256 x (5 * 63)].

    A descriptor is a discrete cosine transform without the mean. In natural images, amplitudes decrease with frequency;
    each is multiplied by its frequency.
    """
    cells = np.eye(SIDE**2, dtype=np.float32).reshape(-1, SIDE, SIDE)
    frequency = np.arange(_FREQUENCIES)
    waves = np.cos(np.pi * frequency[:, None] * (np.arange(SIDE) + 0.5) / SIDE)
    waves[0] /= 2**0.5
    descriptors = waves @ _motions(cells) @ waves.T * np.hypot(frequency[:, None], frequency)
    return _float32(descriptors.reshape(SIDE**2, NUM_MOTIONS, -1)[:, :, 1:].reshape(SIDE**2, -1))


def _motions(images: Floats) -> Floats:
    """[n x s x s] -> [n x 5 x s x s]: the image, and its change by a shift and a stretch along x, then along y."""
    along_y, along_x = np.gradient(images, axis=(1, 2))
    centers = _cell_centers()
    return _float32(np.stack([images, along_x, along_x * centers, along_y, along_y * centers[:, None]], axis=1))


def _move(images: Floats, motion: Floats) -> Floats:
    across, down = _resampling(motion[:, 0], motion[:, 1]), _resampling(motion[:, 2], motion[:, 3])
    return _float32(down @ images @ np.swapaxes(across, 1, 2))


def _resampling(shift: Floats, stretch: Floats) -> Floats:
    """Matrix [n x s x s] that moves a line of cells.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with a = -1/2.
    """
    positions = _cell_centers() * (1 + stretch[:, None]) + shift[:, None]
    edge = (SIDE - 1) / 2
    t = np.abs(np.clip(positions, -edge, edge)[:, :, None] - _cell_centers())
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return _float32(np.where(t < 1, near, np.where(t < 2, far, 0)))


def _cell_centers() -> Floats:
    """Centers of the cells along a side, relative to its middle."""
    return np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)


def _inner(images: Floats) -> Floats:
    # A crop removes the outermost cells.
    return images[..., 1:-1, 1:-1]


def _centered(images: Floats) -> Floats:
    """Inner cells as rows [n x (s - 2)^2], minus their mean."""
    flat = _inner(images).reshape(len(images), -1)
    return _float32(flat - flat.mean(axis=1, keepdims=True))


def _edges(images: Floats) -> Floats:
    """Differences along x and y at the inner cells, scaled to length 1."""
    along_x = images[:, 1:-1, 2:] - images[:, 1:-1, :-2]
    along_y = images[:, 2:, 1:-1] - images[:, :-2, 1:-1]
    return unit(np.stack([along_x, along_y], axis=1).reshape(len(images), -1))


def _squares(tangents: Floats) -> Floats:
    """Products [n x 5 x 5] of tangents [n x 5 x d], invertible even where a motion changes nothing."""
    squares = tangents @ np.swapaxes(tangents, 1, 2)
    trace = np.trace(squares, axis1=1, axis2=2)[:, None, None]
    return _float32(squares + np.eye(NUM_MOTIONS) * (1e-5 * trace + 1e-3))


def _float32(values: NDArray[np.floating]) -> Floats:
    return np.asarray(values, np.float32)
