"""Features of a frozen backbone: each image goes through it only once.

The cache on disk (``feature_cache.py``) finds a feature by everything that it depends on: the image's bytes, the
backbone's weights, the preprocessing, the precision. With another head, seed, split or number of epochs the
features are the same, and need no forward pass.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.scan import leave_out_unreadable, raise_unreadable, scan
from resnet_cli.data.loading import load_batches
from resnet_cli.engines.feature_cache import FeatureCache
from resnet_cli.engines.onednn import pack, packs
from resnet_cli.model.network import NUM_FEATURES, ResNet50, backbone_hash
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import Compute, memory_errors_named
from resnet_cli.system.events import Progress
from resnet_cli.system.intraop import given_threads, shared_tuner

#: Version of the features; raised when the same inputs would give other features (a change in the forward pass).
CACHE_VERSION = 2
#: Images per shard of the cache, which is the most that an interrupt can lose.
SHARD_IMAGES = 512


def folded_for(network: ResNet50, side: int, compute: Compute) -> ResNet50:
    """A copy of a network for inference: BatchNorm folded, on the device.

    If :func:`~resnet_cli.engines.onednn.packs` says so, its layers are packed. Packing takes up to 0.3 s, which is
    gained back after a few images (measured). It is done for a single image too: two kinds of forward passes would
    differ in the last digits.

    Args:
        network: The network; it is not changed.
        side: Side of the images in pixels.
        compute: Device and precision.
    """
    folded = network.folded().to(compute.device)
    if packs(compute):
        return pack(folded, side, inference_batch_size(side, compute))
    return folded.to(memory_format=torch.channels_last)


class FrozenBackbone:
    """A backbone ready for inference, in its precision.

    Args:
        network: The network; it is copied, not changed.
        preprocess: The preprocessing, for the normalization.
        compute: Device and precision.
    """

    def __init__(self, network: ResNet50, preprocess: Preprocess, compute: Compute) -> None:
        self._features = folded_for(network, preprocess.crop_size, compute).features
        self._preprocess = preprocess
        self._compute = compute
        self._tuner = shared_tuner(given_threads(), preprocess.crop_size, compute)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [b x 3 x h x w] -> features [b x 2048] on the CPU, rounded as the cache rounds them."""
        with (
            self._tuner.piece(len(pixels)),
            torch.inference_mode(),
            self._compute.autocast(),
            memory_errors_named(len(pixels)),
        ):
            features = self._features(self._preprocess.normalize(self._compute.to_device(pixels)))
        return features.to(feature_dtype(self._compute)).cpu()


def feature_dtype(compute: Compute) -> torch.dtype:
    """The dtype that features are stored in: float16 keeps all digits of a bfloat16 pass in half the space."""
    return torch.float32 if compute.precision == "fp32" else torch.float16


def inference_batch_size(crop_size: int, compute: Compute) -> int:
    """Images per forward pass: about 100 MB for the largest activation on a CPU, more on a GPU."""
    at_224 = 32 if compute.type == "cpu" else 256
    return max(8, min(512, round(at_224 * (224 / crop_size) ** 2)))


def extract_features(
    network: ResNet50,
    items: Sequence[Item],
    preprocess: Preprocess,
    compute: Compute,
    *,
    mirrored: bool = False,
    on_progress: Progress | None = None,
    on_check: Progress | None = None,
) -> Tensor:
    """Features of every item, from the cache where they are known.

    Every image that was not checked before is decoded once before the first forward pass, so that a damaged file is
    reported in the first seconds and not after an hour.

    Args:
        network: The network, whose backbone is used in eval mode.
        items: The images, in the order of the result.
        preprocess: Geometry and normalization.
        compute: Device and precision.
        mirrored: Whether to flip the network's inputs horizontally.
        on_progress: Called with (images done, images in all).
        on_check: Called with (images checked, images in all).

    Returns:
        Features [n x 2048] on the CPU, with the dtype of :func:`feature_dtype`.

    Raises:
        DataError: Images cannot be read; all of them are named.
    """
    names = [item.name for item in items]
    cache = FeatureCache(cache_key(network, preprocess, compute, mirrored=mirrored, names=names))
    images = scan(items, signatures=False, bit_depth=preprocess.bit_depth, on_progress=on_check)
    leave_out_unreadable(items, images, "error")
    rows: dict[bytes, list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image.sha256, []).append(row)
    # Filled row by row: for a million images there is not enough memory for two copies.
    features = torch.empty(len(items), NUM_FEATURES, dtype=feature_dtype(compute))
    known = cache.load(rows.keys())
    missing = {key: items[where[0]] for key, where in rows.items() if key not in known}
    while known:
        key, array = known.popitem()
        features[rows[key]] = torch.from_numpy(array)
    num_done = len(items) - len(missing)
    if on_progress:
        on_progress(num_done, len(items))
    unsaved: dict[bytes, Tensor] = {}
    try:
        for new in _compute(network, missing, preprocess, compute, mirrored=mirrored):
            unsaved |= new
            for key, feature in new.items():
                features[rows[key]] = feature
            if len(unsaved) >= SHARD_IMAGES:
                cache.store(_arrays(unsaved))
                unsaved = {}
            if on_progress:
                num_done += len(new)
                on_progress(num_done, len(items))
    finally:
        # Also after an error or interrupt: what was computed is not computed again.
        cache.store(_arrays(unsaved))
    return features


def _compute(
    network: ResNet50, missing: dict[bytes, Item], preprocess: Preprocess, compute: Compute, *, mirrored: bool
) -> Iterator[dict[bytes, Tensor]]:
    """Yields the features of each batch: SHA-256 of the image -> [2048]."""
    if not missing:
        return
    backbone = FrozenBackbone(network, preprocess, compute)
    batch_size = inference_batch_size(preprocess.crop_size, compute)
    keys = iter(missing)
    for batch in load_batches(missing.values(), preprocess.read, batch_size=batch_size):
        # It was readable a moment ago: the file was changed or removed in between.
        raise_unreadable(list(batch.errors.values()), len(missing))
        features = backbone(batch.pixels.flip(3) if mirrored else batch.pixels)
        yield dict(zip(itertools.islice(keys, len(features)), features, strict=True))


def cache_key(
    network: ResNet50, preprocess: Preprocess, compute: Compute, *, mirrored: bool = False, names: Iterable[str] = ()
) -> str:
    """Key of everything but the image that a feature depends on; ``names`` tell which decoders read the images."""
    parts = [CACHE_VERSION, backbone_hash(network), preprocess.fingerprint(names), compute.type, compute.precision]
    # Nothing is added without flipping, so that features cached by older versions are still found.
    parts += ["mirrored"] * mirrored
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _arrays(rows: Mapping[bytes, Tensor]) -> dict[bytes, NDArray[np.floating[Any]]]:
    return {key: row.numpy() for key, row in rows.items()}
