"""Finds images that look the same: copies that were re-encoded, resized, slightly cropped or brightened.

Each image is represented by a signature of a few hundred bytes. There are three stages, each a hundred times more
selective and expensive than the one before: a matrix product compares coarse descriptors of all pairs; the remaining
pairs are compared allowing for a small crop; and the last few are aligned and compared edge by edge.

Measured by ``benchmarks/duplicates.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.inspection.alignment import SIDE, Floats, describe, explained, overlay, unit
from resnet_cli.data.inspection.compact import NearPair
from resnet_cli.system.events import Progress

Bytes: TypeAlias = NDArray[np.uint8]
Rows: TypeAlias = NDArray[np.intp]
#: Start and stop of a range of images -> their vectors [stop - start x d].
Vectors: TypeAlias = Callable[[int, int], Floats]
#: First images, second images, and the similarity of each pair.
Pairs: TypeAlias = tuple[Rows, Rows, Floats]

_COLOUR_SIDE = 4
_GRAY_BYTES = SIDE**2
#: A gray thumbnail of 16 x 16, then one of 4 x 4 in RGB.
SIGNATURE_BYTES = _GRAY_BYTES + 3 * _COLOUR_SIDE**2

# The thresholds were chosen on CIFAR-10 (60,000 images and 3,500 planted copies) and 497 photos (1,600 copies).
#: Cosine of coarse descriptors. 1 in 8,000 pairs of CIFAR-10 passes, and 3 copies in 1,000 are lost.
_MIN_SIMILARITY = 0.64
#: Share of one descriptor that the other explains with a shift and a stretch. 1 in 300,000 pairs passes.
_MIN_EXPLAINED = 0.8
#: Correlation of edges after alignment. Of the 2,800 pairs above it in CIFAR-10 itself, about ten are different images
#: (ships on a horizon; judged by eye); between 0.91 and 0.93 a third are.
_MIN_EDGES = 0.945
#: Root mean square difference of color at equal brightness, on a scale of 255.
_MAX_COLOUR = 12.0
#: Limits of the contrast and brightness (of 255) of a copy; beyond them it is a different image of the same shape.
_MAX_GAIN = 2.0
_MAX_OFFSET = 48.0
#: Lightest minus darkest gray, of 255. Below the first there is only noise to compare; up to the second, color alone
#: decides. In between, an image is compared both ways, so that no copy is missed.
_MIN_TEXTURE = 6
_MAX_FLAT = 10
#: Root mean square difference of flat colors, of 255: JPEG of quality 30 changes them by up to about three levels.
_MAX_FLAT_COLOUR = 4.0
#: Cosine of ResNet-50 features. Of 12,000 CIFAR-10 images at 128 px seven pairs reach it, all real by eye (of the 34
#: above 0.90 two are not), of 497 photos at 224 px none. It finds 48 % of 560 planted copies of the first and 65 % of
#: 480 of the second, where signatures find 99 and 98 %: features complement signatures and do not replace them.
_MIN_FEATURES = 0.92

#: Number of later images that an image is paired with at most, the closest: a thousand frames of one still scene stay
#: connected and cost 32,000 pairs, not half a million. The coarse stage keeps more, so that images that are merely
#: similar (skies, seas) do not displace a copy.
_MAX_LATER = 32
_MAX_CANDIDATES = 128
#: One block of the table of all pairs (8 MB), and the number of pairs compared at once (about 60 MB).
_BLOCK_ROWS = 1024
_BLOCK_COLUMNS = 2048
_BLOCK_PAIRS = 4096


def signature(image: Image.Image) -> bytes:
    """The signature by which copies of an image are found.

    Args:
        image: An upright image of mode RGB and any size.

    Returns:
        ``SIGNATURE_BYTES`` bytes.
    """
    # reducing_gap shrinks a photo by whole factors first: many times faster, and the same at this size.
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small.convert("L").tobytes() + small.reduce(SIDE // _COLOUR_SIDE).tobytes()


def find_near(signatures: Bytes, *, on_progress: Progress | None = None) -> list[NearPair]:
    """Finds pairs of images that look the same.

    Blank images are compared by color alone. An image with more than 32 later copies is paired with the closest 32,
    which keeps all of them connected.

    Args:
        signatures: [n x SIGNATURE_BYTES], one row per image.
        on_progress: Called with (images searched, images in all).

    Returns:
        Each pair once, in the order of the rows.
    """
    contrast = np.ptp(signatures[:, :_GRAY_BYTES], axis=1)
    textured, flat = np.flatnonzero(contrast >= _MIN_TEXTURE), np.flatnonzero(contrast <= _MAX_FLAT)
    report = _counter(on_progress, len(textured) + len(flat))
    pairs: dict[tuple[int, int], NearPair] = {}
    for rows, find in ((flat, _near_flat), (textured, _near_textured)):
        first, second, score = find(signatures[rows], report)
        for pair in _listed(rows[first], rows[second], score):
            pairs[pair[:2]] = pair
    return sorted(pairs.values())


def find_near_by_features(features: NDArray[np.floating], *, on_progress: Progress | None = None) -> list[NearPair]:
    """Finds pairs of images with nearly the same features; complements :func:`find_near`.

    Args:
        features: [n x d] from a backbone. A row of zeros, or with a value that is not finite, is similar to nothing.
        on_progress: Called with (images searched, images in all).

    Returns:
        Each pair once, in the order of the rows, at most 32 later images for each; the score is the cosine.
    """

    def vectors(start: int, stop: int) -> Floats:
        rows = features[start:stop].astype(np.float32)
        rows[~np.isfinite(rows).all(axis=1)] = 0
        return unit(rows)

    report = _counter(on_progress, len(features))
    return sorted(_listed(*_search(len(features), vectors, vectors, _MIN_FEATURES, report=report)))


def _listed(first: Rows, second: Rows, score: Floats) -> list[NearPair]:
    # Rounding may raise the cosine of two equal rows above 1.
    columns = first.tolist(), second.tolist(), np.clip(score, 0, 1).tolist()
    return [NearPair(*pair) for pair in zip(*columns, strict=True)]


def _counter(on_progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(done, total)

    return add


def _search(
    count: int,
    left: Vectors,
    right: Vectors,
    threshold: float,
    *,
    report: Callable[[int], None],
    keep: int = _MAX_LATER,
) -> Pairs:
    """Pairs i < j whose dot product of left[i] and right[j] reaches the threshold, the ``keep`` best of each i.

    The table of all pairs is computed in blocks; BLAS uses every core for each.
    """
    found: list[Pairs] = [_no_pairs()]
    for start in range(0, count, _BLOCK_ROWS):
        rows = left(start, min(start + _BLOCK_ROWS, count))
        blocks: list[Pairs] = [_no_pairs()]
        for column in range(start, count, _BLOCK_COLUMNS):
            products = rows @ right(column, min(column + _BLOCK_COLUMNS, count)).T
            # Hits are rare: finding them in the flat table is far faster than nonzero() in two dimensions.
            hits = np.flatnonzero(products >= threshold)
            first, second = np.divmod(hits, products.shape[1])
            first, second = first + start, second + column
            later = second > first
            blocks.append(_closest(first[later], second[later], products.ravel()[hits[later]], keep))
        found.append(_closest(*_joined(blocks), keep))
        report(len(rows))
    return _joined(found)


def _closest(first: Rows, second: Rows, score: Floats, keep: int) -> Pairs:
    """Drops all but the best pairs of each first image."""
    order = np.lexsort((second, -score, first))
    by_first = first[order]
    rank = np.arange(len(order)) - np.searchsorted(by_first, by_first)
    best = order[rank < keep]
    return first[best], second[best], score[best]


def _no_pairs() -> Pairs:
    return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32)


def _joined(parts: list[Pairs]) -> Pairs:
    first, second, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, score


def _near_flat(signatures: Bytes, report: Callable[[int], None]) -> Pairs:
    """Flat images of the same color."""
    colours = signatures[:, _GRAY_BYTES:].astype(np.float32) - 128
    colours /= np.float32(colours.shape[1] ** 0.5)
    # |a - b|^2 <= t^2 as one product: [a, -|a|^2 / 2, 1] [b, 1, -|b|^2 / 2] >= -t^2 / 2.
    half, one = (colours**2).sum(axis=1, keepdims=True) / -2, np.ones((len(colours), 1), np.float32)
    left, right = np.hstack([colours, half, one]), np.hstack([colours, one, half])
    first, second, product = _search(
        len(colours), lambda a, b: left[a:b], lambda a, b: right[a:b], -(_MAX_FLAT_COLOUR**2) / 2, report=report
    )
    distance = np.sqrt(np.maximum(-2 * product, 0))
    return first, second, (1 - distance / 255).astype(np.float32)


def _near_textured(signatures: Bytes, report: Callable[[int], None]) -> Pairs:
    """Images with texture, which can be aligned."""
    descriptors, spaces = describe(_gray(signatures))

    def vectors(start: int, stop: int) -> Floats:
        return descriptors[start:stop]

    candidates = _search(len(descriptors), vectors, vectors, _MIN_SIMILARITY, report=report, keep=_MAX_CANDIDATES)
    likely: list[Pairs] = [_no_pairs()]
    for one, other in _blocks(candidates):
        score = np.maximum(explained(spaces[one], descriptors[other]), explained(spaces[other], descriptors[one]))
        good = score >= _MIN_EXPLAINED
        likely.append((one[good], other[good], score[good]))
    found: list[Pairs] = [_no_pairs()]
    for one, other in _blocks(_closest(*_joined(likely), _MAX_LATER)):
        # The whole image explains its crop, and not the other way round: it is the one to move.
        turn = explained(spaces[other], descriptors[one]) > explained(spaces[one], descriptors[other])
        moved, fixed = np.where(turn, other, one), np.where(turn, one, other)
        same, score = _compare(signatures[moved], signatures[fixed])
        found.append((one[same], other[same], score[same]))
    return _joined(found)


def _blocks(pairs: Pairs) -> Iterator[tuple[Rows, Rows]]:
    for start in range(0, len(pairs[0]), _BLOCK_PAIRS):
        yield pairs[0][start : start + _BLOCK_PAIRS], pairs[1][start : start + _BLOCK_PAIRS]


def _compare(moved: Bytes, fixed: Bytes) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each pair of signatures [n x SIGNATURE_BYTES] is the same image, and the correlation of its edges."""
    found = overlay(_gray(moved), _gray(fixed))
    colour = found.gain[:, None] * _chroma(moved) - _chroma(fixed)
    same = (found.edges >= _MIN_EDGES) & (np.sqrt((colour**2).mean(axis=1)) <= _MAX_COLOUR)
    same &= (found.gain >= 1 / _MAX_GAIN) & (found.gain <= _MAX_GAIN) & (np.abs(found.offset) <= _MAX_OFFSET)
    return same, found.edges


def _gray(signatures: Bytes) -> Bytes:
    return signatures[:, :_GRAY_BYTES].reshape(-1, SIDE, SIDE)


def _chroma(signatures: Bytes) -> Floats:
    """Blue and red minus luma of each cell of the small thumbnail [n x 32]. Source: ITU-R BT.601's luma."""
    colours = signatures[:, _GRAY_BYTES:].astype(np.float32).reshape(-1, _COLOUR_SIDE**2, 3)
    luma = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.hstack([colours[:, :, 2] - luma, colours[:, :, 0] - luma])
