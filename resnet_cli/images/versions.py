"""Versions of the decoders, which are part of the keys of all caches: another version may give other pixels."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

from PIL import features

from resnet_cli.images.extras import find_version
from resnet_cli.images.formats import IMAGE_FORMATS, TIFF

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
    extensions = {os.path.splitext(name)[1] for name in names}
    return " ".join([_base(), *sorted({_special(extension) for extension in extensions} - {""})])


def special_decoder(name: str) -> str:
    """The version of the optional library or part that reads a file; empty for files that every Pillow reads.

    Args:
        name: Name of the file.
    """
    return _special(os.path.splitext(name)[1])


@functools.cache
def _base() -> str:
    parts = ("pil", "jpg", "libjpeg_turbo", "webp", "libtiff", "zlib")
    return " ".join(f"{part} {features.version(part)}" for part in parts)


@functools.lru_cache(maxsize=1024)
def _special(extension: str) -> str:
    known = _BY_EXTENSION.get(extension.lower())
    if known is None:
        return ""
    if known is TIFF:
        # Kinds of TIFF that Pillow reads incorrectly are read by rules of this package, or by tifffile.
        return f"tiff {TIFF_RULES} tifffile {find_version('tifffile')}"
    if known.feature:
        return f"{known.feature} {features.version(known.feature)}"
    return f"{known.package} {find_version(known.package)}" if known.package else ""
