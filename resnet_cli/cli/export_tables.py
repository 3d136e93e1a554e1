"""What ``export`` prints: the parity check, the written file, and all formats side by side."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from resnet_cli.cli.tables import files_block, plain_table
from resnet_cli.text import percent, printable, size

if TYPE_CHECKING:
    from rich.table import Table

    from resnet_cli.commands.export import ExportResult, FormatComparison
    from resnet_cli.evaluation.intervals import Interval
    from resnet_cli.exporting.parity import Parity

BYTES_PER_MB = 1e6


def parity_tables(parity: Parity) -> list[RenderableType]:
    """The file against the model: each group of images, accuracy and speed, and different predictions."""
    same = f">{parity.decisions.same}"
    groups = plain_table("File and model compared", "images", ">number", ">largest difference", same, "")
    for check in parity.checks:
        verdict = Text("ok", style="green") if check.passed else Text("differs", style="bold red")
        groups.add_row(
            check.name, f"{check.num_images:,}", f"{check.max_difference:.1e}", percent(check.agreement), verdict
        )
    figures = plain_table("", "", ">model", ">file")
    what = f"{parity.decisions.score} (95 % interval)"
    figures.add_row(what, _share(parity.model_accuracy), _share(parity.file_accuracy))
    for batch_size, ms in parity.file_ms.items():
        what = f"time per image, batch size {batch_size}"
        figures.add_row(what, f"{parity.model_ms[batch_size]:.0f} ms", f"{ms:.0f} ms")
    if parity.max_novelty_difference is not None:
        remark = "" if parity.is_novelty_close else "  differs"
        figures.add_row("novelty, largest difference", "", f"{parity.max_novelty_difference:.1e}{remark}")
    figures.caption = f"{printable(parity.data)}; model in torch and file on this machine's CPU, preprocessing included"
    if parity.caveat:
        figures.caption += f"\n{parity.caveat}"
    blocks: list[RenderableType] = [groups, figures]
    if parity.differences:
        table = plain_table("Different predictions", "image", "model", "file")
        for found in parity.differences:
            expected = f"{printable(found.expected)} {percent(found.expected_prob)}"
            table.add_row(printable(found.name), expected, f"{printable(found.found)} {percent(found.found_prob)}")
        blocks.append(table)
    return blocks


def result_block(result: ExportResult, *, width: int) -> RenderableType:
    """What was written, and how to use it."""
    path = str(result.path)
    what = f"{size(result.num_bytes)}, SHA-256 {result.sha256[:16]}…"
    blocks = [files_block(f"Written in {result.seconds:.0f} s", [(path, what)], width=width)]
    if result.format == "onnx":
        command = f"resnet-cli predict photo.jpg --model {shlex.quote(path)}"
        blocks.append(files_block("Next", [(command, "predicts without torch")], width=width))
    return Group(*blocks)


def benchmark_table(comparison: FormatComparison) -> Table:
    """All formats: size, accuracy, difference from the model, speed."""
    rows, decisions = comparison.rows, comparison.decisions
    sizes = sorted({size for row in rows for size in row.ms})
    table = plain_table(
        "Formats on this machine",
        "format",
        ">MB",
        f">{decisions.score}",
        ">largest difference",
        f">{decisions.same}",
        *(f">ms at {size}" for size in sizes),
        "",
    )
    for row in rows:
        if row.accuracy is None:
            table.add_row(row.name, *[""] * (4 + len(sizes)), Text(printable(row.note), style="dim"))
            continue
        table.add_row(
            row.name,
            f"{row.num_bytes / BYTES_PER_MB:.1f}",
            _share(row.accuracy),
            "" if row.max_difference is None else f"{row.max_difference:.1e}",
            "" if row.agreement is None else percent(row.agreement),
            *(f"{row.ms[size]:.0f}" for size in sizes),
            Text(row.note, style="bold red"),
        )
    table.caption = "ms: milliseconds per decoded image at this batch size, preprocessing included; no file was kept"
    return table


def _share(accuracy: Interval) -> str:
    if math.isnan(accuracy.value):
        return "unknown"
    return f"{percent(accuracy.value)} ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})"
