"""Names for classes that a table numbers: maps and lists of names in files beside it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from resnet_cli.data.sources.labeled import LabeledImage
from resnet_cli.data.sources.rows.text import lines_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError

#: Larger files are not maps of class names.
MAX_MAP_BYTES = 4_000_000
#: Files of a folder that are looked at; more are annotations of single images.
_MAX_MAPS = 50
#: Lists of class names, one per line.
LISTS = frozenset({"classes.txt", "labels.txt", "class_names.txt", "classnames.txt", "synsets.txt", "names.txt"})
#: Characters of a line that may name a class.
_MAX_LINE = 1000
_NUMBER = re.compile(r"[0-9]{1,9}")


def class_names(
    labels: set[str], table: Path, survey: Survey, *, lists: Set[str] = LISTS
) -> tuple[Mapping[str, str], str]:
    """Names for labels that are all numbers, from a file beside the table or at the top of DATA.

    Args:
        labels: All labels of the table.
        table: The table.
        survey: The content of DATA.
        lists: Names (lower case) of files that list class names.

    Returns:
        Number -> name, and a note that says where the names come from; both are empty if no file names all classes.
        Files that disagree name none, which the note says.
    """
    if len(labels) < 2 or not all(map(_NUMBER.fullmatch, labels)):
        return {}, ""
    found: dict[str, Mapping[str, str]] = {}
    for path in _files(table, survey, lists):
        names = _read_map(path) if path.suffix.lower() == ".json" else _read_list(path, labels)
        # `01` and `1` are the same number.
        chosen = {label: names[int(label)] for label in labels if int(label) in names}
        if len(chosen) == len(labels) == len(set(chosen.values())):
            found[path.name] = chosen
    if not found:
        return {}, ""
    files = ", ".join(found)
    first = next(iter(found.values()))
    if any(names != first for names in found.values()):
        return {}, f"{table.name}: its labels stay numbers, because {files} name them differently"
    number = min(labels, key=int)
    return (
        first,
        f"{table.name}: its {len(labels):,} labels are numbers, named by {files}: {number} is '{first[number]}'",
    )


def name_classes(images: Sequence[LabeledImage], file: Path, survey: Survey) -> tuple[list[LabeledImage], list[str]]:
    """The same images with names for classes that are numbers, and a note if :func:`class_names` finds such names.

    Args:
        images: Labeled images.
        file: The file that labels them.
        survey: The content of DATA.
    """
    names, note = class_names({label for image in images for label in (*image.labels, *image.unknown)}, file, survey)
    if not names:
        return list(images), [note] if note else []
    named = [
        image._replace(
            labels=tuple(map(names.__getitem__, image.labels)), unknown=tuple(map(names.__getitem__, image.unknown))
        )
        for image in images
    ]
    return named, [note] if note else []


def _files(table: Path, survey: Survey, lists: Set[str]) -> Iterator[Path]:
    """The files that may be maps, each once, those beside the table first."""
    for folder in dict.fromkeys((table.parent, survey.root)):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        maps = [name for name in names if name.lower().endswith(".json") or name.lower() in LISTS]
        for name in [name for name in maps if not name.startswith(".")][:_MAX_MAPS]:
            path = folder / name
            if path.is_file() and path.stat().st_size <= MAX_MAP_BYTES:
                yield path


def _read_map(path: Path) -> dict[int, str]:
    """Number -> name of a JSON object of either, or of a list; empty for any other file."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    pairs: Iterator[tuple[object, object]]
    if isinstance(value, list):
        pairs = iter(enumerate(value))
    elif isinstance(value, dict):
        is_reversed = all(isinstance(number, int) and not isinstance(number, bool) for number in value.values())
        pairs = ((number, name) for name, number in value.items()) if is_reversed else iter(value.items())
    else:
        return {}
    return _checked(pairs)


def _read_list(path: Path, labels: set[str]) -> dict[int, str]:
    """Number -> name of the lines ``name``, ``number name`` or ``name number``."""
    try:
        lines = [line.strip() for _, line in lines_of(path) if line.strip()]
    except DataError:
        return {}
    if max(map(len, lines), default=0) > _MAX_LINE:
        return {}
    numbered = [re.fullmatch(r"([0-9]{1,9})[\s,:]+(\S.*)", line) for line in lines]
    if lines and all(numbered):
        return _checked((match[1], match[2]) for match in numbered if match)
    numbered = [re.fullmatch(r"(\S.*?)[\s,:]+([0-9]{1,9})", line) for line in lines]
    if lines and all(numbered):
        return _checked((match[2], match[1]) for match in numbered if match)
    # Numbers begin at 0, unless there is a label that only numbers from 1 explain.
    start = 1 if max(map(int, labels)) == len(lines) and "0" not in labels else 0
    return _checked(enumerate(lines, start))


def _checked(pairs: Iterator[tuple[object, object]]) -> dict[int, str]:
    """The pairs as numbers and names; empty unless all are, with each number once."""
    found: dict[int, str] = {}
    for number, name in pairs:
        if (
            not isinstance(name, str)
            or not name.strip()
            or not _NUMBER.fullmatch(str(number))
            or int(str(number)) in found
        ):
            return {}
        found[int(str(number))] = name.strip()
    return found
