"""Finds images that look the same: copies that were re-encoded, resized, slightly cropped or brightened.

Each image is represented by a signature of a few hundred bytes. There are three stages, each a hundred times more
selective and expensive than the one before: a matrix product compares coarse descriptors of all pairs; the remaining
pairs are compared allowing for a small crop; and the last few are aligned and compared edge by edge.

Measured by ``benchmarks/duplicates.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.inspection.alignment import (
    DESCRIPTOR_SIZE,
    NUM_MOTIONS,
    SIDE,
    Floats,
    describe,
    explained,
    overlay,
    unit,
)
from resnet_cli.data.inspection.compact import NearPairs
from resnet_cli.data.inspection.neighborhoods import Rows
from resnet_cli.data.inspection.pair_search import (
    Pairs,
    Report,
    Table,
    Vectors,
    closest,
    counter,
    joined,
    no_pairs,
    search,
    search_sets,
)
from resnet_cli.data.inspection.row_table import RowTable
from resnet_cli.system.events import Progress

Bytes: TypeAlias = NDArray[np.uint8]

_COLOR_SIDE = 4
_GRAY_BYTES = SIDE**2
#: A gray thumbnail of 16 x 16, then one of 4 x 4 in RGB.
SIGNATURE_BYTES = _GRAY_BYTES + 3 * _COLOR_SIDE**2

# The thresholds were chosen on CIFAR-10 (60,000 images and 3,500 planted copies) and 497 photos (1,600 copies).
#: Cosine of coarse descriptors. 1 in 8,000 pairs of CIFAR-10 passes, and 3 copies in 1,000 are lost.
_MIN_SIMILARITY = 0.64
#: Share of one descriptor that the other explains with a shift and a stretch. 1 in 300,000 pairs passes.
_MIN_EXPLAINED = 0.8
#: Correlation of edges after alignment. Of the 2,800 pairs above it in CIFAR-10 itself, about ten are different images
#: (ships on a horizon; judged by eye); between 0.91 and 0.93 a third are.
_MIN_EDGES = 0.945
#: Root mean square difference of color at equal brightness, on a scale of 255.
_MAX_COLOR = 12.0
#: Limits of the contrast and brightness (of 255) of a copy; beyond them it is a different image of the same shape.
_MAX_GAIN = 2.0
_MAX_OFFSET = 48.0
#: Lightest minus darkest gray, of 255. Below the first there is only noise to compare; up to the second, color alone
#: decides. In between, an image is compared both ways, so that no copy is missed.
_MIN_TEXTURE = 6
_MAX_FLAT = 10
#: Root mean square difference of flat colors, of 255: JPEG of quality 30 changes them by up to about three levels.
_MAX_FLAT_COLOR = 4.0
#: Cosine of ResNet-50 features. Of 12,000 CIFAR-10 images at 128 px seven pairs reach it, all real by eye (of the 34
#: above 0.90 two are not), of 497 photos at 224 px none. It finds 48 % of 560 planted copies of the first and 65 % of
#: 480 of the second, where signatures find 99 and 98 %: features complement signatures and do not replace them.
_MIN_FEATURES = 0.92

#: The coarse stage keeps more pairs of each image, so that images that are merely similar (skies, seas) do not displace
#: a copy.
_MAX_CANDIDATES = 128
#: Number of images that are described at once, and of pairs that are compared at once (about 15 MB each).
_BLOCK_IMAGES = 4096
_BLOCK_PAIRS = 1024


def signature(image: Image.Image) -> bytes:
    """The signature by which copies of an image are found.

    Args:
        image: An upright image of mode RGB and any size.

    Returns:
        ``SIGNATURE_BYTES`` bytes.
    """
    # reducing_gap shrinks a photo by whole factors first: many times faster, and the same at this size.
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small.convert("L").tobytes() + small.reduce(SIDE // _COLOR_SIDE).tobytes()


def find_near(signatures: Table, *, on_progress: Progress | None = None) -> NearPairs:
    """Finds pairs of images that look the same.

    Blank images are compared by color alone. An image with more than 32 later copies is paired with the closest 32,
    which keeps all of them connected. Of more than 65,536 images, only those are compared that are similar at first
    sight, which finds 99 % of the pairs; if there are millions of pairs, each image has fewer.

    Args:
        signatures: [n x SIGNATURE_BYTES], one row per image.
        on_progress: Called with (images searched, images in all).

    Returns:
        Each pair once, in the order of the rows.
    """
    blocks = (signatures[start : start + _BLOCK_IMAGES] for start in range(0, len(signatures), _BLOCK_IMAGES))
    contrast = np.concatenate([np.empty(0, np.uint8), *(np.ptp(block[:, :_GRAY_BYTES], axis=1) for block in blocks)])
    textured, flat = np.flatnonzero(contrast >= _MIN_TEXTURE), np.flatnonzero(contrast <= _MAX_FLAT)
    report = counter(on_progress, len(textured) + len(flat))

    def by_texture(rows: Rows) -> Floats:
        return describe(_gray(signatures[textured[rows]]))[0]

    def textured_among(rows: Rows, keep: int, report: Report) -> Pairs:
        return _near_textured(lambda some: signatures[textured[rows[some]]], len(rows), keep, report)

    def flat_among(rows: Rows, keep: int, report: Report) -> Pairs:
        left, right = _left_colors(signatures[flat[rows]]), _right_colors(signatures[flat[rows]])
        return _near_flat(left, right, keep, report)

    first, second, score = search_sets(len(textured), by_texture, by_texture, textured_among, report)
    found = [(textured[first], textured[second], score)]
    first, second, score = search_sets(
        len(flat),
        lambda rows: _left_colors(signatures[flat[rows]]),
        lambda rows: _right_colors(signatures[flat[rows]]),
        flat_among,
        report,
    )
    found.append((flat[first], flat[second], score))
    # Of an image that was compared both ways, the texture gives the score.
    return _listed(joined(found), rank=np.repeat([0, 1], [len(pairs[0]) for pairs in found]))


def find_near_by_features(features: Table, *, on_progress: Progress | None = None) -> NearPairs:
    """Finds pairs of images with nearly the same features; complements :func:`find_near`.

    Args:
        features: [n x d] from a backbone. A row of zeros, or with a value that is not finite, is similar to nothing.
        on_progress: Called with (images searched, images in all).

    Returns:
        Each pair once, in the order of the rows, at most 32 later images for each; the score is the cosine.
    """

    def vectors(rows: slice | Rows) -> Floats:
        taken = features[rows].astype(np.float32)
        taken[~np.isfinite(taken).all(axis=1)] = 0
        return unit(taken)

    def among(rows: Rows, keep: int, report: Report) -> Pairs:
        near: Vectors = vectors if len(rows) == len(features) else vectors(rows).__getitem__
        return search(len(rows), near, near, _MIN_FEATURES, report=report, keep=keep)

    pairs = search_sets(len(features), vectors, vectors, among, counter(on_progress, len(features)))
    return _listed(pairs, rank=-pairs[2])


def _listed(pairs: Pairs, *, rank: NDArray[Any]) -> NearPairs:
    first, second, score = pairs
    # Rounding may raise the cosine of two equal rows above 1.
    return NearPairs.ranked(first, second, np.clip(score, 0, 1), rank)


def _near_flat(left: Floats, right: Floats, keep: int, report: Report) -> Pairs:
    """Flat images of the same color."""
    threshold = -(_MAX_FLAT_COLOR**2) / 2
    first, second, product = search(len(left), left.__getitem__, right.__getitem__, threshold, report=report, keep=keep)
    distance = np.sqrt(np.maximum(-2 * product, 0))
    return first, second, (1 - distance / 255).astype(np.float32)


def _left_colors(signatures: Bytes) -> Floats:
    """|a - b|^2 <= t^2 as one product: [a, -|a|^2 / 2, 1] [b, 1, -|b|^2 / 2] >= -t^2 / 2; these are the first ones."""
    colors, half, one = _colors(signatures)
    return np.hstack([colors, half, one])


def _right_colors(signatures: Bytes) -> Floats:
    colors, half, one = _colors(signatures)
    return np.hstack([colors, one, half])


def _colors(signatures: Bytes) -> tuple[Floats, Floats, Floats]:
    colors = signatures[:, _GRAY_BYTES:].astype(np.float32) - 128
    colors /= np.float32(colors.shape[1] ** 0.5)
    return colors, (colors**2).sum(axis=1, keepdims=True) / -2, np.ones((len(colors), 1), np.float32)


def _near_textured(signatures: Callable[[slice | Rows], Bytes], count: int, keep: int, report: Report) -> Pairs:
    """Images with texture, which can be aligned."""
    descriptors = np.empty((count, DESCRIPTOR_SIZE), np.float32)
    # In a temporary file if there are many.
    spaces = RowTable(count, NUM_MOTIONS * DESCRIPTOR_SIZE, np.float32)
    for start in range(0, count, _BLOCK_IMAGES):
        part = slice(start, start + _BLOCK_IMAGES)
        descriptors[part], described = describe(_gray(signatures(part)))
        spaces.write(start, described.reshape(len(described), -1))

    def motions(rows: Rows) -> Floats:
        return spaces[rows].reshape(len(rows), -1, descriptors.shape[1])

    held = descriptors.__getitem__
    candidates = search(count, held, held, _MIN_SIMILARITY, report=report, keep=_MAX_CANDIDATES)
    likely: list[Pairs] = [no_pairs()]
    for one, other in _blocks(candidates):
        score = np.maximum(explained(motions(one), descriptors[other]), explained(motions(other), descriptors[one]))
        good = score >= _MIN_EXPLAINED
        likely.append((one[good], other[good], score[good]))
    found: list[Pairs] = [no_pairs()]
    for one, other in _blocks(closest(*joined(likely), keep)):
        # The whole image explains its crop, and not the other way round: it is the one to move.
        turn = explained(motions(other), descriptors[one]) > explained(motions(one), descriptors[other])
        moved, fixed = np.where(turn, other, one), np.where(turn, one, other)
        same, score = _compare(signatures(moved), signatures(fixed))
        found.append((one[same], other[same], score[same]))
    return joined(found)


def _blocks(pairs: Pairs) -> Iterator[tuple[Rows, Rows]]:
    for start in range(0, len(pairs[0]), _BLOCK_PAIRS):
        yield pairs[0][start : start + _BLOCK_PAIRS], pairs[1][start : start + _BLOCK_PAIRS]


def _compare(moved: Bytes, fixed: Bytes) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each pair of signatures [n x SIGNATURE_BYTES] is the same image, and the correlation of its edges."""
    found = overlay(_gray(moved), _gray(fixed))
    color = found.gain[:, None] * _chroma(moved) - _chroma(fixed)
    same = (found.edges >= _MIN_EDGES) & (np.sqrt((color**2).mean(axis=1)) <= _MAX_COLOR)
    same &= (found.gain >= 1 / _MAX_GAIN) & (found.gain <= _MAX_GAIN) & (np.abs(found.offset) <= _MAX_OFFSET)
    return same, found.edges


def _gray(signatures: Bytes) -> Bytes:
    return signatures[:, :_GRAY_BYTES].reshape(-1, SIDE, SIDE)


def _chroma(signatures: Bytes) -> Floats:
    """Blue and red minus luma of each cell of the small thumbnail [n x 32]. Source: ITU-R BT.601's luma."""
    colors = signatures[:, _GRAY_BYTES:].astype(np.float32).reshape(-1, _COLOR_SIDE**2, 3)
    luma = colors @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.hstack([colors[:, :, 2] - luma, colors[:, :, 0] - luma])
