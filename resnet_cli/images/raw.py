"""Camera raw files in the form of a TIFF: their first image is a preview, which Pillow would take for the image."""

from __future__ import annotations

import struct

#: Source: TIFF 6.0 (262), Adobe's TIFF Tech Note 1 (330), the DNG specification 1.7 (50706).
_PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 262, 330, 50706
#: Values of PhotometricInterpretation of sensor data. Source: TIFF/EP (color filter array), DNG (linear raw).
_SENSOR = {32803, 34892}
#: Most directories that are looked at, and most entries of each; raw files have up to ten and about a hundred.
_MAX_DIRECTORIES, _MAX_ENTRIES = 16, 1000
#: Type of an entry -> code of ``struct``.
_CODES = {1: "B", 3: "H", 4: "I", 13: "I"}


def is_raw_tiff(data: bytes) -> bool:
    """Whether a TIFF file contains the data of a camera's sensor (DNG, NEF, CR2, ARW, PEF, ...).

    Args:
        data: The whole file.
    """
    if data[8:10] == b"CR":
        # Canon's CR2 declares its sensor data in no tag.
        return True
    order = "<" if data[:2] == b"II" else ">"
    waiting, seen = [int.from_bytes(data[4:8], "little" if order == "<" else "big")], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        at = waiting.pop(0)
        if not at or at in seen:
            continue
        seen.add(at)
        tags, following = _directory(data, at, order)
        if _DNG_VERSION in tags or not _SENSOR.isdisjoint(tags.get(_PHOTOMETRIC, ())):
            return True
        waiting += [*tags.get(_SUB_IFDS, ())[:_MAX_DIRECTORIES], following]
    return False


def _directory(data: bytes, at: int, order: str) -> tuple[dict[int, tuple[int, ...]], int]:
    """The values of the three tags in one directory, and the offset of the next directory; 0 if there is none."""
    found: dict[int, tuple[int, ...]] = {}
    try:
        (num,) = struct.unpack_from(f"{order}H", data, at)
        for index in range(min(num, _MAX_ENTRIES)):
            entry = at + 2 + 12 * index
            tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
            if tag not in (_PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION) or kind not in _CODES or count > _MAX_ENTRIES:
                continue
            where, form = entry + 8, f"{order}{count}{_CODES[kind]}"
            if struct.calcsize(form) > 4:
                (where,) = struct.unpack_from(f"{order}I", data, where)
            found[tag] = struct.unpack_from(form, data, where)
        (following,) = struct.unpack_from(f"{order}I", data, at + 2 + 12 * num)
    except struct.error:
        return found, 0
    return found, following
