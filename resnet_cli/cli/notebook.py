"""Progress in a notebook: bars in the output of the cell."""

from __future__ import annotations

import dataclasses
import html
import importlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import output
from resnet_cli.cli.epoch_table import WIDTH_WITH_CURVE
from resnet_cli.cli.progress import ProgressView
from resnet_cli.history import kept_text

if TYPE_CHECKING:
    from resnet_cli.training.plan import Plan

#: Time between two drawings: each is a message to the browser.
DRAW_EVERY_S = 0.2


def progress_view() -> ProgressView:
    """What draws events here: bars in a notebook, otherwise what a command shows."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return NotebookView() if getattr(shell, "kernel", None) else ProgressView()


class NotebookView(ProgressView):
    """Draws events as bars below the cell."""

    def __init__(self) -> None:
        super().__init__()
        # Bars are drawn; lines of text, which are for logs, are not.
        self._live = True
        self._handle: Any = None
        self._drawn_at = 0.0

    def _show_plan(self, plan: Plan) -> None:
        """Shows the warnings alone: the plan is an attribute of the result."""
        self._has_plan = True
        output.warn_or_note(plan.warnings, plan.notes)

    def _show_region(self, *, now: bool = False) -> None:
        if time.monotonic() - self._drawn_at < DRAW_EVERY_S and not now:
            return
        self._drawn_at = time.monotonic()
        display = importlib.import_module("IPython.display")
        drawn = display.HTML("".join(self._drawn()))
        if self._handle is None:
            self._handle = display.display(drawn, display_id=True)
        else:
            self._handle.update(drawn)

    def _drawn(self) -> Iterator[str]:
        """The bars and the epochs as HTML, which the browser fits to the width of the cell."""
        lines = list(self._lines.values())
        if self._epochs is not None and (line := self._epochs.line(WIDTH_WITH_CURVE)) is not None:
            lines.append(line)
        yield "<table>"
        for line in lines:
            value = f' value="{line.done}" max="{line.total}"' if line.total else ""
            said = "  ".join(filter(None, (line.count, line.rate, line.left, line.more)))
            yield from _row([html.escape(line.name), f"<progress{value}></progress>", html.escape(said)])
        yield "</table>"
        if self._epochs is not None and self._epochs.history:
            heads, rows = self._epochs.cells()
            yield "<table>"
            yield from _row([f"<b>{html.escape(head)}</b>" for head in heads])
            for row in rows:
                yield from _row(map(html.escape, row))
            yield f"</table>{html.escape(kept_text(self._epochs.history))}"

    def _end_epochs(self, *, always: bool = False) -> None:
        """Leaves the epochs in the cell; a next training is drawn below."""
        if self._epochs is not None and self._epochs.history and (always or self._epochs.is_over):
            self._show_region(now=True)
            self._epochs, self._handle, self._lines = None, None, {}

    def _finish_line(self, key: str, text: str, seconds: float) -> None:
        if key in self._lines:
            line = self._lines[key]
            # The count is that of the last drawing; a download says "3.2 of 4.1 MB".
            all_of_it = f"{line.total:,}/{line.total:,}" if "/" in line.count and line.total else None
            count = all_of_it or line.count.split(" of ")[-1]
            self._lines[key] = dataclasses.replace(line, done=line.total or line.done, count=count, left="")
            self._show_region(now=True)


def _row(cells: Iterable[str]) -> Iterator[str]:
    yield "<tr>"
    for cell in cells:
        yield f'<td style="text-align: left">{cell}</td>'
    yield "</tr>"
