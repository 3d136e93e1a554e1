"""From the rows of tables, lists and annotation files to labeled images."""

from __future__ import annotations

import functools
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Split
from resnet_cli.data.packed_images import Builder, Fields, Kind
from resnet_cli.data.packed_text import Distinct
from resnet_cli.data.sources.labeled import Ignored, LabeledImages, negatives_note
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.rows.references import Locator, fence
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.split_names import read_split, split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError
from resnet_cli.task import TaskName
from resnet_cli.text import counted


def read_rows(
    files: Sequence[RowFile],
    survey: Survey,
    options: DataConfig,
    *,
    what: str,
    notes: Sequence[str] = (),
    classes: Sequence[str] = (),
    is_multi: bool = False,
) -> Reading:
    """Reads the images that one or several files list.

    The data are multi-label if a row has several labels or unknown ones, or if the user says so; ``--multi-label`` also
    joins the labels of all rows of an image. An image that several rows list with the same labels counts once. Where
    neither the rows nor the names of the files give splits, folders of splits in the images' paths do.

    Args:
        files: The files with rows.
        survey: The content of DATA.
        options: How DATA is read.
        what: How DATA was understood, for the user.
        notes: Further notes for the user, which come first.
        classes: Further classes, which no image may have.
        is_multi: Whether the files themselves say that the data are multi-label.

    Raises:
        DataError: A file is damaged or has no rows, an image has two labels or splits, a row has no label, or no image
            exists.
    """
    top = Path(os.path.normpath(survey.root))
    locator = Locator(survey, options)
    all_notes = [*notes]
    has_splits = any(file.split for file in files)
    num_without_label = 0
    all_rows = [list(file.rows) for file in files]
    task = _task(all_rows, is_multi=is_multi or options.multi_label)
    found = _Found(survey, top, joins=options.multi_label)
    for file, rows in zip(files, all_rows, strict=True):
        labeled = [row for row in rows if _has_label(row, task)]
        num_without_label += len(rows) - len(labeled)
        if len(labeled) < len(rows):
            all_notes.append(_without_label(file, rows, len(rows) - len(labeled), task, options=options))
        located = locator.locate(file, labeled)
        if located.num_missing == len(labeled) > 0 and len(files) == 1:
            raise _no_image_exists(file.path, located.paths)
        all_notes += located.notes
        if located.num_missing:
            all_notes.append(
                f"{file.path.name}: images that do not exist: {located.num_missing:,} of {len(labeled):,}, such as "
                f"'{located.missing}'"
            )
        for row, path in zip(labeled, located.paths, strict=True):
            # Images that are stored in tables are called by their rows, which every table counts from 1.
            is_stored = row.data is not None and len(files) > 1
            found.add(file, row, file.path.with_suffix("") / path.name if is_stored else path)
        has_splits = has_splits or any(row.split for row in labeled)
    images = found.labeled()
    if not images:
        raise DataError(f"{files[0].path}: no row lists an image", hint="add rows with the columns image,label")
    if not classes and not any(kind.labels for kind, _ in images.kind_counts()):
        raise DataError(f"{files[0].path}: no image that it lists has a label ({counted(len(images), 'image')})")
    if len(files) > 1 and not any(
        not isinstance(image.source, Path) or os.path.exists(image.source) for image in images
    ):
        raise _no_image_exists(files[0].path, [image.source for image in images if isinstance(image.source, Path)])
    split_note = "from the table" if has_splits else ""
    if not has_splits and (by_folder := _splits_of_folders(images)) is not None:
        images, split_note = by_folder, "from the folders"
    # Beside a table that was given as DATA there may be anything.
    unlisted = [] if survey.file is not None else [name for name in survey.images() if name not in found]
    all_notes += _notes_about(images, files, unlisted, found)
    ignored = Ignored(unlisted=len(unlisted) or num_without_label)
    return Reading(images, what, split_note, tuple(all_notes), ignored, task=task, classes=tuple(classes))


def _task(all_rows: Iterable[Iterable[Row]], *, is_multi: bool) -> TaskName:
    is_multi = is_multi or any(row.unknown or len(row.labels or ()) > 1 for rows in all_rows for row in rows)
    return "multi-label" if is_multi else "single-label"


def _has_label(row: Row, task: TaskName) -> bool:
    """Whether a row says which labels its image has, even if only that it has none."""
    return bool(row.labels) if task == "single-label" else row.labels is not None


class _Found:
    """The images of all files so far.

    Args:
        survey: The content of DATA.
        top: Folder that names are relative to.
        joins: Whether several rows of an image may have different labels, which are joined.
    """

    def __init__(self, survey: Survey, top: Path, *, joins: bool) -> None:
        self.num_repeated = 0
        self.joined: set[str] = set()
        self._at: dict[str, int] = {}
        self._images: Builder[str] = Builder()
        self._denied: dict[str, set[str]] = {}
        self._joins = joins
        self._top = top
        self._prefix = os.path.join(top, "") if top.parts else ""
        self._within = survey.within
        self._is_inside = fence(survey.within or top)

    def __contains__(self, name: object) -> bool:
        """Whether there is an image of that name."""
        return name in self._at

    def add(self, file: RowFile, row: Row, path: Path) -> None:
        """Adds the image of a row.

        Raises:
            DataError: The image is outside of DATA that may not be left, or an earlier row contradicts this one.
        """
        where = f"{file.path}, line {row.line}"
        if self._within is not None and not self._is_inside(path):
            raise DataError(
                f"{where}: '{row.image}' is outside {self._within.name}", hint="use paths relative to the table"
            )
        image = Fields(
            name=self._name(path),
            source=path if row.data is None else row.data,
            kind=Kind(tuple(sorted(row.labels or ())), row.unknown),
            split=read_split(row.split or file.split, where),
            group=row.group,
        )
        if row.denied:
            self._denied.setdefault(image.name, set()).update(row.denied)
        at = self._at.setdefault(image.name, len(self._images))
        if at == len(self._images):
            self._images.add(image)
            return
        earlier = self._images[at]
        _refuse_contradiction(earlier, image, where, joins=self._joins)
        labels = tuple(sorted({*earlier.kind.labels, *image.kind.labels}))
        # What one row leaves open, another one may say.
        unknown = tuple(name for name in earlier.kind.unknown if name in image.kind.unknown and name not in labels)
        self._images.set_kind(at, Kind(labels, unknown))
        self.num_repeated += earlier.kind.labels == image.kind.labels
        if earlier.kind.labels != image.kind.labels:
            self.joined.add(image.name)

    def labeled(self) -> LabeledImages:
        """The images, each with its unknown classes: no row mentions them, or rows disagree about them."""
        if self._denied:
            images = self._images
            names = {name for at in range(len(images)) for name in images[at].kind.labels}
            classes = sorted(names.union(*self._denied.values()))
            for name, at in self._at.items():
                denied, before = self._denied.get(name, set()), images[at].kind.labels
                labels = tuple(label for label in before if label not in denied)
                known = denied.symmetric_difference(before)
                images.set_kind(at, Kind(labels, tuple(label for label in classes if label not in known)))
        return self._images.build(LabeledImages)

    def _name(self, file: Path) -> str:
        """The name that the same image has in a folder data set, else its absolute path, in any working directory."""
        text = str(file)
        if text.startswith(self._prefix) and (self._prefix or not file.is_absolute()):
            return text[len(self._prefix) :].replace(os.sep, "/")
        real, real_top = Path(os.path.realpath(file.parent), file.name), os.path.realpath(self._top)
        return (real.relative_to(real_top) if real.is_relative_to(real_top) else real).as_posix()


def _without_label(file: RowFile, rows: Sequence[Row], num_blank: int, task: TaskName, *, options: DataConfig) -> str:
    """A note about the rows without label, if these are to be skipped.

    Raises:
        DataError: They are not to be skipped.
    """
    first = next(row for row in rows if not _has_label(row, task))
    if options.on_missing_label == "skip" and num_blank < len(rows):
        return f"{file.path.name}: rows without a label were left out: {num_blank:,} of {len(rows):,}"
    are_negatives = task == "single-label" and any(row.labels == () for row in rows)
    raise DataError(
        f"{file.path}: line {first.line}: no label; rows without a label: {num_blank:,} of {len(rows):,}",
        hint="leave them out: --on-missing-label skip"
        + ("; or keep them as images that show none of the classes: --multi-label" if are_negatives else "")
        if num_blank < len(rows)
        else "name the column of the labels: --label-column COLUMN",
    )


def _splits_of_folders(images: LabeledImages) -> LabeledImages | None:
    """The images with the splits that their folders denote; None unless several splits are denoted, by all paths."""
    found: Distinct[Split] = Distinct()

    @functools.cache
    def code(folder: str) -> int | None:
        split = next((split for part in folder.split("/") if (split := split_of(part))), None)
        return None if split is None else found.code(split)

    codes = array("b")
    for name in images.names:
        split = code(name.rpartition("/")[0])
        if split is None:
            return None
        codes.append(split)
    return images.with_splits(found.values, np.array(codes)) if len(found.values) > 1 else None


def _no_image_exists(file: Path, paths: Sequence[Path]) -> DataError:
    """A table in the wrong folder as one error instead of one per row."""
    return DataError(
        f"{file}: no image that it lists exists ({counted(len(paths), 'image')}), such as {paths[0]}",
        hint="write paths relative to the table's folder, or name the folder of the images: --image-folder FOLDER",
    )


def _notes_about(images: LabeledImages, files: Sequence[RowFile], unlisted: Sequence[str], found: _Found) -> list[str]:
    """What is unusual about the images as a whole."""
    shown = ", ".join(file.path.name for file in files[:5])
    notes = [f"repeated rows: {found.num_repeated}"] if found.num_repeated else []
    if found.joined:
        notes.append(f"images in several rows, whose labels were joined: {len(found.joined):,}")
    notes += negatives_note(images)
    if num_contradicting := _count_contradicting(images):
        notes.append(f"images in the folder of a different class than in {shown}: {num_contradicting}")
    if unlisted:
        folders = Counter(name.rpartition("/")[0] or "." for name in unlisted)
        where = ", ".join(f"{number:,} in {folder}" for folder, number in folders.most_common(3))
        more = f" and {len(folders) - 3} more folders" if len(folders) > 3 else ""
        verb = "does" if len(files) == 1 else "do"
        notes.append(f"images that {shown} {verb} not list were ignored: {len(unlisted):,} ({where}{more})")
    return notes


def _count_contradicting(images: LabeledImages) -> int:
    """Number of images in a folder that has the name of a different class."""
    kinds = images.kinds
    classes = {label for kind, _ in images.kind_counts() for label in kind.labels}

    @functools.cache
    def contradicts(folder: str, kind: int) -> bool:
        parts = folder.split("/") if folder else []
        return not classes.isdisjoint(parts) and set(parts).isdisjoint(kinds[kind].labels)

    folders = (name.rpartition("/")[0] for name in images.names)
    return sum(map(contradicts, folders, images.kind_of.tolist()))


def _refuse_contradiction(earlier: Fields[str], later: Fields[str], where: str, *, joins: bool) -> None:
    first, second = earlier.kind.labels, later.kind.labels
    several = "labels" if max(len(first), len(second)) > 1 else "label"
    said = [(several, "; ".join(first), "; ".join(second))] if not joins else []
    for what, before, after in (*said, ("split", earlier.split, later.split)):
        if before != after:
            raise DataError(
                f"{where}: {later.name} has the {what} '{after}', an earlier row says '{before}'",
                hint="keep one of the two rows"
                + ("; if an image may have several labels: --multi-label" if what == several else ""),
            )
