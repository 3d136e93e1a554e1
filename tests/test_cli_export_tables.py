"""What export prints of several formats: one line each on any terminal, reasons and intervals below."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from resnet_cli.cli.export_tables import benchmark_blocks, parity_tables, result_block
from resnet_cli.commands.export import ExportResult, FormatComparison
from resnet_cli.evaluation.intervals import wilson
from resnet_cli.exporting.benchmark import VARIANTS, FormatResult
from resnet_cli.exporting.decisions import DECISIONS
from resnet_cli.exporting.parity_result import Check, EngineCheck, Parity

REASON = "openvino is not installed; it is needed for --format openvino, which writes a folder"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_format_takes_one_line_and_a_reason_is_a_sentence_below(width: int) -> None:
    share, ms = wilson(147, 153), {1: 1234.4, 32: 987.6}
    rows = [FormatResult("the model, in torch", 94_400_000, share, ms=ms)]
    made = [name for name in VARIANTS if not name.startswith("openvino")]
    rows += [FormatResult(name, 94_400_000, share, 2.8e-6, 1.0, ms) for name in made]
    rows[1 + made.index("onnx int8")] = FormatResult(
        "onnx int8", 24_000_000, wilson(120, 153), 0.3, 0.8, ms, "would be rejected"
    )
    rows.append(FormatResult("openvino", note=REASON))
    console = Console(width=width, file=io.StringIO())
    for block in benchmark_blocks(FormatComparison(Path("m"), rows, DECISIONS["single-label"]), width=width):
        # As output.py prints it: a terminal would break the lines of a text within words.
        console.print(block, soft_wrap=isinstance(block, Text))
    assert isinstance(console.file, io.StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("the model, in torch"))
    table = lines[start : start + len(rows)]
    assert all(line.startswith(f"{row.name}  ") for line, row in zip(table, rows, strict=True)), table
    assert all(line.split()[-2:] == ["1234", "988"] for line in table[:-1]) and table[-1].split() == ["openvino", "-"]
    assert ("2.8e-06" in table[1]) is (width >= 80), table
    assert max(map(len, lines)) <= width
    below = " ".join(lines[start + len(rows) :])
    assert f"openvino: {REASON}" in below and "onnx int8: would be rejected" in below
    assert "95 % interval of the model's accuracy: 91.7 to 98.2 %" in below


def parity() -> Parity:
    share = wilson(147, 153)
    checks = [
        Check("all images, one by one", 153, 1e-6, 1.0, True),
        *(Check(f"a batch of {size}", size, 1e-6, 1.0, True, "batch") for size in (1, 2, 7, 32)),
        *(Check(f"{side} x 9 pixels", 1, 1e-6 * side, 1.0, True, "size") for side in (1, 300, 1600)),
        Check("in a fresh process", 4, 1e-6, 1.0, True),
    ]
    return Parity(
        "all 153 validation images of insects",
        tuple(checks),
        DECISIONS["single-label"](("ant", "bee"), ()),
        share,
        share,
        {"accuracy": 0.0},
        max_drop=0.0,
        mean_difference=1e-6,
        max_shift=1.0,
        max_novelty_difference=1e-6,
        is_novelty_close=True,
        differences=(),
        model_ms={1: 20.0},
        file_ms={1: 10.0},
    )


def drawn(found: Parity, *, verbose: bool = False) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(*parity_tables(found, verbose=verbose), sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_sizes_that_agree_share_a_row_unless_all_rows_are_asked_for() -> None:
    short, long = drawn(parity()), drawn(parity(), verbose=True)
    assert "in 4 batch sizes" in short and "of 3 odd sizes" in short and "1.6e-03" in short
    assert "a batch of 7" not in short and len(short.splitlines()) <= 22
    assert "a batch of 7" in long and "1600 x 9 pixels" in long


def test_a_size_that_differs_is_named() -> None:
    found = parity()
    checks = [dataclasses.replace(one, passed=one.name != "300 x 9 pixels") for one in found.checks]
    text = drawn(dataclasses.replace(found, checks=tuple(checks)))
    assert "300 x 9 pixels" in text and "differs" in text and "in 4 batch sizes" in text


def test_other_engines_have_a_row_each_with_their_version() -> None:
    engines = (
        EngineCheck("OpenVINO", "2026.4.1", 4, 0.63, 0.5, False, advice="compile it otherwise"),
        EngineCheck("tract", "0.23.9", 4, refused="operator Resize is not known"),
    )
    found = dataclasses.replace(parity(), engines=engines)
    lines = drawn(found).splitlines()
    (wrong,) = (line for line in lines if line.lstrip().startswith("OpenVINO 2026.4.1"))
    (refused,) = (line for line in lines if line.lstrip().startswith("tract 0.23.9"))
    assert wrong.split()[-4:] == ["6.3e-01", "50.0", "%", "differs"] and "no answer" in refused
    assert "tract 0.23.9: operator Resize is not known" in drawn(found, verbose=True)


def test_a_web_folder_is_shown_with_the_command_that_serves_its_page() -> None:
    console = Console(width=80, file=io.StringIO())
    for name in ("web", "onnx"):
        result = ExportResult(None, Path(f"my {name}"), name, "fp32", 1, "a" * 64, "", parity(), 1.0)
        console.print(result_block(result, width=80))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "python -m http.server --directory 'my web'" in shown
    assert "serves the page" in shown
    assert shown.count("http.server") == 1


def test_a_file_that_its_own_runtime_did_not_compute_is_said_to_be_so() -> None:
    found = dataclasses.replace(parity(), not_run="Core ML runs on macOS only", file_ms={})
    text = " ".join(drawn(found).split())
    assert "not run on this machine: Core ML runs on macOS only" in text and "time per image" not in text
    assert found.to_dict()["not_run"] == "Core ML runs on macOS only" and parity().to_dict()["not_run"] is None
