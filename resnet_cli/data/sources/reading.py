"""How DATA was understood: the labeled images, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.labeled import Ignored, LabeledImage
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError
from resnet_cli.task import TaskName


@dataclass(frozen=True)
class Reading:
    """One way to read DATA.

    Attributes:
        images: The labeled images, with unique names.
        what: How DATA was understood, in a few words that complete "read as": ``one folder per class``,
            ``table train.csv of ids with one-hot columns``.
        split_note: Where the splits come from; empty if DATA gives none.
        notes: Observations for the user, such as what was not used and how to use it.
        ignored: Numbers of files that were not used.
        mirror_safe: Whether a mirrored image still belongs to its class (digits do not).
        task: Whether an image has one label or any number.
        classes: Further classes, which no image may have, such as a column in which no row says yes.
        no_effect: Fields of DataConfig whose flags have no effect on this kind of data.
    """

    images: Sequence[LabeledImage]
    what: str
    split_note: str = ""
    notes: tuple[str, ...] = ()
    ignored: Ignored = field(default_factory=Ignored)
    mirror_safe: bool = True
    task: TaskName = "single-label"
    classes: tuple[str, ...] = ()
    no_effect: tuple[str, ...] = ()


#: Fields whose flags have an effect on tables only.
COLUMN_FLAGS = ("image_column", "label_column", "split_column")
#: Fields whose flags have an effect on everything that lists images, row by row.
ROW_FLAGS = (*COLUMN_FLAGS, "image_folder", "on_missing_label")
#: Returns None if DATA is not in the reader's format.
Reader: TypeAlias = Callable[[Survey, DataConfig], Reading | None]


class NotUsed(DataError):
    """Why a file that names images of DATA does not label them; said also where DATA is read in another way."""
