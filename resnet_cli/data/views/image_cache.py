"""Images decoded once: the layout in which they are stored, and a file of them that is mapped into memory.

The file contains the images of one training and a checksum of each. It is written completely or not at all, and the
least recently used files are deleted to make room for new ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import mmap
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.scan import raise_unreadable
from resnet_cli.data.loading import load_batches
from resnet_cli.data.views.augment import Augmentation, View
from resnet_cli.data.views.batched import Frame, target_of, to_device, whole_box
from resnet_cli.errors import DiskError
from resnet_cli.images import Pixels
from resnet_cli.preprocess import MAX_ASPECT, Interpolation, Preprocess
from resnet_cli.system.caches import evict, warn_unwritable
from resnet_cli.system.locks import locked
from resnet_cli.system.paths import atomic_path, cache_dir, make_dir

#: Ratio of the stored square's side to the network's, and the filter that resizes to it. Measured on 48 photos of about
#: 500 px, random crops at 224 px: views differ by 1.3 of 255 on average from those of the sources and have 93 % of the
#: contrast between neighbors; 1.15 gives 1.7 and 89 %, 1.7 (twice the bytes) 0.8 and 97 %. Bilinear: 1.8 and 84 %.
STORED_SHARE = 1.3
STORED_FILTER: Interpolation = "bicubic"
#: Largest share of the free disk space for all files together.
DISK_SHARE = 0.1
#: Version of the format; raised when the same images would be stored as different bytes.
FORMAT_VERSION = 1
#: Number of images that are decoded at once while a file is written.
WRITE_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Layout:
    """The form in which images are stored: all of one size, so that a batch of them is one block.

    Attributes:
        kind: ``source`` stores them unchanged, so that views equal Pillow's; ``view`` stores the view of evaluation;
            ``square`` stores the whole image squashed, so that its parts are slightly softer than those of the source.
        width: Width of a stored image in pixels.
        height: Height of a stored image in pixels.
        preprocess: Preprocessing of the training, at its full size.
    """

    kind: Literal["source", "view", "square"]
    width: int
    height: int
    preprocess: Preprocess

    @property
    def num_bytes(self) -> int:
        """Size of one stored image in bytes."""
        return 3 * self.width * self.height

    def store(self, image: Image.Image) -> Pixels:
        """Converts an RGB image to this layout: uint8 [height x width x 3]."""
        if self.kind == "source":
            return np.asarray(image)
        if self.kind == "view":
            return self.preprocess(image)
        side = self.width
        square = Preprocess(resize_size=side, crop_size=side, fit="squash", interpolation=STORED_FILTER)
        return square(image)

    def frame(self, view: View, size: tuple[int, int], preprocess: Preprocess) -> Frame:
        """The part of a stored image that a view shows.

        Args:
            view: A view of the source.
            size: Width and height of the source.
            preprocess: Preprocessing with the size of the view.
        """
        side = preprocess.crop_size
        if self.kind == "view":
            return Frame((0, 0, self.width, self.height), (0, 0, side, side))
        left, top, right, bottom = box = view.box or whole_box(size, preprocess)
        across, down = self.width / size[0], self.height / size[1]
        return Frame((left * across, top * down, right * across, bottom * down), target_of(box, preprocess))


def choose_layout(augmentation: Augmentation, sizes: Sequence[tuple[int, int]], preprocess: Preprocess) -> Layout:
    """The smallest layout that contains everything that an augmentation can show.

    Args:
        augmentation: How images are augmented.
        sizes: Width and height of each source.
        preprocess: Preprocessing at its full size.
    """
    side = math.ceil(STORED_SHARE * preprocess.crop_size)
    width, height = sizes[0]
    is_small = width * height <= side * side and max(width, height) <= MAX_ASPECT * min(width, height)
    if is_small and len(set(sizes)) == 1:
        return Layout("source", width, height, preprocess)
    if augmentation.strength in {"none", "light"}:
        return Layout("view", preprocess.crop_size, preprocess.crop_size, preprocess)
    return Layout("square", side, side, preprocess)


def decode_all(items: Sequence[Item], layout: Layout) -> Iterator[Tensor]:
    """Yields images in their stored layout, decoded on threads: batches of uint8 [b x height x width x 3].

    Raises:
        DataError: An image can no longer be read.
    """
    for batch in load_batches(
        items, lambda item: layout.store(item.open(layout.preprocess.bit_depth)), batch_size=WRITE_BATCH
    ):
        raise_unreadable(list(batch.errors.values()), len(items))
        yield batch.pixels.permute(0, 2, 3, 1)


class MappedImages:
    """Images in a file that is mapped into memory.

    If the disk has damaged an image, it is decoded again, and the file is deleted so that the next run rewrites it.

    Args:
        path: The file.
        items: Items whose images it contains, in order.
        layout: Layout of the images.
        key: Key under which the file was written.

    Raises:
        OSError: The file does not exist.
        ValueError: It is not a complete file for this key.
    """

    def __init__(self, path: Path, items: Sequence[Item], layout: Layout, key: str) -> None:
        self._path, self._items, self._layout = path, items, layout
        num_bytes = len(items) * layout.num_bytes
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != num_bytes + _footer_bytes(len(items)):
                raise ValueError("wrong length")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        sums = mapped[num_bytes : num_bytes + 4 * len(items)]
        if mapped[num_bytes + len(sums) :] != _seal(key, sums):
            raise ValueError("written for other images")
        self._sums = np.frombuffer(sums, dtype="<u4")
        shape = (len(items), layout.height, layout.width, 3)
        self._images: Pixels = np.ndarray(shape, dtype=np.uint8, buffer=mapped)

    def rows(self, shares: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        """Yields the images of each share as uint8 [b x height x width x 3] on the device, prefetched on threads.

        Raises:
            DataError: A damaged image cannot be decoded again.
        """
        indices = [index for share in shares for index in share]
        for batch in load_batches(indices, self._read, batch_size=[len(share) for share in shares]):
            raise_unreadable(list(batch.errors.values()), len(self._items))
            yield to_device(batch.pixels.permute(0, 2, 3, 1), device)

    def _read(self, index: int) -> Pixels:
        pixels: Pixels = self._images[index].copy()
        if zlib.crc32(pixels.data) != self._sums[index]:
            with contextlib.suppress(OSError):
                self._path.unlink()
            return self._layout.store(self._items[index].open(self._layout.preprocess.bit_depth))
        return pixels


def open_mapped(items: Sequence[Item], hashes: Sequence[bytes], layout: Layout) -> MappedImages | None:
    """Opens the file of these images, and writes it first if it does not exist.

    Args:
        items: Items in the order of their indices.
        hashes: Content hash of each item.
        layout: Layout of the images.

    Returns:
        The images; None if the file cannot be written, or the disk has no room for it.

    Raises:
        DataError: An image can no longer be read.
    """
    key = _key(hashes, layout, [item.name for item in items])
    folder = cache_dir() / "pictures"
    path = folder / f"{key}.u8"

    def find() -> MappedImages | None:
        with contextlib.suppress(OSError, ValueError):
            found = MappedImages(path, items, layout, key)
            # The modification time is when a file was last used.
            with contextlib.suppress(OSError):
                os.utime(path)
            return found
        return None

    # First without the lock, which cannot be taken in a folder that is read-only.
    if found := find():
        return found
    # Locked: processes that train together need the same file.
    try:
        with locked(make_dir(folder) / ".lock"):
            for left_by_a_killed_process in folder.glob(".*.tmp"):
                left_by_a_killed_process.unlink()
            if found := find():
                return found
            path.unlink(missing_ok=True)
            if not _make_room(folder, len(items) * layout.num_bytes + _footer_bytes(len(items))):
                return None
            _write(path, items, layout, key)
            return MappedImages(path, items, layout, key)
    except (OSError, ValueError, DiskError) as error:
        warn_unwritable(folder, error)
        return None


def _write(path: Path, items: Sequence[Item], layout: Layout, key: str) -> None:
    sums = np.empty(len(items), dtype="<u4")
    at = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for images in decode_all(items, layout):
            for pixels in images.numpy():
                sums[at] = zlib.crc32(pixels.data)
                file.write(pixels)
                at += 1
        file.write(sums.tobytes() + _seal(key, sums.tobytes()))


def _make_room(folder: Path, num_bytes: int) -> bool:
    """Evicts files until a new one fits; False if it does not fit at all."""
    files = list(folder.glob("*.u8"))
    most = DISK_SHARE * (shutil.disk_usage(folder).free + sum(path.stat().st_size for path in files))
    if num_bytes > most:
        return False
    evict(files, int(most) - num_bytes)
    return True


def _key(hashes: Sequence[bytes], layout: Layout, names: Sequence[str] = ()) -> str:
    form = (FORMAT_VERSION, layout.kind, layout.width, layout.height, layout.preprocess.fingerprint(names))
    return hashlib.sha256(repr(form).encode() + b"".join(hashes)).hexdigest()[:32]


def _seal(key: str, sums: bytes) -> bytes:
    return hashlib.sha256(key.encode() + sums).digest()


def _footer_bytes(num_images: int) -> int:
    return 4 * num_images + hashlib.sha256().digest_size
