"""The one description of how a picture becomes the network's input.

It travels inside the model file. Training, evaluation, prediction and exports all read this object; no other
place keeps a size, a mean or a standard deviation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image

from resnet_cli.errors import ModelError
from resnet_cli.images import Pixels, decoder_version

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

#: Source: torchvision.transforms._presets.ImageClassification, the statistics of ImageNet-1k's train split.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Longer side over shorter: above it a picture is not resized as a whole.
MAX_ASPECT = 8
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Shorter side to ``resize_size``, centre crop of ``crop_size``, then (x / 255 - mean) / std.

    Resizing is antialiased and done by Pillow on uint8, two passes with rounding between them.

    Attributes:
        resize_size: Pixels of the shorter side after resizing; at least ``crop_size``.
        crop_size: Pixels of the square that the network sees.
        interpolation: ``bilinear``, or ``bicubic`` for sources that are enlarged.
        mean: Per RGB channel, of values in [0, 1].
        std: Per RGB channel, of values in [0, 1].
    """

    resize_size: int
    crop_size: int
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, image: Image.Image) -> Pixels:
        """Resizes and crops one RGB image to uint8 [crop_size x crop_size x 3]."""
        width, height = image.size
        short = min(width, height)
        # torchvision truncates the longer side: the same grid gives the same pixels as its presets, bit by bit.
        new_width = int(self.resize_size * width / short)
        new_height = int(self.resize_size * height / short)
        left = round((new_width - self.crop_size) / 2)
        top = round((new_height - self.crop_size) / 2)
        if max(new_width, new_height) <= MAX_ASPECT * self.resize_size:
            whole = image.resize((new_width, new_height), _RESAMPLING[self.interpolation])
            return np.asarray(whole.crop((left, top, left + self.crop_size, top + self.crop_size)))
        # A panorama: only the crop's own part, or 50 x 50,000 pixels would be resized to 256 x 256,000 first.
        scale_x, scale_y = width / new_width, height / new_height
        right, bottom = (left + self.crop_size) * scale_x, (top + self.crop_size) * scale_y
        return self.resize(image, (left * scale_x, top * scale_y, min(right, width), min(bottom, height)))

    def resize(self, image: Image.Image, box: tuple[float, float, float, float]) -> Pixels:
        """Resizes the part of an RGB image inside ``box`` to uint8 [crop_size x crop_size x 3].

        Args:
            image: Mode RGB.
            box: Left, top, right, bottom in source pixels; may be fractional.
        """
        size = (self.crop_size, self.crop_size)
        return np.asarray(image.resize(size, _RESAMPLING[self.interpolation], box))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scales and normalises a batch on the device it is on.

        Args:
            pixels: uint8 [b x 3 x h x w].

        Returns:
            float32 [b x 3 x h x w].
        """
        mean = torch.tensor(self.mean, device=pixels.device).mul_(255).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).mul_(255).view(1, 3, 1, 1)
        return pixels.float().sub_(mean).div_(std)

    def to_dict(self) -> dict[str, Any]:
        """The description as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """Rebuilds a description from :meth:`to_dict`.

        Raises:
            ModelError: A key is missing or unknown, or a value cannot be.
        """
        try:
            plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            made = cls(**plain)
            fits = (
                type(made.resize_size) is type(made.crop_size) is int
                and 1 <= made.crop_size <= made.resize_size <= 4096
                and made.interpolation in _RESAMPLING
                and len(made.mean) == len(made.std) == 3
                # Within [0, 1]: no NaN, and no std that would make the input overflow.
                and all(isinstance(x, int | float) and 0 <= x <= 1 for x in made.mean)
                and all(isinstance(x, int | float) and 1e-3 <= x <= 1 for x in made.std)
            )
        except TypeError as error:
            raise ModelError(f"the model's preprocessing cannot be read: {error}") from error
        if not fits:
            raise ModelError(f"the model's preprocessing cannot be right: {values}")
        return made

    def fingerprint(self) -> str:
        """A hash of everything that decides the network's input for a given file."""
        text = json.dumps([self.to_dict(), decoder_version()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
