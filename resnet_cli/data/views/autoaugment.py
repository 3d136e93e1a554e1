"""RandAugment and TrivialAugment: random operations on an image's colors and geometry.

The operations and their magnitudes are those of ``torchvision.transforms.autoaugment``, whose classes draw from torch's
global generator and so cannot be a function of the sample. None of the operations mirrors an image.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Policy: TypeAlias = Literal["none", "randaugment", "trivialaugment"]
Color: TypeAlias = tuple[int, int, int]

#: Number of evenly spaced magnitudes, from no effect to the strongest.
NUM_BINS = 31
#: Source: Cubuk et al. 2019, https://arxiv.org/abs/1909.13719, as torchvision.transforms.RandAugment sets it.
RANDAUGMENT_OPERATIONS = 2
RANDAUGMENT_BIN = 9
#: RandAugment translates by up to this share of the side. Source: torchvision.transforms.RandAugment.
TRANSLATE_SHARE = 150 / 331
#: TrivialAugment translates by up to this many pixels, whatever the size.
#: Source: torchvision.transforms.TrivialAugmentWide.
TRANSLATE_PX = 32.0


@dataclasses.dataclass(frozen=True)
class Strongest:
    """The strongest magnitudes of a policy.

    Attributes:
        shear: Tangent of the angle.
        rotate: Angle in degrees.
        enhance: Largest deviation from 1 of the factors for brightness, color, contrast and sharpness.
        posterize: Number of bits per channel that are removed.
    """

    shear: float
    rotate: float
    enhance: float
    posterize: int


#: Source: torchvision.transforms.RandAugment, and TrivialAugmentWide after Müller and Hutter 2021,
#: https://arxiv.org/abs/2103.10158.
RANDAUGMENT = Strongest(shear=0.3, rotate=30.0, enhance=0.9, posterize=4)
TRIVIALAUGMENT = Strongest(shear=0.99, rotate=135.0, enhance=0.99, posterize=6)

Operation: TypeAlias = Callable[[Image.Image, float, Color], Image.Image]


def _affine(image: Image.Image, matrix: tuple[float, ...], fill: Color) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


#: Name -> operation with a magnitude; pixels from outside the image get the fill color.
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
#: Operations that are applied in the opposite direction half of the time.
SIGNED = frozenset(
    {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"}
)


def apply_policy(policy: Policy, image: Image.Image, rng: np.random.Generator, *, fill: Color) -> Image.Image:
    """Applies a policy to an image.

    Args:
        policy: ``randaugment`` for two operations of medium magnitude; ``trivialaugment`` for one of any magnitude.
        image: An image of mode RGB; it is not changed.
        rng: Random generator.
        fill: Color of the pixels from outside the image.
    """
    if policy == "trivialaugment":
        return _random_operation(policy, image, int(rng.integers(NUM_BINS)), rng, fill=fill)
    if policy == "randaugment":
        for _ in range(RANDAUGMENT_OPERATIONS):
            image = _random_operation(policy, image, RANDAUGMENT_BIN, rng, fill=fill)
    return image


def magnitude(policy: Policy, name: str, level: int, size: tuple[int, int]) -> float:
    """The magnitude of an operation at one of the ``NUM_BINS`` levels, without its sign.

    Args:
        policy: ``randaugment`` or ``trivialaugment``.
        name: Name of the operation.
        level: Level from 0 to ``NUM_BINS`` - 1.
        size: Width and height of the image.

    Returns:
        Tangent, pixels, degrees, change of a factor, bits kept, or threshold, depending on the operation; 0 for
        operations without a magnitude.
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
    policy: Policy, image: Image.Image, level: int, rng: np.random.Generator, *, fill: Color
) -> Image.Image:
    name = _NAMES[rng.integers(len(_NAMES))]
    strength = magnitude(policy, name, level, image.size)
    if name in SIGNED and rng.random() < 0.5:
        strength = -strength
    return OPERATIONS[name](image, strength, fill)
