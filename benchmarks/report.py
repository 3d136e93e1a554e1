"""Measures the report page: its size, and the processor time to make it, with synthetic predictions and noise images.

    python -m benchmarks.report

Noise compresses badly, so real pages are smaller.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.synthetic_reports import make_content

from resnet_cli.reporting.report_page import report_page

from .setting import Setting
from .table import Row, show

#: Number of classes, number of images, side of an image in pixels.
CASES = ((2, 200, 500), (10, 1_000, 500), (100, 10_000, 500), (1_000, 20_000, 300))


def measure(setting: Setting) -> Iterator[Row]:
    """One row per page."""
    for num_classes, num, side_px in CASES[:2] if setting.quick else CASES:
        content = make_content(tuple(f"class {n}" for n in range(num_classes)), num, side_px=side_px, strength=3.0)
        began = time.process_time()
        text = report_page(content)
        spent = time.process_time() - began
        details = {"cpu_s": spent, "top-1 %": 100 * content.evaluation.top1, "n": 1}
        what = f"report of {num:,} images of {num_classes:,} classes"
        yield Row(what, len(text.encode()) / 1e6, "MB", details=details)


def main() -> None:
    """Prints the table."""
    show(measure(Setting(Path(), Path(), quick=False)))


if __name__ == "__main__":
    main()
