"""Which columns of a table have the images and the labels, by their names and by what they contain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.own_tables import CLEANED_COLUMN
from resnet_cli.data.sources.reading import NotUsed
from resnet_cli.data.sources.rows.text import TableFile, is_undecoded, western
from resnet_cli.data.sources.tables.columns import (
    ROLES,
    Columns,
    asked_column,
    find_column,
    known_columns,
    listed,
    no_column,
    no_rows,
    plain_column,
    refuse_repeated,
)
from resnet_cli.data.sources.tables.profiles import Profile
from resnet_cli.data.sources.tables.yes_no_columns import YesNoColumns, find_yes_no
from resnet_cli.errors import DataError
from resnet_cli.text import first_of

#: Usual names of columns with splits whose values are looked at before they are taken for splits.
SPLIT_COLUMNS = ("usage", "dataset", "partition", "tags", "phase", "fold")
#: Names of columns that say of each row whether it belongs to a split, and this split.
MARKED_SPLITS = {"isvalid": "val", "isval": "val", "isvalidation": "val", "istest": "test"}
#: Share of images that must exist for a column that has no usual name.
_MOST = 0.9


@dataclass(frozen=True)
class Choice:
    """The columns of a table, and how they were chosen.

    Attributes:
        columns: The columns that are used.
        notes: What was decided by content, for the user.
        is_guess: Whether the labels were recognized by nothing but their number.
        names_images: Whether the column of images names images of DATA.
        values: Values of the columns of classes of multi-label data, in lower case -> number of cells; empty text for
            blank ones.
    """

    columns: Columns
    notes: tuple[str, ...] = ()
    is_guess: bool = False
    names_images: bool = True
    values: Mapping[str, int] = field(default_factory=dict)


def choose_columns(
    path: Path,
    source: TableFile,
    asked: Mapping[str, str | None],
    share_found: Callable[[Sequence[Any]], float],
    *,
    is_multi: bool = False,
    classes: Sequence[str] = (),
) -> Choice:
    """Chooses the columns of a table.

    Args:
        path: The table, for messages.
        source: Its columns and rows.
        asked: Role -> column that a flag names.
        share_found: Share of some cells that denote images of DATA.
        is_multi: Whether the user says that images have several labels.
        classes: The columns that are classes, as another table of the same data has shown.

    Raises:
        ConfigError: A requested column does not exist.
        DataError: No column or several may be the images or the labels.
    """
    profile = Profile(source)
    chooser = _Chooser(path, source.columns, asked, profile, is_multi=is_multi, classes=classes)
    image = chooser.image(share_found)
    names_images = image in source.binary or share_found(profile.columns[image].first) > 0.5
    try:
        split = chooser.split(image)
        label, one_hot, is_guess = chooser.label(image, split)
    except DataError as error:
        if not profile.num_rows:
            raise no_rows(path) from error
        if not names_images:
            raise
        raise NotUsed(error.message, hint=error.hint) from error
    group = asked_column(path, source.columns, "group", asked.get("group")) or find_column(
        source.columns, ROLES["group"][1]
    )
    for column in (image, label, split, group):
        if column:
            refuse_repeated(path, source.columns, column)
    columns = Columns(image, label, split, group or "", one_hot, chooser.confidence(label))
    chooser.note_rows(columns)
    return Choice(columns, tuple(chooser.notes), is_guess, names_images, chooser.yes_no.values)


class _Chooser:
    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        asked: Mapping[str, str | None],
        profile: Profile,
        *,
        is_multi: bool,
        classes: Sequence[str],
    ) -> None:
        self.notes: list[str] = []
        self.yes_no = YesNoColumns()
        self._is_multi = is_multi
        self._classes = tuple(classes) if set(classes) <= set(columns) else ()
        self._hint = ""
        self._path = path
        self._columns = columns
        self._asked = asked
        self._profile = profile

    def _note(self, text: str) -> None:
        self.notes.append(f"{self._path.name}: {text}")

    def image(self, share_found: Callable[[Sequence[Any]], float]) -> str:
        asked = asked_column(self._path, self._columns, "image", self._asked.get("image"))
        if asked:
            refuse_repeated(self._path, self._columns, asked)
            return asked
        known = known_columns(self._columns, "image")
        contents = self._profile.columns
        for column in known:
            refuse_repeated(self._path, self._columns, column)
            if column not in contents or share_found(contents[column].first) > 0.5:
                return column
        others = [column for column in contents if column not in known and self._may_be_images(column, share_found)]
        if len(others) == 1:
            self._note(f"the images are in the column '{others[0]}', the only one that names images of DATA")
            return others[0]
        if others:
            raise DataError(
                f"{self._path}: several columns name images of DATA: {', '.join(others)}",
                hint=_commands("image", others),
            )
        if not known:
            raise no_column(self._path, self._columns, "image")
        return known[0]

    def _may_be_images(self, column: str, share_found: Callable[[Sequence[Any]], float]) -> bool:
        first = self._profile.columns[column].first
        num_different = len({str(value) for value in first})
        return num_different >= _MOST * len(first) > 0 and share_found(first) >= _MOST

    def split(self, image: str) -> str:
        asked = asked_column(self._path, self._columns, "split", self._asked.get("split"))
        if asked:
            return asked
        if found := find_column(self._columns, ROLES["split"][1]):
            return found
        for name in (*SPLIT_COLUMNS, *MARKED_SPLITS):
            column = find_column(self._columns, (name,))
            if column is None or column == image or column not in self._profile.columns:
                continue
            content = self._profile.columns[column]
            if content.is_splits or (name in MARKED_SPLITS and content.is_marks and not content.num_blank):
                self._note(f"the splits are in the column '{column}'")
                return column
            if name == "fold":
                self._note(f"the column '{column}' has the numbers of folds, which are not splits, and was ignored")
        return ""

    def label(self, image: str, split: str) -> tuple[str, tuple[str, ...], bool]:
        """The column of labels or the columns of classes, and whether only the number of values identifies it."""
        asked = asked_column(self._path, self._columns, "label", self._asked.get("label"))
        others = [name for name in self._profile.columns if name not in (image, split) and not _is_index(name)]
        one_hot = () if self._is_multi or self._classes else self._one_hot(others)
        if not one_hot and (asked is None or self._is_multi):
            one_hot = self._yes_or_no(others)
        if one_hot and (asked is None or (asked in one_hot and len(one_hot) > 1)):
            if asked:
                self._note(f"'{asked.strip()}' is one of {len(one_hot)} columns that are classes, which are all used")
            return "", one_hot, False
        if asked:
            return asked, (), False
        known = [column for column in known_columns(self._columns, "label") if column not in (image, split)]
        known = [column for column in known if not self._is_split_like(column)] or known
        if known:
            return self._named(known, others), (), False
        return self._guessed(others), (), True

    def note_rows(self, columns: Columns) -> None:
        """Notes what is unusual about the rows."""
        profile = self._profile
        if profile.num_long:
            self._note(f"rows with more cells than columns: {profile.num_long:,} of {profile.num_rows:,}")
        counts = profile.columns[columns.label].counts if columns.label in profile.columns else {}
        undecoded = [text for text in counts if is_undecoded(text)] if CLEANED_COLUMN not in self._columns else []
        if undecoded:
            self._note(f"it is not UTF-8 and was read as Windows-1252, such as '{western(undecoded[0])}'")

    def _is_split_like(self, column: str) -> bool:
        content = self._profile.columns.get(column)
        return content is not None and content.is_splits

    def _one_hot(self, others: Sequence[str]) -> tuple[str, ...]:
        """The columns that are classes, if each row marks exactly one of them.

        Args:
            others: Columns that have neither the images nor the splits.
        """
        contents = self._profile.columns
        marks = [name for name in others if contents[name].is_marks and plain_column(name) not in MARKED_SPLITS]
        if len(marks) < 2:
            return ()
        rest = [name for name in others if name not in marks]
        if known_columns(rest, "label") or any(contents[name].is_few for name in rest):
            return ()
        num_marked = self._profile.num_marked(marks)
        if num_marked.keys() == {1}:
            return tuple(marks)
        if rest or known_columns(marks, "label") or -1 in num_marked:
            return ()
        return tuple(marks) if num_marked[1] and max(num_marked) < 2 else ()

    def _yes_or_no(self, others: Sequence[str]) -> tuple[str, ...]:
        """The columns that are classes of which a row may mark several."""
        others = [name for name in others if plain_column(name) not in MARKED_SPLITS]
        found = find_yes_no(others, self._profile, is_multi=self._is_multi, classes=self._classes)
        is_known = bool(self._classes) and found.names == self._classes
        is_clear = self._is_multi or is_known or (found.num_several and not found.rivals)
        if not is_clear:
            hint = f"; or, if the {len(found.names)} columns of 0 and 1 are the classes: --multi-label"
            self._hint = hint if found.names else ""
            return ()
        self.yes_no = found
        unused = [name for name in others if name not in found.names]
        if found.names and unused:
            self._note(f"columns that are not classes were not used: {first_of(unused, 10)}")
        return found.names

    def confidence(self, label: str) -> str:
        """The column that says whether the image of a row has its label, as in Open Images; empty if there is none."""
        column = find_column(self._columns, ("confidence",)) if label and self._is_multi else None
        content = self._profile.columns.get(column or "")
        if column is None or content is None or column == label or len(content.counts) < 2:
            return ""
        if content.is_marks and not content.num_blank:
            self._note(f"0 in the column '{column}' says that the image does not have the label of the row")
            return column
        self._note(f"the column '{column}' was not used: its values are not just 0 and 1")
        return ""

    def _named(self, known: Sequence[str], others: Sequence[str]) -> str:
        """The first column with a usual name; instead of numbers, a column that names the same classes."""
        first = known[0]
        content = self._profile.columns.get(first)
        if content is None or not content.is_integers or len(content.counts) < 2:
            return first
        ordered = [*known, *(name for name in others if name not in known and not _is_number_of(name))]
        for name in ordered:
            other = self._profile.columns.get(name)
            if name == first or other is None or other.is_integers or other.num_blank:
                continue
            if len(other.counts) == len(content.counts) and self._profile.is_one_to_one(first, name):
                self._note(f"the class names are in the column '{name}', the same classes as the numbers of '{first}'")
                return name
        return first

    def _guessed(self, others: Sequence[str]) -> str:
        """The only column that may be labels, by its few different values.

        Raises:
            DataError: There is none, or several.
        """
        found = [name for name in others if self._profile.columns[name].is_few]
        # Beside a column of images, the only other one may be called `Id`.
        found = [name for name in found if not _is_number_of(name) or len(others) == 1]
        if len(found) == 1:
            content = self._profile.columns[found[0]]
            self._note(
                f"the labels are in the column '{found[0]}', the only one with few different values "
                f"({len(content.counts):,})"
            )
            return found[0]
        if not found:
            raise no_column(self._path, self._columns, "label")
        raise DataError(
            f"{self._path}: no column is called 'label', and several could be: {', '.join(found[:8])}",
            hint=f"{_commands('label', found)}{self._hint}; {listed(self._columns)}",
        )


def _commands(role: str, columns: Sequence[str]) -> str:
    flag = ROLES[role][0]
    shown = [f"'{column}'" if " " in column else column for column in columns[:4]]
    return "name the right one: " + ", or ".join(f"{flag} {column}" for column in shown)


def _is_index(name: str) -> bool:
    """Whether a column is the numbering that pandas writes."""
    return not name.strip() or name.startswith("Unnamed:")


def _is_number_of(name: str) -> bool:
    """Whether a column without a usual name counts or identifies something: ``patient_id``, ``fold``."""
    plain = plain_column(name)
    return plain.endswith("id") or plain in ("fold", "index", "width", "height")
