"""The tables of ``runs``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from resnet_cli.cli.links import link
from resnet_cli.cli.tables import plain_table
from resnet_cli.commands.run_removal import foreign_names
from resnet_cli.text import counted, duration, first_of, percent, percent_range, printable, shorten, size, split_word

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from resnet_cli.commands.run_details import RunDetails
    from resnet_cli.commands.run_files import Score
    from resnet_cli.commands.run_summary import RunSummary

#: Columns of the list, from the most to the fewest; the first that fit are shown.
_COLUMNS = (
    ("run", "data", "mode", "epochs", "score", "95 %", "on", "state", "size", "age"),
    ("run", "mode", "epochs", "score", "95 %", "state", "age"),
    ("run", "score", "95 %", "state", "age"),
    ("run", "score", "state", "age"),
)
_RIGHT = frozenset({"epochs", "score", "95 %", "size", "age"})
#: Blanks between two columns.
_GAP = 3
SCORE_NAMES = {"top1": "top-1", "map": "mAP"}
_STYLES = {"running": "cyan", "finished": "", "interrupted": "yellow", "failed": "red", "damaged": "red"}
#: What is shown where nothing is known.
NONE = "-"
#: Columns of the lines that a pipe gets.
_PIPED = ("run", "state", "data", "mode", "epochs", "score", "value", "low", "high", "split", "bytes", "seconds ago")


def runs_table(runs: Sequence[RunSummary], *, width: int) -> Table:
    """The runs, newest first; a narrower terminal gets fewer columns and no broken words.

    Args:
        runs: At least one run.
        width: Columns of the terminal.
    """
    keys = {run.scores[0].key for run in runs if run.scores}
    score = SCORE_NAMES[keys.pop()] if len(keys) == 1 else "score"
    for chosen in _COLUMNS:
        with_split = "on" not in chosen
        rows = [_cells(run, with_split=with_split) for run in runs]
        heads = {name: score if name == "score" else name for name in chosen}
        widths = [max(len(head), *(row[name].cell_len for row in rows)) for name, head in heads.items()]
        if 2 + sum(widths) + _GAP * (len(chosen) - 1) <= width:
            break
    table = plain_table(f"Runs ({len(runs):,})", *(f"{'>' * (name in _RIGHT)}{head}" for name, head in heads.items()))
    for column in table.columns[1:]:
        column.no_wrap = True
    for row in rows:
        table.add_row(*(row[name] for name in chosen))
    notes = ["*: runs/latest"] if any(run.is_latest for run in runs) else []
    if with_split and any(run.scores and run.scores[0].split == "val" for run in runs):
        notes.append("v: on the validation split, the others on the test split")
    table.caption = "; ".join(notes) or None
    return table


def _cells(run: RunSummary, *, with_split: bool) -> dict[str, Text]:
    """The cells of a run by the name of their column."""
    score = run.scores[0] if run.scores else None
    data = run.config.get("data") or NONE
    mark = " v" if with_split and score and score.split == "val" else "  " if with_split else ""
    shown = {
        "data": shorten(data.rstrip("/").rpartition("/")[2] or data, 20),
        "mode": run.mode or NONE,
        "epochs": run.epochs_text,
        "score": NONE if score is None else percent(score.value) + mark,
        "95 %": NONE if score is None else interval(score),
        "on": NONE if score is None else split_word(score.split),
        "size": size(run.num_bytes),
        "age": age(time.time() - run.changed),
    }
    name = Text.assemble(link(run.path, run.name), (" *" if run.is_latest else "", "bold"))
    return {name: Text(printable(value)) for name, value in shown.items()} | {
        "run": name,
        "state": state_text(run.state),
    }


def state_text(state: str) -> Text:
    """The state of a run; what needs attention is in color."""
    return Text(state, _STYLES[state])


def interval(score: Score) -> str:
    """The 95 % interval of a score; a dash if it is not known."""
    return NONE if score.low is None or score.high is None else percent_range(score.low, score.high)


def score_text(score: Score) -> str:
    """``top-1 95.4 % (90.9 to 97.8 %) on 153 test images``."""
    span = "" if score.low is None else f" ({interval(score)})"
    num = f"{score.num_images:,} " if score.num_images else ""
    return f"{SCORE_NAMES[score.key]} {percent(score.value)}{span} on {num}{split_word(score.split)} images"


def age(seconds: float) -> str:
    """``42 s``, ``12 min``, ``5.5 h`` or ``3 days``."""
    days = seconds / 86_400
    return duration(max(0.0, seconds)) if days < 2 else f"{days:.0f} days"


def run_lines(runs: Sequence[RunSummary]) -> Iterator[str]:
    """The same for a pipe: a header, and a line with tabs for each run."""
    yield "\t".join(_PIPED)
    for run in runs:
        score = run.scores[0] if run.scores else None
        about: list[object] = [run.path, run.state, run.config.get("data"), run.mode, run.epochs_text]
        about += [None] * 5 if score is None else [score.key, score.value, score.low, score.high, score.split]
        about += [run.num_bytes, int(max(0.0, time.time() - run.changed))]
        yield "\t".join("" if value is None else printable(str(value)) for value in about)


def details_blocks(found: RunDetails) -> list[RenderableType]:
    """What ``runs show`` shows."""
    run = found.summary
    head = Text.assemble((printable(str(run.path)), "bold"), "  ", state_text(run.state))
    head.append(f", {age(time.time() - run.changed)} ago, {size(run.num_bytes)}", "dim")
    if run.is_latest:
        head.append(", runs/latest", "dim")
    scores = {split_word(score.split): score_text(score) for score in run.scores}
    epochs = {} if run.epochs_text == NONE else {"epochs": run.epochs_text}
    took = {} if found.seconds is None else {"time": duration(found.seconds)}
    kept = {"kept": found.kept.removeprefix("kept ")} if found.kept else {}
    blocks: list[RenderableType] = [head]
    blocks += _facts("Trained on", found.trained_on)
    blocks += _facts("How", found.how | epochs | took)
    blocks += _facts("Scores", scores | kept)
    if found.files:
        table = _grid(2)
        for name, num, about in found.files:
            table.add_row(link(run.path / name, f"  {name}"), Text(size(num), justify="right"), Text(about, "dim"))
        blocks += [Text("\nFiles", style="bold"), table]
    if "made_by" in found.commands:
        blocks += [Text("\nMade by", style="bold"), Text(f"  {printable(found.commands['made_by'])}")]
    blocks.append(Text("\nNext", style="bold"))
    for name, command in found.commands.items():
        if name != "made_by":
            # As text of its own, which is never broken into lines: it can be copied.
            blocks += [Text(f"  {printable(command)}"), Text(f"      {_PURPOSES[name]}", "dim")]
    return blocks


def _grid(num_fixed: int) -> Table:
    """A table without lines and headers; its last column breaks its text between words."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(num_fixed):
        table.add_column(no_wrap=True)
    table.add_column()
    return table


_PURPOSES = {
    "again": "the same training again, in a new folder",
    "resume": "continue the training",
    "extend": "train more epochs",
    "predict": "predictions for new images",
    "evaluate": "its metrics, per class",
    "export": "a file for other programs",
    "remove": "remove what is left of it",
}


def _facts(title: str, facts: Mapping[str, str]) -> list[RenderableType]:
    if not facts:
        return []
    table = _grid(1)
    for name, value in facts.items():
        table.add_row(Text(f"  {name}", "dim"), Text(printable(value)))
    return [Text(f"\n{title}", style="bold"), table]


def removal_lines(runs: Sequence[RunSummary]) -> list[str]:
    """What ``runs rm`` is about to remove."""
    lines = []
    for run in runs:
        score = f", {score_text(run.scores[0])}" if run.scores else ""
        lines.append(printable(f"{run.path}: {run.state}, {size(run.num_bytes)}{score}"))
        if others := foreign_names(run.path):
            lines.append(printable(f"  with files that resnet-cli did not write: {first_of(others, 5)}"))
    if len(runs) > 1:
        lines.append(f"{counted(len(runs), 'run')}, {size(sum(run.num_bytes for run in runs))} in all")
    return lines
