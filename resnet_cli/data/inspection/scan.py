"""Reads every image once: whether it can be decoded, its size and format, and its signature for duplicates.

Files that were scanned before and have not changed since are not opened again.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_cli.data.dataset import Item, Items
from resnet_cli.data.inspection.duplicates import signature
from resnet_cli.data.inspection.index import Index, ScannedImage, Stamp, stamp_file
from resnet_cli.data.inspection.looks import Look, look
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.reading import map_reading
from resnet_cli.errors import DataError, ImageError, Interrupted, SetupError
from resnet_cli.images import Pixels, decode_whole, from_pixels, missing_library_command
from resnet_cli.images.wide import beyond
from resnet_cli.system.events import Progress

#: Records are saved after this many new images; an interrupt loses at most these.
SAVE_EVERY = 1024
#: Images whose records are looked up, and whose files are read, at once.
BLOCK_ITEMS = 4096
#: Bytes of pixels that are hashed at once, so that a large image is not copied as a whole.
_STRIP_BYTES = 2**20


def scan(
    items: Sequence[Item], *, signatures: bool = True, bit_depth: int = 16, on_progress: Progress | None = None
) -> ScannedImages:
    """Scans all images, on all cores.

    Args:
        items: Files, bytes or pixels.
        signatures: Whether images will be compared. If not, the records have no signatures, which saves 300 bytes per
            image; those of files are cached all the same.
        bit_depth: Bits of the values of 16-bit files. An image that needs more cannot be read.
        on_progress: Called with (images done, images in all); images scanned earlier count as done.

    Returns:
        One record per item, in order. The record of an image that cannot be read gives the reason.

    Raises:
        DiskError: The signatures of many images need a temporary file, and there is no room for it.
        Interrupted: Ctrl-C or SIGTERM; images scanned so far are not scanned again.
    """
    images = ScannedImages(len(items), signatures=signatures)
    with Index() as index:
        writer = _Unsaved(index)
        try:
            for start in range(0, len(items), BLOCK_ITEMS):
                block = items[start : start + BLOCK_ITEMS]
                report = None if on_progress is None else _after(on_progress, start, len(items))
                found = _scan_block(block, index, writer, signatures=signatures, on_progress=report)
                images.fill(start, [_within(image, bit_depth) for image in found])
        except KeyboardInterrupt as interrupt:
            raise Interrupted(
                "the images checked so far will not be checked again", signal=getattr(interrupt, "signal", None)
            ) from None
        finally:
            writer.flush()
    return images


def _scan_block(
    items: Sequence[Item],
    index: Index,
    writer: _Unsaved,
    *,
    signatures: bool,
    on_progress: Callable[[int], None] | None,
) -> list[ScannedImage]:
    """The records of some items."""
    stamps = [stamp_file(item.source, item.max_pixels) if isinstance(item.source, Path) else None for item in items]
    known = index.load(stamps)
    found = [None if stamp is None else known.get(stamp.path) for stamp in stamps]
    missing = [position for position, image in enumerate(found) if image is None]
    num_known = len(items) - len(missing)
    new = map_reading(
        _read,
        lambda read: scan_image(*read, signatures=signatures),
        [items[position] for position in missing],
    )
    for num_new, (position, image) in enumerate(zip(missing, new, strict=True), start=1):
        found[position] = image
        # A file that could not be opened may be readable the next time, with the same state.
        if image.sha256 and (stamp := stamps[position]) is not None:
            writer.add(stamp, image)
        if on_progress:
            on_progress(num_known + num_new)
    return [image for image in found if image is not None]


class _Unsaved:
    """Saves records in the index, ``SAVE_EVERY`` at a time."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._rows: list[tuple[Stamp, ScannedImage]] = []

    def add(self, stamp: Stamp, image: ScannedImage) -> None:
        self._rows.append((stamp, image))
        if len(self._rows) >= SAVE_EVERY:
            self.flush()

    def flush(self) -> None:
        self._index.store(self._rows)
        self._rows = []


def _after(on_progress: Progress, start: int, total: int) -> Callable[[int], None]:
    return lambda done: on_progress(start + done, total)


def _within(image: ScannedImage, bit_depth: int) -> ScannedImage:
    return image._replace(error=beyond(image.bit_depth, bit_depth)) if image.bit_depth > bit_depth else image


def _read(item: Item) -> tuple[tuple[Item, bytes | Pixels | ScannedImage], int]:
    source = _read_source(item)
    return (item, source), len(source) if isinstance(source, bytes) else 0


def _read_source(item: Item) -> bytes | Pixels | ScannedImage:
    """The bytes or pixels of an image; its record, if it cannot be read."""
    source = item.source
    if not isinstance(source, Path):
        return source
    try:
        # Reading a pipe or device that a table lists could block forever.
        if not stat.S_ISREG(os.stat(source).st_mode):
            return ScannedImage(b"", 0, error="not a file")
        return source.read_bytes()
    except MemoryError:
        return ScannedImage(b"", 0, error="too large for this machine's memory")
    except (OSError, ValueError) as error:
        # A NUL in a name raises ValueError.
        return ScannedImage(b"", 0, error=getattr(error, "strerror", None) or repr(error))


def scan_image(
    item: Item, source: bytes | Pixels | ScannedImage | None = None, *, signatures: bool = True
) -> ScannedImage:
    """Decodes one image, and reads it first.

    Args:
        item: The image.
        source: What was read before; None reads it now.
        signatures: See :func:`scan`.
    """
    if source is None:
        source = _read_source(item)
    if isinstance(source, ScannedImage):
        return source
    if not isinstance(source, bytes):
        return _scan_pixels(item, from_pixels(source), signatures=signatures)
    sha256 = hashlib.sha256(source).digest()
    try:
        # A 16-bit image in the range of its own values: that of the data set is not known yet.
        decoded = decode_whole(source, item.name, max_pixels=item.max_pixels, bit_depth=None)
    except ImageError as error:
        # There may be enough memory, or the missing library, the next time: such a record is not kept.
        is_lasting = not isinstance(error.__cause__, MemoryError | SetupError)
        return ScannedImage(sha256 if is_lasting else b"", len(source), error=error.reason)
    small = signature(decoded.image)
    darkest, lightest, contrast, sharpness = look(decoded.image, small)
    return ScannedImage(
        sha256=sha256,
        num_bytes=len(source),
        width=decoded.image.width,
        height=decoded.image.height,
        format=decoded.format,
        mode=decoded.mode,
        orientation=decoded.orientation,
        transparent=decoded.transparent,
        signature=small,
        bit_depth=decoded.bit_depth,
        darkest=darkest,
        lightest=lightest,
        contrast=contrast,
        sharpness=sharpness,
        pixels=hash_pixels(decoded.image),
    )


def _scan_pixels(item: Item, image: Image.Image, *, signatures: bool) -> ScannedImage:
    small = signature(image) if signatures else b""
    darkest, lightest, contrast, sharpness = look(image, small) if signatures else Look()
    return ScannedImage(
        sha256=item.content_hash(),
        num_bytes=image.width * image.height * 3,
        width=image.width,
        height=image.height,
        mode="RGB",
        signature=small,
        darkest=darkest,
        lightest=lightest,
        contrast=contrast,
        sharpness=sharpness,
        pixels=hash_pixels(image),
    )


def hash_pixels(image: Image.Image) -> bytes:
    """Hash of an image's size and pixels: the same for an array, a PNG file and the same file without its metadata.

    It takes 10 % (32 px) to 45 % (12 MP) of the time of decoding a JPEG file (measured).

    Args:
        image: An upright image of mode RGB.

    Returns:
        The first 8 bytes of a SHA-256.
    """
    width, height = image.size
    digest = hashlib.sha256(f"{width} x {height}".encode())
    rows = max(1, _STRIP_BYTES // (3 * width))
    for top in range(0, height, rows):
        digest.update(image.crop((0, top, width, min(height, top + rows))).tobytes())
    return digest.digest()[:8]


def leave_out_unreadable(
    items: Sequence[Item], images: ScannedImages, on_bad_image: str
) -> tuple[Sequence[Item], ScannedImages, list[ImageError]]:
    """The images that can be read, their records, and the errors of the others.

    Args:
        items: The scanned items.
        images: One record per item.
        on_bad_image: ``error`` raises if an image cannot be read; ``skip`` omits such images.

    Returns:
        The same objects if all images can be read.

    Raises:
        DataError: Some images cannot be read and must not be omitted, or none can be read.
    """
    errors = [ImageError(items[position].location, reason) for position, reason in images.errors()]
    if on_bad_image == "error" or len(errors) == len(images):
        raise_unreadable(errors, len(images))
    if not errors:
        return items, images, errors
    good = np.flatnonzero(images.is_readable)
    kept = items.take(good) if isinstance(items, Items) else [items[position] for position in good.tolist()]
    return kept, images.take(good), errors


def raise_unreadable(errors: list[ImageError], num_images: int) -> None:
    """Reports all unreadable images at once, if there are any.

    Raises:
        DataError: There are some; the message lists up to ten of them with the reasons.
    """
    if not errors:
        return
    shown = "\n".join(f"  {error.path}: {error.reason}" for error in errors[:10])
    more = f"\n  and {len(errors) - 10} more" if len(errors) > 10 else ""
    raise DataError(
        f"{len(errors)} of {num_images:,} images cannot be read:\n{shown}{more}",
        hint=remedy((error.reason for error in errors), "--on-bad-image skip" if len(errors) < num_images else ""),
    )


def remedy(reasons: Iterable[str], omit: str) -> str:
    """What to do about unreadable images.

    Args:
        reasons: Why they cannot be read.
        omit: The command that omits them; empty if there is none.
    """
    command = next(filter(None, map(missing_library_command, reasons)), "")
    install = f"install the package that reads them: {command}; or " if command else ""
    return f"{install}replace or remove them{f', or omit them: {omit}' if omit else ''}"
