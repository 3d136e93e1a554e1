"""What an annotation file says about one image, and safe access to the values of a JSON document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.tables.formats import TableFile

#: What an image without labels is.
Empty: TypeAlias = Literal["negative", "unlabeled", "unclear"]


class Annotation(NamedTuple):
    """What an annotation file says about one image.

    Attributes:
        image: Path or name of the image as written.
        labels: Pairs of an attribute (empty if the format has only one) and a class; empty if the image is not labeled.
        split: Name of the split; empty if the file does not give it.
        num_shapes: Number of boxes, outlines and points in the image.
        fields: What else the file says about the image, which ``--group-by`` may name.
        objects: Classes of the boxes, outlines and points, each once.
        unknown: Classes of which it is not known whether the image shows them.
        empty: What it means if there are no labels: the image shows none of the classes (``negative``), nobody has
            labeled it (``unlabeled``), or the format does not tell (``unclear``).
        is_agreed: Whether all labels are one answer. If not, several annotators or records give different ones.
    """

    image: str
    labels: tuple[tuple[str, str], ...] = ()
    split: str = ""
    num_shapes: int = 0
    fields: Mapping[str, Any] = MappingProxyType({})
    objects: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    empty: Empty = "unclear"
    is_agreed: bool = True


@dataclass(frozen=True)
class Annotated:
    """One annotation file.

    Attributes:
        format: Name of its format, for the user.
        path: The file, or the folder of many files.
        annotations: What it says about each image; empty if it is a table.
        table: Its rows if each is an object with columns as in a table; None for the other formats.
        folder: Folder beside the file in which the format stores its images; empty if it is the file's own.
        image_key: Name that ``--image-column`` may give to no effect, because the format knows it.
        container: Name that ``--label-column`` may give for all attributes.
        is_single: Whether the file describes one image only.
    """

    format: str
    path: Path
    annotations: Sequence[Annotation] = ()
    table: TableFile | None = None
    folder: str = ""
    image_key: str = ""
    container: str = ""
    is_single: bool = False


#: Reads one JSON object.
ReadObject: TypeAlias = Callable[[dict[str, Any]], Annotation]


@dataclass(frozen=True)
class ObjectFormat:
    """A format with one JSON object per image: in a list, on a line, or in a file of its own.

    Attributes:
        name: Name of the format, for the user.
        matches: Whether an object is in this format.
        read: Reads such an object.
        image_key: Key of the image's path, which ``--image-column`` may name; empty if it is not at the top.
        container: Key of the attributes, which ``--label-column`` may name.
    """

    name: str
    matches: Callable[[dict[str, Any]], bool]
    read: ReadObject
    image_key: str = ""
    container: str = ""


class Malformed(ValueError):
    """A value that no file in this format contains; the message says which."""


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of a list; nothing if the value is not a list."""
    return (entry for entry in listed(value) if isinstance(entry, dict))


def text(value: Any) -> str:
    """A path, or another value that is text; empty if it is not text."""
    return value.strip() if isinstance(value, str) else ""


def class_text(value: Any) -> str:
    """The name of a class: text or a whole number; empty for null.

    Raises:
        Malformed: The value is something else.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Malformed(f"the label must be text or a number, not {ascii(value)[:60]}")
    return str(value).strip()


def labeled(values: Iterable[Any], attribute: str = "") -> tuple[tuple[str, str], ...]:
    """Labels of one attribute, each once; null and empty ones are left out."""
    names = dict.fromkeys(class_text(value) for value in values)
    return tuple((attribute, name) for name in names if name)


def class_names_of(values: Iterable[Any]) -> tuple[str, ...]:
    """The names of the classes of objects, each once; values that name no class are left out."""
    return tuple(dict.fromkeys(str(value).strip() for value in values if isinstance(value, str | int) and value != ""))


def split_text(value: Any) -> str:
    """The name of a split; empty if the value does not denote one."""
    name = text(value)
    return name if name.lower() in SPLIT_NAMES else ""
