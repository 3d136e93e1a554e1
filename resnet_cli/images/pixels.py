"""From the pixels that a decoder returns to an upright RGB image of 8 bits."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from resnet_cli.errors import ImageError

Pixels: TypeAlias = NDArray[np.uint8]

#: Images with more pixels are rejected before they are decoded: 50 MP take 150 MB as RGB.
MAX_PIXELS = 50_000_000
#: EXIF orientation -> operation that turns the image upright. Source: Exif 2.32, section 4.6.4.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """A decoded image and properties of its file.

    Attributes:
        image: The upright image of mode RGB, at least 1 x 1.
        format: Pillow's name of the format: ``JPEG``, ``PNG``, ...; ``JXL`` and ``DICOM``, which Pillow does not know.
        mode: Pillow's mode of the pixels in the file: ``RGB``, ``L``, ``P``, ``CMYK``, ``I;16``, ...; ``RGB;16`` for
            16 bits per channel, of which Pillow keeps the upper 8.
        orientation: Orientation in the EXIF block, 1 to 8; 1 is upright.
        transparent: Whether the file has transparency, which was composited on white.
    """

    image: Image.Image
    format: str
    mode: str
    orientation: int
    transparent: bool


def from_pixels(pixels: np.ndarray) -> Image.Image:
    """Wraps pixels as an image.

    Args:
        pixels: uint8 RGB [h x w x 3].
    """
    return Image.fromarray(pixels)


def check_size(path: str, width: int, height: int, max_pixels: int) -> None:
    """Rejects an image that is too large, before it is decoded.

    Raises:
        ImageError: It has more than ``max_pixels`` pixels.
    """
    if width * height > max_pixels:
        raise ImageError(path, f"{width} x {height} pixels, more than the limit of {max_pixels:,}")


def finish(image: Image.Image, *, orientation: int | None = None) -> Decoded:
    """Loads an image that Pillow has opened, and makes it upright and RGB.

    Args:
        image: The image, not yet loaded.
        orientation: Its orientation, 1 to 8; None reads it from EXIF.

    Raises:
        Exception: Whatever its decoder raises on a damaged file.
    """
    mode = _file_mode(image)
    image.load()
    if orientation is None:
        orientation = _orientation(image)
    turn = _TURNS.get(orientation)
    upright = image if turn is None else image.transpose(turn)
    transparent = _has_alpha(image)
    return Decoded(_to_rgb(upright), str(image.format), mode, orientation, transparent)


def _orientation(image: Image.Image) -> int:
    # ImageOps.exif_transpose also rewrites the EXIF block, which fails on tags that are not needed here.
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, TypeError):
        # The EXIF block is damaged; the pixels may not be.
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


def _file_mode(image: Image.Image) -> str:
    # Before the pixels are loaded, a tile tells how they are packed in the file: `RGB;16B`.
    is_wide = image.mode in {"RGB", "RGBA"} and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return f"{image.mode};16" if is_wide else image.mode


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # 16-bit gray: convert("L") would clip everything above 255 to white. Mode "I" means 32 bits, of which cameras
        # and scanners use 8 or 16.
        wide = np.asarray(image).astype(np.int64)
        is_8_bit = image.mode == "I" and wide.max() <= 255
        image = Image.fromarray(np.clip(wide if is_8_bit else wide // 256, 0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point images have no agreed brightness range")
    if _has_alpha(image):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return image.convert("RGB")
