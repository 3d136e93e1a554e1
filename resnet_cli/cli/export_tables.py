"""What ``export`` prints: the parity check, the written file, and all formats side by side."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from resnet_cli.cli.tables import files_block, plain_table
from resnet_cli.exporting.parity_result import Check
from resnet_cli.text import counted, percent, percent_range, printable, size

if TYPE_CHECKING:
    from resnet_cli.commands.export import ExportResult, FormatComparison
    from resnet_cli.exporting.parity_result import Parity

BYTES_PER_MB = 1e6
_DIFFERS = Text("differs", style="bold red")
#: Narrower terminals show no differences between file and model.
MIN_WIDTH_WITH_DIFFERENCES = 78


def parity_tables(parity: Parity, *, verbose: bool = False) -> list[RenderableType]:
    """The file against the model: each group of images, accuracy and speed, and different predictions.

    Args:
        parity: The comparison.
        verbose: Whether every batch size and image size has a row, even if none of them differs.
    """
    same = f">{parity.decisions.same}"
    groups = plain_table("File and model compared", "images", ">number", ">largest difference", same, "")
    for check in parity.checks if verbose else _summed_up(parity.checks):
        verdict = Text("ok", style="green") if check.passed else _DIFFERS
        groups.add_row(
            check.name, f"{check.num_images:,}", f"{check.max_difference:.1e}", percent(check.agreement), verdict
        )
    if parity.max_novelty_difference is not None:
        verdict = Text("ok", style="green") if parity.is_novelty_close else _DIFFERS
        groups.add_row("novelty of all images", "", f"{parity.max_novelty_difference:.1e}", "", verdict)
    where = parity.how() or "model in torch and file on this machine's CPU, preprocessing included"
    about = f"{printable(parity.data)}; {where}"
    # A caption would be as narrow as the table; sentences without a style are wrapped between words.
    blocks: list[RenderableType] = [groups]
    if parity.engines:
        blocks.append(_engines_table(parity))
    if verbose:
        blocks += [f"{one.name} {one.version}: {printable(one.refused)}" for one in parity.engines if one.refused]
    blocks += [_figures(parity), *(text for text in (about, parity.few_images(), parity.caveat) if text)]
    if parity.differences:
        table = plain_table("Different predictions", "image", "model", "file")
        for found in parity.differences:
            expected = f"{printable(found.expected)} {percent(found.expected_prob)}"
            table.add_row(printable(found.name), expected, f"{printable(found.found)} {percent(found.found_prob)}")
        blocks += [Text(), table]
    return blocks


def _summed_up(checks: Iterable[Check]) -> Iterator[Check]:
    """The checks, with one for all batch sizes and one for all image sizes unless one of them differs."""
    for group, members in itertools.groupby(checks, key=lambda check: check.group):
        several = list(members)
        if not group or not all(check.passed for check in several):
            yield from several
            continue
        yield Check(
            f"in {len(several)} batch sizes" if group == "batch" else f"of {len(several)} odd sizes",
            sum(check.num_images for check in several),
            max(check.max_difference for check in several),
            min(check.agreement for check in several),
            passed=True,
        )


def _engines_table(parity: Parity) -> RenderableType:
    same = f">{parity.decisions.same}"
    table = plain_table("The file in other engines", "engine", ">largest difference", same, "")
    for engine in parity.engines:
        name = f"{engine.name} {engine.version}"
        if engine.max_difference is None or engine.agreement is None:
            table.add_row(name, "-", "-", Text("no answer", style="dim"))
        else:
            verdict = Text("ok", style="green") if engine.passed else _DIFFERS
            table.add_row(name, f"{engine.max_difference:.1e}", percent(engine.agreement), verdict)
    return table


def _figures(parity: Parity) -> RenderableType:
    figures = plain_table("", "", ">model", ">file")
    both = (parity.model_accuracy, parity.file_accuracy)
    if math.isnan(both[0].value):
        figures.add_row(parity.decisions.score, "unknown", "unknown")
    else:
        figures.add_row(
            f"{parity.decisions.score} on {counted(parity.num_images, 'image')}", *(percent(one.value) for one in both)
        )
        figures.add_row("95 % interval", *(percent_range(one.low, one.high) for one in both))
    if parity.max_shift < 1:
        figures.add_row("mean change of probabilities", "", f"{100 * parity.mean_difference:.2f} points")
    if parity.temperatures is not None:
        figures.add_row("temperature", *(f"{one:.3f}" for one in parity.temperatures))
    for batch_size, ms in parity.file_ms.items():
        figures.add_row(
            f"time per image, batch of {batch_size}", f"{parity.model_ms[batch_size]:.0f} ms", f"{ms:.0f} ms"
        )
    return figures


def result_block(result: ExportResult, *, width: int) -> RenderableType:
    """What was written, and how to use it."""
    path = str(result.path)
    what = f"{size(result.num_bytes)}, SHA-256 {result.sha256[:16]}…"
    blocks = [files_block(f"Written in {result.seconds:.0f} s", [(path, what)], width=width)]
    if result.format != "pt2" and result.parity.not_run is None:
        command = f"resnet-cli predict photo.jpg --model {shlex.quote(path)}"
        what = "predicts without torch" if result.format == "onnx" else "predicts with it here"
        steps = [(command, what)]
        if result.format == "web":
            steps.insert(0, (f"python -m http.server --directory {shlex.quote(path)}", "serves the page"))
        blocks.append(files_block("Next", steps, width=width))
    return Group(*blocks)


def benchmark_blocks(comparison: FormatComparison, *, width: int) -> list[RenderableType]:
    """All formats: size, score, difference from the model and speed; below, what does not fit into a cell.

    Args:
        comparison: The formats.
        width: Columns of the terminal; narrow ones show no differences.
    """
    rows, decisions = comparison.rows, comparison.decisions
    sizes = sorted({size for row in rows for size in row.ms})
    is_wide = width >= MIN_WIDTH_WITH_DIFFERENCES
    same = decisions.same.replace(" ", "\n", 1)
    differences = (">largest\ndiff.", f">{same}") if is_wide else ()
    table = plain_table(
        "Formats on this machine",
        *("format", ">MB", f">{decisions.score}", *differences, *(f">ms at\n{size}" for size in sizes)),
    )
    notes = []
    for row in rows:
        if row.note:
            notes.append(Text.assemble((row.name, "bold"), f": {printable(row.note)}"))
        if row.accuracy is None:
            table.add_row(Text(row.name, style="dim"), "-")
            continue
        compared = [
            "" if row.max_difference is None else f"{row.max_difference:.1e}",
            "" if row.agreement is None else percent(row.agreement),
        ]
        table.add_row(
            Text(row.name, style="bold red" if row.note else ""),
            f"{row.num_bytes / BYTES_PER_MB:.1f}",
            "unknown" if math.isnan(row.accuracy.value) else percent(row.accuracy.value),
            *(compared if is_wide else ()),
            *(f"{row.ms[size]:.0f}" for size in sizes),
        )
    reference = next((row.accuracy for row in rows if row.accuracy is not None), None)
    if reference is not None and not math.isnan(reference.value):
        ends = percent_range(reference.low, reference.high)
        notes.append(Text(f"95 % interval of the model's {decisions.score}: {ends}; --json has that of each file"))
    notes.append(Text("ms: milliseconds per decoded image at this batch size, with preprocessing; no file was kept"))
    # Text by itself would be left to the terminal, which breaks lines within words.
    return [table, Group(*notes)]
