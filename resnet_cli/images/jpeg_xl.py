"""JPEG XL through imagecodecs.

Its decoder allocates whatever a file declares, so the declaration is checked here first.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from resnet_cli.errors import ImageError
from resnet_cli.images.extras import load_library
from resnet_cli.images.formats import JPEG_XL
from resnet_cli.images.pixels import Decoded, check_size, finish

#: Width per height for each value of the field `ratio`. Source: ISO/IEC 18181-1, table of SizeHeader.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
#: Alpha and a few more; the standard allows 4096, each as large as the image.
_MAX_EXTRA_CHANNELS = 4
#: More than the header of a codestream takes.
_HEADER_BYTES = 256
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decode_jpeg_xl(data: bytes, path: str, *, max_pixels: int) -> Decoded:
    """Decodes the first frame of a JPEG XL file.

    Args:
        data: The whole file.
        path: Name of the file in errors.
        max_pixels: Larger images are rejected before they are decoded.

    Raises:
        ImageError: imagecodecs is not installed, or the image is too large or of a kind that is not read.
        Exception: Whatever the library raises on a damaged file.
    """
    library = load_library(JPEG_XL, path)
    bits = _Bits(_codestream(data))
    width, height = bits.size()
    check_size(path, width, height, max_pixels)
    if bits.num_extra_channels() > _MAX_EXTRA_CHANNELS:
        raise ImageError(path, "JPEG XL with more than four additional channels; convert it to PNG first")
    # The decoder applies the orientation of the codestream. EXIF repeats or contradicts it, and is not to be used.
    # Source: libjxl, doc/format_overview.md, "Metadata versus image data".
    pixels = library.jpegxl_decode(data, index=0, numthreads=1)  # [h x w] or [h x w x channels]
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in _MODES or pixels.dtype not in (np.uint8, np.uint16):
        kind = f"{pixels.shape[-1]} channels of {pixels.dtype}"
        raise ImageError(path, f"JPEG XL with {kind}; convert it to PNG with 8 or 16 bits per channel first")
    if pixels.dtype == np.uint16:
        # imagecodecs does not scale the values of 10 or 12 bits, which would be nearly black.
        pixels = pixels << max(0, 16 - bits.bit_depth)
    return _finish(pixels)


def _finish(pixels: np.ndarray) -> Decoded:
    mode = _MODES[pixels.shape[2]]
    is_wide = pixels.dtype == np.uint16
    if is_wide and mode == "L":
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
        mode = image.mode
    else:
        # Pillow keeps the upper 8 of 16 bits in a PNG too.
        narrow = (pixels >> 8).astype(np.uint8) if is_wide else pixels
        image = Image.fromarray(narrow.squeeze(2) if mode == "L" else narrow)
        mode = f"{mode};16" if is_wide else mode
    return finish(image, orientation=1)._replace(format="JXL", mode=mode, bit_depth=0)


def _codestream(data: bytes) -> bytes:
    """The first bytes of the codestream, which may be inside a container of boxes, in one part or several."""
    if data.startswith(b"\xff\x0a"):
        return data[:_HEADER_BYTES]
    at, found = 0, b""
    while at + 8 <= len(data) and len(found) < _HEADER_BYTES:
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        # The last box may have no size.
        end = at + size if size else len(data)
        if end < start:
            break
        if kind in (b"jxlc", b"jxlp"):
            # A part of the codestream begins with its number.
            start += 4 * (kind == b"jxlp")
            found += data[start : min(end, start + _HEADER_BYTES)]
        at = end
    return found


class _Bits:
    """The header of a codestream. Source: ISO/IEC 18181-1:2024, 4.2 (fields), D.2 (SizeHeader), D.3 (ImageMetadata)."""

    def __init__(self, codestream: bytes) -> None:
        if not codestream.startswith(b"\xff\x0a"):
            raise ValueError("not a JPEG XL codestream")
        self._value, self._left = int.from_bytes(codestream[2:], "little"), 8 * len(codestream) - 16
        #: Bits of a value; known after :meth:`num_extra_channels`.
        self.bit_depth = 8

    def take(self, num_bits: int) -> int:
        """The next bits as a number, the lowest first."""
        if num_bits > self._left:
            raise ValueError("the header is cut off")
        value = self._value & ((1 << num_bits) - 1)
        self._value, self._left = self._value >> num_bits, self._left - num_bits
        return value

    def choice(self, *forms: tuple[int, int]) -> int:
        """A number in one of four forms, each an offset and a number of bits."""
        offset, num_bits = forms[self.take(2)]
        return offset + self.take(num_bits)

    def size(self) -> tuple[int, int]:
        """Width and height of the image, before its orientation is applied."""
        is_small = self.take(1)
        height = self._side(is_small)
        ratio = self.take(3)
        if not ratio:
            return self._side(is_small), height
        across, down = _RATIOS[ratio]
        return height * across // down, height

    def _side(self, is_small: int) -> int:
        return 8 * (1 + self.take(5)) if is_small else self.choice((1, 9), (1, 13), (1, 18), (1, 30))

    def num_extra_channels(self) -> int:
        """Number of channels besides the colors; call it once, after :meth:`size`."""
        if self.take(1):
            return 0
        if self.take(1):
            self.take(3)
            if self.take(1):
                self.size()
            if self.take(1):
                self._skip_preview()
            if self.take(1):
                self._skip_animation()
        self.bit_depth = self._bit_depth()
        self.take(1)
        return self.choice((0, 0), (1, 0), (2, 4), (1, 12))

    def _skip_preview(self) -> None:
        is_small = self.take(1)
        forms = ((16, 0), (32, 0), (1, 5), (33, 9)) if is_small else ((1, 6), (65, 8), (321, 10), (1345, 12))
        self.choice(*forms)
        if not self.take(3):
            self.choice(*forms)

    def _skip_animation(self) -> None:
        self.choice((100, 0), (1000, 0), (1, 10), (1, 30))
        self.choice((1, 0), (1001, 0), (1, 8), (1, 10))
        self.choice((0, 0), (0, 3), (0, 16), (0, 32))
        self.take(1)

    def _bit_depth(self) -> int:
        if self.take(1):
            # Floating point, with the bits of the exponent.
            bits = self.choice((32, 0), (16, 0), (24, 0), (1, 6))
            self.take(4)
            return bits
        return self.choice((8, 0), (10, 0), (12, 0), (1, 6))
