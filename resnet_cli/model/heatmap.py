"""Heat maps of the network's last stage, enlarged and overlaid on the network's input; no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resnet_cli.images import Pixels

#: Pixels of the input per cell of the last stage.
STRIDE_PX = 32
#: Shift of a cell's receptive field to the left and upwards, against its own square. All stages pad their left edge and
#: not always their right one: the exact center of the receptive field of cell i is at 32 * i; the center of what counts
#: is between the two. Heat maps of 70 ImageNet photos and of their mirror images, enlarged without a shift, disagree by
#: 15.3 (standard error 1.5) pixels horizontally and by 12.9 (3.1) vertically, which is twice the shift.
OFFSET_PX = 8
#: Heat 0 to 1 in equal steps, RGB: matplotlib's ``inferno`` from 0.2 up. Its lightness
#: increases steadily, so it is readable in gray and with any color blindness.
#: Source: Smith and van der Walt 2015, https://bids.github.io/colormap/.
_HEAT = np.array(
    [
        (66, 10, 104),
        (106, 23, 110),
        (147, 38, 103),
        (188, 55, 84),
        (221, 81, 58),
        (243, 120, 25),
        (252, 165, 10),
        (246, 215, 70),
        (252, 255, 164),
    ],
    dtype=np.float32,
)
#: Share of the image's own color that is kept under the map, and the largest opacity of the heat's color.
_COLOR_KEPT, _MOST_COVERED = 0.35, 0.6
#: What covers the part of an image that the network does not see, how much of it, and the frame of what it sees.
_UNSEEN, _UNSEEN_SHARE, _FRAME = (24, 28, 36), 0.6, (255, 255, 255)
#: Weights of red, green and blue in the luma. Source: ITU-R BT.601.
_BRIGHTNESS = np.array((0.299, 0.587, 0.114), dtype=np.float32)


def web_look() -> dict[str, Any]:
    """What a browser needs to draw the same overlay."""
    return {
        "colors": _HEAT.astype(int).tolist(),
        "kept": _COLOR_KEPT,
        "covered": _MOST_COVERED,
        "stride": STRIDE_PX,
        "offset": OFFSET_PX,
    }


def explanation(pixels: Pixels, heat: NDArray[np.float32]) -> Image.Image:
    """The network's input with an overlay that is lighter where it contributes to the predicted class.

    Args:
        pixels: The input, uint8 [h x w x 3].
        heat: Contribution of each place of the last stage, [rows x columns].
    """
    (shares,) = heat_maps(heat[None], height=pixels.shape[0], width=pixels.shape[1])
    return overlay(Image.fromarray(pixels), shares)


def in_whole_image(
    image: Image.Image, explained: Image.Image, seen: tuple[float, ...], place: tuple[int, int, int, int]
) -> Image.Image:
    """A whole image in which an overlay is where the network saw it; what it did not see is dark, outside a frame.

    Args:
        image: The whole image in mode RGB, of any size.
        explained: The network's input with its overlay.
        seen: Left, top, right and bottom of what the network saw, as shares of the image.
        place: The same part in ``explained``, in its pixels.
    """
    width, height = image.size
    left, top, right, bottom = (round(end * length) for end, length in zip(seen, (width, height) * 2, strict=True))
    size = max(1, right - left), max(1, bottom - top)
    whole = Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, _UNSEEN), _UNSEEN_SHARE)
    whole.paste(explained.crop(place).resize(size, Image.Resampling.BICUBIC), (left, top))
    if size != image.size:
        frame = [max(0, left - 1), max(0, top - 1), min(width, right + 1) - 1, min(height, bottom + 1) - 1]
        ImageDraw.Draw(whole).rectangle(frame, outline=_FRAME)
    return whole


def heat_maps(heat: NDArray[np.float32], *, height: int, width: int) -> NDArray[np.float32]:
    """Enlarges heat [b x rows x columns] to [b x height x width], and scales each map to its own maximum.

    Returns:
        Values in [0, 1]; all 0 if no place contributes to the class.
    """
    large = np.stack([_enlarge(cells, height, width) for cells in heat])
    greatest = large.max(axis=(1, 2), keepdims=True)
    shares = large / np.maximum(greatest, np.finfo(np.float32).tiny)
    return np.asarray(np.clip(shares, 0, 1))


def _enlarge(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Places each value at the center of its cell's receptive field, with linear interpolation between them."""
    # One more cell, which is cropped again at the right and at the bottom.
    wide = Image.fromarray(np.pad(cells.astype(np.float32), ((0, 1), (0, 1)), mode="edge"))
    start, right, bottom = (pixels / STRIDE_PX for pixels in (OFFSET_PX, OFFSET_PX + width, OFFSET_PX + height))
    box = (start, start, right, bottom)
    return np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR, box=box), dtype=np.float32)


def overlay(image: Image.Image, heat: NDArray[np.floating]) -> Image.Image:
    """Overlays a heat map on an image: hotter places are lighter and more opaque, the rest fades to gray.

    Args:
        image: The image in mode RGB.
        heat: Heat map [h x w] in [0, 1], with the size of the image.

    Raises:
        ValueError: The sizes differ.
    """
    if heat.shape != image.size[::-1]:
        raise ValueError(f"a heat map of {heat.shape[1]} x {heat.shape[0]} for an image of {image.size}")
    colors = np.asarray(image, dtype=np.float32)  # [h x w x 3]
    gray = (colors @ _BRIGHTNESS)[..., None]
    faded = gray + _COLOR_KEPT * (colors - gray)
    place = np.clip(heat, 0, 1) * (len(_HEAT) - 1)
    below = np.minimum(place.astype(np.intp), len(_HEAT) - 2)
    part = (place - below)[..., None]
    glow = _HEAT[below] * (1 - part) + _HEAT[below + 1] * part
    covered = _MOST_COVERED * np.clip(heat, 0, 1)[..., None]
    mixed = faded * (1 - covered) + glow * covered
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
