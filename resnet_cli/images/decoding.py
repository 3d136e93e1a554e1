"""The one decoder: bytes in, an upright RGB image out, or an error that names the file."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import Protocol

from PIL import Image, UnidentifiedImageError, features

from resnet_cli.errors import ImageError
from resnet_cli.images.dicom import decode_dicom
from resnet_cli.images.formats import DICOM, HEIF, IMAGE_FORMATS, JPEG_XL, TIFF, Format, recognize
from resnet_cli.images.heif import decode_heif
from resnet_cli.images.jpeg_xl import decode_jpeg_xl
from resnet_cli.images.pixels import MAX_PIXELS, Decoded, check_size, finish
from resnet_cli.images.tiff import decode_tiff, unknown_kind
from resnet_cli.system.extras import is_installed

#: Pillow's decoders that may be used; others (EPS, PDF, ...) start programs or are rarely fuzzed.
FORMATS = tuple(known.pillow for known in IMAGE_FORMATS if known.pillow)
#: Characters of a library's message.
_MAX_REASON = 300
_KNOWN = ", ".join(known.name for known in IMAGE_FORMATS if not known.refusal)


#: Key in ``info`` of an image from a 16-bit file: the bits that its values need.
BIT_DEPTH = "bit_depth"


class _Decoder(Protocol):
    """A decoder for one format, whose files say how many bits their values use."""

    def __call__(self, data: bytes, path: str, *, max_pixels: int) -> Decoded: ...


#: Formats that Pillow does not read.
_SPECIAL: dict[Format | None, _Decoder] = {
    HEIF: decode_heif,
    JPEG_XL: decode_jpeg_xl,
    DICOM: decode_dicom,
}


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS, bit_depth: int | None = 16) -> Image.Image:
    """Reads an image file; see :func:`decode`.

    Raises:
        ImageError: The file cannot be read, or is not a complete image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(str(path), error.strerror or str(error)) from error
    return decode(data, str(path), max_pixels=max_pixels, bit_depth=bit_depth)


def decode(data: bytes, path: str, *, max_pixels: int = MAX_PIXELS, bit_depth: int | None = 16) -> Image.Image:
    """Decodes the bytes of an image file; see :func:`decode_whole`.

    Raises:
        ImageError: The file is empty, truncated, too large, or not in one of the known formats.
    """
    decoded = decode_whole(data, path, max_pixels=max_pixels, bit_depth=bit_depth)
    if decoded.bit_depth:
        decoded.image.info[BIT_DEPTH] = decoded.bit_depth
    return decoded.image


def decode_whole(data: bytes, path: str, *, max_pixels: int = MAX_PIXELS, bit_depth: int | None = 16) -> Decoded:
    """Decodes the bytes of an image file.

    The orientation is applied, the first frame is used, transparency is composited on white, 16-bit gray is scaled to
    8 bits (Pillow alone would clip it), and CMYK and palettes are converted to RGB.

    Args:
        data: The whole file.
        path: Name of the file in errors.
        max_pixels: Larger images are rejected before they are decoded.
        bit_depth: Bits that the values of 16-bit files use, one of :data:`~resnet_cli.config.units.BIT_DEPTHS`; None
            for the fewest that this image needs.

    Raises:
        ImageError: The file is empty, truncated, too large, or not in one of the known formats, its library is not
            installed, or its values need more than ``bit_depth`` bits.
    """
    if not data:
        raise ImageError(path, "the file is empty")
    _treat_bombs_as_errors()
    if max_pixels > (Image.MAX_IMAGE_PIXELS or 0):
        # Pillow's own limit applies to the process; the check below applies to this call.
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        # By content: names are often wrong.
        known = recognize(data, path)
        if known is not None:
            _check_readable(known, path)
        decoded = None
        if known is TIFF:
            decoded = decode_tiff(data, path, max_pixels=max_pixels, bit_depth=bit_depth)
        elif (special := _SPECIAL.get(known)) is not None:
            decoded = special(data, path, max_pixels=max_pixels)
        return decoded or _decode_with_pillow(data, path, max_pixels=max_pixels, bit_depth=bit_depth)
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(path, f"more pixels than the limit of {max_pixels:,}") from error
    except UnidentifiedImageError as error:
        kind = unknown_kind(data) if recognize(data, path) is TIFF else ""
        raise ImageError(path, kind or f"not an image in a known format ({_KNOWN})") from error
    except MemoryError as error:
        raise ImageError(path, "too large for this machine's memory") from error
    except Exception as error:
        # In one line: the messages of some libraries have several.
        raise ImageError(path, f"damaged: {' '.join(str(error).split())[:_MAX_REASON]}") from error


def readable_extensions() -> list[str]:
    """Extensions of the files that can be read here, with the libraries that are installed."""
    readable = [
        known
        for known in IMAGE_FORMATS
        if not known.refusal
        and (not known.feature or features.check(known.feature))
        and (not known.module or is_installed(known.module))
    ]
    return sorted(extension for known in readable for extension in known.extensions)


def _check_readable(known: Format, path: str) -> None:
    if known.refusal:
        raise ImageError(path, known.refusal)
    if known.feature and not features.check(known.feature):
        way_out = "its wheels can: pip install --force-reinstall pillow"
        raise ImageError(path, f"{known.name}, which this build of Pillow cannot read; {way_out}")


def _decode_with_pillow(data: bytes, path: str, *, max_pixels: int, bit_depth: int | None) -> Decoded:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_size(path, *image.size, max_pixels)
        return finish(image, path=path, data=data, bit_depth=bit_depth)


@functools.cache
def _treat_bombs_as_errors() -> None:
    # Once per process instead of around each call: warnings.catch_warnings is not thread-safe.
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    # Damaged EXIF in an intact image is common and harmless.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(PIL|pydicom)\..*")
