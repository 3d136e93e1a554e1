"""Images that training gains little from, by their look: tiny, of one color, nearly black or white, or blurred.

The scan measures each image separately. Which images stand out depends on the whole set, since all images of a set may
be small or soft. Thresholds were measured on 497 photos (ants and bees, ten ImageNet classes; 137 to 1,944 px), none of
which is reported, and on CIFAR-10, where one dark image is. ``benchmarks/looks.py`` measures them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.inspection.alignment import SIDE
from resnet_cli.data.inspection.compact import Numbers
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.scanned import ScannedImages

#: Names of the looks, in the order in which they are reported.
LOOKS = ("tiny", "flat", "dark", "bright", "blurred")
#: Shorter side in pixels. A network sees 224 px: smaller images are enlarged more than 3.5 times.
TINY_PX = 64
#: Share of the set's median shorter side; CIFAR-10 (32 px) has no tiny image above 8 px.
TINY_SHARE = 0.25
#: Range of 98 % of the pixels, of 255, in the channel with the largest. The lowest of the photos is 71, of CIFAR-10 63;
#: JPEG and the noise of a covered lens stay below.
FLAT_CONTRAST = 16
#: Level, of 255, that 99 % of the pixels stay below in every channel. The lowest gray level of the photos is 122.
DARK_LEVEL = 64
#: Level, of 255, that 99 % of the pixels stay above in every channel. The highest gray level of the photos is 110.
BRIGHT_LEVEL = 192
#: Sharpness, see :func:`sharpness`. The lowest of the photos is above 0.9. Of photos blurred by a Gaussian with a sigma
#: of 1.5 px at a shorter side of 256 px, 97 % are below it, with 2 px all; of those enlarged from 64 px 94 %; of those
#: moved by 15 px 88 %.
BLURRED_SHARPNESS = 0.85
#: Share of the set's median sharpness; below both, an image is blurred. Photos reduced with a soft filter, all of whose
#: values are lower, then have at most 0.8 % false alarms instead of 4.4 %.
BLURRED_SHARE = 0.7

#: Shorter side in pixels at which sharpness is measured: what is blurred beyond it, the network does not see either.
_MEASURED_PX = 192
#: Smaller images are not measured: a few pixels per edge say nothing about blur, and it would take as long as decoding.
_SMALLEST_PX = 128
#: Every 16th row and column gives the same result as all of them.
_STRIDE = 16
#: Mean difference of gray levels at the strongest edges, of 255; weaker ones are noise.
_MIN_EDGE = 1.0
#: Number of bytes between the samples of a thumbnail that show the contrast of nearly every image.
_SAMPLED = 51
#: Share of the pixels that may be lighter or darker.
_OUTLIERS = 0.01


class Look(NamedTuple):
    """The look of one image.

    Attributes:
        darkest: Level, of 255, that 1 % of the pixels are below in the darkest channel; 0 if the thumbnail has
            contrast.
        lightest: Level that 1 % of the pixels are above in the lightest channel; 255 if the thumbnail has contrast.
        contrast: Range of 98 % of the pixels in the channel with the largest; 255 if the thumbnail has contrast.
        sharpness: How sharp the sharpest edges are, about 1 to 1.7; 0 if the image is too small or has no edges.
    """

    darkest: int = 0
    lightest: int = 255
    contrast: int = 255
    sharpness: float = 0.0


def look(image: Image.Image, signature: bytes) -> Look:
    """Measures the look of an image.

    Args:
        image: An upright image of mode RGB.
        signature: Its signature, which begins with a gray thumbnail.
    """
    sharp = sharpness(image) if min(image.size) >= _SMALLEST_PX else 0.0
    gray = signature[: SIDE**2]
    # Six bytes suffice for nearly every image.
    if _has_contrast(gray[::_SAMPLED]) or _has_contrast(gray):
        return Look(sharpness=sharp)
    levels = [_range(image.getchannel(channel).histogram()) for channel in range(3)]
    # A dark blue has a bright channel.
    darkest, lightest = min(low for low, _ in levels), max(high for _, high in levels)
    return Look(darkest, lightest, max(high - low for low, high in levels), sharp)


def sharpness(image: Image.Image) -> float:
    """The changes of slope relative to the slopes, at the strongest edges and in the blurrier of both directions.

    At an edge that is blurred by a Gaussian, the largest second difference is 0.6 / sigma times the largest first
    difference, whatever the contrast; noise alone gives 1.7. The mean of fourth powers represents the largest values.
    Plain backgrounds, which lower the variance of the Laplacian, do not count.

    Args:
        image: An image of mode RGB.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000 (second differences); Elder
    and Zucker, "Local scale control for edge detection and blur estimation", PAMI 20(7), 1998 (ratio of derivatives).
    """
    factor = min(1.0, _MEASURED_PX / min(image.size))
    width, height = max(3, round(image.width * factor)), max(3, round(image.height * factor))
    # Taking single pixels costs a tenth of averaging, and turns a sharp edge into a step.
    rows = image.resize((width, max(1, height // _STRIDE)), Image.Resampling.NEAREST).convert("L")
    columns = image.resize((max(1, width // _STRIDE), height), Image.Resampling.NEAREST).convert("L")
    measured = _slope_change(np.asarray(rows, np.float32)), _slope_change(np.asarray(columns, np.float32).T)
    # An image of stripes has edges in one direction only.
    return round(min(filter(None, measured), default=0.0), 3)


def _slope_change(lines: NDArray[np.float32]) -> float:
    slopes = lines[:, 1:] - lines[:, :-1]
    edge, change = _strongest(slopes), _strongest(slopes[:, 1:] - slopes[:, :-1])
    return change / edge if edge >= _MIN_EDGE else 0.0


def _strongest(values: NDArray[np.float32]) -> float:
    squares = np.square(values).ravel()
    return float((float(np.dot(squares, squares)) / squares.size) ** 0.25)


def _has_contrast(gray: bytes) -> bool:
    darkest, lightest = min(gray), max(gray)
    return lightest - darkest >= FLAT_CONTRAST and lightest >= DARK_LEVEL and darkest <= BRIGHT_LEVEL


def _range(histogram: Sequence[int]) -> tuple[int, int]:
    """The levels that 1 % of the pixels are below and above."""
    outliers = _OUTLIERS * sum(histogram)
    return _level(enumerate(histogram), outliers), _level(reversed(list(enumerate(histogram))), outliers)


def _level(counted: Iterable[tuple[int, int]], outliers: float) -> int:
    passed = 0
    for level, count in counted:
        passed += count
        if passed > outliers:
            return level
    return 0


def find_looks(images: Iterable[ScannedImage]) -> dict[str, Numbers]:
    """Look -> positions of the images that have it; an image has at most one.

    Args:
        images: Records of all images of a set; unreadable ones have no look.
    """
    scanned = ScannedImages.of(images)
    rows, left = scanned.rows, scanned.is_readable
    sides, sharp = np.minimum(rows["width"], rows["height"]), rows["sharpness"]
    tiny = min(TINY_PX, TINY_SHARE * float(np.median(sides[left]))) if left.any() else 0
    blurred = min(BLURRED_SHARPNESS, BLURRED_SHARE * float(np.median(sharp[sharp != 0]))) if sharp.any() else 0
    has_look = {
        "flat": rows["contrast"] < FLAT_CONTRAST,
        "tiny": sides < tiny,
        "dark": rows["lightest"] < DARK_LEVEL,
        "bright": rows["darkest"] > BRIGHT_LEVEL,
        "blurred": (sharp > 0) & (sharp < blurred),
    }
    found = {}
    for name, has in has_look.items():
        found[name] = Numbers(np.flatnonzero(left & has).astype(np.int32))
        left &= ~has
    return {name: found[name] for name in LOOKS}
