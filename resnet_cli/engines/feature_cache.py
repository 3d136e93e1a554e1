"""The cache of features on disk, with the SHA-256 of the image as the key; no torch.

The cache is a folder of immutable shards that are written atomically: several processes can read and write it at once,
and the results of an interrupted pass are there for the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from resnet_cli.engines.feature_shards import (
    KEY_BYTES,
    ContentIndex,
    FileShard,
    Keys,
    Matrix,
    MemoryShard,
    Shard,
    open_shard,
    read_places,
)
from resnet_cli.errors import DiskError
from resnet_cli.system.caches import CacheWarning, evict, scratch_dir, warn_unwritable
from resnet_cli.system.locks import try_lock
from resnet_cli.system.paths import features_dir, make_dir, write_bytes
from resnet_cli.text import size

#: The least recently used shards are deleted when the cache is larger (2.5 million images in half precision), except
#: those that a running command uses.
MAX_CACHE_BYTES = 10 * 2**30
#: Bytes that are added before the size of the cache is checked again.
_EVICT_EVERY = 2**28
#: Features of this size are kept in memory where the cache cannot be written; larger ones go to a temporary folder.
MAX_UNSAVED_BYTES = 2**28
#: File of each folder that is locked while a process uses its shards.
IN_USE = "in-use"
#: Most images that are compared by features without a request (5,000 take a second; it grows with the square).
MAX_SEARCH = 10_000

#: With a backbone that separates images, at most this share of pairs has a larger cosine. Measured: none of 79,003
#: pairs of photos with ImageNet weights, 0.3 % and more with fine-tuned ones, 15 % with random ones.
MAX_ALIKE, MIN_COSINE = 1e-3, 0.92
#: Number of images whose pairs are compared for that.
SAMPLE = 1000


class FeatureCache:
    """The cached features of one backbone, preprocessing and precision.

    No process deletes the shards that this object has found or stored while it exists.

    Args:
        key: Key of the three.
    """

    def __init__(self, key: str) -> None:
        self.folder = features_dir() / key
        self._used: set[Path] = set()
        self._unseen_bytes = 0
        self._is_writable, self._keeps_in_memory = True, False
        self._in_use = _hold(self.folder)

    def __del__(self) -> None:
        if self._in_use is not None:
            self._in_use.close()

    def find(self, contents: ContentIndex) -> tuple[list[Shard], NDArray[np.int64]]:
        """Where the known features are; damaged shards are deleted.

        Returns:
            The shards, and the place of each content as :func:`read_places` takes it, int64 [u]; -1 if it is unknown.
        """
        shards: list[Shard] = []
        places = np.full(len(contents), -1, dtype=np.int64)
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                keys, shard = open_shard(path)
            except ValueError:
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            except OSError:
                continue
            numbers = contents.find(keys)
            is_wanted = numbers >= 0
            if is_wanted.any():
                places[numbers[is_wanted]] = (len(shards) << 32) + np.flatnonzero(is_wanted)
                shards.append(shard)
                self._used.add(path)
                # The modification time records when a shard was last used.
                with contextlib.suppress(OSError):
                    os.utime(path)
        return shards, places

    def store(self, keys: Keys, features: Matrix, *, left_bytes: int) -> Shard:
        """Adds one shard.

        Where the cache cannot be written, which causes a warning, the shard is a file of a temporary folder if it and
        what follows are large, else it is kept in memory.

        Args:
            keys: SHA-256 of each image, uint8 [n x 32].
            features: Their features [n x 2048].
            left_bytes: Size of these features and those that will follow.
        """
        from safetensors.numpy import save

        name = f"{hashlib.sha256(keys.tobytes()).hexdigest()[:32]}.safetensors"
        data = save({"keys": np.ascontiguousarray(keys), "features": features})
        if self._is_writable:
            try:
                return self._written(make_dir(self.folder) / name, data)
            except DiskError as error:
                warn_unwritable(self.folder, error)
                self._is_writable = False
                self._keeps_in_memory = left_bytes <= MAX_UNSAVED_BYTES
        if not self._keeps_in_memory:
            try:
                return self._written(make_dir(scratch_dir() / self.folder.name) / name, data)
            except DiskError as error:
                warnings.warn(
                    f"features cannot be written to a temporary folder either ({error.message}): they are kept in "
                    f"memory, which takes {size(left_bytes)}",
                    CacheWarning,
                    stacklevel=2,
                )
                self._keeps_in_memory = True
        return MemoryShard(features)

    def _written(self, path: Path, data: bytes) -> FileShard:
        write_bytes(path, data)
        self._used.add(path)
        if self._in_use is None:
            self._in_use = _hold(self.folder)
        self._unseen_bytes += len(data)
        if self._unseen_bytes >= _EVICT_EVERY:
            self.evict()
        return open_shard(path)[1]

    def evict(self) -> None:
        """Deletes the least recently used shards of a cache that has become too large."""
        if not self._unseen_bytes:
            return
        self._unseen_bytes = 0
        is_free = {self.folder: self._is_ours_alone()}

        def keeps(path: Path) -> bool:
            if path.parent not in is_free:
                is_free[path.parent] = _is_free(path.parent)
            return path in self._used or not is_free[path.parent]

        evict(features_dir().glob("*/*.safetensors"), MAX_CACHE_BYTES, keeps=keeps)

    def _is_ours_alone(self) -> bool:
        if self._in_use is None:
            return False
        is_alone = try_lock(self._in_use)
        _share(self._in_use)
        return is_alone


def find_features(keys: Sequence[bytes]) -> Matrix | None:
    """Cached features of all these images by one backbone that separates them, [n x 2048]; None if there are none.

    They serve to compare images by their look, for which any ImageNet backbone will do. A backbone with random weights,
    or trained for few classes, gives many images the same features.
    """
    try:
        folders = sorted(path for path in features_dir().iterdir() if path.is_dir())
    except OSError:
        return None
    contents = ContentIndex(as_keys(keys))
    for folder in folders if keys else ():
        cache = FeatureCache(folder.name)
        shards, places = cache.find(contents)
        if (places >= 0).all():
            features = read_places(shards, places[contents.numbers])
            if _tells_apart(features):
                return features
    return None


def as_keys(hashes: Sequence[bytes]) -> Keys:
    """SHA-256 of images as one array, uint8 [n x 32]."""
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, KEY_BYTES)


def _tells_apart(features: Matrix) -> bool:
    sample = features[:: max(1, len(features) // SAMPLE)][:SAMPLE].astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True).clip(1e-12)
    alike = np.triu(sample @ sample.T > MIN_COSINE, k=1)
    return bool(alike.sum() <= MAX_ALIKE * alike.size / 2)


def _hold(folder: Path) -> IO[bytes] | None:
    """An open file that tells other processes that the shards of a folder are in use; None if it cannot be opened."""
    try:
        file = (folder / IN_USE).open("ab")
    except OSError:
        return None
    _share(file)
    return file


def _share(file: IO[bytes]) -> None:
    if sys.platform != "win32":
        import fcntl

        # Others hold it alone only for the moment in which they look whether it is free.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)


def _is_free(folder: Path) -> bool:
    """Whether no process uses the shards of a folder."""
    try:
        with (folder / IN_USE).open("ab") as file:
            return try_lock(file)
    except OSError:
        return True
