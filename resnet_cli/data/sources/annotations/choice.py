"""Which of several annotation files of a folder label its images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.annotations.annotated_rows import Listed
from resnet_cli.data.sources.annotations.items import Annotated
from resnet_cli.data.sources.folder_names import has_class_folders, is_for_images
from resnet_cli.data.sources.rows.references import NUM_TRIED, Locator
from resnet_cli.data.sources.rows.row import RowFile
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError
from resnet_cli.text import counted


class Candidate(NamedTuple):
    """An annotation file that labels images of DATA.

    Attributes:
        annotated: The file.
        listed: Its rows.
        file: The rows as they are handed on.
        paths: The image of each row.
    """

    annotated: Annotated
    listed: Listed
    file: RowFile
    paths: Sequence[Path]

    @classmethod
    def located(
        cls, annotated: Annotated, listed: Listed, folder: Path | None, survey: Survey, options: DataConfig
    ) -> Candidate | None:
        """Finds the images of the rows; None if DATA has none of them.

        Raises:
            DataError: Rows fit several images, or are web addresses.
        """
        below = Path(os.path.relpath(annotated.path, survey.root))
        names = [below.stem, *reversed(below.parts[:-1])]
        # Images of the same name are those of the file's split.
        split = next((found for name in names if (found := split_of(name))), "")
        file = RowFile(annotated.path, listed.rows, split, folder)
        paths = Locator(survey, options).locate(file, listed.rows).paths
        if not any(os.path.lexists(path) for path in paths[:: max(1, len(paths) // NUM_TRIED)]):
            return None
        return cls(annotated, listed, file, paths)

    def labels(self) -> dict[Path, tuple[str, ...]]:
        """Image -> labels, for the images that the file labels."""
        pairs = zip(self.paths, self.listed.rows, strict=True)
        least = 0 if self.listed.are_sets else 1
        return {
            path: tuple(sorted(row.labels))
            for path, row in pairs
            if row.labels is not None and len(row.labels) >= least
        }

    def without_split(self) -> Candidate:
        """The same without a split."""
        return self._replace(file=dataclasses.replace(self.file, split=""))


def choose(candidates: Sequence[Candidate], survey: Survey) -> tuple[list[Candidate], list[str]]:
    """Chooses files that together list each image once: one per split or folder, or the most complete one.

    Returns:
        The chosen files, and notes about files that list the same images with the same labels.

    Raises:
        DataError: Files disagree about labels, list partly the same images, or are in different formats.
    """
    if len(candidates) == 1:
        return [candidates[0].without_split()], []
    ordered = sorted(candidates, key=lambda one: (not one.file.split, -len(one.listed.rows), str(one.annotated.path)))
    taken: list[Candidate] = []
    covered: dict[Path, tuple[str, ...]] = {}
    notes: list[str] = []
    for candidate in ordered:
        pairs = candidate.labels()
        known = pairs.keys() & covered.keys()
        different = [path for path in known if covered[path] != pairs[path]]
        if different:
            path = min(different)
            raise _undecided(
                survey,
                [taken[0], candidate],
                f"label {counted(len(different), 'image')} differently, such as {path.name}: "
                f"'{'; '.join(covered[path])}', '{'; '.join(pairs[path])}'",
            )
        if len(known) == len(pairs):
            same = ", ".join(one.annotated.path.name for one in taken)
            notes.append(
                f"{candidate.annotated.path.name} was not used: the same images have the same labels in {same}"
            )
            continue
        if known:
            raise _undecided(
                survey, [taken[0], candidate], f"list {counted(len(known), 'image')} in common, but also different ones"
            )
        if taken and candidate.annotated.format != taken[0].annotated.format:
            formats = f"{taken[0].annotated.format} and {candidate.annotated.format}"
            raise _undecided(survey, [taken[0], candidate], f"label different images, in different formats: {formats}")
        taken.append(candidate)
        covered |= pairs
    if len({one.file.split for one in taken}) == 1:
        taken = [one.without_split() for one in taken]
    return taken, notes


def _undecided(survey: Survey, files: Sequence[Candidate], what: str) -> DataError:
    paths = [one.annotated.path for one in files]
    commands = [str(path) for path in paths if path.is_file()]
    return DataError(
        f"{survey.spec}: {' and '.join(path.name for path in paths)} {what}",
        hint=f"give one of them as DATA: {', or '.join(commands)}",
    )


def folders_decide(chosen: Sequence[Candidate], survey: Survey, options: DataConfig) -> DataError | bool:
    """Whether class folders label the images at least as well as annotation files.

    Returns:
        True if the files say the same about some of the images, an error that says why the files are not used if they
        say something else, and False if the files are used.
    """
    if not has_class_folders(survey):
        return False
    labels = {path: found for one in chosen for path, found in one.labels().items()}
    num_images = sum(1 for _ in survey.images())
    names = ", ".join(one.annotated.path.name for one in chosen)
    commands = ", or ".join(str(one.annotated.path) for one in chosen if one.annotated.path.is_file())
    hint = f"to read it instead of the folders: {commands}" if commands else None
    pairs = _pairs(chosen)
    if not options.multi_label and (num_several := sum(len(found) > 1 for found in labels.values())):
        return DataError(
            f"{names}: images with several labels: {num_several:,} of {len(labels):,}, which are in class folders",
            hint=f"{hint}, or use --multi-label" if hint else "to read it instead of the folders: --multi-label",
        )
    are_numbers = all(label.isdecimal() for _, label in pairs) and not any(name.isdecimal() for name, _ in pairs)
    if are_numbers and len(pairs) == len({name for name, _ in pairs}) == len({label for _, label in pairs}):
        return DataError(f"{names}: only numbers the classes that the folders name", hint=hint)
    if len(labels) == num_images or _gives_splits(chosen):
        return False
    if all(name == label for name, label in pairs) and all(_is_at_top(path, survey) for path in labels):
        return True
    if 2 * len(labels) < num_images:
        return DataError(
            f"{names}: labels only {len(labels):,} of {num_images:,} images, which are in class folders", hint=hint
        )
    return False


def _pairs(chosen: Sequence[Candidate]) -> set[tuple[str, str]]:
    """Folders of images with the labels of the images in them."""
    return {(path.parent.name, label) for one in chosen for path, found in one.labels().items() for label in found}


def note_about_folders(chosen: Sequence[Candidate], survey: Survey) -> list[str]:
    """A note if the files give other classes than the names of the folders, which might be classes too."""
    if not has_class_folders(survey):
        return []
    pairs = _pairs(chosen)
    folders = {name for name, _ in pairs}
    if len(pairs) == len(folders) == len({label for _, label in pairs}):
        return []
    names = ", ".join(one.annotated.path.name for one in chosen)
    return [f"{names} gives the classes, not the {len(folders):,} folders of the images, such as {min(folders)}"]


def _gives_splits(chosen: Sequence[Candidate]) -> bool:
    return len({row.split or one.file.split for one in chosen for row in one.listed.rows}) > 1


def _is_at_top(path: Path, survey: Survey) -> bool:
    """Whether the folder of an image is at the top of DATA, or in a folder of a split or of all images."""
    above = os.path.relpath(path.parent.parent, survey.root)
    return above == "." or is_for_images(path.parent.parent.name)
