"""The formats of image files: their extensions, and how their content is recognized."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of image files.

    Attributes:
        name: What it is called in messages.
        extensions: Extensions of its files, in lower case.
    """

    name: str
    extensions: tuple[str, ...]


FORMATS = (
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif")),
    Format("PNG", (".png",)),
    Format("WebP", (".webp",)),
    Format("BMP", (".bmp",)),
    Format("GIF", (".gif",)),
    Format("TIFF", (".tif", ".tiff")),
)
EXTENSIONS = frozenset(extension for known in FORMATS for extension in known.extensions)
#: Byte order and version of TIFF and BigTIFF. Source: TIFF 6.0, section 2; the BigTIFF design of libtiff.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_image_name(path: Path | str) -> bool:
    """Whether a file has the extension of an image (hidden files never count)."""
    # Strings instead of Path, which would double the seconds for a folder with millions of files.
    name = os.path.basename(path)
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")


def recognize(data: bytes) -> str:
    """The format of a file that needs a decoder of its own, by its first bytes; empty for all others."""
    if data.startswith(_TIFF):
        return "TIFF"
    return ""
