"""The part of a terminal that is drawn again and again below what has been printed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import ConsoleRenderable, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

from resnet_cli.cli import output

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: Drawings per second: a spinner should turn, and a terminal over a slow line should keep up.
DRAWINGS_PER_S = 5


class LiveRegion(Live):
    """Draws what a function returns, in place, until it is stopped; then nothing of it is left.

    Rich moves the cursor up by as many lines as it has drawn. A terminal that has become narrower has wrapped the
    longer ones of them, so that they take more lines now: these are counted here.

    Args:
        draw: Returns what is to be drawn now, for a terminal with this many columns and lines. Called from a thread.
        on_result: Called before a result is printed on the terminal; it must stop the drawing, which is the default.

    Attributes:
        end: Called before a result is printed on the same terminal.
        lock: Held while something is drawn or printed, so that neither breaks into the other.
    """

    def __init__(
        self, draw: Callable[[int, int], RenderableType], *, on_result: Callable[[], None] | None = None
    ) -> None:
        self.end = self.stop if on_result is None else on_result
        self._draw = draw
        self._widths: list[int] = []
        console = output.stderr()
        super().__init__(
            console=console,
            refresh_per_second=DRAWINGS_PER_S,
            transient=True,
            # By default, rich prints on stderr whatever is written to stdout meanwhile, even if that is a file.
            redirect_stdout=False,
            get_renderable=lambda: _Measured(self._draw(console.width, console.height), self._widths),
        )
        # The same lock as that of rich's thread, which holds it while it draws: two locks could wait for each other.
        self.lock = self._lock

    def start(self, refresh: bool = False) -> None:
        """Begins to draw; what is printed meanwhile appears above."""
        output.attach_display(self)
        super().start(refresh)

    def stop(self) -> None:
        """Erases what is drawn."""
        output.detach_display(self)
        super().stop()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Adds the drawing below what is printed."""
        # Before the last drawing is erased, and its widths are replaced by those of the next.
        extra = sum(math.ceil(width / max(self.console.width, 1)) - 1 for width in self._widths if width)
        return [_erase_up(extra), *super().process_renderables(renderables)]


class _Measured:
    """Draws something and notes the width of each of its lines."""

    def __init__(self, inner: RenderableType, widths: list[int]) -> None:
        self._inner, self._widths = inner, widths

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._inner, options, pad=False)
        self._widths[:] = [Segment.get_line_length(line) for line in lines]
        for line in lines:
            yield from line
            yield Segment.line()


def _erase_up(num_lines: int) -> Control:
    return Control(*(((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * num_lines))
