"""Figures of PNG plots: one heading, one foot, one font for all of them, in any script.

Figures are made without pyplot: nothing global changes, so a notebook keeps its backend and style. matplotlib is
imported when a figure is made and not before. Everything has its place in inches, so that a figure is drawn once; a
layout that fits itself around its texts would draw it twice.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from resnet_cli.reporting import palette
from resnet_cli.system.caches import import_matplotlib
from resnet_cli.system.paths import atomic_path
from resnet_cli.text import display_width, printable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK, MUTED, LINE = palette.INK.light, palette.MUTED.light, palette.LINE.light
TITLE_PT, DETAIL_PT, FOOT_PT = 13.0, 9.5, 8.0
#: Margin at both sides and above, and the heights of the title, of the line below it and of the foot, in inches.
MARGIN_IN, TITLE_IN, DETAIL_IN, FOOT_IN = 0.3, 0.3, 0.27, 0.34
#: Width of a character in points, as a multiple of the size of its font: more than the mean of DejaVu Sans.
_CHARACTER = 0.62
#: A third of the time of zlib's default, for a slightly larger file.
_PNG = {"compress_level": 3}
#: Fonts that are tried first for characters that matplotlib's own font lacks: those of Linux, Windows and macOS with
#: the most characters.
_WIDE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("Microsoft YaHei", "Malgun Gothic", "Hiragino Sans GB", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Nirmala UI", "Leelawadee UI", "Segoe UI Symbol", "Noto Sans Symbols2"),
)
_OWN_FONT = "DejaVu Sans"


class Heading(NamedTuple):
    """What a plot says around what it shows.

    Attributes:
        title: What is shown, and the main result.
        detail: A second line: how many images, what was chosen.
        foot: Where it comes from: the run, the data, the version.
    """

    title: str = ""
    detail: str = ""
    foot: str = ""

    @property
    def top_in(self) -> float:
        """Height of the heading in inches."""
        lines = (TITLE_IN if self.title else 0.0) + (DETAIL_IN if self.detail else 0.0)
        return 0.15 + lines + (0.12 if lines else 0.0)

    @property
    def bottom_in(self) -> float:
        """Height of the foot in inches."""
        return FOOT_IN if self.foot else 0.1


class Plot:
    """A white figure without a window, with a heading and a foot; all places are in inches from its upper left corner.

    Images are pasted below what matplotlib draws: matplotlib would resample each of them at the size of the figure.

    Args:
        width_in: Its width.
        height_in: Height of what is shown, without the heading and the foot.
        heading: What is written around it.
    """

    def __init__(self, width_in: float, height_in: float, heading: Heading | None = None) -> None:
        import_matplotlib()
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        heading = heading or Heading()
        self.width_in, self.height_in = width_in, height_in + heading.top_in + heading.bottom_in
        #: Where what is shown begins.
        self.top_in = heading.top_in
        self.figure: Figure = Figure(figsize=(self.width_in, self.height_in), dpi=DPI, facecolor="none")
        FigureCanvasAgg(self.figure)
        self._images: list[tuple[Image.Image, int, int]] = []
        room, at = width_in - 2 * MARGIN_IN, 0.15
        if heading.title:
            at += TITLE_IN
            self.write(
                MARGIN_IN, at - 0.07, fitted(heading.title, 0.93 * room, TITLE_PT), size_pt=TITLE_PT, weight="bold"
            )
        if heading.detail:
            at += DETAIL_IN
            detail = fitted(heading.detail, room, DETAIL_PT)
            self.write(MARGIN_IN, at - 0.07, detail, size_pt=DETAIL_PT, color=MUTED)
        if heading.foot:
            foot = fitted(heading.foot, room, FOOT_PT)
            self.write(MARGIN_IN, self.height_in - 0.13, foot, size_pt=FOOT_PT, color=MUTED)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without a background."""
        wide, high = self.width_in, self.height_in
        return self.figure.add_axes(
            (left / wide, 1 - (top + height) / high, width / wide, height / high), facecolor="none"
        )

    def write(
        self,
        left: float,
        base: float,
        text: str,
        *,
        size_pt: float,
        color: str = INK,
        weight: str = "normal",
        **style: Any,
    ) -> None:
        """Writes a line in any script; nothing in it is a formula.

        Args:
            left: Where it begins, unless ``ha`` says otherwise.
            base: Its baseline, unless ``va`` says otherwise.
            text: The line.
            size_pt: Size of the font in points.
            color: Its color.
            weight: Its weight.
            **style: Further properties of a text of matplotlib.
        """
        x, y = left / self.width_in, 1 - base / self.height_in
        self.figure.text(x, y, text, fontsize=size_pt, color=color, fontweight=weight, **font_style(text), **style)

    def paste(self, image: Image.Image, left: float, top: float) -> None:
        """Places an image pixel by pixel."""
        self._images.append((image, round(left * DPI), round(top * DPI)))

    def save(self, path: Path) -> None:
        """Writes the figure as PNG, atomically.

        Raises:
            DiskError: The file cannot be written.
        """
        canvas: Any = self.figure.canvas
        with warnings.catch_warnings():
            # Characters that no installed font has are drawn as boxes; users need no warning about that.
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
            canvas.draw()
        drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
        whole = Image.new("RGBA", drawn.size, "white")
        for image, left, top in self._images:
            whole.paste(image, (left, top))
        whole.alpha_composite(drawn)
        with atomic_path(path) as temporary:
            whole.convert("RGB").save(temporary, "PNG", dpi=(DPI, DPI), **_PNG)


def font_style(*texts: str) -> dict[str, Any]:
    """The style of texts from users: fonts that have their characters, and no formulas."""
    return {"fontfamily": font_families(texts), "parse_math": False}


def fitted(text: str, width_in: float, size_pt: float) -> str:
    """The text, shortened in its middle if it may be wider than this."""
    return shorten(text, max(4, int(width_in * 72 / (_CHARACTER * size_pt))))


def width_in(text: str, size_pt: float) -> float:
    """A width that a text does not exceed."""
    return display_width(text) * _CHARACTER * size_pt / 72


def font_families(texts: Iterable[str]) -> list[str]:
    """Matplotlib's font, then installed fonts with the characters of these texts that it lacks.

    A character that no installed font has is drawn as a box.
    """
    missing = frozenset(char for text in texts for char in printable(text)) - _characters_of_own_font()
    return [_OWN_FONT, *_fonts_with(missing)] if missing else [_OWN_FONT]


@functools.cache
def _characters_of_own_font() -> frozenset[str]:
    import_matplotlib()
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(findfont(_OWN_FONT)).get_charmap()))


@functools.cache
def _fonts_with(missing: frozenset[str]) -> tuple[str, ...]:
    """Families that have these characters together, as far as any installed one has them."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    files = {entry.name: entry.fname for entry in reversed(fontManager.ttflist)}
    # Matplotlib's formulas have fonts of their own, whose characters are at other places.
    others = sorted(name for name in files if name.startswith(("Noto Sans", "Noto Serif")) and "Emoji" not in name)
    found = []
    for name in dict.fromkeys((*(name for name in _WIDE_FONTS if name in files), *others)):
        if not missing:
            break
        try:
            has = missing & set(map(chr, FT2Font(files[name]).get_charmap()))
        except (OSError, RuntimeError):
            # A damaged file, or a font of bitmaps.
            continue
        if has:
            found.append(name)
            missing -= has
    return tuple(found)
