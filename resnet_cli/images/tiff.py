"""TIFF files that Pillow would read incorrectly: read through tifffile, or refused by name.

What Pillow 12 and 13 do without an error: uncompressed 16-bit RGB in separate planes becomes noise, 16-bit gray in
which 0 is white becomes the negative, 12 packed bits become nearly black, signed bytes become unsigned, many bands in
separate planes become the first band, and pages after the first are dropped.
"""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from resnet_cli.errors import ImageError
from resnet_cli.images.extras import load_module
from resnet_cli.images.pixels import Decoded, check_size, to_rgb, upright
from resnet_cli.images.tiff_header import Page, read_pages
from resnet_cli.images.wide import narrow

#: Compression in the file: none, LZW, Deflate (two numbers), PackBits. Others hold 8 bits per sample, or are rare.
_COMPRESSIONS = frozenset({1, 5, 8, 32946, 32773})
#: PhotometricInterpretation -> number of samples of a color, without alpha and other extra samples.
_NUM_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
#: PhotometricInterpretation -> Pillow's mode of the kinds that are read through tifffile.
_MODES = {0: "L", 1: "L", 2: "RGB", 5: "CMYK"}
#: ExtraSamples -> mode -> mode with alpha: 1 is alpha that the colors are multiplied by, 2 is alpha by itself.
_ALPHA = {1: {"L": "La", "RGB": "RGBa"}, 2: {"L": "LA", "RGB": "RGBA"}}
#: Samples beyond which Pillow gives up, with a line in the log.
_MAX_SAMPLES = 6
#: Values outside the range of a data set's images; the command gives them one range. GDAL is the usual tool.
_RESCALE = "gdal_translate -ot Byte -scale LOW HIGH 0 255 IN.tif OUT.tif"
#: Pixels of a tile that every image may have, however small; usual tiles have 256 x 256 to 1024 x 1024.
_MAX_TILE_PIXELS = 4096 * 4096


def decode_tiff(data: bytes, path: str, *, max_pixels: int, bit_depth: int | None = 16) -> Decoded | None:
    """Decodes a TIFF file; None if Pillow reads it correctly.

    Args:
        data: The whole file.
        path: Name of the file in errors.
        max_pixels: Larger images are rejected before they are decoded.
        bit_depth: Bits that 16-bit values use; None for the fewest that this image needs.

    Raises:
        ImageError: The file cannot be read, and the reason names what can be done.
    """
    pages = list(read_pages(data))
    if not pages or 0 in pages[0].size:
        # Pillow refuses it.
        return None
    page = pages[0]
    if reason := _other_images(pages) or _unreadable(page):
        raise ImageError(path, reason)
    check_size(path, *page.size, max_pixels)
    # Tiles are decoded whole, however little of them the image uses: libtiff allocates what the header declares.
    tile_width, tile_height = page.number("tile_width", page.size[0]), page.number("tile_height", page.size[1])
    check_size(path, tile_width, tile_height, max(max_pixels, _MAX_TILE_PIXELS))
    if max(page.tags.get("sample_format", (1,))) == 2 or page.number("bits", 1) == 32:
        _check_integers(data, path, page)
    elif _is_wrong_in_pillow(page):
        return _decode_with_tifffile(data, path, page, bit_depth)
    return None


def unknown_kind(data: bytes) -> str:
    """What a TIFF file is that Pillow does not know, for an error."""
    page = next(read_pages(data), None)
    if page is None:
        return "damaged: a TIFF without an image"
    return f"a kind of TIFF that cannot be read: {page.samples} x {page.number('bits', 1)} bits per pixel"


def _other_images(pages: Sequence[Page]) -> str:
    """Why the first page is not the one image of the file; empty if it is."""
    page = pages[0]
    others = [other for other in pages[1:] if not other.is_copy]
    if page.is_copy and ("sub_pages" in page.tags or others):
        return "its first page is only a reduced copy of the image: save the full image as a file of its own"
    # Scanners, Photoshop and slide scanners add reduced copies of the image, which are not separate images.
    if any(not other.is_thumbnail_of(page) for other in others):
        return "several pages, of which one must be chosen: save each as a file of its own (tiffsplit IN.tif PREFIX)"
    if page.number("depth", 1) > 1:
        return f"a volume of {page.number('depth', 1)} slices: save each slice as an image"
    return ""


def _unreadable(page: Page) -> str:
    """Why the samples of a page are not an image for a network; empty if they may be one."""
    bits = page.number("bits", 1)
    kind = max(page.tags.get("sample_format", (1,)))
    if kind not in (1, 2, 4) or bits > 32:
        name = {3: "floating-point", 5: "complex", 6: "complex"}.get(kind, "integer")
        return f"{bits}-bit {name} values have no agreed brightness range: give all images the same one ({_RESCALE})"
    colors = _NUM_COLORS.get(page.number("photometric", 1), 1)
    others = page.samples - colors
    extra = page.tags.get("extra", ())
    # A gray value and one more sample is gray with alpha, or with a mask; a color may have several more samples.
    is_gray = colors == 1 and (others <= 0 or (others == 1 and (any(extra) or (bits <= 8 and not _is_planar(page)))))
    is_color = colors > 1 and (page.samples <= _MAX_SAMPLES or (_is_planar(page) and not any(extra)))
    if not is_gray and not is_color:
        return (
            f"{page.samples} bands, and it is not known which are red, green and blue: choose three for all images "
            "(gdal_translate -b 4 -b 3 -b 2 -co PHOTOMETRIC=RGB IN.tif OUT.tif)"
        )
    is_plain_gray = page.samples == 1 and page.number("photometric", 1) != 0
    # Pillow reads one signed or 32-bit value per pixel, which `_check_integers` checks.
    if (kind == 2 or bits > 16) and not (is_plain_gray and bits in ((16, 32) if kind == 2 else (32,))):
        return _no_range(page)
    return ""


def _no_range(page: Page) -> str:
    sign = "" if page.number("sample_format", 1) == 2 else "u"
    return (
        f"{page.number('bits', 1)}-bit values ({sign}int{page.number('bits', 1)}) have no agreed brightness range: "
        f"give all images the same one ({_RESCALE})"
    )


def _is_planar(page: Page) -> bool:
    return page.number("planar", 1) == 2 and page.samples > 1


def _is_unknown_to_pillow(page: Page) -> bool:
    # Pillow takes big-endian BigTIFF for TIFF, and finds no tags.
    return page.layout == (">", True)


def _is_wrong_in_pillow(page: Page) -> bool:
    """Whether Pillow returns wrong pixels, or none, for an image that tifffile reads."""
    bits = page.number("bits", 1)
    if _is_unknown_to_pillow(page):
        return True
    if not 8 < bits <= 16:
        return False
    is_noise = _is_planar(page) and page.number("compression", 1) == 1
    return bits < 16 or is_noise or page.number("photometric", 1) == 0 or page.samples == 2


def _check_integers(data: bytes, path: str, page: Page) -> None:
    """Refuses integers with a sign or 32 bits, unless their values are those of 8 bits, or of 16 in int32.

    Pillow itself saves 16-bit images of its mode ``I`` as int32. Elsewhere such integers are measurements, or a range
    around 0.
    """
    if _is_unknown_to_pillow(page):
        raise ImageError(path, _no_range(page))
    is_int32 = page.number("sample_format", 1) == 2 and page.number("bits", 1) == 32
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            values = np.asarray(image)
    except UnidentifiedImageError as error:
        raise ImageError(path, _no_range(page)) from error
    # Pillow exchanges the bytes of compressed big-endian integers.
    is_exchanged = page.layout.order == ">" and page.number("compression", 1) != 1
    if is_exchanged or values.min() < 0 or values.max() > (65535 if is_int32 else 255):
        raise ImageError(path, _no_range(page))


def _decode_with_tifffile(data: bytes, path: str, page: Page, bit_depth: int | None) -> Decoded:
    photometric, compression = page.number("photometric", 1), page.number("compression", 1)
    bits, depth = page.number("bits", 1), bit_depth
    is_mixed = len(set(page.tags.get("bits", (1,)))) > 1
    if compression not in _COMPRESSIONS or photometric not in _MODES or not 8 <= bits <= 16 or is_mixed:
        raise ImageError(
            path, "a kind of TIFF that cannot be read: save it uncompressed, with 8 or 16 bits per channel"
        )
    values = _read_values(data, path, page)  # [h x w x samples]
    mode, num_colors = _MODES[photometric], _NUM_COLORS[photometric]
    alpha_kind = page.tags.get("extra", (0,))[0] if page.samples > num_colors else 0
    colors, needed = values[..., :num_colors], 0
    if bits < 16:
        # The file says how many bits it uses.
        depth = bits
        colors = colors >> (bits - 8)
    else:
        colors, needed = narrow(colors, path, bit_depth)
        depth = bit_depth or needed
    if photometric == 0:
        colors = 255 - colors
    if alpha_kind in _ALPHA and mode in _ALPHA[alpha_kind]:
        alpha = values[..., num_colors : num_colors + 1]
        # Alpha may use all bits where the colors do not.
        alpha = alpha >> ((depth if alpha.max() < 2**depth else bits) - 8)
        colors, mode = np.concatenate([colors, alpha], axis=-1), _ALPHA[alpha_kind][mode]
    height, width = colors.shape[:2]
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(colors, dtype=np.uint8).tobytes())
    file_mode = mode if bits == 8 else f"I;{bits}" if num_colors == 1 else f"{mode};16"
    turned = upright(image, page.number("orientation", 1))
    return Decoded(to_rgb(turned), "TIFF", file_mode, 1, len(mode) > num_colors, needed)


def _read_values(data: bytes, path: str, page: Page) -> NDArray[np.integer[Any]]:
    """The samples as they are stored, uint8 or uint16 [h x w x samples].

    Raises:
        ImageError: They are not all in the file, or tifffile is missing.
    """
    tifffile = load_module("tifffile", "tifffile", "this kind of TIFF", path)
    if page.number("compression", 1) != 1 or page.number("bits", 1) not in (8, 16):
        # Without it, tifffile decompresses with Python's zlib, however much that is.
        load_module("imagecodecs", "imagecodecs", "this kind of TIFF", path)
    _silence_tifffile()
    # The flags of formats whose further pages or metadata tifffile would read as well.
    with tifffile.TiffFile(io.BytesIO(data), is_lsm=False, is_scanimage=False, is_ndpi=False, is_ome=False) as file:
        first = file.pages.first
        segments = list(zip(first.dataoffsets, first.databytecounts, strict=False))
        # tifffile fills what is missing with zeros.
        if len(segments) < np.prod(first.chunked) or any(
            offset <= 0 or size <= 0 or offset + size > len(data) for offset, size in segments
        ):
            raise ImageError(path, "damaged: a part of the image is missing")
        # [planes x 1 x h x w x samples of a plane]
        planes: NDArray[np.integer[Any]] = first.asarray(squeeze=False, maxworkers=1)
    values = np.moveaxis(planes[:, 0], 0, 2)
    return values.reshape(*values.shape[:2], -1)


@functools.cache
def _silence_tifffile() -> None:
    # What it logs about odd files would be printed, since no program has to configure logging.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
