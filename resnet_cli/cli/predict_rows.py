"""Rows of ``resnet-cli predict`` on stdout."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_cli.cli import output

if TYPE_CHECKING:
    from rich.text import Text

    from resnet_cli.config.predict import Format
    from resnet_cli.engines.similar import Match
    from resnet_cli.outputs.schema import Layout
    from resnet_cli.prediction import Prediction
    from resnet_cli.task import TaskName

#: Width of the column of labels on a terminal.
LABELS_WIDTH = 34


def printer(kind: Format | None, layout: Layout, task: TaskName = "single-label") -> Callable[[Prediction], None]:
    """Prints predictions on stdout one by one, after the header if there is one.

    Args:
        kind: ``csv`` or ``json``; None for plain lines, aligned on a terminal and with tabs elsewhere.
        layout: The columns.
        task: The task of the model.
    """
    from resnet_cli.outputs.schema import to_cells, to_dict

    if kind == "json":
        return lambda prediction: output.show_json(to_dict(prediction, layout))
    if kind == "csv":
        output.show_csv([layout.header])
        return lambda prediction: output.show_csv([to_cells(prediction, layout)])
    to_text, to_tabs = _LINES[task]
    if sys.stdout.isatty():
        # Line by line: a table would hold ten thousand predictions back until the last one.
        return lambda prediction: output.show(to_text(prediction))
    return lambda prediction: output.show_line("\t".join(to_tabs(prediction)))


def prediction_text(prediction: Prediction) -> Text:
    """One prediction for a terminal: the class, its probability, the image, and the other classes.

    An image unlike the training images is marked before its path, where a narrow terminal shows the mark in one piece.
    For an unknown image the reason and all its most probable classes follow.
    """
    from rich.text import Text

    from resnet_cli.model.reliability import UNLIKE
    from resnet_cli.text import percent, printable

    is_known = prediction.unknown is None
    classes = prediction.topk[1:] if is_known else prediction.topk
    others = ", ".join(f"{printable(name)} {percent(prob)}" for name, prob in classes)
    reason = "" if prediction.unknown in (None, UNLIKE) else f"{prediction.unknown}: "
    return Text.assemble(
        f"{percent(prediction.prob):>7}  ",
        (f"{printable(prediction.label):<16}", "bold yellow" if prediction.is_unfamiliar or not is_known else "bold"),
        (f"  {UNLIKE}" if prediction.is_unfamiliar else "", "yellow"),
        f"  {printable(prediction.path)}  ",
        (reason + others, "dim"),
    )


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


def labels_text(prediction: Prediction) -> Text:
    """One prediction of a multi-label model for a terminal: the labels with their probabilities, and the image.

    Without a label, the most probable class follows in brackets. Labels that do not fit into the line are counted.
    """
    from rich.text import Text

    from resnet_cli.model.reliability import UNLIKE
    from resnet_cli.prediction import NONE
    from resnet_cli.text import display_width, first_of, percent, printable

    named = [f"{printable(name)} {percent(prob)}" for name, prob in prediction.chosen or prediction.topk[:1]]
    mark = f"  {UNLIKE}" if prediction.is_unfamiliar else ""
    path = f"  {printable(prediction.path)}"
    room = max(LABELS_WIDTH, shutil.get_terminal_size().columns - display_width(mark + path))
    fitting = (first_of(named, num) for num in range(len(named), 0, -1))
    labels = next((text for text in fitting if display_width(text) <= room), first_of(named, 1))
    if prediction.unknown is not None:
        reason = "" if prediction.unknown == UNLIKE else f" ({prediction.unknown})"
        labels = f"{prediction.label}{reason}"
    elif not prediction.chosen:
        labels = f"{NONE} ({labels})"
    is_plain = prediction.unknown is None and not prediction.is_unfamiliar
    style = "dim" if is_plain and not prediction.chosen else "bold" if is_plain else "bold yellow"
    padding = " " * (LABELS_WIDTH - display_width(labels))
    return Text.assemble((labels + padding, style), (mark, "yellow"), path)


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


_LINES: Mapping[TaskName, tuple[Callable[[Prediction], Text], Callable[[Prediction], Iterator[str]]]] = {
    "single-label": (prediction_text, tab_cells),
    "multi-label": (labels_text, labels_tab_cells),
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
    for match in matches:
        cells = [match.query, str(match.rank), match.path, f"{match.similarity:.4f}"]
        if sys.stdout.isatty():
            from resnet_cli.text import printable

            output.show(f"{cells[3]:>7}  {cells[1]:>3}  {printable(match.path)}  ({printable(match.query)})")
        else:
            output.show_line("\t".join(cells))
