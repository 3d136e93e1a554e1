"""Seven kinds of image corruption in five strengths: what cameras and the web do to images.

Lengths are shares of the shorter side, so that a strength means the same for a thumbnail and for a photo of
20 megapixels. The corruption depends on the image's pixels alone: it is the same in every run and on every machine, and
a higher strength is more of the same.

Source: Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261 (ImageNet-C); where a kind is theirs, its
strengths are too.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

NUM_STRENGTHS = 5
#: Shorter side of the images that the lengths of Hendrycks and Dietterich are meant for, in pixels.
_THEIR_SIDE_PX = 224

#: Takes an image, a strength, and a random generator with the same state at all strengths; returns the corrupted image.
Corruption = Callable[[Image.Image, float, np.random.Generator], Image.Image]


class Kind(NamedTuple):
    """One kind of corruption.

    Attributes:
        name: Name in tables and in JSON.
        unit: Unit of the strengths.
        strengths: The ``NUM_STRENGTHS`` strengths, from weak to strong.
        corrupt: The function.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    corrupt: Corruption


def _brightness(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Lighter or darker at the same hue and saturation, at random."""
    pixels = _floats(image)
    value = pixels.max(axis=2, keepdims=True)  # The value of HSV.
    wanted = np.clip(value + _sign(rng) * strength, 0, 1)
    return _image(np.where(value > 0, pixels * (wanted / np.maximum(value, 1e-6)), wanted))


def _contrast(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Scales each channel's distance from its mean."""
    pixels = _floats(image)
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _image(mean + strength * (pixels - mean))


def _blur(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian blur; the radius is a share of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(strength * min(image.size)))


def _noise(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian noise, the same field at every strength."""
    pixels = _floats(image)
    return _image(pixels + strength * rng.standard_normal(pixels.shape, dtype=np.float32))


def _jpeg(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """JPEG compression at this quality."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(strength))
    return Image.open(buffer).convert("RGB")


def _rotation(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Rotation to the left or to the right; mirrored edges fill the corners, which would be black otherwise."""
    degrees = _sign(rng) * strength
    reach = math.ceil(math.sin(math.radians(strength)) * max(image.size) / 2)
    return _moved(image, reach, lambda large: large.rotate(degrees, Image.Resampling.BICUBIC))


def _shift(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Translation in a random direction by a share of the shorter side; mirrored edges fill the gap."""
    angle = rng.uniform(0, 2 * math.pi)
    length = strength * min(image.size)
    move = (1, 0, length * math.cos(angle), 0, 1, length * math.sin(angle))

    def shifted(large: Image.Image) -> Image.Image:
        return large.transform(large.size, Image.Transform.AFFINE, move, Image.Resampling.BICUBIC)

    return _moved(image, math.ceil(length), shifted)


def _moved(image: Image.Image, reach: int, move: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Moves an image that is continued by mirroring for ``reach`` pixels beyond its edges."""
    width, height = image.size
    # A margin for the resampling; at most the whole image is mirrored, which only matters for narrow strips.
    x, y = (min(side, reach + 3) for side in (width, height))
    pixels = np.pad(np.asarray(image), ((y, y), (x, x), (0, 0)), mode="symmetric")
    return move(Image.fromarray(pixels)).crop((x, y, x + width, y + height))


def _floats(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _image(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


#: The rows of the table. Brightness, contrast, noise and JPEG are as in ImageNet-C; Gaussian blur has the radii of its
#: extra set (1, 2, 3, 4, 6 px of 224). Rotation and shift are added here: they model a hand-held camera.
KINDS = (
    Kind("brightness", "of HSV's value, added or subtracted", (0.1, 0.2, 0.3, 0.4, 0.5), _brightness),
    Kind("contrast", "share of the contrast left", (0.4, 0.3, 0.2, 0.1, 0.05), _contrast),
    Kind(
        "blur",
        "radius as a share of the shorter side",
        tuple(px / _THEIR_SIDE_PX for px in (1, 2, 3, 4, 6)),
        _blur,
    ),
    Kind("noise", "standard deviation as a share of white", (0.08, 0.12, 0.18, 0.26, 0.38), _noise),
    Kind("jpeg", "quality", (25, 18, 15, 10, 7), _jpeg),
    Kind("rotation", "degrees", (3, 6, 9, 12, 15), _rotation),
    Kind("shift", "share of the shorter side", (0.02, 0.04, 0.08, 0.12, 0.16), _shift),
)
