"""Frozen features: each picture goes through the backbone once, ever.

On disk a feature is found by what it is a function of: the picture's bytes, the backbone's weights, the
preprocessing, the precision. Another head, seed, split or epoch count asks for the same features and gets
them without a forward pass.

The cache is a folder of immutable shards, written atomically: several processes may read and write it at
once, and what an interrupted pass has computed is there for the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import torch
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.loading import load_batches, map_threaded, raise_unreadable
from resnet_cli.device import Compute, memory_errors_named
from resnet_cli.errors import DiskError, ImageError
from resnet_cli.model import NUM_FEATURES, ResNet50, backbone_hash
from resnet_cli.paths import features_dir, make_dir, write_bytes
from resnet_cli.preprocess import Preprocess

#: Raised when the same inputs would give other features (a change in the forward pass).
CACHE_VERSION = 1
#: A shard is written after so many pictures: what an interrupt can cost at most.
SHARD_IMAGES = 512
#: The oldest shards go when the cache outgrows this (2.5 million pictures in half precision).
MAX_CACHE_BYTES = 10 * 2**30

Progress = Callable[[int, int], None]


class FrozenBackbone:
    """A backbone ready for inference: BatchNorm folded, on its device, in its precision.

    Args:
        network: Is copied, not changed.
        preprocess: Gives the normalisation.
        compute: Device and precision.
    """

    def __init__(self, network: ResNet50, preprocess: Preprocess, compute: Compute) -> None:
        folded = network.folded().to(compute.device)
        self._features = folded.to(memory_format=torch.channels_last).features
        self._preprocess = preprocess
        self._compute = compute

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [b x 3 x h x w] -> features [b x 2048] on the CPU, rounded as the cache rounds them."""
        with torch.inference_mode(), self._compute.autocast(), memory_errors_named(len(pixels)):
            features = self._features(self._preprocess.normalize(self._compute.place(pixels)))
        return features.to(feature_dtype(self._compute)).cpu()


def feature_dtype(compute: Compute) -> torch.dtype:
    """How features are kept: float16 has all the digits that a bfloat16 pass gives, in half the space."""
    return torch.float32 if compute.precision == "fp32" else torch.float16


def inference_batch_size(crop_size: int, compute: Compute) -> int:
    """Pictures a forward pass: about 100 MB for the largest activation on a CPU, more on a GPU."""
    at_224 = 32 if compute.type == "cpu" else 256
    return max(8, min(512, round(at_224 * (224 / crop_size) ** 2)))


def extract_features(
    network: ResNet50,
    items: Sequence[Item],
    preprocess: Preprocess,
    compute: Compute,
    *,
    on_progress: Progress | None = None,
    on_check: Progress | None = None,
) -> Tensor:
    """Features of every item, from the cache where they are known.

    Every picture that has to be computed is decoded once before the first forward pass, so that a damaged
    file is reported in the first seconds and not after an hour.

    Args:
        network: Its backbone is used in eval mode.
        items: Rows of the result, in order.
        preprocess: Geometry and normalisation.
        compute: Device and precision.
        on_progress: Called with (pictures done, pictures in all).
        on_check: Likewise, while the pictures that have to be computed are checked.

    Returns:
        [n x 2048] on the CPU, of the dtype that :func:`feature_dtype` says.

    Raises:
        DataError: Pictures that cannot be read; all are named.
    """
    cache = FeatureCache(network, preprocess, compute)
    keys = _hash_items(items)
    rows = cache.load(set(keys))
    missing = {key: item for key, item in zip(keys, items, strict=True) if key not in rows}
    raise_unreadable(find_unreadable(list(missing.values()), on_progress=on_check), len(items))
    num_done = len(items) - len(missing)
    if on_progress:
        on_progress(num_done, len(items))
    unsaved: dict[bytes, Tensor] = {}
    try:
        for new in _compute(network, missing, preprocess, compute):
            unsaved |= new
            rows |= new
            if len(unsaved) >= SHARD_IMAGES:
                cache.store(unsaved)
                unsaved = {}
            if on_progress:
                num_done += len(new)
                on_progress(num_done, len(items))
    except BaseException:
        # What stopped the pass is the news, not that the cache is full too.
        with contextlib.suppress(DiskError):
            cache.store(unsaved)
        raise
    cache.store(unsaved)
    return torch.stack([rows[key] for key in keys]) if keys else torch.empty(0, NUM_FEATURES)


def _compute(
    network: ResNet50, missing: dict[bytes, Item], preprocess: Preprocess, compute: Compute
) -> Iterator[dict[bytes, Tensor]]:
    """Yields the features of each batch: content hash -> [2048]."""
    if not missing:
        return
    backbone = FrozenBackbone(network, preprocess, compute)
    batch_size = inference_batch_size(preprocess.crop_size, compute)
    keys = iter(missing)
    for batch in load_batches(missing.values(), lambda item: preprocess(item.open()), batch_size=batch_size):
        # Readable a moment ago: the file was changed or removed in between.
        raise_unreadable(list(batch.errors.values()), len(missing))
        features = backbone(batch.pixels)
        yield dict(zip(itertools.islice(keys, len(features)), features, strict=True))


class FeatureCache:
    """Features on disk for one backbone, preprocessing and precision.

    Args:
        network: Its backbone's weights are part of the key.
        preprocess: Part of the key.
        compute: Kind of device and precision are part of the key.
    """

    def __init__(self, network: ResNet50, preprocess: Preprocess, compute: Compute) -> None:
        parts = [CACHE_VERSION, backbone_hash(network), preprocess.fingerprint(), compute.type, compute.precision]
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
        self.folder = features_dir() / key

    def load(self, keys: Set[bytes]) -> dict[bytes, Tensor]:
        """The features that are known, by content hash; damaged shards are dropped."""
        from safetensors import SafetensorError, safe_open

        found: dict[bytes, Tensor] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as shard:
                    names = shard.get_tensor("keys").numpy()  # [n x 32]
                    wanted = [(row, key) for row, name in enumerate(names) if (key := name.tobytes()) in keys]
                    if wanted:
                        features = shard.get_tensor("features")
                        found |= {key: features[row].clone() for row, key in wanted}
                        # The modification time says when a shard was last of use.
                        with contextlib.suppress(OSError):
                            os.utime(path)
            except (SafetensorError, ValueError):
                with contextlib.suppress(OSError):
                    path.unlink()
            except OSError:
                continue
        return found

    def store(self, rows: Mapping[bytes, Tensor]) -> None:
        """Adds one shard.

        Raises:
            DiskError: The cache folder cannot be written.
        """
        from safetensors.torch import save

        if not rows:
            return
        keys = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(len(rows), -1)
        name = hashlib.sha256(b"".join(rows)).hexdigest()[:32]
        data = save({"keys": keys, "features": torch.stack(list(rows.values()))})
        try:
            write_bytes(make_dir(self.folder) / f"{name}.safetensors", data)
        except DiskError as error:
            raise DiskError(
                error.message, hint="free some space, or set RESNET_CLI_CACHE to a folder on another disk"
            ) from error
        _drop_oldest(MAX_CACHE_BYTES)


def find_unreadable(items: Sequence[Item], *, on_progress: Progress | None = None) -> list[ImageError]:
    """Decodes every picture and returns the errors of those that cannot be read.

    Args:
        items: Those in memory are not looked at.
        on_progress: Called with (pictures done, pictures in all).
    """

    def attempt(item: Item) -> ImageError | None:
        try:
            item.open()
        except ImageError as error:
            return error
        return None

    files = [item for item in items if isinstance(item.source, Path)]
    errors = []
    for num_done, error in enumerate(map_threaded(attempt, files), start=1):
        if error is not None:
            errors.append(error)
        if on_progress:
            on_progress(num_done, len(files))
    return errors


def _hash_items(items: Sequence[Item]) -> list[bytes]:
    return list(map_threaded(Item.content_hash, items))


def _drop_oldest(max_bytes: int) -> None:
    """Deletes the shards that were not used for longest until the cache fits."""
    shards = []
    for path in features_dir().glob("*/*.safetensors"):
        # Another process may be dropping shards too.
        with contextlib.suppress(OSError):
            shards.append((path.stat(), path))
    excess = sum(stat.st_size for stat, _ in shards) - max_bytes
    for stat, path in sorted(shards, key=lambda shard: shard[0].st_mtime):
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        excess -= stat.st_size
