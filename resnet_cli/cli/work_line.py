"""One line for work that runs: what it is, a bar, how much is done, how fast, and how long it will still take."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from resnet_cli.text import display_width

#: Narrowest and widest bar.
MIN_BAR, MAX_BAR = 6, 40
GAP = 2
#: Columns of a name that are kept before other columns are shown.
MIN_NAME = 20
#: The texts of a line, the most important first, and their least widths: without these, bars would grow and shrink with
#: every digit.
_LEAST_WIDTHS = {"count": 0, "left": 11, "rate": 15, "more": 0}
#: The order in which they are drawn.
_ORDER = ("count", "rate", "left", "more")


#: What a line says about each kind of work while it runs, and about finished work.
TASKS = {
    "download": "downloading",
    "unpack": "unpacking",
    "features": "computing features",
    "check": "checking images",
    "compare": "comparing images",
    "validate": "validating",
    "evaluate": "evaluating",
    "quantize": "quantizing",
    "report": "writing the report",
    "predict": "classifying",
}
DONE = {
    "download": "downloaded",
    "unpack": "unpacked",
    "features": "computed features of",
    "check": "checked",
    "compare": "compared",
    "evaluate": "evaluated",
    "quantize": "quantized with",
    "predict": "classified",
}


@dataclasses.dataclass(frozen=True)
class WorkLine:
    """What a line shows; every text but the first may be empty.

    Attributes:
        name: What is being done; shortened where it does not fit.
        done: How much is done.
        total: How much there is in all; None if that is not known: then a spinner takes the place of the bar.
        count: The same as text.
        rate: How fast it is done; the first to be left out where the terminal is narrow.
        left: How long it will still take.
        more: Shown where there is room for it.
    """

    name: str
    done: float = 0
    total: float | None = None
    count: str = ""
    rate: str = ""
    left: str = ""
    more: str = ""


def draw_lines(lines: Sequence[WorkLine], width: int, spinner: Spinner) -> RenderableType:
    """Draws lines of work below each other, in columns that are as wide for all of them.

    Args:
        lines: At least one line.
        width: Columns of the terminal.
        spinner: Turns in front of each line.
    """
    # One column stays free, since a terminal may wrap a line that is as wide as itself.
    free = width - 1
    has_bar = any(line.total is not None for line in lines)
    # A spinner and a blank stand before each name: a bar may stand still for long, and a line must not look stuck.
    longest = max(display_width(line.name) for line in lines) + 2
    widths = {}
    for key, least in _LEAST_WIDTHS.items():
        found = max(len(getattr(line, key)) for line in lines)
        widths[key] = max(found, least if has_bar else 0)
    shown, num = [], min(longest, MIN_NAME) + (GAP + MIN_BAR if has_bar else 0)
    for key, wide in widths.items():
        if wide and num + GAP + wide <= free:
            shown.append(key)
            num += GAP + wide
    rest = free - sum(GAP + widths[key] for key in shown)
    name_width = max(min(longest, rest - (GAP + MIN_BAR if has_bar else 0)), 1)
    bar_width = max(min(rest - name_width - GAP, MAX_BAR), MIN_BAR)
    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(width=name_width, no_wrap=True, overflow="ellipsis")
    if has_bar:
        grid.add_column(width=bar_width)
    for key in _ORDER:
        if key in shown:
            grid.add_column(width=widths[key], no_wrap=True, justify="left" if key == "more" else "right")
    frame = spinner.render(time.monotonic())
    assert isinstance(frame, Text)
    for line in lines:
        is_counted = line.total is not None
        name = Text.assemble(frame, " ", line.name)
        bar = ProgressBar(total=line.total or 1, completed=line.done, width=bar_width) if is_counted else Text()
        texts = [Text(getattr(line, key)) for key in _ORDER if key in shown]
        grid.add_row(name, *([bar] if has_bar else []), *texts)
    return grid
