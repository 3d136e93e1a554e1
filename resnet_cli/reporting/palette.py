"""The colors that pages and PNG plots share: color-blind safe, each for a light and for a dark background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Shade(NamedTuple):
    """One color of the palette.

    Attributes:
        light: On a light background, as ``#rrggbb``; PNG plots use this one.
        dark: On a dark background.
    """

    light: str
    dark: str


#: Blue, orange and purple can be distinguished with every common color blindness; green and red cannot, and always have
#: a sign or a word beside them. Source: Okabe & Ito, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/
TRAIN = Shade("#b85c00", "#f0a646")
VAL = Shade("#1f6aa5", "#74b6ea")
TEST = Shade("#641e5f", "#b04ea1")
RIGHT = Shade("#1b7a4b", "#5fcf97")
WRONG = Shade("#b3261e", "#ff8a80")
#: Areas behind text: cells of a confusion matrix on its diagonal, and off it.
RIGHT_FILL = Shade("#84b5de", "#2d6598")
WRONG_FILL = Shade("#f2a184", "#93432c")
BAR = Shade("#8db8db", "#3d6f98")

INK = Shade("#1b2330", "#e4e8ee")
MUTED = Shade("#5a6475", "#98a3b3")
LINE = Shade("#dfe3e9", "#2c3440")
WELL = Shade("#eceef2", "#232a35")
PANEL = Shade("#ffffff", "#1a2029")

#: Colors of classes and of models, in the order in which they are given. They differ in lightness as well as in
#: hue, so that all of them can be distinguished with every common color blindness.
SERIES = (
    Shade("#1f6aa5", "#74b6ea"),
    Shade("#b85c00", "#f0a646"),
    Shade("#4da46d", "#a1ebc0"),
    Shade("#641e5f", "#b04ea1"),
    Shade("#5997b4", "#9df3fe"),
    Shade("#5b393b", "#ae5e65"),
    Shade("#675d2e", "#bdac6f"),
    Shade("#647d78", "#8daaa8"),
)

#: Name of a CSS variable -> its color. Pages use these names and no other value for the same purpose.
VARIABLES: Mapping[str, Shade] = {
    "train": TRAIN,
    "val": VAL,
    "test": TEST,
    "good": RIGHT,
    "bad": WRONG,
    "right": RIGHT_FILL,
    "wrong": WRONG_FILL,
    "bar": BAR,
    "ink": INK,
    "muted": MUTED,
    "line": LINE,
    "well": WELL,
    "panel": PANEL,
    **{f"series-{at}": shade for at, shade in enumerate(SERIES)},
}


def css() -> str:
    """The palette as CSS variables: light, dark where the browser prefers it, and light on paper."""
    light = " ".join(f"--{name}: {shade.light};" for name, shade in VARIABLES.items())
    dark = " ".join(f"--{name}: {shade.dark};" for name, shade in VARIABLES.items())
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ {light} }} }}\n"
    )
