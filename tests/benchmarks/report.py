"""Measures the report page: its size, and the processor time to make it, on made-up answers and pictures of noise.

    python -m tests.benchmarks.report

Noise compresses worst, so real pages are smaller.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from made_reports import make_content

from resnet_cli.reporting.report_page import report_page

#: Classes, pictures, side of a picture in pixels.
CASES = ((2, 200, 500), (10, 1_000, 500), (100, 10_000, 500), (1_000, 20_000, 300))


def main() -> None:
    """Prints a table."""
    print(f"{'classes':>8} {'pictures':>9} {'top-1':>7} {'MB':>6} {'CPU s':>6}")
    for num_classes, num, side_px in CASES:
        content = make_content(tuple(f"class {n}" for n in range(num_classes)), num, side_px=side_px, strength=3.0)
        began = time.process_time()
        text = report_page(content)
        spent = time.process_time() - began
        print(
            f"{num_classes:8,} {num:9,} {content.evaluation.top1:7.1%} {len(text.encode()) / 1e6:6.2f} {spent:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
