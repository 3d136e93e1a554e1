"""From the rows of tables, lists and annotation files to labeled images."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Split
from resnet_cli.data.sources.labeled import Ignored, LabeledImage
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.references import fence, locate
from resnet_cli.data.sources.rows import RowFile
from resnet_cli.data.sources.split_names import read_split, split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tree import name_below
from resnet_cli.errors import DataError


def read_rows(files: Sequence[RowFile], survey: Survey, options: DataConfig, *, what: str) -> Reading:
    """Reads the images that one or several files list.

    An image that several rows list with the same label counts once. Where neither the rows nor the names of the files
    give splits, folders of splits in the images' paths do.

    Args:
        files: The files with rows.
        survey: The content of DATA.
        options: How DATA is read.
        what: How DATA was understood, for the user.

    Raises:
        DataError: A file is damaged or has no rows, an image has two labels or splits, or no image exists.
    """
    top = Path(os.path.normpath(survey.root))
    is_inside = fence(survey.within or top)
    found: dict[str, LabeledImage] = {}
    notes: list[str] = []
    num_repeated = 0
    has_splits = any(file.split for file in files)
    for file in files:
        rows = list(file.rows)
        paths, note = locate(file, rows, survey)
        notes += [note] if note else []
        for row, path in zip(rows, paths, strict=True):
            where = f"{file.path}, line {row.line}"
            if survey.within is not None and not is_inside(path):
                raise DataError(
                    f"{where}: '{row.image}' is outside {survey.within.name}", hint="use paths relative to the table"
                )
            has_splits = has_splits or bool(row.split)
            image = LabeledImage(
                name=_name(path, top),
                source=path if row.data is None else row.data,
                label=row.label,
                split=read_split(row.split or file.split, where),
                group=row.group,
            )
            if (earlier := found.setdefault(image.name, image)) is not image:
                _refuse_contradiction(earlier, image, where)
                num_repeated += 1
    images = list(found.values())
    if not images:
        raise DataError(
            f"{files[0].path}: no row lists an image", hint="a table needs the columns image,label and rows"
        )
    _refuse_missing_images(files[0].path, [image.source for image in images])
    split_note = "from the table" if has_splits else ""
    if not has_splits and (by_folder := _splits_of_folders(images)):
        images, split_note = by_folder, "from the folders"
    notes += [f"repeated rows: {num_repeated}"] if num_repeated else []
    num_contradicting = _count_contradicting(images)
    if num_contradicting:
        shown = ", ".join(file.path.name for file in files)
        notes.append(f"images in the folder of a different class than in {shown}: {num_contradicting}")
    return Reading(images, what, split_note, tuple(notes), Ignored())


def _name(file: Path, top: Path) -> str:
    """The name that the same image has in a folder data set, else its absolute path, in any working directory."""
    folder = os.path.join(top, "") if top.parts else ""
    if str(file).startswith(folder) and (folder or not file.is_absolute()):
        return name_below(file, top)
    real, real_top = Path(os.path.realpath(file.parent), file.name), os.path.realpath(top)
    return (real.relative_to(real_top) if real.is_relative_to(real_top) else real).as_posix()


def _splits_of_folders(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """The images with the splits that their folders denote; empty unless several splits are denoted, by all paths."""
    splits: list[Split] = []
    for image in images:
        split = next((split for part in image.name.split("/")[:-1] if (split := split_of(part))), None)
        if split is None:
            return []
        splits.append(split)
    if len(set(splits)) < 2:
        return []
    return [image._replace(split=split) for image, split in zip(images, splits, strict=True)]


def _refuse_missing_images(file: Path, sources: Sequence[object]) -> None:
    """Reports a table in the wrong folder as one error instead of one per row."""
    if not any(not isinstance(source, Path) or os.path.lexists(source) for source in sources):
        raise DataError(
            f"{file}: none of the {len(sources):,} images that it lists exists, such as {sources[0]!s}",
            hint="paths in a table are relative to its folder",
        )


def _count_contradicting(images: Collection[LabeledImage]) -> int:
    """Number of images in a folder that has the name of a different class."""
    classes = {image.label for image in images}
    folders = ((image.label, image.name.split("/")[:-1]) for image in images)
    return sum(label not in parts and not classes.isdisjoint(parts) for label, parts in folders)


def _refuse_contradiction(earlier: LabeledImage, later: LabeledImage, where: str) -> None:
    for field in ("label", "split"):
        first, second = getattr(earlier, field), getattr(later, field)
        if first != second:
            raise DataError(
                f"{where}: {later.name} has the {field} '{second}', an earlier row says '{first}'",
                hint="keep one of the two rows",
            )
