"""The cache of features on disk, with the SHA-256 of the image as the key; no torch.

The cache is a folder of immutable shards that are written atomically: several processes can read and write it at once,
and the results of an interrupted pass are there for the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import DiskError
from resnet_cli.system.caches import warn_unwritable
from resnet_cli.system.paths import evict, features_dir, make_dir, write_bytes

#: The least recently used shards are deleted when the cache is larger (2.5 million images in half precision).
MAX_CACHE_BYTES = 10 * 2**30
#: Most images that are compared by features without a request (5,000 take a second; it grows with the square).
MAX_SEARCH = 10_000

#: With a backbone that separates images, at most this share of pairs has a larger cosine. Measured: none of 79,003
#: pairs of photos with ImageNet weights, 0.3 % and more with fine-tuned ones, 15 % with random ones.
MAX_ALIKE, MIN_COSINE = 1e-3, 0.92
#: Number of images whose pairs are compared for that.
SAMPLE = 1000

Features: TypeAlias = NDArray[np.floating[Any]]


class FeatureCache:
    """The cached features of one backbone, preprocessing and precision.

    Args:
        key: Key of the three.
    """

    def __init__(self, key: str) -> None:
        self.folder = features_dir() / key

    def load(self, keys: Set[bytes]) -> dict[bytes, Features]:
        """The known features by the SHA-256 of the image; damaged shards are deleted."""
        from safetensors import SafetensorError, safe_open

        found: dict[bytes, Features] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="np") as shard:
                    names = shard.get_tensor("keys")  # [n x 32]
                    wanted = [(row, key) for row, name in enumerate(names) if (key := name.tobytes()) in keys]
                    if wanted:
                        features = shard.get_tensor("features")
                        found |= {key: features[row].copy() for row, key in wanted}
                        # The modification time records when a shard was last used.
                        with contextlib.suppress(OSError):
                            os.utime(path)
            except (SafetensorError, ValueError):
                with contextlib.suppress(OSError):
                    path.unlink()
            except OSError:
                continue
        return found

    def store(self, rows: Mapping[bytes, Features]) -> None:
        """Adds one shard; a cache that cannot be written stays as it is, with a warning."""
        from safetensors.numpy import save

        if not rows:
            return
        keys = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)
        name = hashlib.sha256(b"".join(rows)).hexdigest()[:32]
        data = save({"keys": keys, "features": np.stack(list(rows.values()))})
        try:
            write_bytes(make_dir(self.folder) / f"{name}.safetensors", data)
        except DiskError as error:
            return warn_unwritable(self.folder, error)
        evict(features_dir().glob("*/*.safetensors"), MAX_CACHE_BYTES)


def find_features(keys: Sequence[bytes]) -> Features | None:
    """Cached features of all these images by one backbone that separates them, [n x 2048]; None if there are none.

    They serve to compare images by their look, for which any ImageNet backbone will do. A backbone with random weights,
    or trained for few classes, gives many images the same features.
    """
    wanted = set(keys)
    try:
        folders = sorted(path for path in features_dir().iterdir() if path.is_dir())
    except OSError:
        return None
    for folder in folders:
        found = FeatureCache(folder.name).load(wanted)
        if wanted and len(found) == len(wanted):
            features = np.stack([found[key] for key in keys])
            if _tells_apart(features):
                return features
    return None


def _tells_apart(features: Features) -> bool:
    sample = features[:: max(1, len(features) // SAMPLE)][:SAMPLE].astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True).clip(1e-12)
    alike = np.triu(sample @ sample.T > MIN_COSINE, k=1)
    return bool(alike.sum() <= MAX_ALIKE * alike.size / 2)
