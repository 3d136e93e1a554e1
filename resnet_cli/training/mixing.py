"""Mixup and CutMix: each image of a batch and its label are blended with the one before it."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: Probability of CutMix if both are on. Source: timm.data.Mixup, ``switch_prob``.
CUTMIX_SHARE = 0.5


def mix(
    images: Tensor,
    targets: Tensor,
    *,
    num_classes: int,
    mixup: float,
    cutmix: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Blends a whole batch with one share, drawn from a symmetric beta distribution.

    Neighbors in a shuffled batch are random pairs, so only the share is drawn.

    Args:
        images: Floating point [b x 3 x h x w] on any device; not modified.
        targets: The task's targets on the same device, int64 [b] or int8 [b x k].
        num_classes: Number of classes, k.
        mixup: Alpha of the distribution for mixup; 0 for none.
        cutmix: Alpha for CutMix; 0 for none. If both are on, one of them is drawn for each batch.
        rng: Random generator.

    Returns:
        Images in the same memory format, and their targets: of single-label images float32 [b x k] whose rows sum to
        1; of multi-label images int8 [b x k], where an image shows what either of the two shows.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1710.09412; Yun et al. 2019,
    https://arxiv.org/abs/1905.04899; pairs as in torchvision.transforms.v2.
    """
    if targets.ndim == 1:
        targets = F.one_hot(targets, num_classes).float()
    if not mixup and not cutmix:
        return images, targets
    use_cutmix = rng.random() < CUTMIX_SHARE if mixup and cutmix else bool(cutmix)
    alpha = cutmix if use_cutmix else mixup
    share = float(rng.beta(alpha, alpha))
    if use_cutmix:
        height, width = images.shape[-2:]
        top, bottom, left, right = random_window(height, width, share, rng)
        # The part of the window outside the image was not pasted.
        share = 1 - (bottom - top) * (right - left) / (height * width)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = _previous(images[..., top:bottom, left:right])
    else:
        mixed = images.lerp(_previous(images), 1 - share)
    if targets.dtype == torch.int8:
        # The window of CutMix may be empty or the whole image, and then only one of the two is seen.
        shown = [part for part, size in ((targets, share), (_previous(targets), 1 - share)) if size > 0]
        return mixed, functools.reduce(union, shown)
    return mixed, targets.lerp(_previous(targets), 1 - share)


def union(first: Tensor, second: Tensor) -> Tensor:
    """Targets int8 of two images in one: 1 if either is 1, otherwise -1 (unknown) if either is -1, otherwise 0."""
    is_unknown = (first < 0) | (second < 0)
    return torch.where((first == 1) | (second == 1), 1, torch.where(is_unknown, -1, 0)).to(torch.int8)


def random_window(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws a window around a random center that covers ``1 - share`` of an image, except what is outside of it.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        share: Share of the area that is kept, in [0, 1].
        rng: Random generator.

    Returns:
        Top, bottom, left and right of the window, which may be empty.

    Source: Yun et al. 2019, section 3.1, with the rounding of torchvision.transforms.v2.CutMix.
    """
    half = 0.5 * math.sqrt(1 - share)
    half_height, half_width = int(half * height), int(half * width)
    x, y = int(rng.integers(width)), int(rng.integers(height))
    top, bottom = max(0, y - half_height), min(height, y + half_height)
    return top, bottom, max(0, x - half_width), min(width, x + half_width)


def _previous(batch: Tensor) -> Tensor:
    """The predecessor of each row; torch.roll loses the channels-last format on a GPU."""
    return torch.cat([batch[-1:], batch[:-1]])
