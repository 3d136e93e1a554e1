"""Selects the images of a data set that no model has seen in its training."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Dataset
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.inspection.used_images import TRAINED, VALIDATION
from resnet_cli.errors import DataError
from resnet_cli.evaluation.seen_images import Handling, Recognized, SeenImages, has_splits, recognize
from resnet_cli.runs import find_run_folder, read_run_config
from resnet_cli.text import counted

#: Scans the images at some positions of a data set.
Scan: TypeAlias = Callable[[NDArray[np.int64]], ScannedImages]


@dataclasses.dataclass(frozen=True)
class Selection:
    """Images of a data set to evaluate on.

    Attributes:
        split: Name of their split.
        rows: Their positions in the data set.
        apart: Positions of the images that are scored separately.
        is_own: Whether they are the images of this split of the first model's run.
        seen: What each model has seen of the data set, by the model's file.
        source_note: How the data set is related to that of the first model's run, and whether its images chose a
            checkpoint of a compared model; empty if there is nothing to say.
    """

    split: str
    rows: NDArray[np.int64]
    apart: NDArray[np.int64]
    is_own: bool
    seen: Mapping[Path | None, SeenImages]
    source_note: str = ""


def select_unseen(
    dataset: Dataset,
    files: Sequence[Path | None],
    scan: Scan,
    *,
    split: str | None,
    handling: Handling | None,
    is_own: bool,
) -> Selection:
    """Selects the images to evaluate on.

    Args:
        dataset: The data set.
        files: Files of the models; None for a model without a file. The first one's run decides about the splits.
        scan: Scans the images at some positions.
        split: Name of the split; None for test, else val, else all.
        handling: What to do with images that a model has seen; None leaves them out unless ``split`` asks for them.
        is_own: Whether the data set is that of the first model's run, with its splits.

    Raises:
        DataError: The split is empty, or the models have seen all of its images.
    """
    asked = {"train", "val", "all"} if is_own else {"train", "val"}
    handling = handling or ("include" if split in asked else "skip")
    found = _Candidates(dataset, list(dict.fromkeys(files)), scan, handling)
    if is_own or not found.take_run_split(split):
        found.take_split(split)
    if split is None and not len(found.rows) and not is_own:
        found.take_test_split_of_run()
    notes = []
    if split is None and not len(found.rows):
        found.take_validation_images()
        if len(files) > 1:
            # For a single model, the note on its metrics says so.
            notes.append("the only images left chose a checkpoint, so expect slightly lower accuracy on new images")
    if not len(found.rows):
        raise DataError(
            f"{dataset.name}: no image is left to evaluate on: {found.seen_by_all()}",
            hint="name other images, or include these: --seen include",
        )
    if not is_own:
        notes.insert(0, found.source_note())
    return Selection(
        found.split,
        found.rows,
        found.seen_rows if handling == "separate" else found.seen_rows[:0],
        is_own or found.is_of_run(),
        found.counts(),
        "; ".join(filter(None, notes)),
    )


class _Candidates:
    """The images of a split, and those of them that are evaluated.

    Args:
        dataset: The data set.
        files: Files of the models.
        scan: Scans the images at some positions.
        handling: What to do with images that a model has seen.

    Attributes:
        split: Name of the split.
        rows: Positions of the images that are evaluated.
        seen_rows: Positions of the images that a model has seen, and that are not in ``rows``.
    """

    def __init__(self, dataset: Dataset, files: Sequence[Path | None], scan: Scan, handling: Handling) -> None:
        self._dataset, self._files, self._scan, self._handling = dataset, files, scan, handling
        self._is_known = any(find_run_folder(file) for file in files)
        self._considered = np.empty(0, dtype=np.int64)
        self._is_unreadable = np.zeros(len(dataset.items), dtype=bool)
        self._found: list[Recognized] = []
        self._num_new = 0
        #: Whether the data set is that of the first model's run, with or without splits of its own.
        self._is_run_data = False
        self.split = "all"
        self.rows = self.seen_rows = self._considered

    def take_split(self, split: str | None) -> None:
        """Takes a split of the data set itself: test, else val, else all if none is named."""
        found = [name for name in SPLITS if self._dataset.split(name)]
        if split is None:
            split = next((name for name in ("test", "val") if name in found), "all")
        items = self._dataset.packed
        rows = np.arange(len(items)) if split == "all" else np.flatnonzero(items.in_split(split))
        if not len(rows):
            has = ", ".join(found)
            raise DataError(f"--split {split}: {self._dataset.name} has only {has}", hint="use --split all")
        self.split = split
        self._consider(rows)

    def take_run_split(self, split: str | None) -> bool:
        """Takes a split of the first model's run, if the data set is that of the run and has no splits of its own."""
        if has_splits(self._dataset) or find_run_folder(self._files[0]) is None:
            return False
        self._consider(np.arange(len(self._dataset.items)))
        run = self._found[0]
        if not run.is_run_data:
            return False
        self._is_run_data = True
        is_unknown = run.codes < 0
        if split is None and self._handling != "include":
            # Without a test split, the run itself is evaluated on its validation split.
            held_out = ("test",) if run.num_images["test"] else ("val",)
            self.split = next((name for name in held_out if name in run.uses), "all")
            if self.split != "all":
                # An unreadable image may be one of the split: the caller reports it.
                new = self._considered[is_unknown & ~self._is_unreadable]
                self._num_new = len(new)
                self.rows = self.rows[~np.isin(self.rows, new)]
            return True
        self.split = split or "all"
        is_chosen = np.full(len(is_unknown), True) if self.split == "all" else run.used_as(self.split)
        if is_chosen.any():
            rows = self._considered[is_chosen | (is_unknown & self._is_unreadable)]
        else:
            name = self._dataset.name
            raise DataError(f"--split {split}: {name} has no images from this split of the run", hint="use --split all")
        self._consider(rows)
        return True

    def take_test_split_of_run(self) -> None:
        """Takes the test images of the first model's run, in any split of the data set."""
        rows = np.arange(len(self._dataset.items))
        if (
            find_run_folder(self._files[0]) is None
            or "test" not in recognize(self._files[0], self._dataset, self._scan(rows)).uses
        ):
            return
        self._consider(rows)
        self.split, self.rows = "test", self.rows[self._found[0].used_as("test")[self.rows]]

    def take_validation_images(self) -> None:
        """Takes the images that chose a checkpoint and trained no model, since there are no others."""
        trained = self._considered[_any_of(found.used_as(*TRAINED) for found in self._found)]
        is_trained = np.isin(self.seen_rows, trained)
        self.rows, self.seen_rows = self.seen_rows[~is_trained], self.seen_rows[is_trained]
        self.split = "val" if len(self.rows) else self.split

    def _consider(self, rows: NDArray[np.int64]) -> None:
        """Separates the images that a model has seen from the others."""
        images = self._scan(rows if self._is_known else rows[:0])
        part = dataclasses.replace(self._dataset, items=self._dataset.packed.take(rows))
        self._is_unreadable[:] = False
        self._is_unreadable[rows[[position for position, _ in images.errors()]]] = True
        self._considered, self._found = rows, [recognize(file, part, images) for file in self._files]
        is_seen = _any_of(found.used_as(*TRAINED, *VALIDATION) for found in self._found)
        if self._handling == "include":
            is_seen[:] = False
        self.rows, self.seen_rows = rows[~is_seen], rows[is_seen]

    def is_of_run(self) -> bool:
        """Whether the chosen images are those of this split of the first model's run."""
        if self.split not in {"test", "val"}:
            return False
        others = self._considered[~self._found[0].used_as(self.split)]
        return not np.isin(self.rows[~self._is_unreadable[self.rows]], others).any()

    def counts(self) -> dict[Path | None, SeenImages]:
        """What each model has seen: of the images that are not evaluated or, if all are, of these."""
        is_counted = np.isin(self._considered, self.rows if self._handling == "include" else self.seen_rows)
        num_left_out = len(self.seen_rows) if self._handling == "skip" else 0
        counts = {}
        for file, found in zip(self._files, self._found, strict=True):
            uses = list(itertools.compress(found.uses, is_counted))
            counts[file] = SeenImages.of(
                found, uses, self._handling, num_left_out=num_left_out, is_alone=len(self._files) == 1
            )
        return counts

    def seen_by_all(self) -> str:
        """Which models have seen the images that would be evaluated."""
        facts = []
        for file, found in zip(self._files, self._found, strict=True):
            seen = SeenImages.of(found, found.uses, "skip", num_left_out=0, is_alone=True).what
            facts += [f"{file}: {seen}"] if seen else []
        return "; ".join(facts)

    def source_note(self) -> str:
        """How the data set is related to that of the first model's run."""
        file, run, split = self._files[0], self._found[0], self.split
        folder = find_run_folder(file)
        if file is None or folder is None or not (self._is_run_data or self.is_of_run()):
            return ""
        name = self._dataset.name
        old = read_run_config(folder).data
        is_moved = old != self._dataset.spec
        if not self._is_run_data and not is_moved:
            return ""
        its_run = f"{file.parent}" + (f", moved from {old}" if is_moved else "")
        if not self.is_of_run():
            return f"{name} is the data set of {its_run}"
        word = "validation" if split == "val" else split
        what = "is the data set" if self._is_run_data else f"has the {word} split"
        num_missing, num_all = run.num_missing[split], run.num_images[split]
        some = f" ({num_all - num_missing:,} of its {counted(num_all, 'image')} are there)" if num_missing else ""
        note = f"{name} {what} of {its_run}: evaluating on its {word} split{some}"
        if self._num_new:
            new = f"it also has {counted(self._num_new, 'image')} that the run did not use"
            note += f"; {new}; --split all scores these too"
        return note


def _any_of(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_or.reduce(list(masks)))
