"""Versions of the decoders, which are part of the keys of all caches: another version may give other pixels."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

from PIL import features

from resnet_cli.images.extras import find_version
from resnet_cli.images.formats import IMAGE_FORMATS, TIFF, Format

#: Version of the rules for TIFF files; raised when the same file gives other pixels.
TIFF_RULES = 2
_BY_EXTENSION = {extension: known for known in IMAGE_FORMATS for extension in known.extensions}


def decoder_version(names: Iterable[str] = ()) -> str:
    """Versions of the libraries that decode images: part of every cache key, since they may change pixels.

    Those of optional libraries and parts are included only for files that they read, so that installing one does not
    invalidate what is cached for the others.

    Args:
        names: Names of the files, whose extensions tell their formats.
    """
    extensions = {os.path.splitext(name)[1].lower() for name in names}
    special = {version for extension in extensions if (version := _special(_BY_EXTENSION.get(extension)))}
    return " ".join([_base(), *sorted(special)])


@functools.cache
def _base() -> str:
    parts = ("pil", "jpg", "libjpeg_turbo", "webp", "libtiff", "zlib")
    return " ".join(f"{part} {features.version(part)}" for part in parts)


@functools.cache
def _special(known: Format | None) -> str:
    if known is None:
        return ""
    if known is TIFF:
        # Kinds of TIFF that Pillow reads wrong are read by rules of this package, or by tifffile.
        return f"tiff {TIFF_RULES} tifffile {find_version('tifffile')}"
    if known.feature:
        return f"{known.feature} {features.version(known.feature)}"
    return f"{known.package} {find_version(known.package)}" if known.package else ""
