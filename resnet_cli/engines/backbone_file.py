"""The backbone as an ONNX file in the cache folder: its key, its check and its place; no torch, no onnx.

Every model with the same backbone, size of the input and normalization uses the same file. It is named by a hash of
all that it depends on, and ends with a checksum of its bytes, so that a damaged file is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
from pathlib import Path

from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import engines_dir

#: Version of the graph; raised when the same backbone would give other features.
FILE_VERSION = 1
#: The least recently used files are deleted when the folder is larger (40 files in float32).
MAX_ENGINES_BYTES = 4 * 2**30
#: Names of the graph's input, uint8 [b x s x s x 3], and of its output, float32 [b x 2048].
SQUARES, FEATURES = "pixels", "features"
#: Names of the metadata entries that say what the file depends on, and that hold its checksum.
ABOUT, CHECKSUM = "resnet_cli.backbone", "resnet_cli.sha256"


def describe(backbone_hash: str, preprocess: Preprocess, precision: str = "fp32") -> str:
    """Everything that a backbone file depends on, as JSON; part of its metadata.

    Args:
        backbone_hash: From :func:`resnet_cli.model.network.backbone_hash`.
        preprocess: Size of the input and normalization.
        precision: The precision of the weights.
    """
    about = {
        "version": FILE_VERSION,
        "backbone": backbone_hash,
        "side": preprocess.crop_size,
        "mean": preprocess.mean,
        "std": preprocess.std,
        "precision": precision,
    }
    return json.dumps(about)


def path_of(about: str) -> Path:
    """The place of the file that ``about``, from :func:`describe`, belongs to; it need not exist."""
    return engines_dir() / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.onnx"


def is_whole(path: Path) -> bool:
    """Whether the bytes of a file match its checksum.

    Raises:
        OSError: There is no such file, or it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            length = len(checksum_field(""))
            digest = hashlib.sha256(view[:-length]).hexdigest() if len(view) > length else ""
            return bytes(view[-length:]) == checksum_field(digest)


def mark_used(path: Path) -> None:
    """Records in the modification time that a file was used, for the eviction of those that are not."""
    with contextlib.suppress(OSError):
        os.utime(path)


def checksum_field(digest: str) -> bytes:
    """The end of a backbone file: one more entry of its metadata, as bytes of the ``ModelProto`` message.

    Readers of the format merge it with the other entries, so the file is still ONNX.

    Args:
        digest: SHA-256 of all bytes before it, in hex.

    Source: field numbers of ``ModelProto.metadata_props`` (14) and ``StringStringEntryProto`` (1 and 2) in
    https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; encoding in
    https://protobuf.dev/programming-guides/encoding, "Last One Wins".
    """
    entry = b"".join(
        bytes([number << 3 | 2, len(text)]) + text.encode() for number, text in ((1, CHECKSUM), (2, digest.rjust(64)))
    )
    return bytes([14 << 3 | 2, len(entry)]) + entry
