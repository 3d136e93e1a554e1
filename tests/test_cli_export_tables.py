"""What export prints of several formats: one line each on any terminal, reasons and intervals below."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from resnet_cli.cli.export_tables import benchmark_blocks
from resnet_cli.commands.export import FormatComparison
from resnet_cli.evaluation.intervals import wilson
from resnet_cli.exporting.benchmark import VARIANTS, FormatResult
from resnet_cli.exporting.decisions import DECISIONS

REASON = "openvino is not installed; it is needed for --format openvino, which writes a folder"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_format_takes_one_line_and_a_reason_is_a_sentence_below(width: int) -> None:
    share, ms = wilson(147, 153), {1: 1234.4, 32: 987.6}
    rows = [FormatResult("the model, in torch", 94_400_000, share, ms=ms)]
    rows += [FormatResult(name, 94_400_000, share, 2.8e-6, 1.0, ms) for name in list(VARIANTS)[:-1]]
    rows[3] = FormatResult("onnx int8", 24_000_000, wilson(120, 153), 0.3, 0.8, ms, "would be rejected")
    rows.append(FormatResult("openvino", note=REASON))
    console = Console(width=width, file=io.StringIO())
    console.print(
        *benchmark_blocks(FormatComparison(Path("m"), rows, DECISIONS["single-label"]), width=width), sep="\n"
    )
    assert isinstance(console.file, io.StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("the model, in torch"))
    table = lines[start : start + len(rows)]
    assert all(line.startswith(f"{row.name}  ") for line, row in zip(table, rows, strict=True)), table
    assert all(line.split()[-2:] == ["1234", "988"] for line in table[:-1]) and table[-1].split() == ["openvino", "-"]
    assert ("2.8e-06" in table[1]) is (width >= 80), table
    below = " ".join(lines[start + len(rows) :])
    assert f"openvino: {REASON}" in below and "onnx int8: would be rejected" in below
    assert "95 % interval of the model's accuracy: 91.7 to 98.2 %" in below
