"""RandAugment and TrivialAugment: random operations on an image's colours and geometry.

The operations and their magnitudes are torchvision's (``torchvision.transforms.autoaugment``), whose own classes
draw from torch's global generator and so cannot be a function of the sample. None of them mirrors an image.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Policy: TypeAlias = Literal["none", "randaugment", "trivialaugment"]
Colour: TypeAlias = tuple[int, int, int]

#: A magnitude is one of so many even steps from nothing to the strongest.
NUM_BINS = 31
#: Source: Cubuk et al. 2019, https://arxiv.org/abs/1909.13719, as torchvision.transforms.RandAugment sets it.
RANDAUGMENT_OPERATIONS = 2
RANDAUGMENT_BIN = 9
#: RandAugment moves by up to this share of the side. Source: torchvision.transforms.RandAugment.
TRANSLATE_SHARE = 150 / 331
#: TrivialAugment moves by up to so many pixels, whatever the size. Source: torchvision.transforms.TrivialAugmentWide.
TRANSLATE_PX = 32.0


@dataclasses.dataclass(frozen=True)
class Strongest:
    """The strongest magnitudes of a policy.

    Attributes:
        shear: Tangent of the angle.
        rotate: Degrees.
        enhance: Brightness, colour, contrast and sharpness lie within 1 ± this.
        posterize: Bits a channel that are lost.
    """

    shear: float
    rotate: float
    enhance: float
    posterize: int


#: Source: torchvision.transforms.RandAugment, and TrivialAugmentWide after Müller and Hutter 2021,
#: https://arxiv.org/abs/2103.10158.
RANDAUGMENT = Strongest(shear=0.3, rotate=30.0, enhance=0.9, posterize=4)
TRIVIALAUGMENT = Strongest(shear=0.99, rotate=135.0, enhance=0.99, posterize=6)

Operation: TypeAlias = Callable[[Image.Image, float, Colour], Image.Image]


def _affine(image: Image.Image, matrix: tuple[float, ...], fill: Colour) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


#: Name -> what it does with a magnitude; pixels from outside the image get the fill colour.
OPERATIONS: dict[str, Operation] = {
    "Identity": lambda image, _, __: image,
    "ShearX": lambda image, m, fill: _affine(image, (1, m, 0, 0, 1, 0), fill),
    "ShearY": lambda image, m, fill: _affine(image, (1, 0, 0, m, 1, 0), fill),
    "TranslateX": lambda image, m, fill: _affine(image, (1, 0, -int(m), 0, 1, 0), fill),
    "TranslateY": lambda image, m, fill: _affine(image, (1, 0, 0, 0, 1, -int(m)), fill),
    "Rotate": lambda image, m, fill: image.rotate(m, Image.Resampling.BILINEAR, fillcolor=fill),
    "Brightness": lambda image, m, _: ImageEnhance.Brightness(image).enhance(1 + m),
    "Color": lambda image, m, _: ImageEnhance.Color(image).enhance(1 + m),
    "Contrast": lambda image, m, _: ImageEnhance.Contrast(image).enhance(1 + m),
    "Sharpness": lambda image, m, _: ImageEnhance.Sharpness(image).enhance(1 + m),
    "Posterize": lambda image, m, _: ImageOps.posterize(image, int(m)),
    "Solarize": lambda image, m, _: ImageOps.solarize(image, math.ceil(m)),
    "AutoContrast": lambda image, _, __: ImageOps.autocontrast(image),
    "Equalize": lambda image, _, __: ImageOps.equalize(image),
}
_NAMES = tuple(OPERATIONS)
#: Half of the time in the other direction.
SIGNED = frozenset(
    {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"}
)


def apply_policy(policy: Policy, image: Image.Image, rng: np.random.Generator, *, fill: Colour) -> Image.Image:
    """Varies an image as a policy says.

    Args:
        policy: ``randaugment``: two operations of medium strength; ``trivialaugment``: one of any strength.
        image: Mode RGB; is not changed.
        rng: Where chance comes from.
        fill: Where an operation brings in what is outside the image.
    """
    if policy == "trivialaugment":
        return _random_operation(policy, image, int(rng.integers(NUM_BINS)), rng, fill)
    if policy == "randaugment":
        for _ in range(RANDAUGMENT_OPERATIONS):
            image = _random_operation(policy, image, RANDAUGMENT_BIN, rng, fill)
    return image


def magnitude(policy: Policy, name: str, level: int, size: tuple[int, int]) -> float:
    """How strong an operation is at one of the ``NUM_BINS`` levels, without its sign.

    Args:
        policy: ``randaugment`` or ``trivialaugment``.
        name: Of the operation.
        level: From 0 to ``NUM_BINS`` - 1.
        size: The image's width and height.

    Returns:
        Tangent, pixels, degrees, a change of a factor, bits kept, or a threshold, by operation; 0 where it has none.
    """
    strongest = RANDAUGMENT if policy == "randaugment" else TRIVIALAUGMENT
    share = level / (NUM_BINS - 1)
    match name:
        case "ShearX" | "ShearY":
            return share * strongest.shear
        case "TranslateX" | "TranslateY":
            side = size[name == "TranslateY"]
            return share * (TRANSLATE_SHARE * side if policy == "randaugment" else TRANSLATE_PX)
        case "Rotate":
            return share * strongest.rotate
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            return share * strongest.enhance
        case "Posterize":
            return 8 - round(share * strongest.posterize)
        case "Solarize":
            return 255 * (1 - share)
        case _:
            return 0.0


def _random_operation(
    policy: Policy, image: Image.Image, level: int, rng: np.random.Generator, fill: Colour
) -> Image.Image:
    name = _NAMES[rng.integers(len(_NAMES))]
    strength = magnitude(policy, name, level, image.size)
    if name in SIGNED and rng.random() < 0.5:
        strength = -strength
    return OPERATIONS[name](image, strength, fill)
