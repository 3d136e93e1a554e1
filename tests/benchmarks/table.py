"""The table that ``training.py`` prints: a head that says where its figures come from, and one row a measurement."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision

import resnet_cli


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: Of what.
        value: The figure that the bar is about; None where it could not be measured.
        unit: ``x`` (times another), ``%`` or ``images/s``.
        at_least: The bar, or None.
        at_most: Likewise.
        details: What else was seen.
    """

    what: str
    value: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        value = "-" if self.value is None else _short(self.value)
        bar = f">= {self.at_least:g}" if self.at_least is not None else ""
        bar = f"<= {self.at_most:g}" if self.at_most is not None else bar
        details = ", ".join(
            f"{name} {_short(value) if isinstance(value, float) else value}" for name, value in self.details.items()
        )
        return f"{self.what:<44} {value:>8} {self.unit:<9} {bar:<10} {self.verdict:<7} {details}"

    @property
    def verdict(self) -> str:
        """Whether the bar is met; empty where there is none."""
        value, low, high = self.value, self.at_least, self.at_most
        if value is None or (low is None and high is None):
            return ""
        is_met = (low is None or value >= low) and (high is None or value <= high)
        return "ok" if is_met else "missed"


def head(gpu: bool) -> dict[str, str]:
    """The machine, the versions and the command."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    machine = f"{model or platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    return {
        "machine": machine + (f", {torch.cuda.get_device_name()}" if gpu and torch.cuda.is_available() else ""),
        "load": f"{os.getloadavg()[0]:.1f} before the start",
        "versions": f"resnet-cli {resnet_cli.__version__}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, Python {platform.python_version()}",
        "command": " ".join(["python -m tests.benchmarks.training", *sys.argv[1:]]),
    }


def _short(value: float) -> str:
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
