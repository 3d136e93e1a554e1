"""HEIC and HEIF, the photos of phones, through pillow-heif."""

from __future__ import annotations

import io

from resnet_cli.images.extras import load_library
from resnet_cli.images.formats import HEIF
from resnet_cli.images.pixels import Decoded, check_size, finish


def decode_heif(data: bytes, path: str, *, max_pixels: int) -> Decoded:
    """Decodes the primary image of a HEIC or HEIF file.

    Args:
        data: The whole file.
        path: Name of the file in errors.
        max_pixels: Larger images are rejected before they are decoded.

    Raises:
        ImageError: pillow-heif is not installed, or the image is too large.
        Exception: Whatever the library raises on a damaged file.
    """
    library = load_library(HEIF, path)
    with library.HeifImageFile(io.BytesIO(data)) as image:
        width, height = image.size
        check_size(path, width, height, max_pixels)
        # The library has applied the file's rotation and mirroring, which take precedence over EXIF.
        # Source: ISO/IEC 23008-12, 6.5.10 and annex A.3: the orientation in EXIF is only informative.
        return finish(image, orientation=1)
