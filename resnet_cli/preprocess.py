"""The one description of how an image becomes the network's input.

It is stored in the model file. Training, evaluation, prediction and exports all use this object; sizes, means and
standard deviations are stored nowhere else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from PIL import Image

from resnet_cli.config.units import BIT_DEPTHS
from resnet_cli.errors import ModelError
from resnet_cli.images import Pixels, decoder_version

if TYPE_CHECKING:
    import torch

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
Fit: TypeAlias = Literal["crop", "pad", "squash"]

#: Source: torchvision.transforms._presets.ImageClassification, the statistics of ImageNet-1k's train split.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Ratio of the longer to the shorter side above which an image is not resized as a whole.
MAX_ASPECT = 8
#: Raised when ``pad`` or ``squash`` give other pixels for the same image: part of the keys of caches.
_WHOLE_RULES = 2
#: Integers below this are exact in float32.
_FLOAT32_INTEGERS = 2**24
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Openable(Protocol):
    """What :meth:`Preprocess.read` opens: an item of a data set."""

    def open(self, bit_depth: int | None = 16) -> Image.Image:
        """The upright RGB image."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Fits an image into a square of ``crop_size``, then computes (x / 255 - mean) / std.

    Resizing is antialiased and done by Pillow on uint8, in two passes with rounding between them.

    Attributes:
        resize_size: Length of the shorter side in pixels before the center crop; at least ``crop_size``, and equal to
            it if nothing is cropped.
        crop_size: Side of the network's input in pixels.
        fit: ``crop`` resizes the shorter side to ``resize_size`` and crops the center; ``pad`` resizes the longer side
            to ``crop_size`` and pads with the mean color; ``squash`` resizes to the square whatever the aspect ratio.
        interpolation: ``bilinear``, or ``bicubic`` for sources that are enlarged.
        mean: Mean of each RGB channel, for values in [0, 1].
        std: Standard deviation of each RGB channel, for values in [0, 1].
        bit_depth: Bits that the values of 16-bit files use: the upper 8 of them become the pixels. The range of the
            whole training data decides, since one image may only be dark.
    """

    resize_size: int
    crop_size: int
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    fit: Fit = "crop"
    bit_depth: int = 16

    @property
    def mean_color(self) -> tuple[int, int, int]:
        """The RGB color in [0, 255] that is about 0 after normalization: it fills areas without image."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    def with_fit(self, fit: Fit) -> Preprocess:
        """The same preprocessing with another fit; without a crop, ``resize_size`` is ``crop_size``."""
        resize_size = self.resize_size if fit == "crop" else self.crop_size
        return dataclasses.replace(self, fit=fit, resize_size=resize_size)

    def with_size(self, crop_size: int) -> Preprocess:
        """The same geometry for a network input of ``crop_size`` pixels."""
        resize_size = round(crop_size * self.resize_size / self.crop_size)
        return dataclasses.replace(self, resize_size=resize_size, crop_size=crop_size)

    def read(self, item: Openable) -> Pixels:
        """Opens an item and fits it into uint8 [crop_size x crop_size x 3].

        Raises:
            ImageError: The image cannot be read.
        """
        return self(item.open(self.bit_depth))

    def seen(self, width: int, height: int) -> tuple[tuple[float, ...], tuple[int, int, int, int]]:
        """Which part of an image the network sees, and where that part is in its input.

        Args:
            width: Width of the image in pixels.
            height: Height of the image.

        Returns:
            Left, top, right and bottom in the image, fractional; and the same in [crop_size x crop_size].
        """
        side = self.crop_size
        if self.fit == "crop":
            short = min(width, height)
            scales = [length / int(self.resize_size * length / short) for length in (width, height)]
            corner = [round((int(self.resize_size * length / short) - side) / 2) for length in (width, height)]
            ends = [(start + side) * scale for start, scale in zip(corner, scales, strict=True)]
            left, top = (start * scale for start, scale in zip(corner, scales, strict=True))
            return (left, top, min(ends[0], width), min(ends[1], height)), (0, 0, side, side)
        if self.fit == "squash":
            return (0, 0, width, height), (0, 0, side, side)
        scale = side / max(width, height)
        inner = [max(1, round(length * scale)) for length in (width, height)]
        left, top = (round((side - length) / 2) for length in inner)
        return (0, 0, width, height), (left, top, left + inner[0], top + inner[1])

    def __call__(self, image: Image.Image) -> Pixels:
        """Fits one RGB image into uint8 [crop_size x crop_size x 3]."""
        width, height = image.size
        if self.fit != "crop":
            return self.resize(image, (0, 0, width, height))
        short = min(width, height)
        # torchvision truncates the longer side: the same grid gives the same pixels as its presets, bit for bit.
        new_width = int(self.resize_size * width / short)
        new_height = int(self.resize_size * height / short)
        left = round((new_width - self.crop_size) / 2)
        top = round((new_height - self.crop_size) / 2)
        if max(new_width, new_height) <= MAX_ASPECT * self.resize_size:
            return self._resize_and_crop(image, (new_width, new_height), (left, top))
        # A panorama: only the crop itself is resized, or 50 x 50,000 pixels would first become 256 x 256,000.
        scale_x, scale_y = width / new_width, height / new_height
        right, bottom = (left + self.crop_size) * scale_x, (top + self.crop_size) * scale_y
        return self.resize(image, (left * scale_x, top * scale_y, min(right, width), min(bottom, height)))

    def resize(self, image: Image.Image, box: tuple[float, float, float, float]) -> Pixels:
        """Resizes the part of an RGB image inside ``box`` to uint8 [crop_size x crop_size x 3].

        With ``pad``, the part keeps its aspect ratio and is centered on the mean color.

        Args:
            image: An image of mode RGB.
            box: Left, top, right, bottom in source pixels; may be fractional.
        """
        side = self.crop_size
        if self.fit != "pad":
            return np.asarray(self._resample(image, (side, side), box))
        width, height = box[2] - box[0], box[3] - box[1]
        scale = side / max(width, height)
        part = self._resample(image, (max(1, round(width * scale)), max(1, round(height * scale))), box)
        square = Image.new("RGB", (side, side), self.mean_color)
        square.paste(part, (round((side - part.width) / 2), round((side - part.height) / 2)))
        return np.asarray(square)

    def _resize_and_crop(self, image: Image.Image, size: tuple[int, int], corner: tuple[int, int]) -> Pixels:
        """Resizes the whole image to ``size`` and crops a square, without computing what does not change the crop.

        Bit by bit, this is ``image.resize(size).crop(...)``.
        """
        (width, height), (left, top), side = image.size, corner, self.crop_size
        if image.size != size:
            first_x, end_x = _computed_part(width, size[0], left, side)
            first_y, end_y = _computed_part(height, size[1], top, side)
            if _is_vertical_first(image.size, size) != _is_vertical_first(
                image.size, (end_x - first_x, end_y - first_y)
            ):
                # The passes round to whole levels: in another order they give other pixels.
                first_x, first_y, (end_x, end_y) = 0, 0, size
            scale_x, scale_y = width / size[0], height / size[1]
            box = (first_x * scale_x, first_y * scale_y, end_x * scale_x, end_y * scale_y)
            image = image.resize((end_x - first_x, end_y - first_y), _RESAMPLING[self.interpolation], box)
            left, top = left - first_x, top - first_y
        return np.asarray(image.crop((left, top, left + side, top + side)))

    def _resample(
        self, image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
    ) -> Image.Image:
        width, height = box[2] - box[0], box[3] - box[1]
        resampling = _RESAMPLING[self.interpolation]
        if height > MAX_ASPECT * width and _is_vertical_first((width, height), size):
            # Pillow 12 would store the new width at the old height between its passes: 224 x 50,000 for a tall
            # panorama. Resizing the height by itself gives the pixels of Pillow 13.
            image = image.resize((image.width, size[1]), resampling, (0, box[1], image.width, box[3]))
            box = (box[0], 0, box[2], size[1])
        return image.resize(size, resampling, box)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scales and normalizes a batch on its device.

        Args:
            pixels: uint8 [b x 3 x h x w].

        Returns:
            float32 [b x 3 x h x w].
        """
        # Imported here, since exported files are run without torch and use this class too.
        import torch

        mean = torch.tensor(self.mean, device=pixels.device).mul_(255).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).mul_(255).view(1, 3, 1, 1)
        return pixels.float().sub_(mean).div_(std)

    def to_dict(self) -> dict[str, Any]:
        """The description as plain JSON values; without ``fit`` it is ``crop``, without ``bit_depth`` 16."""
        values = dataclasses.asdict(self)
        # What everything was before the field existed is left out: older versions can still read such a model, and
        # fingerprints, which identify cached features, do not change.
        for name, usual in (("fit", "crop"), ("bit_depth", 16)):
            if values[name] == usual:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """Rebuilds a description from :meth:`to_dict`.

        Raises:
            ModelError: A key is missing or unknown, or a value is invalid.
        """
        try:
            plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            made = cls(**plain)
            fits = (
                type(made.resize_size) is type(made.crop_size) is int
                and 1 <= made.crop_size <= made.resize_size <= 4096
                and made.interpolation in _RESAMPLING
                and made.fit in get_args(Fit)
                and type(made.bit_depth) is int
                and made.bit_depth in BIT_DEPTHS
                and (made.fit == "crop" or made.resize_size == made.crop_size)
                and len(made.mean) == len(made.std) == 3
                # Within [0, 1]: no NaN, and no std that would make the input overflow.
                and all(isinstance(x, int | float) and 0 <= x <= 1 for x in made.mean)
                and all(isinstance(x, int | float) and 1e-3 <= x <= 1 for x in made.std)
            )
        except TypeError as error:
            raise ModelError(f"the model's preprocessing cannot be read: {error}") from error
        if not fits:
            raise ModelError(f"the model's preprocessing is invalid: {values}")
        return made

    def fingerprint(self, names: Iterable[str] = ()) -> str:
        """A hash of everything that determines the network's input for given files.

        Args:
            names: Names of the files; their extensions tell which decoders read them.
        """
        rules = [] if self.fit == "crop" else [_WHOLE_RULES]
        text = json.dumps([self.to_dict(), decoder_version(names), *rules], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _computed_part(length: int, resized: int, offset: int, side: int) -> tuple[int, int]:
    """First and end index of the pixels of a resized axis that must be computed for those that the crop keeps.

    The crop alone, if that gives the same bits. Pillow takes the box as float32 and places each pixel at box start +
    (index + 1/2) * scale: with a power of two as the denominator of the scale, all of these numbers are exact, and each
    pixel has the same weights in a part as in the whole. Otherwise the axis is computed as a whole: a rounded box
    changes up to 0.2 % of the values by one level.

    Source: Pillow's ``src/libImaging/Resample.c``, ``precompute_coeffs``.

    Args:
        length: Source pixels of the axis.
        resized: Pixels after resizing.
        offset: First one that the crop keeps.
        side: Number of pixels that the crop keeps.
    """
    divisor = math.gcd(length, resized)
    numerator, denominator = length // divisor, resized // divisor
    is_exact = denominator & (denominator - 1) == 0 and (offset + side) * numerator < _FLOAT32_INTEGERS
    return (offset, offset + side) if is_exact else (0, resized)


def _is_vertical_first(size: tuple[float, float], resized: tuple[int, int]) -> bool:
    """Whether Pillow 13 and later resize the height before the width; Pillow 12 never does.

    Source: Pillow's ``src/libImaging/Resample.c``, ``ImagingResampleInner``.
    """
    lost_width, lost_height = (before - after for before, after in zip(size, resized, strict=True))
    return lost_height > 0 and lost_height > 2 * lost_width
