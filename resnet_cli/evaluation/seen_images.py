"""Which images of a data set a model has seen in its training, wherever they are now."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Dataset, Item, Items
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.used_images import (
    TRAINED,
    USED_IMAGES_FILE,
    USES,
    VALIDATION,
    ImageHashes,
    Use,
    UsedImages,
    look_alike,
)
from resnet_cli.data.packed_text import PackedText, TextIndex
from resnet_cli.data.split_files import SplitRow, SplitRows, read_split_csv, to_row
from resnet_cli.evaluation.scores_apart import ScoresApart
from resnet_cli.runs import find_run_folder
from resnet_cli.text import counted

#: What an evaluation does with images that a model has seen: it leaves them out, scores them separately, or scores them
#: together with the others.
Handling: TypeAlias = Literal["skip", "separate", "include"]
#: How the images that a model has seen are recognized.
KnownBy: TypeAlias = Literal["content", "names"]
#: Images whose names are looked up at once.
_NAMES_AT_ONCE = 1024
#: A data set with at least this share of the images of a run is that of the run, with images added and removed.
MIN_SHARE = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Recognized:
    """How the training of a model used each image of a data set.

    Attributes:
        uses: The use of each image; None if the training did not use it.
        known_by: How they were recognized; None if it is not known what the model was trained on.
        num_images: Number of images of each split of the model's run.
        num_missing: Number of images of each split of the run that are not among these images.
        num_reencoded: Number of images that were recognized by their name and appearance: they were resized or
            compressed again.
        num_changed: Number of images that have the name of an image of the run and show something else.
        unrecorded: Names of models that the training started from whose images are not known.
    """

    uses: tuple[Use | None, ...]
    known_by: KnownBy | None = None
    num_images: Counter[str] = dataclasses.field(default_factory=Counter)
    num_missing: Counter[str] = dataclasses.field(default_factory=Counter)
    num_reencoded: int = 0
    num_changed: int = 0
    unrecorded: tuple[str, ...] = ()

    @functools.cached_property
    def codes(self) -> NDArray[np.int8]:
        """Index into ``USES`` of the use of each image, int8 [n]; -1 for none."""
        code = {use: at for at, use in enumerate(USES)}
        return np.fromiter((-1 if use is None else code[use] for use in self.uses), dtype=np.int8, count=len(self.uses))

    def used_as(self, *uses: str | None) -> NDArray[np.bool_]:
        """Whether the training used each image in one of these ways, bool [n]."""
        return np.isin(self.codes, [at for at, use in enumerate(USES) if use in uses])

    @property
    def is_run_data(self) -> bool:
        """Whether the images are those of the model's run, except for some that were added or removed."""
        num_all = self.num_images.total()
        return num_all > 0 and num_all - self.num_missing.total() >= MIN_SHARE * num_all


def recognize(model_path: Path | None, dataset: Dataset, images: Sequence[ScannedImage]) -> Recognized:
    """Finds out how the training of a model used the images of a data set.

    Images are recognized by their bytes or pixels; those of a run that did not record them (version 0.1.0), by their
    names and classes.

    Args:
        model_path: File of the model; None if it is not in a file.
        dataset: The data set.
        images: The scan of each image; not needed for a model outside a run folder.

    Raises:
        DataError: The record in the run folder is damaged.
    """
    folder = find_run_folder(model_path)
    if folder is None:
        return Recognized((None,) * len(dataset.items))
    rows = read_split_csv(folder / "split.csv")
    used = UsedImages.read(folder / USED_IMAGES_FILE)
    if used is None:
        return _recognize_names(dataset, rows)
    return _recognize_content(dataset.packed, ImageHashes.of(images), used, rows.names)


def _recognize_content(items: Items, hashes: ImageHashes, used: UsedImages, names: Sequence[str]) -> Recognized:
    uses = used.find(hashes)
    own = np.arange(used.num_own)
    is_found = used.hashes[own].equals_any(hashes)
    num_reencoded = num_changed = 0
    unknown = [row for row, use in enumerate(uses) if use is None]
    if unknown and len(names) == used.num_own:
        found = _find_names(items.take(unknown), names, any_format=True)
        for row, named in zip(unknown, found.tolist(), strict=True):
            if named < 0:
                continue
            if look_alike(hashes.look[row : row + 1], used.hashes.look[named : named + 1]).all():
                uses[row] = USES[used.uses[named]]
                is_found[named] = True
                num_reencoded += 1
            else:
                num_changed += 1
    num_images, num_missing = _count([USES[use] for use in used.uses[own].tolist()], is_found)
    return Recognized(tuple(uses), "content", num_images, num_missing, num_reencoded, num_changed, used.unrecorded)


def _recognize_names(dataset: Dataset, rows: SplitRows) -> Recognized:
    is_found = np.zeros(len(rows), dtype=bool)
    named = _find_names(dataset.items, rows.names, any_format=False)
    uses: list[Use | None] = []
    for item, at in zip(dataset.items, named.tolist(), strict=True):
        row = SplitRow("", ()) if at < 0 else rows.kinds[rows.kind_of[at]]
        is_used = at >= 0 and row.labels == to_row(dataset, item).labels
        uses.append(next((use for use in USES if use == row.split), None) if is_used else None)
        if is_used:
            is_found[at] = True
    return Recognized(tuple(uses), "names", *_count([rows.kinds[kind].split for kind in rows.kind_of], is_found))


def _find_names(items: Sequence[Item], names: Sequence[str], *, any_format: bool) -> NDArray[np.int64]:
    """Position in a run's ``split.csv`` of the name that each image has, int64 [n]; -1 for none.

    Args:
        items: The images.
        names: Names of the images of the run.
        any_format: Whether the extension may differ.
    """
    index = TextIndex(names)
    stems = TextIndex(PackedText(os.path.splitext(name)[0] for name in names).all()) if any_format else None
    found = np.full(len(items), -1)
    for start in range(0, len(items), _NAMES_AT_ONCE):
        tails = [_tails(item, any_format=any_format) for item in items[start : start + _NAMES_AT_ONCE]]
        flat = [tail for of_item in tails for tail in of_item]
        at = index.find(flat)
        if stems is not None:
            at = np.where(at >= 0, at, stems.find(flat))
        image = start + np.repeat(np.arange(len(tails)), list(map(len, tails)))
        # The first tail that is a name of the run counts: it is written last.
        hits = np.flatnonzero(at >= 0)[::-1]
        found[image[hits]] = at[hits]
    return found


def _tails(item: Item, *, any_format: bool) -> list[str]:
    """The names that an image may have had in a run, the likeliest first."""
    # The folder that the run called DATA may be above or below the one that is called so now.
    parts = str(item.source).replace(os.sep, "/").split("/") if isinstance(item.source, Path) else [item.name]
    tails = [item.name, *("/".join(parts[start:]) for start in range(len(parts) - 1))]
    return tails + [os.path.splitext(tail)[0] for tail in tails] * any_format


def _count(splits: Sequence[str], is_found: NDArray[np.bool_]) -> tuple[Counter[str], Counter[str]]:
    """Number of images of each split of a run, and of those that were not found."""
    missing = (split for split, found in zip(splits, is_found.tolist(), strict=True) if not found)
    return Counter(splits), Counter(missing)


def with_run_splits(dataset: Dataset, found: Recognized) -> Dataset:
    """Gives the images of a run the splits that they had in it, if the data set has no splits of its own.

    Args:
        dataset: The data set.
        found: How the model's training used its images.
    """
    if has_splits(dataset) or not found.is_run_data:
        return dataset
    items = dataset.packed
    splits = dict.fromkeys((*SPLITS, *items.splits))
    code = {split: at for at, split in enumerate(splits)}
    uses = (-1 if use not in SPLITS else code[use] for use in found.uses)
    used = np.fromiter(uses, dtype=np.int64, count=len(items))
    own = np.array([code[split] for split in items.splits], dtype=np.int64)[items.split_of]
    items = items.with_splits(tuple(splits), np.where(used < 0, own, used))
    return dataclasses.replace(dataset, items=items, split_note="as in the run")


def has_splits(dataset: Dataset) -> bool:
    """Whether the source of a data set has splits of its own."""
    return len(dataset.split("train")) < len(dataset.items)


@dataclasses.dataclass(frozen=True)
class SeenImages:
    """The images of an evaluation that a model has seen.

    Attributes:
        handling: What was done with them.
        known_by: How they were recognized; None if it is not known what the model was trained on.
        num_trained: Number of images that the model, or one that its training started from, was trained on.
        num_validation: Number of other images that chose its checkpoint.
        num_left_out: Number of images that were left out, because this or another compared model has seen them.
        num_reencoded: Number of images that were recognized although they were resized or compressed again.
        num_changed: Number of images that have the name of an image of the run and show something else.
        unrecorded: Names of models that the training started from whose images are not known.
        is_alone: Whether no other model is compared.
        has_match: Whether any image of the data set was recognized.
        scores: Scores on the images that were scored separately; None if there are none.
    """

    handling: Handling
    known_by: KnownBy | None
    num_trained: int = 0
    num_validation: int = 0
    num_left_out: int = 0
    num_reencoded: int = 0
    num_changed: int = 0
    unrecorded: tuple[str, ...] = ()
    is_alone: bool = True
    has_match: bool = True
    scores: ScoresApart | None = None

    @classmethod
    def of(
        cls, found: Recognized, uses: Sequence[Use | None], handling: Handling, *, num_left_out: int, is_alone: bool
    ) -> SeenImages:
        """Counts them.

        Args:
            found: How the model's training used the images of the data set.
            uses: How it used those that are counted.
            handling: What is done with them.
            num_left_out: Number of images that are left out.
            is_alone: Whether no other model is compared.
        """
        return cls(
            handling,
            found.known_by,
            sum(use in TRAINED for use in uses),
            sum(use in VALIDATION for use in uses),
            num_left_out,
            found.num_reencoded,
            found.num_changed,
            found.unrecorded,
            is_alone,
            any(found.uses),
        )

    @property
    def what(self) -> str:
        """``80 images that the model was trained on and 20 that chose its checkpoint``; empty for none."""
        facts = [
            (self.num_trained, "that the model was trained on"),
            (self.num_validation, "that chose its checkpoint"),
        ]
        parts = [
            f"{num:,} {what}" if at and self.num_trained else f"{counted(num, 'image')} {what}"
            for at, (num, what) in enumerate(facts)
            if num
        ]
        return " and ".join(parts)

    @property
    def sentence(self) -> str:
        """What was done with the images that the model has seen; empty if there is nothing to say."""
        facts = [self._handled()]
        if self.known_by is None:
            facts.append("the model is not in a run folder, so it is unknown which images it was trained on")
        elif self.known_by == "names" and not self.has_match:
            facts.append("no image has a name from the run, which did not record the content of its images")
        if self.unrecorded:
            facts.append(
                f"its training started from {', '.join(self.unrecorded)}, whose own training images are unknown"
            )
        if self.num_reencoded:
            were = "was" if self.num_reencoded == 1 else "were"
            facts.append(
                f"{counted(self.num_reencoded, 'image')} {were} resized or compressed again, and recognized by name "
                "and appearance"
            )
        if self.num_changed:
            have, count = ("has a name", "counts") if self.num_changed == 1 else ("have names", "count")
            facts.append(
                f"{counted(self.num_changed, 'image')} {have} from the run but different content, and {count} as new"
            )
        return "; ".join(filter(None, facts))

    def _handled(self) -> str:
        if not self.what or self.handling == "include":
            return ""
        by = ""
        if self.known_by == "names":
            by = " (recognized by their names, because this run did not record their content)"
        if self.handling == "separate":
            return f"{self.what} are scored separately{by}"
        return f"left out {self.what}{'' if self.is_alone else ' for every model'}{by}; --seen separate scores them too"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the numbers are null if it is not known what the model was trained on."""
        is_known = self.known_by is not None
        return {
            "handling": self.handling,
            "known_by": self.known_by,
            "num_trained": self.num_trained if is_known else None,
            "num_validation": self.num_validation if is_known else None,
            "num_left_out": self.num_left_out,
            "scores": self.scores.to_dict() if self.scores else None,
        }
