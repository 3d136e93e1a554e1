"""Events that all use cases can report: progress, notes and warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias, TypeVar

#: Called with (items done, items in all).
Progress: TypeAlias = Callable[[int, int], None]
#: Kinds of work that a progress bar can show.
Work: TypeAlias = Literal[
    "download", "unpack", "features", "check", "compare", "validate", "evaluate", "quantize", "report", "predict"
]
#: Called with the kind of work, how much is done, and how much there is in all (None if it is not known).
OnWork: TypeAlias = Callable[[Work, int, int | None], None]
#: Called with what is being done, see :class:`Status`.
OnStatus: TypeAlias = Callable[[str], None]
_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class WorkDone:
    """Progress of one kind of work.

    Attributes:
        task: The kind of work.
        done: Bytes downloaded or unpacked, else the number of images.
        total: Number of bytes or images in all; None if it is not known.
    """

    task: Work
    done: int
    total: int | None


@dataclasses.dataclass(frozen=True)
class Noted:
    """A sentence that accompanies a result."""

    text: str


@dataclasses.dataclass(frozen=True)
class Warned:
    """A warning that the user should not miss.

    Attributes:
        texts: One sentence, or several of the same kind.
    """

    texts: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Status:
    """Work without a known length begins; it lasts until the next event.

    A terminal shows it at once, a log if it lasts for more than two seconds.

    Attributes:
        text: What is being done, such as ``fitting the linear head``.
    """

    text: str


def no_status(text: str) -> None:
    """Default handler of what is being done: ignores it."""


def counted(values: Iterable[_Value], total: int, on_progress: Progress) -> Iterator[_Value]:
    """Yields values, and reports how many of them have been used."""
    on_progress(0, total)
    for done, value in enumerate(values, start=1):
        yield value
        on_progress(done, total)
