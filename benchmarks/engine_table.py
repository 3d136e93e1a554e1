"""The tables of engines in README.md and docs/export.md, made from the figures of the measurement ``engines``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figures import FiguresError, rows
from .table import Row

#: The name of the measurement.
NAME = "engines"
_ROOT = Path(__file__).parents[1]
#: Page -> whether it has only one row per engine.
PAGES = {_ROOT / "README.md": True, _ROOT / "docs" / "export.md": False}
BEGIN, END = "<!-- engines -->", "<!-- /engines -->"
_COLUMNS = (
    "| engine | file | same class | largest difference | first answers | ms | MB |",
    "|---|---|---|---|---|---|---|",
)


def update(text: str, entry: dict[str, Any], *, is_short: bool) -> str:
    """A page with its table replaced.

    Args:
        text: The page.
        entry: The figures of the measurement.
        is_short: Whether to show only the first file that each engine loads.

    Raises:
        FiguresError: The page has no lines that mark the place of the table.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise FiguresError(f"no {BEGIN} and {END} lines are in it")
    return f"{before}{BEGIN}\n{render(entry, is_short=is_short)}{END}{after}"


def render(entry: dict[str, Any], *, is_short: bool) -> str:
    """The table as Markdown, below a line that says where its figures come from."""
    found = rows(entry)
    shown = _one_each(found) if is_short else found
    return "\n".join([_head(entry), "", *_COLUMNS, *map(_cells, shown)]) + "\n"


def _head(entry: dict[str, Any]) -> str:
    date = f", {entry['date']}" if "date" in entry else ""
    counts = {row.details["processes"] for row in rows(entry) if "processes" in row.details}
    fresh = f"; first answers of {max(counts)} processes" if counts else ""
    return f"{entry['machine']} (load {entry['load']}){date}; {entry['versions']}{fresh}:"


def _one_each(found: Sequence[Row]) -> list[Row]:
    chosen: dict[str, Row] = {}
    for row in found:
        if row.value is not None:
            chosen.setdefault(row.details["engine"], row)
    return list(chosen.values())


def _cells(row: Row) -> str:
    seen = row.details
    if "engine" not in seen:
        # The measurement itself failed: see `suite.measure`.
        return f"| {_plain(row.what)} | {_plain(str(seen))} |  |  |  |  |  |"
    start = f"| {_plain(seen['engine'])} | `{seen['file']}` |"
    if row.value is None:
        (how, why) = next((how, seen[how]) for how in ("refused", "not made", "not run") if how in seen)
        return f"{start} {how}: {_plain(str(why))} |  |  |  |  |"
    first = f"{seen['largest difference of a first answer']:.1e}"
    same = f"{seen['same class']} of {seen['photos']}"
    return f"{start} {same} | {seen['largest difference']:.1e} | {first} | {row.value:.0f} | {seen['MB']:.1f} |"


def _plain(text: str) -> str:
    """Text in a cell: a vertical bar or a line break would end it, and < might begin a tag."""
    short = " ".join(text.split())
    short = short if len(short) <= 120 else short[:119] + "…"
    return short.replace("|", "\\|").replace("<", "&lt;")
