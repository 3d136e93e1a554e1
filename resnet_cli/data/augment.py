"""Training pictures vary; how is a function of (seed, epoch, picture), whatever the threads do."""

from __future__ import annotations

import math

import numpy as np

from resnet_cli.data.dataset import Item
from resnet_cli.images import Pixels
from resnet_cli.preprocess import Preprocess

#: Share of the picture's area that a random crop keeps. Source: a milder form of Szegedy et al. 2014's 0.08,
#: which is meant for training from scratch.
CROP_AREA = (0.35, 1.0)
#: Its width over its height. Source: torchvision.transforms.RandomResizedCrop.
CROP_ASPECT = (3 / 4, 4 / 3)
#: How far `light` shifts, as a share of the side: 4 pixels of CIFAR's 32 (He et al. 2016, section 4.2).
SHIFT = 0.125


class Augment:
    """Turns an item into a varied training picture.

    Args:
        preprocess: Gives size and interpolation.
        strength: ``none``, ``light`` (shifts) or ``standard`` (random crops).
        mirror: Also mirror half of the pictures; never with ``none``.
        seed: Of the training.
        epoch: From 1.
    """

    def __init__(self, preprocess: Preprocess, *, strength: str, mirror: bool, seed: int, epoch: int) -> None:
        self._preprocess = preprocess
        self._strength = strength
        self._mirror = mirror and strength != "none"
        self._key = (seed, epoch)

    def __call__(self, index: int, item: Item) -> Pixels:
        """The picture at ``index`` of the train split as uint8 [crop_size x crop_size x 3].

        Raises:
            ImageError: The picture cannot be read.
        """
        rng = np.random.default_rng((*self._key, index))
        image = item.open()
        if self._strength == "standard":
            pixels = self._preprocess.resize(image, random_box(image.size, rng))
        else:
            pixels = self._preprocess(image)
            if self._strength == "light":
                pixels = shift(pixels, rng)
        if self._mirror and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return pixels


def random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A random part of a picture as (left, top, right, bottom) in pixels.

    Args:
        size: Width and height.
        rng: Where chance comes from.

    Source: torchvision.transforms.RandomResizedCrop, clipped to the picture instead of tried again.
    """
    width, height = size
    area = width * height * rng.uniform(*CROP_AREA)
    aspect = math.exp(rng.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
    box_width = min(width, math.sqrt(area * aspect))
    box_height = min(height, math.sqrt(area / aspect))
    left = rng.uniform(0, width - box_width)
    top = rng.uniform(0, height - box_height)
    return left, top, min(left + box_width, width), min(top + box_height, height)


def shift(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Moves a picture by up to an eighth of its side in each direction; the rim is mirrored in.

    Args:
        pixels: uint8 [h x w x 3].
        rng: Where chance comes from.
    """
    height, width = pixels.shape[:2]
    pad = round(SHIFT * height)
    padded = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    top, left = rng.integers(0, 2 * pad + 1, size=2)
    return padded[top : top + height, left : left + width]
