"""Draws a caption on an image, readable whatever the image's colors and size."""

from __future__ import annotations

import functools
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from resnet_cli.errors import DiskError
from resnet_cli.system.caches import import_matplotlib
from resnet_cli.text import printable

#: On fewer pixels a caption cannot be read; smaller images are enlarged by an integer factor.
MIN_WIDTH_PX, MIN_HEIGHT_PX = 224, 64
#: Larger images are shrunk, since annotated images are only for viewing.
MAX_SIDE_PX = 4096
#: Height of letters as a share of the shorter side.
TEXT_SHARE = 0.06
MIN_TEXT_PX, MAX_TEXT_PX = 13, 96
#: White on this dark band has a contrast of 15 : 1 also over white (WCAG 2.2 requires 4.5 : 1).
_BAND = (0, 0, 0, 208)
_TEXT = (255, 255, 255, 255)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def annotate(image: Image.Image, *lines: str) -> Image.Image:
    """The image with lines of text on a dark band along its lower edge.

    Lines that are too long get smaller letters, and then an ellipsis in their middle.

    Args:
        image: An upright image in mode RGB.
        *lines: At least one; characters that no installed font has are drawn as boxes.

    Returns:
        An image in mode RGB, at least ``MIN_WIDTH_PX`` wide and ``MIN_HEIGHT_PX`` high.
    """
    canvas = _sized(image).convert("RGBA")
    width, height = canvas.size
    size = round(min(MAX_TEXT_PX, max(MIN_TEXT_PX, TEXT_SHARE * min(width, height))))
    margin = max(3, size // 3)
    fitted = [_fitted(printable(line), size, width - 2 * margin) for line in lines]
    drawn = [(text, _font(size), _extent(text, _font(size))) for text, size in fitted]
    band = Image.new("RGBA", canvas.size)
    draw = ImageDraw.Draw(band)
    text_height = sum(bottom - top for _, _, (_, top, _, bottom) in drawn)
    edge = max(0, height - text_height - (len(lines) + 1) * margin)
    draw.rectangle((0, edge, width, height), fill=_BAND)
    at = edge + margin
    for text, font, (left, top, _, bottom) in drawn:
        draw.text((margin - left, at - top), text, font=font, fill=_TEXT)
        at += bottom - top + margin
    return Image.alpha_composite(canvas, band).convert("RGB")


def _sized(image: Image.Image) -> Image.Image:
    """Enlarges small images without blur, shrinks huge ones, and places narrow ones on a gray background."""
    width, height = image.size
    longest = max(width, height)
    if longest > MAX_SIDE_PX:
        scale = MAX_SIDE_PX / longest
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), reducing_gap=3.0)
    elif width < MIN_WIDTH_PX or height < MIN_HEIGHT_PX:
        factor = math.ceil(max(MIN_WIDTH_PX / width, MIN_HEIGHT_PX / height))
        factor = max(1, min(factor, MAX_SIDE_PX // longest))
        image = image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    width, height = max(image.width, MIN_WIDTH_PX), max(image.height, MIN_HEIGHT_PX)
    if (width, height) == image.size:
        return image
    ground = Image.new("RGB", (width, height), (128, 128, 128))
    ground.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return ground


def _fitted(text: str, size: int, width: int) -> tuple[str, int]:
    """The text, shortened if necessary, and the height of its letters at which it fits into ``width``."""
    while _text_width(text, _font(size)) > width and size > MIN_TEXT_PX:
        size -= 1
    font, keep = _font(size), len(text)
    cut = text
    while keep > 1 and _text_width(cut, font) > width:
        keep -= 1
        # The probability is at the end.
        tail = keep // 2
        cut = text[: keep - tail] + "…" + text[len(text) - tail :]
    return cut, size


def _text_width(text: str, font: Font) -> float:
    left, _, right, _ = _extent(text, font)
    return right - left


def _extent(text: str, font: Font) -> tuple[int, int, int, int]:
    left, top, right, bottom = font.getbbox(text or " ")
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


@functools.lru_cache(maxsize=128)
def _font(size: int) -> Font:
    path = _font_file()
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@functools.cache
def _font_file() -> str | None:
    """DejaVu Sans of matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and more; Pillow's font has only Latin."""
    try:
        import_matplotlib()
        import matplotlib
    except (DiskError, ImportError):
        return None
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return str(path) if path.is_file() else None
