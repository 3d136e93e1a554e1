"""The lines of text lists that come with published data sets: the image that a line names, and what follows it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from resnet_cli.data.sources.table_formats import lines_of, quoted, row_error
from resnet_cli.errors import DataError
from resnet_cli.images import EXTENSIONS

#: Lines that are read to find out whether a file is a list of images.
NUM_SNIFFED = 20
_IMAGE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, sorted(EXTENSIONS)))}))[\"']?(?:[\s,;]+(.*))?", re.IGNORECASE)
#: Files that name the classes which a list numbers, in the order in which they are tried.
_NAME_FILES = re.compile(
    r"(?:classes|class_?lists?|class_?names?|names|categories\w*|synsets|wnids|labels)\.txt", re.IGNORECASE
)
_WNID = re.compile(r"n\d{8}")


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


def find_names(folders: list[Path], numbers: set[int]) -> tuple[dict[int, str], str] | None:
    """The names of numbered classes, from the first file beside a list that names all of them.

    Args:
        folders: Folders that may contain such a file.
        numbers: All numbers that the lists use.

    Returns:
        Number -> name, and what to say about it; None if no file names all numbers.
    """
    for folder in folders:
        try:
            found = sorted(path for path in folder.iterdir() if _NAME_FILES.fullmatch(path.name) and path.is_file())
        except OSError:
            continue
        for path in found:
            try:
                names = read_names(path, numbers)
            except DataError:
                continue
            if names is not None:
                return names, f"class names are those in {path.name}"
    return None


def read_names(path: Path, numbers: set[int]) -> dict[int, str] | None:
    """The names of classes in a file of ``name``, ``number name`` or ``name number`` lines.

    Names without numbers count from 0; from 1 if 0 is not among the numbers and the last name would otherwise be
    unused. Of ``n01440764 tench, Tinca tinca`` the name is the WordNet ID, as folders have it.

    Args:
        path: The file.
        numbers: The numbers that need a name.

    Returns:
        Number -> name; None if a number has no name, or two numbers have the same one.
    """
    lines = [line.strip() for _, line in itertools.islice(lines_of(path), 1_000_000) if line.strip()]
    first = [re.fullmatch(r"(\d+)[\s,:;]+(.+)", line) for line in lines]
    last = [re.fullmatch(r"(.+?)[\s,:;]+(\d+)", line) for line in lines]
    if all(first):
        names = {int(match[1][:18]): match[2] for match in first if match}
    elif all(last):
        names = {int(match[2][:18]): match[1] for match in last if match}
    else:
        start = int(bool(numbers) and min(numbers) == 1 and max(numbers) == len(lines))
        names = dict(enumerate(lines, start))
    if names and all(_WNID.match(name) for name in names.values()):
        names = {number: name[:9] for number, name in names.items()}
    # Places365 writes /b/balcony/exterior: the first folder is only the initial.
    names = {number: re.sub(r"^/?(\w)/(?=\1)", "", name).strip("/ ") for number, name in names.items()}
    used = [names.get(number, "") for number in numbers]
    return names if all(used) and len(set(used)) == len(used) else None
