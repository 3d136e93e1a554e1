"""The tables of ``runs compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from resnet_cli.cli.confusion import sparkline
from resnet_cli.cli.run_tables import NONE, SCORE_NAMES, interval, state_text
from resnet_cli.cli.score_tables import tables_for
from resnet_cli.cli.tables import files_block, plain_table
from resnet_cli.text import percent, printable, shorten, split_word

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from resnet_cli.commands.run_comparison import RunComparison

#: Columns of a curve; a longer one shows its last epochs.
CURVE_WIDTH = 16


def comparison_blocks(found: RunComparison, *, width: int) -> list[RenderableType]:
    """Scores, settings that differ, curves, and the paired test."""
    blocks: list[RenderableType] = [
        Text.assemble((f"{letter}  ", "bold"), printable(str(run.summary.path)), "  ", state_text(run.summary.state))
        for letter, run in zip(found.letters, found.runs, strict=True)
    ]
    blocks += [Text(), _scores(found)]
    if found.obstacles:
        blocks.append(Text("Do not compare these scores directly:", "yellow"))
        blocks += [Text(f"  {text}") for text in found.obstacles]
    blocks += [Text(), _settings(found, width=width)]
    if any(run.history for run in found.runs):
        blocks += [Text(), _curves(found)]
    if found.paired is not None:
        scores, letters = found.paired.found, list(found.paired_letters)
        most = max(10, width - 50)
        paths = {
            letter: shorten(str(run.summary.path), most) for letter, run in zip(found.letters, found.runs, strict=True)
        }
        named = [(paths[letter], one) for letter, (_, one) in zip(letters, scores, strict=True)]
        blocks += [Text(), Text("Paired test", "bold")]
        blocks += tables_for(scores[0][1]).comparison(named, found.paired.comparisons, names=letters)
    blocks += [Text(note, "dim") for note in found.notes]
    if found.written is not None:
        blocks.append(files_block("Written", [(str(found.written), "the comparison, as a page")], width=width))
    return blocks


def _scores(found: RunComparison) -> Table:
    keys = {run.summary.scores[0].key for run in found.runs if run.summary.scores}
    name = SCORE_NAMES[keys.pop()] if len(keys) == 1 else "score"
    table = plain_table("Recorded scores", "", f">{name}", ">95 %", "images")
    for letter, run in zip(found.letters, found.runs, strict=True):
        score = run.summary.scores[0] if run.summary.scores else None
        cells = [NONE] * 3
        if score is not None:
            prefix = f"{SCORE_NAMES[score.key]} " if name == "score" else ""
            num = f"{score.num_images:,} " if score.num_images else ""
            cells = [prefix + percent(score.value), interval(score), num + split_word(score.split)]
        table.add_row(Text(letter, "bold"), *cells)
    return table


def _settings(found: RunComparison, *, width: int) -> Table:
    # The middle of a long path is left out, so that no word is broken.
    most = max(10, (width - 22) // len(found.letters) - 3)
    table = plain_table("Settings that differ", "", *found.letters)
    for name, values in found.settings:
        table.add_row(
            Text(printable(name), "dim"), *(Text(NONE if value is None else shorten(value, most)) for value in values)
        )
    table.caption = f"{found.num_same} settings are the same" if found.settings else "none"
    return table


def _curves(found: RunComparison) -> Table:
    """The calibrated loss of each run over its epochs, and what was kept."""
    table = plain_table("Calibrated loss on validation", "", "first to last", ">lowest", "kept")
    for letter, run in zip(found.letters, found.runs, strict=True):
        losses = [record.val_fitted_loss for record in run.history]
        if losses:
            kept = run.kept.removeprefix("kept ").partition(":")[0]
            table.add_row(Text(letter, "bold"), sparkline(losses[-CURVE_WIDTH:]), f"{min(losses):.3f}", kept)
    return table
