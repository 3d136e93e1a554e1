"""Robustness: top-1 or mAP on corrupted images, for the kinds and strengths of ``corruptions.py``.

The decoded image is corrupted before preprocessing. It is first resized to the scale at which the network sees it, so
that a strength means the same for a thumbnail and for a photo of 20 megapixels.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from resnet_cli.data.dataset import Item, targets_of
from resnet_cli.data.inspection.scan import raise_unreadable
from resnet_cli.data.loading import load_batches
from resnet_cli.engines.features import FrozenBackbone, inference_batch_size
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.images import Pixels
from resnet_cli.model.model_file import Model
from resnet_cli.preprocess import MAX_ASPECT, Preprocess
from resnet_cli.studies.corruptions import KINDS
from resnet_cli.studies.robustness_scores import NUM_VARIANTS, RESULTS, Robustness
from resnet_cli.system.device import Compute
from resnet_cli.system.events import Progress

#: Images that are used unless the user asks for more: each goes through the network 36 times (at 224 px 500 take
#: about ten minutes on two cores), and with 500 the 95 % interval of a share reaches at most 4.4 points to each side.
MAX_IMAGES = 500


def robustness(
    model: Model,
    items: Sequence[Item],
    compute: Compute,
    *,
    max_images: int = MAX_IMAGES,
    on_progress: Progress | None = None,
) -> Robustness:
    """Evaluates a model on images with and without corruption, in bounded memory; no feature is cached.

    Args:
        model: The model; the labels of the items index its classes.
        items: At least one image.
        compute: Device and precision.
        max_images: Of more images this many are drawn, always the same ones.
        on_progress: Called with (images done, images in all).

    Raises:
        DataError: Images cannot be read; all of the batch are named.
    """
    chosen = draw_items(items, max_images)
    results = RESULTS[model.task](len(chosen))
    backbone = FrozenBackbone(model.network, model.preprocess, compute)
    at_once = max(1, inference_batch_size(model.preprocess.crop_size, compute) // NUM_VARIANTS)
    num_done = 0
    for batch in load_batches(
        chosen, lambda item: _variants(item.open(model.preprocess.bit_depth), model.preprocess), batch_size=at_once
    ):
        raise_unreadable(list(batch.errors.values()), len(chosen))
        side = model.preprocess.crop_size
        # [b x 3 x v * h x w] -> [b * v x 3 x h x w]
        pixels = batch.pixels.reshape(len(batch.items), 3, -1, side, side).transpose(1, 2).flatten(0, 1)
        probs = head_probs(model.network.fc, backbone(pixels), model.temperature, task=model.task)
        targets = targets_of(batch.items, model.task, len(model.classes))
        results.add(probs.reshape(len(batch.items), NUM_VARIANTS, -1), targets)
        num_done += len(batch.items)
        if on_progress:
            on_progress(num_done, len(chosen))
    return results.summarize(len(items))


def draw_items(items: Sequence[Item], max_images: int) -> list[Item]:
    """A random sample that depends only on the images' names; adding an image hardly changes it."""
    ranked = sorted(range(len(items)), key=lambda at: hashlib.sha256(_bytes(items[at].name)).digest())
    return [items[at] for at in sorted(ranked[:max_images])]


def _variants(image: Image.Image, preprocess: Preprocess) -> Pixels:
    """The network's inputs for an image without and with each corruption, stacked: [36 * side x side x 3]."""
    image = working_size(image, preprocess)
    seed = zlib.crc32(image.tobytes())
    seen = [preprocess(image)]
    for kind in KINDS:
        for strength in kind.strengths:
            seen.append(preprocess(kind.corrupt(image, strength, np.random.default_rng((seed, _number(kind.name))))))
    return np.concatenate(seen)


def working_size(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """The image at the scale at which the network sees it.

    If the preprocessing crops a square, this is the image that it would crop from, so images without corruption get
    their usual predictions. A small panorama is not resized: enlarged, it would fill the memory.
    """
    width, height = image.size
    short = min(width, height)
    if short < preprocess.resize_size and max(width, height) > MAX_ASPECT * short:
        return image
    # Rounded down, as in the preprocessing.
    size = (int(preprocess.resize_size * width / short), int(preprocess.resize_size * height / short))
    return image.resize(size, Image.Resampling[preprocess.interpolation.upper()])


def _number(name: str) -> int:
    return zlib.crc32(name.encode())


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
