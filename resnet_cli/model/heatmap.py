"""Heat maps of the network's last stage, enlarged and laid over what the network saw; no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.images import Pixels

#: Pixels of the input for one cell of the last stage.
STRIDE_PX = 32
#: How far left and above of the cell's own square it looks. All stages pad their left edge and not always their right
#: one: the exact centre of what cell i can see is at 32 * i. What it does see lies between. Plainly enlarged maps of 70
#: ImageNet photos and of their mirror images disagree by 15.3 (standard error 1.5) pixels from left to right and by
#: 12.9 (3.1) upside down, which is twice the offset.
OFFSET_PX = 8
#: Heat 0 to 1 in equal steps, RGB: matplotlib's ``inferno`` from 0.2 up. It gets lighter all the way, so that it
#: also reads in a grey print and for every colour blindness.
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
#: Share of the image's own colour that is left under the map, and how much of the heat's colour covers it at most.
_COLOUR_LEFT, _MOST_COVERED = 0.35, 0.6
#: Weights of red, green and blue in brightness. Source: ITU-R BT.601.
_BRIGHTNESS = np.array((0.299, 0.587, 0.114), dtype=np.float32)


def explanation(pixels: Pixels, heat: NDArray[np.float32]) -> Image.Image:
    """What the network saw, light where it speaks for its class.

    Args:
        pixels: uint8 [h x w x 3].
        heat: Of the last stage, [rows x columns].
    """
    (shares,) = heat_maps(heat[None], height=pixels.shape[0], width=pixels.shape[1])
    return overlay(Image.fromarray(pixels), shares)


def heat_maps(heat: NDArray[np.float32], *, height: int, width: int) -> NDArray[np.float32]:
    """Heat of the last stage [b x rows x columns] -> [b x height x width], each scaled to its own greatest heat.

    Returns:
        Values in [0, 1]; all 0 where no place speaks for the class.
    """
    large = np.stack([_enlarge(cells, height, width) for cells in heat])
    greatest = large.max(axis=(1, 2), keepdims=True)
    shares = large / np.maximum(greatest, np.finfo(np.float32).tiny)
    return np.asarray(np.clip(shares, 0, 1))


def _enlarge(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Each value where its cell looks; linear between them."""
    # A cell more is there to be cut at the right and below.
    wide = Image.fromarray(np.pad(cells.astype(np.float32), ((0, 1), (0, 1)), mode="edge"))
    start, right, bottom = (pixels / STRIDE_PX for pixels in (OFFSET_PX, OFFSET_PX + width, OFFSET_PX + height))
    box = (start, start, right, bottom)
    return np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR, box=box), dtype=np.float32)


def overlay(image: Image.Image, heat: NDArray[np.floating]) -> Image.Image:
    """Lays a heat map over an image: the hotter, the lighter and the more covered; the rest fades towards grey.

    Args:
        image: Mode RGB, what the network saw.
        heat: [h x w] in [0, 1], of the image's size.

    Raises:
        ValueError: The sizes differ.
    """
    if heat.shape != image.size[::-1]:
        raise ValueError(f"a heat map of {heat.shape[1]} x {heat.shape[0]} for an image of {image.size}")
    colours = np.asarray(image, dtype=np.float32)  # [h x w x 3]
    grey = (colours @ _BRIGHTNESS)[..., None]
    faded = grey + _COLOUR_LEFT * (colours - grey)
    place = np.clip(heat, 0, 1) * (len(_HEAT) - 1)
    below = np.minimum(place.astype(np.intp), len(_HEAT) - 2)
    part = (place - below)[..., None]
    glow = _HEAT[below] * (1 - part) + _HEAT[below + 1] * part
    covered = _MOST_COVERED * np.clip(heat, 0, 1)[..., None]
    mixed = faded * (1 - covered) + glow * covered
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
