"""From the pixels that a decoder returns to an upright RGB image of 8 bits."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from resnet_cli.errors import ImageError
from resnet_cli.images.wide import narrow, narrow_colors

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
        bit_depth: Bits that the values of a 16-bit file need, one of :data:`~resnet_cli.config.units.BIT_DEPTHS`; 0 for
            all other files.
    """

    image: Image.Image
    format: str
    mode: str
    orientation: int
    transparent: bool
    bit_depth: int = 0


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


def finish(
    image: Image.Image,
    *,
    orientation: int | None = None,
    path: str = "",
    data: bytes = b"",
    bit_depth: int | None = 16,
) -> Decoded:
    """Loads an image that Pillow has opened, and makes it upright and RGB.

    Args:
        image: The image, not yet loaded.
        orientation: Its orientation, 1 to 8; None reads it from EXIF.
        path: Name of the file in errors.
        data: The whole file, of which 16-bit colors that use fewer bits are read once more.
        bit_depth: Bits that the values of 16-bit files use; None for the fewest that this image needs.

    Raises:
        ImageError: The values need more than ``bit_depth`` bits.
        Exception: Whatever its decoder raises on a damaged file.
    """
    mode = _file_mode(image)
    # Pillow scales the values of PGM files to 16 bits, unless they use all 16.
    is_scaled = any(tile[0] == "ppm" for tile in getattr(image, "tile", ()))
    image.load()
    if orientation is None:
        orientation = _orientation(image)
    file_format, transparent, needed = str(image.format), _has_alpha(image), 0
    if mode in {"RGB;16", "RGBA;16"} and data:
        image, needed = narrow_colors(image, path, data, bit_depth)
    elif image.mode.startswith("I"):
        # 16-bit gray: convert("L") would clip everything above 255 to white. Mode "I" means 32 bits, of which cameras
        # and scanners use 8 or 16; in a PGM file it means 16.
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        if image.mode == "I" and file_format != "PPM" and values.max() <= 255:
            image = Image.fromarray(values.astype(np.uint8))
        else:
            gray, needed = narrow(values, path, 16 if is_scaled else bit_depth)
            image, needed = Image.fromarray(gray), 0 if is_scaled else needed
    return Decoded(to_rgb(upright(image, orientation)), file_format, mode, orientation, transparent, needed)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turns an image by the EXIF orientation, 1 to 8, of its file; other values are ignored."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


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


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image of 8 bits per channel; transparency is composited on white.

    Raises:
        ValueError: Its mode has no agreed conversion to RGB.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point images have no agreed brightness range")
    if _has_alpha(image):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return image.convert("RGB")
