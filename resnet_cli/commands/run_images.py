"""The classes of a run and the images that it was scored on: they decide whether two scores can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from resnet_cli.commands.run_summary import RunSummary
from resnet_cli.data.inspection.used_images import USED_IMAGES_FILE, UsedImages
from resnet_cli.data.split_files import read_split_csv
from resnet_cli.errors import ResnetCliError
from resnet_cli.text import first_of, split_word


@dataclasses.dataclass(frozen=True)
class ScoredImages:
    """The images of a run's main score.

    Attributes:
        classes: The classes of the run.
        split: ``test`` or ``val``; None if the run has no score.
        names: The data set and the path of each of them.
        hashes: A hash of the bytes of each of them; None if they were not recorded.
    """

    classes: frozenset[str]
    split: str | None
    names: frozenset[tuple[str | None, str]]
    hashes: frozenset[int] | None


def scored_images(run: RunSummary) -> ScoredImages | None:
    """Reads which images a run was scored on; None if its ``split.csv`` cannot be read."""
    try:
        rows = read_split_csv(run.path / "split.csv")
        used = UsedImages.read(run.path / USED_IMAGES_FILE)
    except (ResnetCliError, OSError):
        return None
    classes = frozenset(name for kind in rows.kinds for name in (*kind.labels, *kind.unknown))
    split = run.scores[0].split if run.scores else None
    is_own = np.array([kind.split == split for kind in rows.kinds], dtype=bool)[rows.kind_of]
    data = run.config.get("data")
    names = frozenset((data, name) for name in rows.names.take(np.flatnonzero(is_own)))
    hashes = None
    if used is not None and used.num_own == len(rows) and used.hashes.content[: len(rows)].all():
        hashes = frozenset(used.hashes.content[: len(rows)][is_own].tolist())
    return ScoredImages(classes, split, names, hashes)


def records_images(run: RunSummary) -> bool:
    """Whether a run recorded the hashes of its images, by which they are recognized in other data sets."""
    return (run.path / USED_IMAGES_FILE).is_file()


def obstacles(scored: Sequence[ScoredImages | None], letters: Sequence[str]) -> list[str]:
    """Why the recorded scores of runs cannot be compared with that of the first, in sentences without a period.

    Args:
        scored: The images of each run's score.
        letters: A short name of each run.
    """
    found = (
        f"{letters[0]} and {letter} {what}"
        for letter, one in zip(letters[1:], scored[1:], strict=True)
        if (what := _obstacle(scored[0], one, (letters[0], letter)))
    )
    return list(found)


def _obstacle(first: ScoredImages | None, other: ScoredImages | None, letters: tuple[str, str]) -> str:
    if first is None or other is None:
        return "cannot be compared: the images of their scores are not known"
    if first.classes != other.classes:
        return f"have different classes: {_class_difference(first, other, letters)}"
    if first.split is None or other.split is None:
        return f"cannot be compared yet: {letters[0] if first.split is None else letters[1]} has no score"
    if first.split != other.split:
        return f"were scored on different splits: {split_word(first.split)} and {split_word(other.split)}"
    has_hashes = first.hashes is not None and other.hashes is not None
    one, two = (first.hashes, other.hashes) if has_hashes else (first.names, other.names)
    assert one is not None and two is not None
    if one != two:
        return f"were scored on different images: {len(one):,} and {len(two):,}, {len(one & two):,} in common"
    return ""


def _class_difference(first: ScoredImages, other: ScoredImages, letters: tuple[str, str]) -> str:
    sides = zip(letters, (first.classes - other.classes, other.classes - first.classes), strict=True)
    return "; ".join(f"only {letter} has {first_of(sorted(names), 3)}" for letter, names in sides if names)
