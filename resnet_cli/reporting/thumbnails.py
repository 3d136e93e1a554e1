"""Small copies of pictures inside an HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.reporting.plots import PIXELATED_UP_TO_PX
from resnet_cli.threads import map_threaded

THUMBNAIL_PX = 128
#: The first of these at which a thumbnail is small enough, else the last: noise does not compress.
_QUALITIES = (75, 50, 25)
MAX_THUMBNAIL_BYTES = 7_000


class Thumbnail(NamedTuple):
    """A small copy of a picture.

    Attributes:
        src: A ``data:`` URI for ``<img>``; empty if the picture cannot be read.
        is_tiny: The picture itself is so small that its pixels should stay visible.
    """

    src: Markup = Markup()
    is_tiny: bool = False


def thumbnails(items: Sequence[Item]) -> list[Thumbnail]:
    """Reads pictures again, on all cores, and shrinks them to ``THUMBNAIL_PX`` on their longer side."""
    return list(map_threaded(_shrink, items))


def _shrink(item: Item) -> Thumbnail:
    try:
        image = item.open()
    except ImageError:
        return Thumbnail()
    is_tiny = max(image.size) <= PIXELATED_UP_TO_PX
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        # Colour at full resolution: at half of it, tiny pictures lose what tells them apart.
        image.save(buffer, "JPEG", quality=quality, subsampling="4:4:4" if is_tiny else "4:2:0")
        data = buffer.getvalue()
        if len(data) <= MAX_THUMBNAIL_BYTES:
            break
    return Thumbnail(Markup("data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")), is_tiny)
