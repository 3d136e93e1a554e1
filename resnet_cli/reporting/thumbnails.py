"""Small copies of images inside an HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from markupsafe import Markup
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.reporting.prediction_plot import PIXELATED_UP_TO_PX
from resnet_cli.system.threads import map_threaded

T = TypeVar("T")

THUMBNAIL_PX = 128
#: The first quality at which a thumbnail is small enough is used, else the last: noise does not compress.
_QUALITIES = (75, 50, 25)
MAX_THUMBNAIL_BYTES = 7_000


class Thumbnail(NamedTuple):
    """A small copy of an image.

    Attributes:
        src: A ``data:`` URI for ``<img>``; empty if the image cannot be read.
        is_tiny: Whether the image is so small that its pixels should stay visible.
    """

    src: Markup = Markup()
    is_tiny: bool = False


def thumbnails(
    items: Sequence[Item],
    *,
    bit_depth: int = 16,
    side_px: int = THUMBNAIL_PX,
    max_bytes: int = MAX_THUMBNAIL_BYTES,
) -> list[Thumbnail]:
    """Reads images again, on all cores, and shrinks them.

    Args:
        items: The images; those that can no longer be read have an empty thumbnail.
        bit_depth: Bits of the values of 16-bit images.
        side_px: Maximum length of the longer side.
        max_bytes: Maximum size of the JPEG, except for images that are mostly noise.
    """

    def make(_index: int, image: Image.Image | None) -> Thumbnail:
        return Thumbnail() if image is None else shrink(image, side_px=side_px, max_bytes=max_bytes)

    return read_once(items, make, bit_depth=bit_depth)


class Size(NamedTuple):
    """How large a small copy may be.

    Attributes:
        side_px: Maximum length of the longer side.
        max_bytes: Maximum size of the JPEG.
    """

    side_px: int
    max_bytes: int


def read_once(items: Sequence[Item], make: Callable[[int, Image.Image | None], T], *, bit_depth: int = 16) -> list[T]:
    """Reads images again, each once and on all cores, and makes something of each.

    Args:
        items: The images.
        make: Called with the index of each and its image; None for one that can no longer be read.
        bit_depth: Bits of the values of 16-bit images.
    """

    def one(index: int) -> T:
        try:
            image = items[index].open(bit_depth)
        except ImageError:
            return make(index, None)
        return make(index, image)

    return list(map_threaded(one, range(len(items))))


def shrink(image: Image.Image, *, side_px: int = THUMBNAIL_PX, max_bytes: int = MAX_THUMBNAIL_BYTES) -> Thumbnail:
    """Shrinks one image; see :func:`thumbnails`."""
    is_tiny = max(image.size) <= PIXELATED_UP_TO_PX
    small = image.copy()
    small.thumbnail((side_px, side_px))
    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        # Color at full resolution: at half of it, tiny images lose details.
        small.save(buffer, "JPEG", quality=quality, subsampling="4:4:4" if is_tiny else "4:2:0")
        data = buffer.getvalue()
        if len(data) <= max_bytes:
            break
    return Thumbnail(Markup("data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")), is_tiny)
