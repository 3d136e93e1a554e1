"""A small TIFF writer for kinds of files that Pillow does not write. Source: TIFF 6.0, section 2."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Tags = dict[int, tuple[int, ...]]


def tiff_page(
    values: np.ndarray[Any, Any],
    *,
    photometric: int,
    planar: bool = False,
    deflate: bool = False,
    tags: Mapping[int, tuple[int, ...]] | None = None,
) -> tuple[list[np.ndarray[Any, Any]], bool, Tags]:
    """The planes of a page, whether they are compressed, and its tags.

    Args:
        values: [h x w] or [h x w x samples], of any number type.
        photometric: PhotometricInterpretation: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK.
        planar: Whether each sample is stored as a plane.
        deflate: Whether the planes are compressed.
        tags: Further tags, or other values of these.
    """
    height, width, samples = values.shape if values.ndim == 3 else (*values.shape, 1)
    planes = [values[..., index] for index in range(samples)] if planar else [values]
    num_colors = {2: 3, 5: 4}.get(photometric, 1)
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    found: Tags = {
        256: (width,),
        257: (height,),
        258: (8 * values.dtype.itemsize,) * samples,
        259: (8 if deflate else 1,),
        262: (photometric,),
        277: (samples,),
        278: (height,),
        284: (2 if planar else 1,),
        339: (kind,) * samples,
    }
    if samples > num_colors:
        found[338] = (0,) * (samples - num_colors)
    return planes, deflate, {**found, **(tags or {})}


def tiff_file(
    *pages: tuple[Sequence[np.ndarray[Any, Any]], bool, Tags], big_endian: bool = False, big: bool = False
) -> bytes:
    """A TIFF or BigTIFF file of pages from :func:`tiff_page`."""
    order = ">" if big_endian else "<"
    word, count, entry, kind = ("Q", "Q", "HHQ", 16) if big else ("I", "H", "HHI", 4)
    size = struct.calcsize("<" + word)
    data = bytearray(b"MM" if big_endian else b"II")
    data += struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    link = len(data)
    data += bytes(size)
    for planes, deflate, tags in pages:
        places = []
        for plane in planes:
            stored = plane.astype(plane.dtype.newbyteorder(order)).tobytes()
            stored = zlib.compress(stored) if deflate else stored
            places.append((len(data), len(stored)))
            data += stored + b"\0" * (len(stored) % 2)
        numbers: Tags = {**tags, 273: tuple(at for at, _ in places), 279: tuple(length for _, length in places)}
        entries = []
        for tag, values in sorted(numbers.items()):
            packed = struct.pack(f"{order}{len(values)}{word}", *values)
            if len(packed) > size:
                at = len(data)
                data += packed
                packed = struct.pack(order + word, at)
            entries.append(struct.pack(order + entry, tag, kind, len(values)) + packed)
        struct.pack_into(order + word, data, link, len(data))
        data += struct.pack(order + count, len(entries)) + b"".join(entries)
        link = len(data)
        data += bytes(size)
    return bytes(data)
