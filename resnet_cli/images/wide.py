"""16-bit files to 8 bits: the upper 8 of the bits that their values use.

Cameras, microscopes and detectors store 10, 12 or 14 bits in files of 16, often without saying so in the file:
the upper 8 of all 16 bits would be nearly black. Which bits are used is known only of a whole data set.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.config.units import BIT_DEPTHS
from resnet_cli.errors import ImageError

#: Last letter of Pillow's raw mode -> that of the mode which exchanges the two bytes of each value.
_EXCHANGED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def bits_needed(largest: int) -> int:
    """The smallest of :data:`~resnet_cli.config.units.BIT_DEPTHS` that holds a value in [0, 65535]."""
    return next(depth for depth in BIT_DEPTHS if largest < 2**depth)


def beyond(needed: int, bit_depth: int) -> str:
    """Why a model cannot read an image whose values need more bits than those of its training images."""
    return f"its values need {needed} bits, more than the {bit_depth} of the 16-bit images that the model is trained on"


def narrow(values: NDArray[Any], path: str, bit_depth: int | None) -> tuple[NDArray[np.uint8], int]:
    """Scales 16-bit values to 8 bits.

    Args:
        values: Whole numbers in [0, 65535], of any shape.
        path: Name of the file in errors.
        bit_depth: Bits that are used; None for the fewest that these values need.

    Returns:
        The values as uint8, and the number of bits that they need, one of :data:`~resnet_cli.config.units.BIT_DEPTHS`.

    Raises:
        ImageError: They need more than ``bit_depth`` bits.
    """
    needed = bits_needed(int(values.max()))
    depth = bit_depth or needed
    if needed > depth:
        raise ImageError(path, beyond(needed, depth))
    return (values >> (depth - 8)).astype(np.uint8), needed


def narrow_colors(image: Image.Image, path: str, data: bytes, bit_depth: int | None) -> tuple[Image.Image, int]:
    """16-bit colors, of which Pillow keeps only the upper byte of each value.

    Args:
        image: The loaded image, of mode RGB or RGBA.
        path: Name of the file in errors.
        data: The whole file, which is read once more if the colors use fewer than 16 bits.
        bit_depth: Bits that are used; None for the fewest that these colors need.

    Returns:
        The image, and the number of bits that its colors need.

    Raises:
        ImageError: They need more than ``bit_depth`` bits.
    """
    upper = np.asarray(image).astype(np.int32)  # [h x w x 3 or 4]
    needed = bits_needed(256 * int(upper[..., :3].max()) + 255)
    depth = bit_depth or needed
    if depth == 16:
        return image, needed
    values = 256 * upper + _lower_bytes(data, path, depth)[..., : upper.shape[2]]
    colors, needed = narrow(values[..., :3], path, depth)
    if image.mode == "RGB":
        return Image.fromarray(colors), needed
    # Alpha may use all 16 bits where the colors do not.
    alpha = values[..., 3]
    alpha >>= (depth if alpha.max() < 2**depth else 16) - 8
    return Image.fromarray(np.dstack([colors, alpha.astype(np.uint8)])), needed


def _lower_bytes(data: bytes, path: str, depth: int) -> NDArray[np.int32]:
    """The lower byte of each value, [h x w x 3 or 4]."""
    with Image.open(io.BytesIO(data)) as image:
        raw_mode = _raw_mode(image.tile[0].args)
        if raw_mode.startswith("RGBa"):
            raise ImageError(path, f"16-bit colors multiplied by alpha cannot be read as {depth}-bit ones")
        # Pillow has no raw mode for the lower bytes of gray with alpha, but one that returns all four bytes of a pixel.
        is_gray = raw_mode.startswith("LA")
        asked = "RGBA" if is_gray else raw_mode[:-1] + _EXCHANGED[raw_mode[-1]]
        image.tile = [
            tile._replace(args=(asked, *tile.args[1:]) if isinstance(tile.args, tuple) else asked)
            for tile in image.tile
        ]
        lower = np.asarray(image).astype(np.int32)
    return lower[..., [1, 1, 1, 3]] if is_gray else lower


def _raw_mode(arguments: tuple[Any, ...] | str | None) -> str:
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)
