"""Training images vary; how is a function of (seed, epoch, image), whatever the threads do.

What varies is drawn first (:class:`View`) and applied then: here to one image by Pillow and numpy, in ``views.py``
to a whole batch where it lies.
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

#: Share of the image's area that a random crop keeps. Source: a milder form of Szegedy et al. 2014's 0.08,
#: which is meant for training from scratch.
CROP_AREA = (0.35, 1.0)
#: The same for `strong`. Source: the default of TLlib's finetuning recipes.
STRONG_CROP_AREA = (0.2, 1.0)
#: Its width over its height. Source: torchvision.transforms.RandomResizedCrop.
CROP_ASPECT = (3 / 4, 4 / 3)
#: How far `light` shifts, as a share of the side: 4 pixels of CIFAR's 32 (He et al. 2016, section 4.2).
SHIFT = 0.125
#: Up to this shorter side a source is shifted before it is enlarged.
TINY_SOURCE_PX = 64
#: Share of the view that an erasing covers, and its width over its height.
#: Source: Zhong et al. 2017, https://arxiv.org/abs/1708.04896, as in torchvision.transforms.RandomErasing.
ERASING_AREA = (0.02, 0.33)
ERASING_ASPECT = (0.3, 3.3)
#: How often `strong` erases.
STRONG_ERASING = 0.25


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images vary.

    Attributes:
        strength: The view: ``none``, ``light`` (a shift), ``standard`` or ``strong`` (random crops).
        mirror: Whether half of the images are mirrored; never for text and digits.
        policy: Operations on the view, by Pillow: with one, images are decoded on threads on every device.
        erasing: Probability that a rectangle of the view is erased.
        source_pad: Shift tiny sources before they are enlarged, by whole pixels of their own, instead of the view
            that ``strength`` names.
    """

    strength: Strength
    mirror: bool
    policy: Policy
    erasing: float
    source_pad: bool


@dataclasses.dataclass(frozen=True)
class View:
    """How one image varies in one epoch.

    Attributes:
        box: The part that is shown, in source pixels; None: what evaluation sees.
        source_shift: Row and column at which the source is cut out of itself with its mirrored rim; None: not shifted.
        shift: The same for the view.
        mirrored: Whether left is right.
        erased: Left, top, right and bottom of what has one colour, in pixels of the view.
    """

    box: Box | None = None
    source_shift: tuple[int, int] | None = None
    shift: tuple[int, int] | None = None
    mirrored: bool = False
    erased: tuple[int, int, int, int] | None = None


def default_augmentation(
    strength: Strength, *, mirror: bool, tiny: bool, policy: Policy | None = None, erasing: float | None = None
) -> Augmentation:
    """The augmentation of a strength.

    Args:
        strength: ``none``, ``light``, ``standard`` or ``strong``.
        mirror: Whether a mirrored image still belongs to its class.
        tiny: Whether the sources have at most ``TINY_SOURCE_PX`` pixels on their shorter side.
        policy: Instead of the strength's own.
        erasing: Instead of the strength's own.
    """
    is_strong = strength == "strong"
    if policy is None:
        # TrivialAugment turns by up to 135 degrees: a 6 would be a 9 where even mirroring is not safe.
        policy = ("trivialaugment" if mirror else "randaugment") if is_strong else "none"
    return Augmentation(
        strength=strength,
        mirror=mirror and strength != "none",
        policy=policy,
        erasing=(STRONG_ERASING if is_strong else 0.0) if erasing is None else erasing,
        source_pad=tiny and strength == "light",
    )


class Augment:
    """Turns an item into a varied training image.

    Args:
        preprocess: Gives size, fit, interpolation and the mean colour.
        augmentation: What varies.
        seed: Of the training.
        epoch: From 1.
        size: Pixels of the square instead of the preprocessing's, for progressive resizing.
    """

    def __init__(
        self, preprocess: Preprocess, augmentation: Augmentation, *, seed: int, epoch: int, size: int | None = None
    ) -> None:
        self._preprocess = preprocess.with_size(size) if size else preprocess
        self._augmentation = augmentation
        self._key = (seed, epoch)

    def __call__(self, index: int, item: Item) -> Pixels:
        """The image at ``index`` of the train split as uint8 [crop_size x crop_size x 3].

        Raises:
            ImageError: The image cannot be read.
        """
        augmentation, preprocess = self._augmentation, self._preprocess
        rng = np.random.default_rng((*self._key, index))
        image = item.open()
        view = draw_part(augmentation, preprocess, image.size, rng)
        pixels = self._show(image, view)
        if augmentation.policy != "none":
            varied = apply_policy(augmentation.policy, from_pixels(pixels), rng, fill=preprocess.mean_colour)
            pixels = np.asarray(varied)
        view = draw_finish(view, augmentation, preprocess.crop_size, rng)
        if view.mirrored:
            pixels = pixels[:, ::-1]
        return pixels if view.erased is None else _fill(pixels, view.erased, preprocess.mean_colour)

    def _show(self, image: Image.Image, view: View) -> Pixels:
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
    """The view of a recipe without a policy: the one that :class:`Augment` shows.

    Args:
        augmentation: What varies.
        preprocess: With the size of the view.
        size: Width and height of the source.
        key: Seed, epoch and index.
    """
    rng = np.random.default_rng(key)
    return draw_finish(draw_part(augmentation, preprocess, size, rng), augmentation, preprocess.crop_size, rng)


def draw_part(
    augmentation: Augmentation, preprocess: Preprocess, size: tuple[int, int], rng: np.random.Generator
) -> View:
    """Which part of an image is shown: what is drawn before a policy.

    Args:
        augmentation: What varies.
        preprocess: With the size of the view.
        size: Width and height of the source.
        rng: Where chance comes from.
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
    # A part shaped like its image, which is then padded or squashed as the whole image is in evaluation.
    left, top, right, bottom = random_box((1, 1), rng, area=area)
    width, height = size
    return View(box=(left * width, top * height, right * width, bottom * height))


def draw_finish(view: View, augmentation: Augmentation, side: int, rng: np.random.Generator) -> View:
    """The view with what is drawn after a policy: whether it is mirrored, and what is erased.

    Args:
        view: Its part.
        augmentation: What varies.
        side: Of the view, in pixels.
        rng: Where chance comes from.
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
        size: Width and height.
        rng: Where chance comes from.
        area: Least and most of its share of the image.
        aspect: Least and most of its width over its height.

    Source: torchvision.transforms.RandomResizedCrop, clipped to the image instead of tried again.
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
    """By how many pixels an image of this shorter side is shifted at most."""
    return round(SHIFT * side)


def shift(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Moves an image by up to an eighth of its shorter side in each direction; the rim is mirrored in.

    Args:
        pixels: uint8 [h x w x 3].
        rng: Where chance comes from.
    """
    return _cut(pixels, _draw_shift(min(pixels.shape[:2]), rng))


def erase(pixels: Pixels, rng: np.random.Generator, fill: tuple[int, int, int]) -> Pixels:
    """A copy in which a random rectangle has one colour.

    Args:
        pixels: uint8 [h x w x 3].
        rng: Where chance comes from.
        fill: The mean colour, which is 0 after normalisation.

    Source: Zhong et al. 2017, https://arxiv.org/abs/1708.04896; the colour as in its authors' code and, after
    normalisation, in torchvision.transforms.RandomErasing.
    """
    height, width = pixels.shape[:2]
    return _fill(pixels, _draw_erasing((width, height), rng), fill)


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
    left, top, right, bottom = box
    filled = pixels.copy()
    filled[top:bottom, left:right] = fill
    return filled
