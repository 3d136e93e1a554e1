"""Progress in a notebook: bars in the output of the cell."""

from __future__ import annotations

import html
import importlib
import sys
import time
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import output
from resnet_cli.cli.progress import ProgressView

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
        self._rows: dict[str, str] = {}
        self._handle: Any = None
        self._drawn_at = 0.0

    def _show_plan(self, plan: Plan) -> None:
        """Shows the warnings alone: the plan is an attribute of the result."""
        self._has_plan = True
        output.warn_or_note(plan.warnings, plan.notes)

    def _draw(
        self, key: str, description: str, done: int, total: int | None, *, text: str = "", count: str = ""
    ) -> None:
        value = f' value="{done}" max="{total}"' if total else ""
        counted = count or f"{done:,}" + ("" if total is None else f" of {total:,}")
        cells = (html.escape(description), f"<progress{value}></progress>", html.escape(f"{counted} {text}"))
        self._rows[key] = "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells)
        now = time.monotonic()
        if now - self._drawn_at < DRAW_EVERY_S and done != total:
            return
        self._drawn_at = now
        display = importlib.import_module("IPython.display")
        table = display.HTML(f"<table>{''.join(f'<tr>{row}</tr>' for row in self._rows.values())}</table>")
        if self._handle is None:
            self._handle = display.display(table, display_id=True)
        else:
            self._handle.update(table)
