"""The one way to read an image: bytes in, an upright RGB image out, or an error that names the file.

Training, evaluation, prediction and everything else use :func:`decode`, so the same file always gives the same pixels.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features

from resnet_cli.errors import ImageError

Pixels: TypeAlias = NDArray[np.uint8]

#: Pillow's decoders that may be used; others (EPS, PDF, ...) start programs or are rarely fuzzed.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
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


def is_image_name(path: Path | str) -> bool:
    """Whether a file has the extension of an image (hidden files never count)."""
    # Strings instead of Path, which would double the seconds for a folder with millions of files.
    name = os.path.basename(path)
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")


@functools.cache
def decoder_version() -> str:
    """Versions of the libraries that decode images: part of every cache key, since they may change pixels."""
    parts = ("pil", "jpg", "libjpeg_turbo", "webp", "libtiff", "zlib")
    return " ".join(f"{part} {features.version(part)}" for part in parts)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads an image file; see :func:`decode`.

    Raises:
        ImageError: The file cannot be read, or is not a complete image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(str(path), error.strerror or str(error)) from error
    return decode(data, str(path), max_pixels=max_pixels)


class Decoded(NamedTuple):
    """A decoded image and properties of its file.

    Attributes:
        image: The upright image of mode RGB, at least 1 x 1.
        format: Pillow's name of the format: ``JPEG``, ``PNG``, ...
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


def decode(data: bytes, path: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes the bytes of an image file; see :func:`decode_whole`.

    Raises:
        ImageError: The file is empty, truncated, too large, or not in one of the known formats.
    """
    return decode_whole(data, path, max_pixels=max_pixels).image


def decode_whole(data: bytes, path: str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decodes the bytes of an image file.

    EXIF orientation is applied, the first frame is used, transparency is composited on white, 16-bit gray is scaled to
    8 bits (Pillow alone would clip it), and CMYK and palettes are converted to RGB.

    Args:
        data: The whole file.
        path: Name of the file in errors.
        max_pixels: Larger images are rejected before they are decoded.

    Raises:
        ImageError: The file is empty, truncated, too large, or not in one of the known formats.
    """
    if not data:
        raise ImageError(path, "the file is empty")
    _treat_bombs_as_errors()
    if max_pixels > (Image.MAX_IMAGE_PIXELS or 0):
        # Pillow's own limit applies to the process; the check below applies to this call.
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(path, f"{width} x {height} pixels, more than the limit of {max_pixels:,}")
            mode = _file_mode(image)
            image.load()
            orientation = _orientation(image)
            turn = _TURNS.get(orientation)
            upright = image if turn is None else image.transpose(turn)
            transparent = _has_alpha(image)
            return Decoded(_to_rgb(upright), str(image.format), mode, orientation, transparent)
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(path, f"more pixels than the limit of {max_pixels:,}") from error
    except UnidentifiedImageError as error:
        raise ImageError(path, "not an image in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF)") from error
    except MemoryError as error:
        raise ImageError(path, "too large for this machine's memory") from error
    except Exception as error:
        raise ImageError(path, f"damaged: {error}") from error


def from_pixels(pixels: np.ndarray) -> Image.Image:
    """Wraps pixels as an image.

    Args:
        pixels: uint8 RGB [h x w x 3].
    """
    return Image.fromarray(pixels)


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


@functools.cache
def _treat_bombs_as_errors() -> None:
    # Once per process instead of around each call: warnings.catch_warnings is not thread-safe.
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    # Damaged EXIF in an intact image is common and harmless.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")
