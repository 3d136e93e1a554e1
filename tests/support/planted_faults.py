"""Images with content, and faulty files, for the tests of ``inspect``."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def photo(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Patches of all sizes, the larger the stronger, as in photos; two seeds look different."""
    rng = np.random.default_rng(seed)
    total = np.full((size[1], size[0], 3), 128.0)
    for cells, strength in ((3, 50), (7, 25), (15, 12)):
        patches = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += (np.asarray(patches.resize(size, Image.Resampling.BICUBIC)) - 128.0) / 128 * strength
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def write(path: Path, seed: int, *, quality: int = 90, **options: Any) -> Path:
    """Saves the image of a seed, and creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(seed).save(path, quality=quality, **options)
    return path


def write_folder(root: Path, layout: Mapping[str, int]) -> Path:
    """``{"train/cat": 12}``: writes this many different images to each folder."""
    seed = 0
    for name, count in layout.items():
        for index in range(count):
            write(root / name / f"{index:03d}.jpg", seed)
            seed += 1
    return root


def one_bit_png(width: int, height: int) -> bytes:
    """A black image of a few kilobytes, however many pixels it has."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def cut(source: Path, target: Path, share: float = 0.5) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder -> its hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
