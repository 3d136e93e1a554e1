"""The header of a TIFF file: what its pages are, before any library decodes one of them.

Pillow's own reader loads every value that a header names: a header whose entries all name the whole file takes
thousands of times its size in memory. This one reads a few numbers per page.

Source: TIFF 6.0, sections 2, 8 and 15; TIFF Technical Note 1 (SubIFDs); the BigTIFF design of libtiff.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import NamedTuple

#: Number of further pages that are looked at: a pyramid of reduced copies has fewer than 20.
MAX_PAGES = 64
#: Number of values that are read of a tag: more samples per pixel are not counted.
_MAX_VALUES = 4096
#: Type in the file -> its struct code, for types that hold whole numbers. Libraries accept signed ones in all tags.
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
#: Type in the file -> bytes of a value, for all types.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
#: Name of a field -> number of the tag.
_TAGS = {
    "new_subfile": 254,
    "subfile": 255,
    "width": 256,
    "height": 257,
    "bits": 258,
    "compression": 259,
    "photometric": 262,
    "fill_order": 266,
    "orientation": 274,
    "samples": 277,
    "planar": 284,
    "tile_width": 322,
    "tile_height": 323,
    "sub_pages": 330,
    "extra": 338,
    "sample_format": 339,
    "depth": 32997,
    "dng_version": 50706,
}
_FIELDS = {tag: name for name, tag in _TAGS.items()}


class Layout(NamedTuple):
    """How the numbers of a file's header are stored.

    Attributes:
        order: ``<`` or ``>``, the byte order.
        is_big: Whether it is BigTIFF, with 64-bit offsets.
    """

    order: str
    is_big: bool


@dataclasses.dataclass(frozen=True)
class Page:
    """What the header says about one page.

    Attributes:
        layout: How the header is stored.
        tags: Name of a field -> its whole numbers; fields that the page does not have are missing.
    """

    layout: Layout
    tags: dict[str, tuple[int, ...]]

    def number(self, field: str, default: int) -> int:
        """The first number of a field."""
        return self.tags.get(field, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.number("width", 0), self.number("height", 0)

    @property
    def samples(self) -> int:
        """Samples of each pixel, with alpha and other extra samples."""
        return self.number("samples", len(self.tags.get("bits", ())) or 1)

    @property
    def is_copy(self) -> bool:
        """Whether the page calls itself a reduced copy or a mask of another one."""
        # Bit 0 of NewSubfileType: a reduced-resolution version; bit 2: a transparency mask. SubfileType 2: reduced.
        return bool(self.number("new_subfile", 0) & 0b101) or self.number("subfile", 0) == 2

    def is_thumbnail_of(self, other: Page) -> bool:
        """Whether the page is at most half as large as another one, with the same aspect ratio up to rounding."""
        (width, height), (other_width, other_height) = self.size, other.size
        is_alike = abs(width * other_height - height * other_width) < max(other_width, other_height)
        return is_alike and 0 < 2 * width <= other_width + 1 and 0 < 2 * height <= other_height + 1


def read_pages(data: bytes) -> Iterator[Page]:
    """The pages of a file in its order, at most :data:`MAX_PAGES`; the last one before a page that is not there.

    Args:
        data: The whole file.

    Raises:
        ValueError: The first page is incomplete, the values of a page overlap, or it has two values of a tag.
    """
    is_first = True
    try:
        layout, offset = _start(data)
        for _ in range(MAX_PAGES):
            if not offset:
                return
            page, offset = _read_page(data, offset, layout)
            yield page
            is_first = False
    except (struct.error, OverflowError) as error:
        # Pillow would read the tags that are left, and take defaults for the others.
        if is_first:
            raise ValueError("its header is incomplete") from error


def read_all_pages(data: bytes) -> Iterator[Page]:
    """The pages of a file and those inside its pages, at most :data:`MAX_PAGES`; damaged ones are left out."""
    try:
        layout, first = _start(data)
    except struct.error:
        return
    waiting, seen = [first], {0}
    while waiting and len(seen) <= MAX_PAGES:
        offset = waiting.pop(0)
        if offset in seen:
            continue
        seen.add(offset)
        try:
            page, following = _read_page(data, offset, layout)
        except (struct.error, OverflowError, ValueError):
            continue
        yield page
        waiting += [*page.tags.get("sub_pages", ())[:MAX_PAGES], following]


def _start(data: bytes) -> tuple[Layout, int]:
    """How the header is stored, and the offset of the first page."""
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    layout = Layout(order, version == 43)
    (offset,) = struct.unpack_from(order + ("Q" if layout.is_big else "L"), data, 8 if layout.is_big else 4)
    return layout, offset


def _read_page(data: bytes, offset: int, layout: Layout) -> tuple[Page, int]:
    """One page and the offset of the next."""
    count_code, entry_code, offset_code = ("Q", "HHQ8s", "Q") if layout.is_big else ("H", "HHL4s", "L")
    order = layout.order
    inline, length = struct.calcsize("<" + offset_code), struct.calcsize("<" + entry_code)
    (num_entries,) = struct.unpack_from(order + count_code, data, offset)
    first = offset + struct.calcsize("<" + count_code)
    end = first + num_entries * length
    if end > len(data):
        raise struct.error("entries beyond the end")
    tags: dict[str, tuple[int, ...]] = {}
    num_bytes = 0
    for tag, kind, count, value in struct.iter_unpack(order + entry_code, data[first:end]):
        size = count * _SIZES.get(kind, 1)
        source, place = value, 0
        if size > inline:
            source, (place,) = data, struct.unpack(order + offset_code, value)
            # No decoder reads values beyond the end, which are common in files that were cut.
            num_bytes += size if place + size <= len(data) else 0
        if tag in _FIELDS and kind in _INTEGERS and count:
            code = f"{order}{min(count, _MAX_VALUES)}{_INTEGERS[kind]}"
            values = struct.unpack_from(code, source, place)
            if tags.setdefault(_FIELDS[tag], values) != values:
                # Each library takes another one: what is checked here would not be what is decoded.
                raise ValueError(f"its header has two different values of tag {tag}")
    if num_bytes > len(data):
        raise ValueError("the values of its header overlap")
    following = struct.unpack_from(order + offset_code, data, end)[0] if end + inline <= len(data) else 0
    return Page(layout, tags), following
