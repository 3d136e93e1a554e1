"""Features of a frozen backbone: each image goes through it only once.

The cache on disk (``feature_cache.py``) finds a feature by everything that it depends on: the image's bytes, the
backbone's weights, the preprocessing, the precision. With another head, seed, split or number of epochs the
features are the same, and need no forward pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from resnet_cli.data.dataset import Item, Items
from resnet_cli.data.inspection.scan import leave_out_unreadable, raise_unreadable, scan
from resnet_cli.data.loading import load_batches
from resnet_cli.engines.base import Backbone
from resnet_cli.engines.feature_cache import FeatureCache
from resnet_cli.engines.feature_rows import Features
from resnet_cli.engines.feature_shards import ContentIndex, Keys
from resnet_cli.engines.onednn import pack, packs
from resnet_cli.errors import ConfigError
from resnet_cli.model.network import NUM_FEATURES, ResNet50, backbone_hash
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import Compute, memory_errors_named
from resnet_cli.system.events import Progress
from resnet_cli.system.intraop import given_threads, shared_tuner

#: Version of the features; raised when the same inputs would give other features (a change in the forward pass).
CACHE_VERSION = 2
#: Images per shard of the cache, which is the most that an interrupt can lose.
SHARD_IMAGES = 512
#: From this many images on, shards are larger, so that a million images do not make thousands of files.
MANY_IMAGES, LARGE_SHARD_IMAGES = 100_000, 2048


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
        return pack(folded, side, inference_batch_size(side, compute), compute.precision)
    return folded.to(memory_format=torch.channels_last)


class FrozenBackbone:
    """A backbone ready for inference, in its precision.

    Args:
        network: The network; it is copied, not changed.
        preprocess: The preprocessing, for the normalization.
        compute: Device and precision.
    """

    def __init__(self, network: ResNet50, preprocess: Preprocess, compute: Compute) -> None:
        self._int8 = _open_quantized(network, compute) if compute.precision == "int8" else None
        if self._int8 is None:
            self._features = folded_for(network, preprocess.crop_size, compute).features
        self._preprocess = preprocess
        self._compute = compute
        self._tuner = shared_tuner(given_threads(), preprocess.crop_size, compute)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [b x 3 x h x w] -> features [b x 2048] on the CPU, rounded as the cache rounds them."""
        if self._int8 is not None:
            squares = pixels.permute(0, 2, 3, 1).contiguous().numpy()  # [b x h x w x 3]
            return torch.from_numpy(np.asarray(self._int8(squares)))
        with (
            self._tuner.piece(len(pixels)),
            torch.inference_mode(),
            self._compute.autocast(),
            memory_errors_named(len(pixels)),
        ):
            features = self._features(self._preprocess.normalize(self._compute.to_device(pixels)))
        return features.to(feature_dtype(self._compute)).cpu()


def frozen_backbone(network: ResNet50, preprocess: Preprocess, compute: Compute) -> Callable[[Tensor], Tensor]:
    """The backbone in the engine that ``compute`` names, for pixels uint8 [b x 3 x h x w].

    Args:
        network: The network; it is not changed.
        preprocess: The preprocessing, for the normalization.
        compute: Device, precision and engine.
    """
    if compute.engine == "torch" or compute.precision == "int8":
        return FrozenBackbone(network, preprocess, compute)
    from resnet_cli.engines.engine_features import EngineFeatures

    return EngineFeatures(network, preprocess, compute, feature_dtype(compute))


def _open_quantized(network: ResNet50, compute: Compute) -> Backbone:
    """The quantized backbone of this very network.

    Raises:
        ConfigError: There is none.
    """
    from resnet_cli.engines.backbone_file import ABOUT
    from resnet_cli.engines.int8_file import GRAPH_SHA256
    from resnet_cli.engines.onnx_backbone import OnnxBackbone, load_session

    if compute.quantized is not None:
        session = load_session(compute.quantized.path)
        texts = session.get_modelmeta().custom_metadata_map
        # The file may have been replaced since it was found, and cached features belong to one graph.
        is_same = texts.get(GRAPH_SHA256) == compute.quantized.sha256
        if is_same and json.loads(texts[ABOUT])["backbone"] == backbone_hash(network):
            return OnnxBackbone(session, "int8")
    raise ConfigError(
        "--precision int8: there is no quantized backbone for this",
        hint="use --precision bf16, or remove --precision; int8 is for finetune --mode frozen, and for predict, eval "
        "and serve with a run",
    )


def feature_dtype(compute: Compute) -> torch.dtype:
    """The dtype that features are stored in: float16 keeps all digits of a bfloat16 pass in half the space."""
    return torch.float32 if compute.precision in {"fp32", "int8"} else torch.float16


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
    """Features of every item in memory, [n x 2048] on the CPU; see :func:`compute_features`."""
    found = compute_features(
        network, items, preprocess, compute, mirrored=mirrored, on_progress=on_progress, on_check=on_check
    )
    return found.tensor()


def compute_features(
    network: ResNet50,
    items: Sequence[Item],
    preprocess: Preprocess,
    compute: Compute,
    *,
    mirrored: bool = False,
    on_progress: Progress | None = None,
    on_check: Progress | None = None,
) -> Features:
    """Features of every item, from the cache where they are known; they stay on disk.

    Every image that was not checked before is decoded once before the first forward pass, so that a damaged file is
    reported in the first seconds and not after an hour. Copies of an image go through the backbone once.

    Args:
        network: The network, whose backbone is used in eval mode.
        items: The images, in the order of the result.
        preprocess: Geometry and normalization.
        compute: Device and precision.
        mirrored: Whether to flip the network's inputs horizontally.
        on_progress: Called with (images done, images in all).
        on_check: Called with (images checked, images in all).

    Returns:
        Features [n x 2048] with the dtype of :func:`feature_dtype`.

    Raises:
        DataError: Images cannot be read; all of them are named.
    """
    images = scan(items, signatures=False, bit_depth=preprocess.bit_depth, on_progress=on_check)
    leave_out_unreadable(items, images, "error")
    keys = images.digests
    del images
    names = items.names if isinstance(items, Items) else (item.name for item in items)
    cache = FeatureCache(cache_key(network, preprocess, compute, mirrored=mirrored, names=names))
    contents = ContentIndex(keys)
    places = _Places(cache, contents, keys, feature_dtype(compute))
    numbers, missing = contents.numbers, contents.firsts[places.missing]
    # A million images have 64 MB of keys here.
    del contents, keys
    num_done = len(items) - len(missing)
    if on_progress:
        on_progress(num_done, len(items))
    try:
        new = (items[position] for position in missing.tolist())
        for features in _compute(network, new, len(missing), preprocess, compute, mirrored=mirrored):
            places.add(features)
            if on_progress:
                num_done += len(features)
                on_progress(num_done, len(items))
    finally:
        # Also after an error or interrupt: what was computed is not computed again.
        places.save()
        cache.evict()
    return Features(
        places.shards,
        places.of_contents,
        numbers,
        shape=(len(items), NUM_FEATURES),
        dtype=feature_dtype(compute),
        holds=cache,
    )


class _Places:
    """Where the features of every content are; missing ones are added in the order of ``missing``."""

    def __init__(self, cache: FeatureCache, contents: ContentIndex, keys: Keys, dtype: torch.dtype) -> None:
        self._cache = cache
        self.shards, self.of_contents = cache.find(contents)
        self.missing = np.flatnonzero(self.of_contents < 0)
        self._keys = keys[contents.firsts[self.missing]]
        self._row_bytes = NUM_FEATURES * dtype.itemsize
        self._shard_images = SHARD_IMAGES if len(self.missing) < MANY_IMAGES else LARGE_SHARD_IMAGES
        self._unsaved: list[Tensor] = []
        self._num_saved = self._num_unsaved = 0

    def add(self, features: Tensor) -> None:
        """Adds the features of the next contents, [b x 2048]."""
        self._unsaved.append(features)
        self._num_unsaved += len(features)
        if self._num_unsaved >= self._shard_images:
            self.save()

    def save(self) -> None:
        """Writes a shard of what was added since the last one."""
        if not self._unsaved:
            return
        rows, start = torch.cat(self._unsaved).numpy(), self._num_saved
        left_bytes = (len(self.missing) - start) * self._row_bytes
        shard = self._cache.store(self._keys[start : start + len(rows)], rows, left_bytes=left_bytes)
        self.of_contents[self.missing[start : start + len(rows)]] = (len(self.shards) << 32) + np.arange(len(rows))
        self.shards.append(shard)
        self._unsaved, self._num_unsaved = [], 0
        self._num_saved += len(rows)


def _compute(
    network: ResNet50, items: Iterable[Item], num: int, preprocess: Preprocess, compute: Compute, *, mirrored: bool
) -> Iterator[Tensor]:
    """Yields the features of each batch, [b x 2048]."""
    if not num:
        return
    backbone = frozen_backbone(network, preprocess, compute)
    batch_size = inference_batch_size(preprocess.crop_size, compute)
    for batch in load_batches(items, preprocess.read, batch_size=batch_size):
        # It was readable a moment ago: the file was changed or removed in between.
        raise_unreadable(list(batch.errors.values()), num)
        yield backbone(batch.pixels.flip(3) if mirrored else batch.pixels)


def cache_key(
    network: ResNet50, preprocess: Preprocess, compute: Compute, *, mirrored: bool = False, names: Iterable[str] = ()
) -> str:
    """Key of everything but the image that a feature depends on; ``names`` tell which decoders read the images."""
    parts = [CACHE_VERSION, backbone_hash(network), preprocess.fingerprint(names), compute.type, compute.precision]
    # Nothing is added in other cases, so that features cached by older versions are still found.
    parts += ["mirrored"] * mirrored
    if compute.quantized is not None:
        parts.append(compute.quantized.sha256)
    # Engines add in another order, and packed layers round bfloat16 at other places than autocast.
    elif compute.engine != "torch":
        parts.append(compute.engine)
    elif compute.precision == "bf16" and packs(compute):
        parts.append("packed")
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
