"""The JSON file of all figures, measured in one go or in pieces, and the tables of docs/benchmarks.md made from it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from resnet_cli.system.paths import write_text

from .suite import NAMES
from .table import Row, from_json, to_json, to_text

#: The figures that docs/benchmarks.md shows.
FIGURES = Path(__file__).with_name("figures.json")
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
#: Measurements with a table of their own, in other pages: see ``engine_table.py``.
ELSEWHERE = frozenset({"engines"})
_BAR_WORDS = {"ok": "met", "missed": "missed", "": "not measured"}


class FiguresError(Exception):
    """A file that holds no figures, or no place for them; the text says which."""


def read(path: Path) -> dict[str, Any]:
    """Reads a file: name of a measurement -> its head, mode, seconds and rows; empty if there is no file.

    Raises:
        FiguresError: It is some other file.
    """
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["measurements"]
        for entry in found.values():
            rows(entry)
            _key(entry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FiguresError(f"{path} holds no figures of these benchmarks: {error!r}") from None
    return found


def write(path: Path, measurements: dict[str, Any]) -> None:
    """Writes all of it or nothing, in the order of the list; names that the list no longer has come last."""
    order = {name: place for place, name in enumerate(NAMES)}
    names = sorted(measurements, key=lambda name: order.get(name, len(order)))
    write_text(path, to_text({"measurements": {name: measurements[name] for name in names}}))


def to_entry(about: dict[str, str], mode: str, seconds: float, found: Iterable[Row]) -> dict[str, Any]:
    """The entry of one measurement.

    Args:
        about: The head, from :func:`~benchmarks.table.head`.
        mode: Flags that chose how much was measured: ``--full``.
        seconds: Wall time of the measurement.
        found: Rows of the measurement.
    """
    return about | {"mode": mode, "seconds": round(seconds, 1), "rows": [to_json(row) for row in found]}


def rows(entry: dict[str, Any]) -> list[Row]:
    """The rows of one measurement."""
    return [from_json(values) for values in entry["rows"]]


def render(measurements: dict[str, Any]) -> str:
    """Renders Markdown: one table per machine, versions and mode, each below a line that names them."""
    parts: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for entry in (entry for name, entry in measurements.items() if name not in ELSEWHERE):
        parts.setdefault(_key(entry), []).append(entry)
    return "\n\n".join(_render_part(*key, entries) for key, entries in parts.items()) + "\n"


def update(text: str, measurements: dict[str, Any]) -> str:
    """The page with its figures replaced.

    Raises:
        FiguresError: It has no lines that mark their place.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise FiguresError(f"no {BEGIN} and {END} lines are in it")
    return f"{before}{BEGIN}\n{render(measurements)}{END}{after}"


def _key(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["machine"], entry["versions"], entry["mode"]


def _render_part(machine: str, versions: str, mode: str, entries: list[dict[str, Any]]) -> str:
    loads = [float(entry["load"].split()[0]) for entry in entries]
    command = f"RESNET_CLI_ASSETS=... python -m benchmarks {mode}"
    head = f"{machine} (load {min(loads):g} to {max(loads):g} before each); {versions}; by `{command}`:"
    lines = [_cells(row) for entry in entries for row in rows(entry)]
    return "\n".join([head, "", "| what | result | target |", "|---|---|---|", *lines])


def _cells(row: Row) -> str:
    figure = f"{row.figure} {row.unit}".strip()
    seen = f" ({row.seen})" if row.seen else ""
    bar = f"{row.bar}: {_BAR_WORDS[row.verdict]}" if row.bar else ""
    # A vertical bar or a line break would end the cell, and < might begin a tag.
    cells = [
        cell.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;") for cell in (row.what, figure + seen, bar)
    ]
    return f"| {' | '.join(cells)} |"
