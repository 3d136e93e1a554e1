"""The lines of text lists that come with published data sets: the image that a line names, and what follows it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from resnet_cli.data.sources.tables.formats import lines_of, quoted, row_error
from resnet_cli.errors import DataError
from resnet_cli.images import EXTENSIONS

#: Lines that are read to find out whether a file is a list of images.
NUM_SNIFFED = 20
_IMAGE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, sorted(EXTENSIONS)))}))[\"']?(?:[\s,;]+(.*))?", re.IGNORECASE)


class Entry(NamedTuple):
    """One line of a list.

    Attributes:
        image: Path or name of the image as written, with ``/``; its extension may be missing.
        label: What follows it on the line; empty if nothing does.
        line: Number of the line or record, from 1.
    """

    image: str
    label: str
    line: int


def read_entries(path: Path) -> Iterator[Entry]:
    """The entries of a list; blank lines and lines that begin with ``#`` are skipped.

    Raises:
        DataError: The file cannot be read, has a label that is not UTF-8, or contains null characters.
    """
    for number, line in lines_of(path):
        text = line.strip(" \t\r\n")
        if "\0" in text:
            raise row_error(path, number, f"damaged: {quoted(text)}")
        if text and not text.startswith("#"):
            image, label = split_line(text)
            if not label.isascii() and any("\ud800" <= letter <= "\udfff" for letter in label):
                raise row_error(path, number, f"the label {quoted(label)} is not UTF-8", hint="save the file as UTF-8")
            yield Entry(image, label, number)


def split_line(text: str) -> tuple[str, str]:
    """The image that a line names, and the label after it.

    Further cells after a tab are no part of the label, as in Tiny ImageNet's
    ``val_0.JPEG<tab>n03444034<tab>0<tab>32<tab>44<tab>62``; several numbers without a name are kept together.
    """
    if "\t" in text:
        image, *cells = (cell.strip() for cell in text.split("\t"))
        label = " ".join(cells) if all(cell.isdecimal() for cell in cells) else cells[0]
    elif match := _IMAGE.fullmatch(text):
        image, label = match[1], (match[2] or "").strip()
    else:
        image, _, label = text.partition(" ")
        if "/" in label and "/" not in image:
            # A folder whose name has a space: `hot dog/1005190`.
            image, label = text, ""
    return clean(image), label.strip()


def clean(reference: str) -> str:
    """A path of any machine with ``/``, without quotes and without a root."""
    return re.sub(r"^(?:\.?/)+", "", reference.strip("\"' ").replace("\\", "/"))


def sniff(path: Path) -> list[Entry]:
    """The first entries of a file; empty if it is not text or cannot be read."""
    try:
        return list(itertools.islice(read_entries(path), NUM_SNIFFED))
    except DataError:
        return []
