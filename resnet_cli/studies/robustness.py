"""Robustness: accuracy on corrupted images, for the kinds and strengths of ``corruptions.py``.

The decoded image is corrupted before preprocessing. It is first resized to the scale at which the network sees it, so
that a strength means the same for a thumbnail and for a photo of 20 megapixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.scan import raise_unreadable
from resnet_cli.data.loading import load_batches
from resnet_cli.evaluation.intervals import Interval, around, wilson
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.images import Pixels
from resnet_cli.model.features import FrozenBackbone, inference_batch_size
from resnet_cli.model.model_file import Model
from resnet_cli.preprocess import MAX_ASPECT, Preprocess
from resnet_cli.studies.corruptions import KINDS, NUM_STRENGTHS
from resnet_cli.system.device import Compute
from resnet_cli.system.events import Progress

#: Images that are used unless the user asks for more: each goes through the network 36 times (at 224 px 500 take
#: about ten minutes on two cores), and with 500 the 95 % interval of a share reaches at most 4.4 points to each side.
MAX_IMAGES = 500
#: Bootstrap samples for the interval of a drop.
NUM_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Cell:
    """Accuracy at one strength of a corruption.

    Attributes:
        strength: The strength, in the unit of its kind.
        top1: Top-1 accuracy with its 95 % interval.
        drop: Loss in top-1 against the same images without corruption.
    """

    strength: float
    top1: Interval
    drop: Interval


@dataclasses.dataclass(frozen=True)
class KindResult:
    """Accuracy under one kind of corruption.

    Attributes:
        name: Name of the kind.
        unit: Unit of its strengths.
        cells: Accuracy at each strength, from weak to strong.
        mean_top1: Mean top-1 over the strengths.
        drop: Loss of the mean against the same images without corruption.
    """

    name: str
    unit: str
    cells: tuple[Cell, ...]
    mean_top1: float
    drop: Interval


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Accuracy on corrupted images.

    Attributes:
        clean: Top-1 on the same images without corruption.
        kinds: Accuracy under each kind of corruption.
        num_images: Number of images used.
        num_available: Number of images available.
    """

    clean: Interval
    kinds: tuple[KindResult, ...]
    num_images: int
    num_available: int

    @property
    def mean_top1(self) -> float:
        """Mean top-1 over all kinds and strengths."""
        return float(np.mean([kind.mean_top1 for kind in self.kinds]))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "num_images": self.num_images,
            "num_available": self.num_available,
            "top1": self.clean._asdict(),
            "mean_top1": self.mean_top1,
            "kinds": [
                {
                    "name": kind.name,
                    "unit": kind.unit,
                    "mean_top1": kind.mean_top1,
                    "strengths": [
                        {"strength": cell.strength, "top1": cell.top1._asdict(), "drop": cell.drop._asdict()}
                        for cell in kind.cells
                    ],
                }
                for kind in self.kinds
            ],
        }


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
    is_right = np.empty((len(chosen), 1 + NUM_STRENGTHS * len(KINDS)), dtype=bool)
    backbone = FrozenBackbone(model.network, model.preprocess, compute)
    at_once = max(1, inference_batch_size(model.preprocess.crop_size, compute) // is_right.shape[1])
    num_done = 0
    for batch in load_batches(
        chosen, lambda item: _variants(item.open(model.preprocess.bit_depth), model.preprocess), batch_size=at_once
    ):
        raise_unreadable(list(batch.errors.values()), len(chosen))
        side = model.preprocess.crop_size
        # [b x 3 x v * h x w] -> [b * v x 3 x h x w]
        pixels = batch.pixels.reshape(len(batch.items), 3, -1, side, side).transpose(1, 2).flatten(0, 1)
        probs = head_probs(model.network.fc, backbone(pixels), model.temperature)
        predicted = probs.argmax(dim=1).numpy().reshape(len(batch.items), -1)
        labels = np.array([item.label for item in batch.items])
        is_right[num_done : num_done + len(labels)] = predicted == labels[:, None]
        num_done += len(labels)
        if on_progress:
            on_progress(num_done, len(chosen))
    return summarize(is_right, len(items))


def draw_items(items: Sequence[Item], max_images: int) -> list[Item]:
    """A random sample that depends only on the images' names; adding an image hardly changes it."""
    ranked = sorted(range(len(items)), key=lambda at: hashlib.sha256(_bytes(items[at].name)).digest())
    return [items[at] for at in sorted(ranked[:max_images])]


def summarize(is_right: NDArray[np.bool_], num_available: int) -> Robustness:
    """Computes the accuracies.

    Args:
        is_right: Whether each prediction is correct, [n x 1 + 5 * kinds]; the first column is without corruption, then
            come the strengths of each kind.
        num_available: Number of images available.
    """
    num_images = len(is_right)
    top1 = [wilson(int(count), num_images) for count in is_right.sum(axis=0)]
    by_kind = is_right[:, 1:].reshape(num_images, len(KINDS), NUM_STRENGTHS).mean(axis=2)
    drops = _drops(is_right[:, 0].astype(np.float64), np.concatenate([is_right[:, 1:], by_kind], axis=1))
    kinds = []
    for row, kind in enumerate(KINDS):
        first = row * NUM_STRENGTHS
        cells = (Cell(x, top1[1 + first + at], drops[first + at]) for at, x in enumerate(kind.strengths))
        mean = drops[len(KINDS) * NUM_STRENGTHS + row]
        kinds.append(KindResult(kind.name, kind.unit, tuple(cells), float(by_kind[:, row].mean()), mean))
    return Robustness(top1[0], tuple(kinds), num_images, num_available)


def _drops(clean: NDArray[np.float64], corrupted: NDArray[np.float64]) -> list[Interval]:
    """Loss in accuracy of each column [n x c] against ``clean`` [n], with paired bootstrap intervals."""
    lost = clean[:, None] - corrupted
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(lost), np.full(len(lost), 1 / len(lost)), size=NUM_RESAMPLES)
    low, high = np.quantile(counts @ lost / len(lost), (0.025, 0.975), axis=0)
    return [around(*row, least=-1.0) for row in zip(lost.mean(axis=0), low, high, strict=True)]


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
