"""Rows of ``resnet-cli predict`` on stdout."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_cli.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from resnet_cli.commands.predict_model import Started
    from resnet_cli.config.predict import Format, PredictConfig
    from resnet_cli.engines.similar import Match
    from resnet_cli.prediction import Prediction
    from resnet_cli.task import TaskName


def printer(config: PredictConfig, started: Started) -> Callable[[Prediction], None]:
    """Prints predictions on stdout one by one, after the header if there is one.

    Args:
        config: Says which format: CSV, JSON lines, or else a table on a terminal and tabs elsewhere.
        started: What is known before the first image.
    """
    from resnet_cli.outputs.schema import to_cells, to_dict

    layout = started.layout
    if config.format == "json":
        return lambda prediction: output.show_json(to_dict(prediction, layout))
    if config.format == "csv":
        output.show_csv([layout.header])
        return lambda prediction: output.show_csv([to_cells(prediction, layout)])
    if sys.stdout.isatty():
        from resnet_cli.cli.predict_table import PredictionTable

        # Line by line: a whole table would hold ten thousand predictions back until the last one.
        table = PredictionTable(started, can_abstain=config.has_rule, lists_classes=config.topk is not None)
        output.show(table.head())
        return lambda prediction: output.show(*table.lines(prediction))
    to_tabs = _CELLS[started.task]
    return lambda prediction: output.show_line("\t".join(to_tabs(prediction)))


def tab_cells(prediction: Prediction) -> Iterator[str]:
    """The path, ``unknown`` and the reason if there is one, then classes and probabilities in turn.

    If the image is unlike the training images, and no reason says so, this is the last cell.
    """
    from resnet_cli.model.reliability import UNLIKE

    yield prediction.path
    if prediction.unknown is not None:
        yield prediction.label
        yield prediction.unknown
    for name, prob in prediction.topk:
        yield name
        yield f"{prob:.4f}"
    if prediction.is_unfamiliar and prediction.unknown != UNLIKE:
        yield UNLIKE


def labels_tab_cells(prediction: Prediction) -> Iterator[str]:
    """The path, the labels joined by ``; ``, then classes and probabilities in turn.

    Without a label, ``none`` is in its place; for an image that is not classified, ``unknown`` and the reason.
    If the image is unlike the training images, and no reason says so, this is the last cell.
    """
    cells = tab_cells(prediction)
    yield next(cells)
    if prediction.unknown is None:
        yield prediction.label
    yield from cells


_CELLS: Mapping[TaskName, Callable[[Prediction], Iterator[str]]] = {
    "single-label": tab_cells,
    "multi-label": labels_tab_cells,
}


def show_matches(matches: Sequence[Match], kind: Format | None) -> None:
    """Prints similar images, one row per match."""
    columns = ("query", "rank", "path", "similarity")
    if kind == "json":
        for match in matches:
            output.show_json(dict(zip(columns, dataclasses.astuple(match), strict=True)))
        return
    if kind == "csv":
        rows = [[match.query, match.rank, match.path, f"{match.similarity:.6f}"] for match in matches]
        output.show_csv([columns, *rows])
        return
    if sys.stdout.isatty():
        return output.show(*_match_tables(matches))
    for match in matches:
        output.show_line("\t".join([match.query, str(match.rank), match.path, f"{match.similarity:.4f}"]))


def _match_tables(matches: Sequence[Match]) -> list[RenderableType]:
    """A table per query, with the paths last and shortened to the width of the terminal."""
    from rich.text import Text

    from resnet_cli.cli.links import link
    from resnet_cli.cli.tables import plain_table
    from resnet_cli.text import printable, shorten

    room = max(20, output.stdout().width - 22)
    tables: list[RenderableType] = []
    table = None
    for match in matches:
        if match.rank == 1 or table is None:
            table = plain_table(f"Most similar to {shorten(match.query, room)}", ">", ">similarity", "image")
            tables.append(table)
        shown = shorten(printable(match.path), room)
        is_file = os.path.exists(match.path)
        table.add_row(f"{match.rank}", f"{match.similarity:.4f}", link(match.path, shown) if is_file else Text(shown))
    return tables
