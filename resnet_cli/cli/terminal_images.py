"""Images in the terminal, by the protocol that it says it has: kitty's, iTerm2's or Sixel.

The terminal is recognized by its environment variables and never asked: an answer that is late or not understood would
be typed into the user's shell.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from resnet_cli.cli import output

if TYPE_CHECKING:
    from PIL import Image

Protocol: TypeAlias = Literal["kitty", "iterm2", "sixel"]
PROTOCOLS: tuple[Protocol, ...] = ("kitty", "iterm2", "sixel")
#: Overrides what is found out: a protocol, or ``none``.
VARIABLE = "RESNET_CLI_IMAGES"
#: What each terminal sets itself. ``TERM`` comes first: it is the only one that reaches another machine by SSH, and the
#: only one that a terminal started from another terminal always replaces.
#: Source: the terminals' documentation, linked from https://sw.kovidgoyal.net/kitty/graphics-protocol/,
#: https://iterm2.com/documentation-images.html and https://www.arewesixelyet.com.
_BY_TERM: dict[str, Protocol] = {
    "xterm-kitty": "kitty",
    "xterm-ghostty": "kitty",
    "wezterm": "iterm2",
    "foot": "sixel",
    "foot-extra": "sixel",
    "mlterm": "sixel",
    "contour": "sixel",
}
_BY_PROGRAM: dict[str, Protocol] = {
    "ghostty": "kitty",
    "kitty": "kitty",
    "iTerm.app": "iterm2",
    "WezTerm": "iterm2",
    "mintty": "iterm2",
}
#: Konsole draws Sixel from 22.04 on. Source: https://konsole.kde.org/changelogs/22.04.html.
_KONSOLE_WITH_SIXEL = 220400
#: Most rows and columns of text that an image covers, and the most pixels that are sent for it.
MAX_ROWS, MAX_COLUMNS, MAX_PX = 24, 100, 1000
#: Width and height of a character in pixels, for terminals that do not tell.
CELL_PX = 8, 16
#: Its number, which the system asks for.
_STDOUT = 1
#: Bytes of base64 in one escape sequence. Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/#remote-client.
_CHUNK = 4096
#: Rows of pixels in one band of Sixel, and the character of an empty column of it.
#: Source: https://vt100.net/docs/vt3xx-gp/chapter14.html.
_BAND, _EMPTY = 6, 63
_MAX_COLORS = 128


def protocol(environ: Mapping[str, str] | None = None) -> Protocol | None:
    """The protocol of the terminal at stdout; None if it is a file or pipe, or does not say that it draws images."""
    return terminal_protocol(os.environ if environ is None else environ) if sys.stdout.isatty() else None


def terminal_protocol(environ: Mapping[str, str]) -> Protocol | None:
    """The protocol of the terminal that set these environment variables.

    Inside tmux and screen there is none: they replace the terminal, and the variables of the one outside may be old.
    """
    if (asked := environ.get(VARIABLE, "").lower()) and asked != "auto":
        return next((known for known in PROTOCOLS if known == asked), None)
    term = environ.get("TERM", "")
    if environ.get("TMUX") or environ.get("STY") or term in {"dumb", "unknown"} or term.startswith(("screen", "tmux")):
        return None
    if found := _BY_TERM.get(term) or _BY_PROGRAM.get(environ.get("TERM_PROGRAM", "")):
        return found
    if environ.get("TERM_PROGRAM"):
        # Another terminal, started from the one that set the variables below.
        return None
    if environ.get("LC_TERMINAL") == "iTerm2":
        # Which SSH passes on.
        return "iterm2"
    if environ.get("KITTY_WINDOW_ID") and term.startswith("xterm"):
        return "kitty"
    version = environ.get("KONSOLE_VERSION", "")
    has_sixel = version.isdecimal() and int(version) >= _KONSOLE_WITH_SIXEL
    # Windows Terminal draws Sixel from 1.22 on and ignores it before.
    return "sixel" if has_sixel or environ.get("WT_SESSION") else None


def show_image(image: Path | str | Image.Image, *, max_rows: int = MAX_ROWS) -> bool:
    """Draws an image on the terminal at stdout, and does nothing where there is none that can.

    Args:
        image: A file, or an image in RGB.
        max_rows: Most rows of text that it covers; it is also bounded by the size of the terminal.

    Returns:
        Whether it was drawn.

    Raises:
        ImageError: The file cannot be read.
    """
    known = protocol()
    if known is None:
        return False
    from resnet_cli.images.decoding import read_image

    opened = read_image(Path(image)) if isinstance(image, Path | str) else image
    output.show_line(escape_sequence(fitted(opened, cell_size(), max_rows=max_rows), known))
    return True


def show_images(images: Iterable[Path | Image.Image], *, max_rows: int = MAX_ROWS) -> None:
    """Draws images for ``--show``, or says why it cannot."""
    if protocol() is None:
        output.warn(why_not())
        return
    for image in images:
        show_image(image, max_rows=max_rows)


def why_not() -> str:
    """Why :func:`show_image` draws nothing."""
    if not sys.stdout.isatty():
        return "--show shows no image: stdout is not a terminal"
    where = "tmux and screen hide" if os.environ.get("TMUX") or os.environ.get("STY") else "this terminal does not say"
    return f"--show shows no image: {where} which graphics it has; if any, set {VARIABLE} to kitty, iterm2 or sixel"


def fitted(image: Image.Image, cell: tuple[int, int], *, max_rows: int = MAX_ROWS) -> Image.Image:
    """A copy that fits into the terminal; small images are enlarged to whole pixels up to a quarter of that.

    Args:
        image: An image in RGB.
        cell: Width and height of a character in pixels.
        max_rows: Most rows of text.
    """
    from PIL import Image

    columns, lines = shutil.get_terminal_size()
    rows = max(1, min(max_rows, lines - 2))
    width = min(cell[0] * max(1, min(MAX_COLUMNS, columns - 1)), MAX_PX)
    height = min(cell[1] * rows, MAX_PX)
    scale = min(width / image.width, height / image.height)
    if scale < 1:
        size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
        return image.resize(size, Image.Resampling.LANCZOS)
    factor = max(1, int(min(scale, height / 4 / image.height)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def cell_size() -> tuple[int, int]:
    """Width and height of a character in pixels, if the terminal has told the system, else a usual size."""
    try:
        import fcntl
        import struct
        import termios

        lines, columns, width, height = struct.unpack("4H", fcntl.ioctl(_STDOUT, termios.TIOCGWINSZ, bytes(8)))
    except (ImportError, OSError, ValueError):
        return CELL_PX
    return (
        (width // columns, height // lines) if columns and lines and width >= columns and height >= lines else CELL_PX
    )


def escape_sequence(image: Image.Image, known: Protocol) -> str:
    """What draws an image of RGB pixels at the cursor, in ASCII."""
    image = image.convert("RGB")
    return {"kitty": _kitty, "iterm2": _iterm2, "sixel": _sixel}[known](image)


def _kitty(image: Image.Image) -> str:
    """The PNG file in chunks; ``q=2``: the terminal must not answer.

    Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/.
    """
    data = _png(image)
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    parts = []
    for index, chunk in enumerate(chunks):
        keys = "a=T,f=100,q=2," if index == 0 else "q=2,"
        parts.append(f"\x1b_G{keys}m={int(index < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(parts)


def _iterm2(image: Image.Image) -> str:
    """The PNG file in one sequence.

    Source: https://iterm2.com/documentation-images.html.
    """
    data = _png(image)
    size = len(base64.b64decode(data))
    where = f"size={size};width={image.width}px;height={image.height}px;inline=1"
    return f"\x1b]1337;File={where}:{data}\x07"


def _sixel(image: Image.Image) -> str:
    """Bands of 6 rows; in each, a line of characters per color, whose 6 bits are its pixels in a column.

    Source: https://vt100.net/docs/vt3xx-gp/chapter14.html.
    """
    import numpy as np

    small = image.quantize(_MAX_COLORS)
    palette = (small.getpalette() or [])[: 3 * _MAX_COLORS]
    pixels = np.asarray(small)
    colors = [int(color) for color in np.unique(pixels)]
    named = "".join(
        f"#{color};2;" + ";".join(str(round(value * 100 / 255)) for value in palette[3 * color : 3 * color + 3])
        for color in colors
    )
    bands = []
    for top in range(0, image.height, _BAND):
        band = pixels[top : top + _BAND]
        bits = (1 << np.arange(len(band), dtype=np.uint8))[:, None]
        lines = []
        for color in np.unique(band):
            columns = ((band == color) * bits).sum(axis=0) + _EMPTY
            lines.append(f"#{color}" + _run_lengths(columns.astype(np.uint8).tobytes().decode("ascii")))
        bands.append("$".join(lines))
    return f'\x1bP0;1;0q"1;1;{image.width};{image.height}{named}{"-".join(bands)}\x1b\\'


def _run_lengths(text: str) -> str:
    """Repeated characters by their number: ``!12?``."""
    import itertools

    parts = []
    for char, group in itertools.groupby(text):
        num = sum(1 for _ in group)
        parts.append(f"!{num}{char}" if num > 3 else char * num)
    return "".join(parts)


def _png(image: Image.Image) -> str:
    """The image as a PNG file, in base64."""
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
