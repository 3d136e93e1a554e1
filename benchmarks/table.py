"""One row per measurement, and a head that says where the figures come from; every benchmark prints these."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import resnet_cli
from resnet_cli.system.paths import write_text
from resnet_cli.system.processor import this_processor


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: Description of what was measured.
        value: The figure; None if it could not be measured.
        unit: ``x`` (relative to another), ``%``, ``s``, ``GB`` or ``images/s``.
        at_least: Lower target of the figure, or None.
        at_most: Upper target of the figure, or None.
        details: Further figures of the measurement.
    """

    what: str
    value: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.what:<52} {self.figure:>8} {self.unit:<8} {self.bar:<10} {self.verdict:<7} {self.seen}".rstrip()

    @property
    def figure(self) -> str:
        """The value as text, without its unit."""
        return "-" if self.value is None or math.isnan(self.value) else _short(self.value)

    @property
    def bar(self) -> str:
        """``>= 3``, ``<= 1.2``, or nothing."""
        bars = [f">= {self.at_least:g}"] if self.at_least is not None else []
        bars += [f"<= {self.at_most:g}"] if self.at_most is not None else []
        return ", ".join(bars)

    @property
    def seen(self) -> str:
        """The details as text."""
        shown = {name: _short(value) if isinstance(value, float) else value for name, value in self.details.items()}
        return ", ".join(f"{name} {value}" for name, value in shown.items())

    @property
    def verdict(self) -> str:
        """Whether the target is met: ``ok`` or ``missed``; empty without a target or a value."""
        value, low, high = self.value, self.at_least, self.at_most
        if value is None or math.isnan(value) or (low is None and high is None):
            return ""
        is_met = (low is None or value >= low) and (high is None or value <= high)
        return "ok" if is_met else "missed"


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Minimum, maximum and number of repeated values, for the details beside their median."""
    return {"min": min(values), "max": max(values), "n": len(values)}


def head(gpu: bool = False) -> dict[str, str]:
    """The date, the machine, its load, the versions and the command."""
    import torch

    processor = this_processor()
    instructions = f" ({', '.join(processor.usable)})" if processor.usable else ""
    machine = f"{processor.name}{instructions}, {torch.get_num_threads()} threads"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine + (f", {torch.cuda.get_device_name()}" if gpu and torch.cuda.is_available() else ""),
        "load": f"{os.getloadavg()[0]:.1f} before the start",
        "versions": f"resnet-cli {resnet_cli.__version__}, torch {torch.__version__}, "
        f"torchvision {importlib.metadata.version('torchvision')}, "
        f"onnxruntime {importlib.metadata.version('onnxruntime')}, Python {platform.python_version()}",
        "command": _command(),
    }


def show(rows: Iterable[Row], *, gpu: bool = False, report: Path | None = None) -> list[Row]:
    """Prints the head, and each row as soon as it is known.

    Args:
        rows: Rows, yielded as they are measured.
        gpu: Whether a GPU is measured.
        report: JSON file that is rewritten after every row, so that an interrupted run keeps its rows.

    Returns:
        All rows.
    """
    about, found = head(gpu), []
    print_head(about)
    for row in rows:
        print(row, flush=True)
        found.append(row)
        if report:
            write_text(report, to_text(about | {"rows": [to_json(row) for row in found]}))
    return found


def to_json(row: Row) -> dict[str, Any]:
    """The row as plain JSON values; NaN and infinity become None."""
    plain = {name: _plain(value) for name, value in dataclasses.asdict(row).items()}
    return plain | {"details": {name: _plain(value) for name, value in row.details.items()}, "verdict": row.verdict}


def from_json(values: dict[str, Any]) -> Row:
    """Inverse of :func:`to_json`."""
    return Row(**{name: value for name, value in values.items() if name != "verdict"})


def to_text(report: dict[str, Any]) -> str:
    """The text of a JSON file; other objects are written as their text."""
    return json.dumps(report, indent=2, ensure_ascii=False, default=str) + "\n"


def print_head(about: dict[str, str]) -> None:
    """Prints one line per entry."""
    print("\n".join(f"{name:<9} {text}" for name, text in about.items()), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        # Also converts numpy's floats.
        return float(value) if math.isfinite(value) else None
    return value


def _command() -> str:
    """The command as it can be typed again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    started = ["-m", spec.name.removesuffix(".__main__")] if spec else [sys.argv[0]]
    return shlex.join(["python", *started, *sys.argv[1:]])


def _short(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"
