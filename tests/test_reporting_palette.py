"""The colors of pages and plots: readable on their background, and distinguishable with color blindness."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_cli.reporting import palette
from resnet_cli.reporting.palette import Shade

#: Linear RGB as seen with protanopia and with deuteranopia.
#: Source: Machado, Oliveira and Fernandes 2009, severity 1.0, https://www.inf.ufrgs.br/~oliveira/pubs_files/CVD_Simulation/
VISIONS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def linear(color: str) -> NDArray[np.float64]:
    """Linear RGB [3] in [0, 1] of an sRGB color."""
    values = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """Contrast ratio in [1, 21]. Source: WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    low, high = sorted(float(linear(color) @ (0.2126, 0.7152, 0.0722)) for color in (first, second))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB [3] of linear RGB, with white at D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    x, y, z = np.cbrt(np.maximum(xyz / (0.9505, 1.0, 1.089), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("mode", Shade._fields)
def test_lines_and_texts_can_be_read_on_their_background(mode: str) -> None:
    panel, well = getattr(palette.PANEL, mode), getattr(palette.WELL, mode)
    # 3:1 for graphics and 4.5:1 for text, as WCAG requires.
    for shade in (palette.TRAIN, palette.VAL, palette.TEST, *palette.SERIES):
        assert contrast(getattr(shade, mode), panel) >= 3.0, shade
    for shade in (palette.RIGHT, palette.WRONG, palette.INK, palette.MUTED):
        assert contrast(getattr(shade, mode), panel) >= 4.5, shade
        assert contrast(getattr(palette.INK, mode), well) >= 4.5
    for fill in (palette.RIGHT_FILL, palette.WRONG_FILL):
        assert contrast(getattr(palette.INK, mode), getattr(fill, mode)) >= 4.5, fill


@pytest.mark.parametrize("vision", ["normal", *VISIONS])
@pytest.mark.parametrize("mode", Shade._fields)
def test_colors_that_appear_together_can_be_distinguished_with_color_blindness(mode: str, vision: str) -> None:
    def seen(shade: Shade) -> NDArray[np.float64]:
        return lab(np.array(VISIONS.get(vision, np.eye(3))) @ linear(getattr(shade, mode)))

    # A distance of 2.3 is just noticeable; thin lines and small dots need several times as much.
    for shades in ((palette.TRAIN, palette.VAL, palette.TEST), palette.SERIES):
        for first, second in itertools.combinations(shades, 2):
            assert np.linalg.norm(seen(first) - seen(second)) >= 20, (first, second)


def test_the_style_sheet_holds_every_color_for_light_dark_and_paper() -> None:
    css = palette.css()
    light, dark, paper = css.split("@media")
    for name, shade in palette.VARIABLES.items():
        assert f"--{name}: {shade.light};" in light
        assert f"--{name}: {shade.dark};" in dark
        assert f"--{name}: {shade.light};" in paper
    assert set(re.findall(r"#\w+", css)) == {color for shade in palette.VARIABLES.values() for color in shade}
