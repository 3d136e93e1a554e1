"""Images with their predictions, right and wrong ones told apart by words, signs and the colors of their frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resnet_cli.reporting import palette
from resnet_cli.reporting.figures import DPI, INK, MARGIN_IN, Heading, Plot, fitted
from resnet_cli.text import display_width

#: Images up to this side are shown with visible pixels; smoothing would only blur them.
PIXELATED_UP_TO_PX = 64
#: Side of an image with its frame, and the space between two of them, in inches.
SIDE_IN, GAP_IN = 2.0, 0.16
SIDE_PX = round(SIDE_IN * DPI)
COLUMNS = 7
#: A narrower figure would have no room for its heading.
_LEAST_WIDTH_IN = 6.0
_FRAME_PX = 5
CAPTION_PT = 8.5
_LINE_IN = 0.165
#: Longer class names have a line of their own.
_NAME_WIDTH = 12


class Tile(NamedTuple):
    """One image with its prediction.

    Attributes:
        pixels: Image [h x w x 3], [h x w x 1] or [h x w], uint8, of any size.
        predicted: The predicted class, or labels.
        true: The true class, or labels.
        prob: Probability of the predicted class, in [0, 1]; None for several labels.
    """

    pixels: NDArray[np.uint8]
    predicted: str
    true: str
    prob: float | None

    @property
    def is_right(self) -> bool:
        """Whether the prediction is right."""
        return self.predicted == self.true


class ShownPredictions(NamedTuple):
    """Some images with their predictions.

    Attributes:
        wrong: Images with wrong predictions; the most confident mistakes come first.
        right: Images with right predictions, drawn at random.
        num_wrong: Number of all images with wrong predictions.
        num_right: Number of all images with right predictions.
    """

    wrong: list[Tile]
    right: list[Tile]
    num_wrong: int
    num_right: int


def plot_predictions(
    tiles: Sequence[Tile], path: Path, heading: Heading | None = None, *, columns: int = COLUMNS
) -> None:
    """Draws a grid of images, each above its prediction and, if that is wrong, what is true.

    Args:
        tiles: At least one, in the order in which they are shown.
        path: The PNG file to write.
        heading: What is written around them.
        columns: Images per row.

    Raises:
        ValueError: There are no images, or no columns.
        DiskError: The file cannot be written.
    """
    if not tiles or columns < 1:
        raise ValueError("there is nothing to plot: give at least one image and one column")
    columns = min(columns, len(tiles))
    grid = Grid(tiles, columns)
    plot = Plot(max(_LEAST_WIDTH_IN, grid.width_in + 2 * MARGIN_IN), grid.height_in, heading)
    grid.draw(plot, MARGIN_IN, plot.top_in)
    plot.save(path)


class Grid:
    """Images in rows, as a part of a figure.

    Args:
        tiles: At least one.
        columns: Images per row.
        side_in: Side of an image in inches.
        size_pt: Size of the texts in points.
    """

    def __init__(
        self, tiles: Sequence[Tile], columns: int, *, side_in: float = SIDE_IN, size_pt: float = CAPTION_PT
    ) -> None:
        self._tiles, self._columns, self._side_in, self._size_pt = tiles, columns, side_in, size_pt
        names = [tile.predicted for tile in tiles]
        width = int(_NAME_WIDTH * side_in / SIDE_IN * CAPTION_PT / size_pt)
        self._has_long_names = any(display_width(name) > width for name in names)
        self._line_in = _LINE_IN * size_pt / CAPTION_PT
        self._cell_in = side_in + (3 if self._has_long_names else 2) * self._line_in + 0.2
        self.width_in = columns * (side_in + GAP_IN) - GAP_IN
        self.height_in = math.ceil(len(tiles) / columns) * self._cell_in

    def draw(self, plot: Plot, left: float, top: float) -> None:
        """Draws the images at a place in inches from the upper left corner of the figure."""
        for at, tile in enumerate(self._tiles):
            row, column = divmod(at, self._columns)
            x, y = left + column * (self._side_in + GAP_IN), top + row * self._cell_in
            plot.paste(_framed(tile, round(self._side_in * DPI)), x, y)
            for line, (text, color, weight) in enumerate(self._caption(tile)):
                base = y + self._side_in + 0.06 + (line + 0.8) * self._line_in
                plot.write(x, base, text, size_pt=self._size_pt, color=color, weight=weight)

    def _caption(self, tile: Tile) -> list[tuple[str, str, str]]:
        """Lines of text with their colors and weights."""
        chance = "" if tile.prob is None else f" ({whole_percent(tile.prob)})"
        if self._has_long_names:
            said = [f"predicted{chance}", self._fitted(tile.predicted)]
        else:
            said = [f"predicted {tile.predicted}{chance}"]
        if tile.is_right:
            verdict, color = "✓ right", palette.RIGHT.light
        else:
            verdict, color = self._fitted(f"✗ {'has' if tile.prob is None else 'is'} {tile.true}"), palette.WRONG.light
        return [*((text, INK, "normal") for text in said), (verdict, color, "bold")]

    def _fitted(self, text: str) -> str:
        return fitted(text, self._side_in, self._size_pt)


def whole_percent(share: float) -> str:
    """``40 %``; a share that is not 1 is never shown as 100 %."""
    return ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def _framed(tile: Tile, side_px: int) -> Image.Image:
    """The image on a square, in a frame of the color of right or of wrong."""
    pixels: Any = tile.pixels
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).convert("RGB")
    square = Image.new("RGB", (side_px, side_px), palette.WELL.light)
    room = side_px - 2 * _FRAME_PX
    longest = max(image.size)
    scale = room // longest if longest <= PIXELATED_UP_TO_PX else room / longest
    size = tuple(max(1, round(side * scale)) for side in image.size)
    how = Image.Resampling.NEAREST if longest <= PIXELATED_UP_TO_PX else Image.Resampling.LANCZOS
    image = image.resize((size[0], size[1]), how)
    square.paste(image, ((side_px - image.width) // 2, (side_px - image.height) // 2))
    color = (palette.RIGHT if tile.is_right else palette.WRONG).light
    ImageDraw.Draw(square).rectangle((0, 0, side_px - 1, side_px - 1), outline=color, width=_FRAME_PX)
    return square
