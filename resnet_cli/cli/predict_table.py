"""Predictions on a terminal: a table whose rows appear as they are predicted, each as wide as the terminal is then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from resnet_cli.cli.links import link
from resnet_cli.text import display_width, first_of, percent, printable, shorten, shorten_path

if TYPE_CHECKING:
    from rich.text import Text

    from resnet_cli.commands.predict_model import Started
    from resnet_cli.prediction import Prediction

#: Marks a label whose image is unlike the training images.
MARK = " ?"
#: Characters of a probability, and between two columns.
PROB_WIDTH, GAP = 7, "  "
#: Characters of a bar, which narrower terminals do not have.
BAR_WIDTH, MIN_WIDTH_WITH_BARS = 8, 72
#: Terminals as wide as this have room for the next classes.
MIN_WIDTH_WITH_OTHERS, OTHERS_WIDTH = 110, 30
#: The fewest and most characters of a class, and the fewest of a path.
MIN_NAME_WIDTH, MAX_NAME_WIDTH, MIN_PATH_WIDTH = 8, 28, 12
#: What "unknown (looks like NAME 93.4 %)" takes without the name.
UNKNOWN_WIDTH = 28


class Widths(NamedTuple):
    """Characters of each column; 0 for a column that is absent.

    The labels of a multi-label model have their probabilities beside them. "Unknown" takes the first three columns:
    a probability in a column of its own would read as that of "unknown".
    """

    label: int
    prob: int
    bar: int
    others: int
    path: int

    @property
    def unknown(self) -> int:
        """Characters of the first three columns."""
        return self.label + sum(width + len(GAP) for width in (self.prob, self.bar) if width)


class PredictionTable:
    """Makes the lines of the table.

    Args:
        started: What is known before the first image.
        can_abstain: Whether an image may be labeled "unknown".
        lists_classes: Whether each image has a line for every one of its most probable classes.
    """

    def __init__(self, started: Started, *, can_abstain: bool = False, lists_classes: bool = False) -> None:
        self._started, self._lists_classes = started, lists_classes
        self._is_single = started.task == "single-label"
        name = max(map(display_width, map(printable, started.classes)), default=MIN_NAME_WIDTH)
        self._name_width = max(MIN_NAME_WIDTH, min(MAX_NAME_WIDTH, name))
        self._unknown_width = UNKNOWN_WIDTH + self._name_width if can_abstain else 0

    def widths(self) -> Widths:
        """The columns on the terminal as it is now."""
        # In the last column some terminals begin a new line.
        total = shutil.get_terminal_size().columns - 1
        if not self._is_single:
            label = max(MIN_NAME_WIDTH, total * 11 // 20)
            return Widths(label, 0, 0, 0, max(MIN_PATH_WIDTH, total - label - len(GAP)))
        bar = BAR_WIDTH if total >= MIN_WIDTH_WITH_BARS else 0
        label = min(self._name_width, total // 3) + len(MARK) * self._started.tells_unfamiliar
        missing = min(self._unknown_width, total // 2) - Widths(label, PROB_WIDTH, bar, 0, 0).unknown
        label += max(0, missing)
        has_others = total >= MIN_WIDTH_WITH_OTHERS and len(self._started.classes) > 2 and not self._lists_classes
        others = OTHERS_WIDTH if has_others else 0
        taken = sum(width + len(GAP) for width in (label, PROB_WIDTH, bar, others) if width)
        return Widths(label, PROB_WIDTH, bar, others, max(MIN_PATH_WIDTH, total - taken))

    def head(self) -> Text:
        """The names of the columns."""
        from rich.text import Text

        widths = self.widths()
        image = "image"
        if self._started.tells_unfamiliar and widths.path >= 38:
            image += f" ({MARK.strip()}: unlike the training images)"
        names = ("class" if self._is_single else "labels", "prob".rjust(widths.prob), "", "next")
        cells = [_fill(Text(name), width) for name, width in zip(names, widths[:-1], strict=True) if width]
        return Text(GAP, "bold").join([*cells, Text(image)])

    def lines(self, prediction: Prediction) -> Iterator[Text]:
        """The line of an image, and one for each of its classes if they are listed."""
        from rich.text import Text

        widths = self.widths()
        if prediction.unknown is not None:
            cells = [_fill(_label(prediction, widths.unknown), widths.unknown)]
        else:
            cells = [_fill(_label(prediction, widths.label), widths.label), *_prob_cells(prediction.prob, widths)]
        if widths.others:
            cells.append(_fill(Text(_others(prediction, widths.others), "dim"), widths.others))
        yield Text(GAP).join([*cells, link(prediction.path, shorten_path(prediction.path, widths.path))])
        if self._lists_classes:
            is_named = self._is_single and prediction.unknown is None
            for name, prob in prediction.topk[1:] if is_named else prediction.topk:
                label = _fill(Text(GAP + shorten(name, widths.label - len(GAP))), widths.label)
                line = Text(GAP).join([label, *(_prob_cells(prob, widths) or [Text(percent(prob))])])
                line.stylize("dim")
                yield line


def _prob_cells(prob: float, widths: Widths) -> list[Text]:
    from rich.text import Text

    from resnet_cli.cli.score_parts import bar

    cells = [Text(f"{percent(prob):>{PROB_WIDTH}}")] if widths.prob else []
    return [*cells, bar(prob, widths.bar)] if widths.bar else cells


def _label(prediction: Prediction, width: int) -> Text:
    from rich.text import Text

    is_known = prediction.unknown is None
    mark = MARK if prediction.is_unfamiliar and not _is_unlike(prediction) else ""
    is_none = prediction.labels is not None and not prediction.chosen
    style = "bold yellow" if prediction.is_unfamiliar or not is_known else "dim" if is_none else "bold"
    words = _known if is_known else _unknown
    return Text(words(prediction, width - len(mark)) + mark, style)


def _known(prediction: Prediction, room: int) -> str:
    if prediction.labels is None:
        return shorten(prediction.label, room)
    named = [f"{printable(name)} {percent(prob)}" for name, prob in prediction.chosen or prediction.topk[:1]]
    texts = [first_of(named, num) for num in range(len(named), 0, -1)]
    if not prediction.chosen:
        texts = [f"{prediction.label} ({named[0]})"]
    return next((text for text in texts if display_width(text) <= room), shorten(texts[-1], room))


def _is_unlike(prediction: Prediction) -> bool:
    from resnet_cli.model.reliability import UNLIKE

    return prediction.unknown == UNLIKE


def _unknown(prediction: Prediction, room: int) -> str:
    """Unknown, and in brackets the most probable class: what the image looks like, or why that is too uncertain."""
    name, prob = prediction.topk[0]
    sure = percent(prob)
    forms = [("unknown (looks like ", f" {sure})") if _is_unlike(prediction) else ("unknown (", f", only {sure})")]
    forms.append(("unknown (", f" {sure})"))
    for begin, end in forms:
        # The name of a class can be long; a part of it is enough.
        left = room - len(begin) - len(end)
        if left >= min(display_width(printable(name)), MIN_NAME_WIDTH):
            return begin + shorten(name, left) + end
    return "unknown"


def _others(prediction: Prediction, width: int) -> str:
    named = [f"{printable(name)} {percent(prob)}" for name, prob in prediction.topk[1:]]
    texts = (", ".join(named[:num]) for num in range(len(named), 0, -1))
    return next((text for text in texts if display_width(text) <= width), shorten(named[0], width) if named else "")


def _fill(text: Text, width: int) -> Text:
    text.append(" " * (width - text.cell_len))
    return text
