"""What the frozen stages make of each view of a picture: computed once, kept on disk, read in every epoch.

Views are a function of (seed, view, picture) and go through the frozen stages in groups that never change, so that
whoever computes them, and whenever, gets the same bits. A file holds one view of every picture of a split, float16,
with a check sum of each; it is written whole or not at all, and the oldest files make room for new ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from resnet_cli.data.ahead import decode_ahead
from resnet_cli.data.decoded import DISK_SHARE
from resnet_cli.data.views import to_device
from resnet_cli.device import memory_errors_named
from resnet_cli.errors import DiskError
from resnet_cli.paths import atomic_path, cache_dir, make_dir
from resnet_cli.training.boundary import Activations, FrozenStages

#: A file that is being written grows every few seconds; one that did not for so long was left by a killed process.
STALE_S = 3600

#: Groups of indices -> their pictures, uint8 [b x 3 x h x w], a group at a time.
Show: TypeAlias = Callable[[Sequence[Sequence[int]]], Iterator[Tensor]]


class KeptView:
    """What the frozen stages make of one view of each picture; computed now where it is not on disk.

    Where the disk has damaged a row, the view is made anew.

    Args:
        frozen: The stages.
        show: Gives the view of the pictures.
        num_images: Pictures.
        key: Names the view and the pictures.
        on_progress: Called with the number of pictures that are done.

    Raises:
        DataError: A picture can no longer be read.
        DiskError: There is no room for it.
        MemoryExhausted: A group does not fit.
    """

    def __init__(
        self, frozen: FrozenStages, show: Show, num_images: int, *, key: str, on_progress: Callable[[int], None]
    ) -> None:
        self._frozen, self._show, self._num_images = frozen, show, num_images
        self._key = hashlib.sha256(repr((frozen.key, key)).encode()).hexdigest()[:32]
        size = frozen.group_size
        self._groups = [list(range(start, min(start + size, num_images))) for start in range(0, num_images, size)]
        self._row_bytes = 2 * math.prod(frozen.shape)
        self._path = activations_dir() / f"{self._key}.f16"
        try:
            self._open()
        except (OSError, ValueError):
            self._write(on_progress)
            self._open()
        else:
            # The modification time says when a file was last of use.
            with contextlib.suppress(OSError):
                os.utime(self._path)
            on_progress(num_images)

    def rows(self, shares: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """The rows of each share as float32 [b x channels x height x width] on the device, read ahead on threads.

        Raises:
            DataError: A row is damaged, and a picture can no longer be read.
            DiskError: Rows are damaged again as soon as they are written.
        """
        indices = [index for share in shares for index in share]
        device = torch.device(self._frozen.compute.device)
        groups = decode_ahead(indices, self._read, batch_size=[len(share) for share in shares])
        # Closed at once where they are not read to the end: threads must not read on.
        with contextlib.closing(groups):
            for group in groups:
                rows = [
                    self._read_again(index) if row is None else row
                    for index, row in zip(group.items, group.decoded, strict=True)
                ]
                with memory_errors_named(len(rows)):
                    # [b x h x w x c] seen as [b x c x h x w]: channels last in memory, as the convolutions want it.
                    inputs = to_device(torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2), device).float()
                yield inputs

    def _open(self) -> None:
        num_bytes = self._num_images * self._row_bytes
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != num_bytes + _footer_bytes(self._num_images):
                raise ValueError("not of the right length")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        sums = mapped[num_bytes : num_bytes + 4 * self._num_images]
        if mapped[num_bytes + len(sums) :] != _seal(self._key, sums):
            raise ValueError("not sealed for this view")
        self._sums = np.frombuffer(sums, dtype="<u4")
        self._rows: Activations = np.ndarray((self._num_images, *self._frozen.shape), dtype="<f2", buffer=mapped)

    def _write(self, on_progress: Callable[[int], None]) -> None:
        make_dir(activations_dir())
        with contextlib.suppress(OSError):
            self._path.unlink()
        _make_room(self._num_images * self._row_bytes + _footer_bytes(self._num_images))
        sums = np.empty(self._num_images, dtype="<u4")
        at = 0
        on_progress(at)
        with atomic_path(self._path) as temporary, temporary.open("wb") as file:
            for pixels in self._show(self._groups):
                for row in self._frozen(pixels):
                    sums[at] = zlib.crc32(row.data)
                    file.write(row.astype("<f2", copy=False))
                    at += 1
                on_progress(at)
            file.write(sums.tobytes() + _seal(self._key, sums.tobytes()))

    def _read(self, index: int) -> Activations | None:
        row = self._rows[index].copy()
        return row if zlib.crc32(row.data) == self._sums[index] else None

    def _read_again(self, index: int) -> Activations:
        """A row that is damaged, after the whole view is made anew: it comes out as the same bits."""
        for _ in range(2):
            row = self._read(index)
            if row is not None:
                return row
            self._write(lambda _: None)
            self._open()
        raise DiskError(f"{self._path}: the disk gives back other bytes than were written", hint="check the disk")


def activations_dir() -> Path:
    """Where kept views lie."""
    return cache_dir() / "activations"


def room_bytes() -> int:
    """How much the kept views of a training may take on this disk: those of others make room."""
    folder = activations_dir()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    taken = sum(stat.st_size for stat, _ in _files(folder))
    return int(DISK_SHARE * (shutil.disk_usage(there).free + taken))


def _files(folder: Path) -> list[tuple[os.stat_result, Path]]:
    """Everything there, longest unused first."""
    found = []
    for path in folder.glob("*") if folder.exists() else ():
        # Another process may be making room too.
        with contextlib.suppress(OSError):
            found.append((path.stat(), path))
    return sorted(found, key=lambda file: file[0].st_mtime)


def _make_room(num_bytes: int) -> None:
    """Removes the files that were not used for longest until one more fits.

    Raises:
        DiskError: It does not fit at all.
    """
    folder = activations_dir()
    most, files = room_bytes(), _files(folder)
    if num_bytes > most:
        raise DiskError(
            f"{folder}: a cached view of {num_bytes / 1e9:.1f} GB does not fit: views may take {most / 1e9:.1f} GB",
            hint="free some space, set RESNET_CLI_CACHE to a folder on another disk, or use --cached-views 0",
        )
    taken = sum(stat.st_size for stat, _ in files)
    for stat, path in files:
        is_stale = path.suffix == ".tmp" and time.time() - stat.st_mtime > STALE_S
        if is_stale or (path.suffix == ".f16" and taken + num_bytes > most):
            with contextlib.suppress(OSError):
                path.unlink()
            taken -= stat.st_size


def _seal(key: str, sums: bytes) -> bytes:
    return hashlib.sha256(key.encode() + sums).digest()


def _footer_bytes(num_images: int) -> int:
    return 4 * num_images + hashlib.sha256().digest_size
