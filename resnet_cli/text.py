"""Text for people and programs: percents, sizes, durations, names cut to a width, lines of JSON."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Between the labels of an image in a cell of a table.
LABEL_SEPARATOR = ";"
#: The fewest characters at which the beginning of a long path tells anything.
MIN_BEGINNING = 4
#: Elements of a long list that are written at once.
_AT_ONCE = 1024
#: Labels with these characters are written as a JSON list: the first begins one, the others would split or quote.
_NEEDS_LIST = re.compile(r'^\[|[;"\r\n]')


def percent(share: float) -> str:
    """``96.7 %``; only a share of exactly 0 or 1 is shown as ``0.0 %`` or ``100.0 %``.

    Args:
        share: Number in [0, 1]. Close to its ends one more digit is shown: ``99.97 %``, ``0.04 %``. Closer still, the
            text is a bound: ``>99.9 %``, ``<0.1 %``.
    """
    for digits in (1, 2):
        text = f"{100 * share:.{digits}f}"
        if (float(text) > 0 or share <= 0) and (float(text) < 100 or share >= 1):
            return f"{text} %"
    return "<0.1 %" if share < 0.5 else ">99.9 %"


def share_or_dash(share: float | None) -> str:
    """A share in percent; ``-`` if there is none."""
    return "-" if share is None else percent(share)


def percent_range(low: float, high: float) -> str:
    """``91.7 to 98.2 %``, for the ends of an interval of shares in [0, 1]."""
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def counted(num: int, noun: str) -> str:
    """``1 image``, ``1,200 images``, for nouns with a regular plural."""
    return f"{num:,} {noun}{'s' * (num != 1)}"


def size(num_bytes: int) -> str:
    """``1.4 MB``, ``56 MB``: a number of bytes in decimal units."""
    if num_bytes < 1000:
        return f"{num_bytes} B"
    value, units = num_bytes / 1000, ["TB", "GB", "MB", "kB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{value:.1f} {units[-1]}" if value < 10 else f"{value:,.0f} {units[-1]}"


def first_of(texts: Sequence[str], at_most: int) -> str:
    """``a, b and 3 more``: the first texts, and the number of those that are not shown."""
    more = f" and {len(texts) - at_most:,} more" if len(texts) > at_most else ""
    return ", ".join(texts[:at_most]) + more


def duration(seconds: float) -> str:
    """``42 s``, ``12 min``, ``1.5 h``: seconds below 2 minutes, hours from 90 minutes on."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def split_word(split: str) -> str:
    """The word before "images" in a sentence: ``validation`` for val, nothing for all."""
    return {"val": "validation", "all": ""}.get(split, split)


def model_letters(num: int) -> list[str]:
    """Short names of compared models: A, B, C and so on, then numbers."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [letters[index] if index < len(letters) else str(index + 1) for index in range(num)]


def join_labels(labels: Sequence[str]) -> str:
    """Labels in one cell of a table, ``cat;dog``; a JSON list if a name has the separator, empty without labels."""
    is_plain = all(label == label.strip() and label and not _NEEDS_LIST.search(label) for label in labels)
    return LABEL_SEPARATOR.join(labels) if is_plain else json.dumps(list(labels), ensure_ascii=False)


def split_labels(cell: str) -> tuple[str, ...]:
    """The labels that :func:`join_labels` wrote into a cell.

    Raises:
        ValueError: The cell begins like a JSON list of names, but is not one.
    """
    if not cell.startswith("["):
        # People who correct a table write blanks behind the separator; names with such blanks are in lists.
        return tuple(filter(None, map(str.strip, cell.split(LABEL_SEPARATOR))))
    labels = json.loads(cell)
    if not all(isinstance(label, str) for label in labels):
        raise ValueError(f"not a list of names: {cell[:60]}")
    return tuple(labels)


def row_shares(confusion: NDArray[np.integer[Any]], classes: Sequence[str]) -> NDArray[np.float64]:
    """Each count as a share of its row.

    Args:
        confusion: Counts [k x k], true classes by predicted classes.
        classes: Names of the k classes.

    Returns:
        [k x k], NaN in the rows of classes without images.

    Raises:
        ValueError: There is no class, or the matrix does not have one row and column per class.
    """
    # Imported here, since error messages need `printable` before anything heavy is loaded.
    import numpy as np

    if not classes or confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of shape {confusion.shape} for {len(classes)} classes")
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.full(confusion.shape, np.nan)
    np.divide(confusion, totals, out=shares, where=totals > 0)
    return shares


def json_line(values: dict[str, Any]) -> str:
    """One line of JSON; a file name that is not valid UTF-8 is escaped, since JSON is UTF-8 throughout."""
    return _json(values)


def json_chunks(values: Mapping[str, Any]) -> Iterator[str]:
    """The text of :func:`json_line` in parts; a sequence that makes its elements when asked is read in blocks."""
    yield "{"
    for index, (key, value) in enumerate(values.items()):
        yield f"{', ' if index else ''}{_json(key)}: "
        if isinstance(value, dict):
            yield from json_chunks(value)
        elif _is_made(value):
            yield "["
            for start in range(0, len(value), _AT_ONCE):
                yield (", " if start else "") + _json(value[start : start + _AT_ONCE])[1:-1]
            yield "]"
        else:
            yield _json(value)
    yield "}"


def plain(value: Any) -> Any:
    """What :func:`json_chunks` writes as lists and dicts."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return list(value) if _is_made(value) else value


def _is_made(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | list | tuple)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    return text


def one_line(text: object) -> str:
    """A message, such as that of an error, without line breaks; the name of its type if it is empty."""
    return " ".join(str(text).split()) or type(text).__name__


def printable(name: str) -> str:
    """A name that is safe to draw: format characters dropped, control characters and lone surrogates replaced.

    Names come from untrusted folders; a line break, an escape sequence or a right-to-left override would spoil more
    than its own label.
    """
    kept = (char for char in name if unicodedata.category(char) != "Cf")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in kept)


def display_width(text: str) -> int:
    """The width in terminal columns: 2 for East Asian wide characters, 0 for combining marks."""
    return sum(map(_char_width, text))


def shorten(name: str, width: int) -> str:
    """A printable name of at most ``width`` columns; an ellipsis replaces its middle where it is too long.

    Both ends are kept, since the names in one data set often share their beginning.
    """
    name = printable(name)
    if display_width(name) <= width:
        return name
    tail = _take(reversed(name), (width - 1) // 2)[::-1]
    return _take(name, width - 1 - display_width(tail)) + "…" + tail


def shorten_path(path: str, width: int) -> str:
    """A printable path of at most ``width`` columns: its name is kept, then folders near it, then the beginning."""
    path = printable(path)
    if display_width(path) <= width:
        return path
    *folders, tail = path.split("/")
    if display_width(tail) + 2 > width:
        return shorten(tail, width)
    while display_width(folders[-1]) + display_width(tail) + 3 <= width:
        tail = f"{folders.pop()}/{tail}"
    room = width - display_width(tail) - 2
    return (_take("/".join(folders), room) if room >= MIN_BEGINNING else "") + f"…/{tail}"


def _take(chars: Iterable[str], width: int) -> str:
    taken = ""
    for char in chars:
        width -= _char_width(char)
        if width < 0:
            break
        taken += char
    return taken


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def wrap_prose(text: str, width: int, *, first: int = 0, indent: int = 0) -> str:
    """Breaks lines that are too long between words; paths, quoted names and commands stay whole.

    Args:
        text: One or several lines.
        width: Columns of the terminal.
        first: Columns that are taken already before the first line.
        indent: Columns before every line that is added.
    """
    lines = []
    for at, line in enumerate(text.split("\n")):
        lines.append(_wrap_line(line, width, first if at == 0 else 0, indent))
    return "\n".join(lines)


def _wrap_line(line: str, width: int, used: int, indent: int) -> str:
    if used + display_width(line) <= width:
        return line
    leading = len(line) - len(line.lstrip())
    wrapped, margin = line[:leading], " " * (indent + leading)
    used += leading
    is_empty = True
    for unit in _units(line):
        num = display_width(unit)
        if not is_empty and used + 1 + num > width:
            wrapped, used, is_empty = f"{wrapped}\n{margin}", len(margin), True
        wrapped += unit if is_empty else f" {unit}"
        used, is_empty = used + num + (not is_empty), False
    return wrapped


#: First words of commands in messages.
_PROGRAMS = frozenset({"apt-get", "cp", "curl", "make", "pip", "pipx", "python", "resnet-cli", "rm", "torchrun", "uv"})
_WORD = re.compile(r"""'[^']*'\S*|"[^"]*"\S*|\S+""")


def _units(line: str) -> Iterator[str]:
    """The words of a line; a command and its arguments are one."""
    command: list[str] = []
    for word in _WORD.findall(line):
        if command and not _continues(command, word):
            yield " ".join(command)
            command = []
        if command or word.lstrip("(`") in _PROGRAMS:
            command.append(word)
        else:
            yield word
    if command:
        yield " ".join(command)


def _continues(command: list[str], word: str) -> bool:
    """Whether a word belongs to the command before it, and not to the sentence around both."""
    if command[-1].endswith((",", ";", ":", ")")):
        return False
    is_argument = word[0] in "-'\"|&~." or any(mark in word for mark in "/=") or word.rstrip(",;:.)").isupper()
    # The first two words of a command are often plain: resnet-cli finetune photos.
    return is_argument or command[-1].startswith("-") or len(command) <= 2


class Summarized:
    """Mixin for results: a short ``repr``, and a small table in notebooks."""

    def summary(self) -> dict[str, str]:
        """The main facts as text, by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}: {value}" for name, value in self.summary().items())
        return f"<{type(self).__name__} {facts}>"

    def _repr_html_(self) -> str:
        cells = ((html.escape(name), html.escape(value)) for name, value in self.summary().items())
        return f"<table>{''.join(f'<tr><th>{name}</th><td>{value}</td></tr>' for name, value in cells)}</table>"
