"""Augmentation of training images, a function of (seed, epoch, image) that does not depend on threads.

Random parameters are drawn first (:class:`View`) and then applied: here to one image by Pillow and numpy, in
``batched.py`` to a whole batch on its device.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.views.autoaugment import Policy, apply_policy
from resnet_cli.images import Pixels, from_pixels
from resnet_cli.preprocess import Preprocess

Strength: TypeAlias = Literal["none", "light", "standard", "strong"]
Box: TypeAlias = tuple[float, float, float, float]

#: Range of the share of the image's area that a random crop keeps. Source: a milder form of the 0.08 of Szegedy et al.
#: 2014, which is meant for training from scratch.
CROP_AREA = (0.35, 1.0)
#: The same range for `strong`. Source: the default of TLlib's fine-tuning recipes.
STRONG_CROP_AREA = (0.2, 1.0)
#: Range of a crop's aspect ratio. Source: torchvision.transforms.RandomResizedCrop.
CROP_ASPECT = (3 / 4, 4 / 3)
#: Largest shift of `light`, as a share of the side: 4 pixels of CIFAR's 32 (He et al. 2016, section 4.2).
SHIFT = 0.125
#: Sources with at most this shorter side are shifted before they are enlarged.
TINY_SOURCE_PX = 64
#: Ranges of the share of the view that random erasing covers, and of its aspect ratio.
#: Source: Zhong et al. 2017, https://arxiv.org/abs/1708.04896, as in torchvision.transforms.RandomErasing.
ERASING_AREA = (0.02, 0.33)
ERASING_ASPECT = (0.3, 3.3)
#: Probability of erasing with `strong`.
STRONG_ERASING = 0.25


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images are augmented.

    Attributes:
        strength: Kind of view: ``none``, ``light`` (a shift), ``standard`` or ``strong`` (random crops).
        mirror: Whether half of the images are mirrored; never for text and digits.
        policy: Operations that Pillow applies to the view; with a policy, images are decoded on threads on every
            device.
        erasing: Probability that a rectangle of the view is erased.
        source_pad: Whether tiny sources are shifted by whole pixels before they are enlarged, instead of the shift of
            ``light``.
    """

    strength: Strength
    mirror: bool
    policy: Policy
    erasing: float
    source_pad: bool


@dataclasses.dataclass(frozen=True)
class View:
    """The random parameters of one image in one epoch.

    Attributes:
        box: Part of the image, in source pixels; None for the part that evaluation uses.
        source_shift: Row and column of the crop from the source padded by reflection; None if it is not shifted.
        shift: Row and column of the crop from the padded view; None if it is not shifted.
        mirrored: Whether the view is flipped horizontally.
        erased: Left, top, right and bottom of the erased rectangle, in pixels of the view.
    """

    box: Box | None = None
    source_shift: tuple[int, int] | None = None
    shift: tuple[int, int] | None = None
    mirrored: bool = False
    erased: tuple[int, int, int, int] | None = None


def default_augmentation(
    strength: Strength, *, mirror: bool, tiny: bool, policy: Policy | None = None, erasing: float | None = None
) -> Augmentation:
    """The default augmentation of a strength.

    Args:
        strength: ``none``, ``light``, ``standard`` or ``strong``.
        mirror: Whether a mirrored image still belongs to its class.
        tiny: Whether the sources have at most ``TINY_SOURCE_PX`` pixels on their shorter side.
        policy: Overrides the strength's default policy.
        erasing: Overrides the strength's default probability.
    """
    is_strong = strength == "strong"
    if policy is None:
        # TrivialAugment rotates by up to 135 degrees, which could turn a 6 into a 9 where even mirroring is not safe.
        policy = ("trivialaugment" if mirror else "randaugment") if is_strong else "none"
    return Augmentation(
        strength=strength,
        mirror=mirror and strength != "none",
        policy=policy,
        erasing=(STRONG_ERASING if is_strong else 0.0) if erasing is None else erasing,
        source_pad=tiny and strength == "light",
    )


class Augment:
    """Turns an item into an augmented training image.

    Args:
        preprocess: Gives size, fit, interpolation and the mean color.
        augmentation: How images are augmented.
        seed: Seed of the training.
        epoch: Number of the epoch, from 1.
        size: Side of the square in pixels instead of the preprocessing's, for progressive resizing.
    """

    def __init__(
        self, preprocess: Preprocess, augmentation: Augmentation, *, seed: int, epoch: int, size: int | None = None
    ) -> None:
        self._preprocess = preprocess.with_size(size) if size else preprocess
        self._augmentation = augmentation
        self._key = (seed, epoch)

    def __call__(self, index: int, item: Item) -> Pixels:
        """The augmented image at ``index`` of the train split as uint8 [crop_size x crop_size x 3].

        Raises:
            ImageError: The image cannot be read.
        """
        augmentation, preprocess = self._augmentation, self._preprocess
        rng = np.random.default_rng((*self._key, index))
        image = item.open(preprocess.bit_depth)
        view = draw_part(augmentation, preprocess, image.size, rng)
        pixels = self._apply(image, view)
        if augmentation.policy != "none":
            varied = apply_policy(augmentation.policy, from_pixels(pixels), rng, fill=preprocess.mean_color)
            pixels = np.asarray(varied)
        view = draw_finish(view, augmentation, preprocess.crop_size, rng)
        if view.mirrored:
            pixels = pixels[:, ::-1]
        return pixels if view.erased is None else _fill(pixels, view.erased, preprocess.mean_color)

    def _apply(self, image: Image.Image, view: View) -> Pixels:
        preprocess = self._preprocess
        if view.box is not None:
            return preprocess.resize(image, view.box)
        if view.source_shift is not None:
            image = from_pixels(_cut(np.asarray(image), view.source_shift))
        pixels = preprocess(image)
        return pixels if view.shift is None else _cut(pixels, view.shift)


def draw_view(
    augmentation: Augmentation, preprocess: Preprocess, size: tuple[int, int], *, key: tuple[int, int, int]
) -> View:
    """Draws the same view as :class:`Augment`, for an augmentation without a policy.

    Args:
        augmentation: How images are augmented.
        preprocess: Preprocessing with the size of the view.
        size: Width and height of the source.
        key: Seed, epoch and index.
    """
    rng = np.random.default_rng(key)
    return draw_finish(draw_part(augmentation, preprocess, size, rng), augmentation, preprocess.crop_size, rng)


def draw_part(
    augmentation: Augmentation, preprocess: Preprocess, size: tuple[int, int], rng: np.random.Generator
) -> View:
    """Draws the part of an image: the parameters that come before a policy.

    Args:
        augmentation: How images are augmented.
        preprocess: Preprocessing with the size of the view.
        size: Width and height of the source.
        rng: Random generator.
    """
    if augmentation.strength == "none":
        return View()
    if augmentation.source_pad and min(size) <= TINY_SOURCE_PX:
        return View(source_shift=_draw_shift(min(size), rng))
    if augmentation.strength == "light":
        return View(shift=_draw_shift(preprocess.crop_size, rng))
    area = STRONG_CROP_AREA if augmentation.strength == "strong" else CROP_AREA
    if preprocess.fit == "crop":
        return View(box=random_box(size, rng, area=area))
    # A part with the aspect ratio of its image, which is then padded or squashed like the whole image in evaluation.
    left, top, right, bottom = random_box((1, 1), rng, area=area)
    width, height = size
    return View(box=(left * width, top * height, right * width, bottom * height))


def draw_finish(view: View, augmentation: Augmentation, side: int, rng: np.random.Generator) -> View:
    """Draws the parameters that come after a policy: mirroring and erasing.

    Args:
        view: The view from :func:`draw_part`.
        augmentation: How images are augmented.
        side: Side of the view in pixels.
        rng: Random generator.
    """
    mirrored = augmentation.mirror and rng.random() < 0.5
    erased = _draw_erasing((side, side), rng) if rng.random() < augmentation.erasing else None
    return dataclasses.replace(view, mirrored=mirrored, erased=erased)


def random_box(
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    area: tuple[float, float] = CROP_AREA,
    aspect: tuple[float, float] = CROP_ASPECT,
) -> Box:
    """A random part of an image as (left, top, right, bottom) in pixels.

    Args:
        size: Width and height of the image.
        rng: Random generator.
        area: Range of its share of the image's area.
        aspect: Range of its aspect ratio (width over height).

    Source: torchvision.transforms.RandomResizedCrop, but clipped to the image instead of drawn again.
    """
    width, height = size
    box_area = width * height * rng.uniform(*area)
    box_aspect = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
    box_width = min(width, math.sqrt(box_area * box_aspect))
    box_height = min(height, math.sqrt(box_area / box_aspect))
    left = rng.uniform(0, width - box_width)
    top = rng.uniform(0, height - box_height)
    return left, top, min(left + box_width, width), min(top + box_height, height)


def shift_pad(side: int) -> int:
    """Largest shift in pixels of an image with this shorter side."""
    return round(SHIFT * side)


def _draw_shift(side: int, rng: np.random.Generator) -> tuple[int, int]:
    top, left = rng.integers(0, 2 * shift_pad(side) + 1, size=2).tolist()
    return top, left


def _cut(pixels: Pixels, corner: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    pad = shift_pad(min(height, width))
    padded = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    top, left = corner
    return padded[top : top + height, left : left + width]


def _draw_erasing(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    left, top, right, bottom = random_box(size, rng, area=ERASING_AREA, aspect=ERASING_ASPECT)
    return round(left), round(top), round(right), round(bottom)


def _fill(pixels: Pixels, box: tuple[int, int, int, int], fill: tuple[int, int, int]) -> Pixels:
    # With the mean color, as in the code of Zhong et al. and, after normalization, in torchvision's RandomErasing.
    left, top, right, bottom = box
    filled = pixels.copy()
    filled[top:bottom, left:right] = fill
    return filled
