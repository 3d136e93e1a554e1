"""The images of a run that is resumed: found by their names, or by their content where they were moved or renamed."""

from __future__ import annotations

import dataclasses
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset, Item, Items
from resnet_cli.data.inspection.scan import leave_out_unreadable, scan
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.inspection.used_images import USED_IMAGES_FILE, ImageHashes, UsedImages
from resnet_cli.data.packed_text import TextIndex
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.split_files import read_split_csv, take_splits, to_row
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.system.events import OnWork, Progress
from resnet_cli.task import TASKS


@dataclasses.dataclass(frozen=True)
class ResumedData:
    """The images of a run.

    Attributes:
        dataset: The data set with the run's classes and splits, and its images in the run's order, on which the
            training depends.
        images: The scan of each image.
        num_renamed: Number of images that were found by their content.
    """

    dataset: Dataset
    images: ScannedImages
    num_renamed: int


def open_again(config: FinetuneConfig, run: Path, *, bit_depth: int, on_work: OnWork) -> ResumedData:
    """Opens the data of a run again, and finds its images in them.

    Args:
        config: The config of the run; ``data`` may name the place that the images were moved to.
        run: The run folder.
        bit_depth: Bits that the values of 16-bit images use.
        on_work: Called with the progress of downloads, of unpacking and of the check.

    Raises:
        DataError: Images are missing, unreadable, or have other content or labels than when the run began.
    """
    moved = f"if the images were moved: resnet-cli finetune --resume {shlex.quote(str(run))} --data DATA"
    try:
        dataset = open_dataset(config.data, config, on_work=on_work)
    except (ConfigError, DataError) as error:
        raise DataError(f"the images of {run} cannot be used: {error.message}", hint=moved) from error
    search = _Search(
        dataset, run, bit_depth=bit_depth, on_check=lambda done, total: on_work("check", done, total), hint=moved
    )
    return search.find()


class _Search:
    """Looks for the images of a run in a data set.

    Args:
        dataset: The data set as it is now.
        run: The run folder.
        bit_depth: Bits that the values of 16-bit images use.
        on_check: Called with the number of images that are checked.
        hint: What to do if images are missing.
    """

    def __init__(self, dataset: Dataset, run: Path, *, bit_depth: int, on_check: Progress, hint: str) -> None:
        self._path = run / "split.csv"
        self._rows = read_split_csv(self._path)
        # A class that came later takes no part.
        known = {name for row in self._rows.kinds for name in (*row.labels, *row.unknown)}
        classes = [name for name in dataset.classes if name in known]
        is_larger = TASKS[dataset.task].min_classes <= len(classes) < len(dataset.classes)
        self._dataset = dataset.select(classes) if is_larger else dataset
        self._bit_depth, self._on_check, self._hint = bit_depth, on_check, hint
        record = UsedImages.read(run / USED_IMAGES_FILE)
        # Runs of earlier versions have no record; their checkpoints tell whether any image has changed.
        self._content: NDArray[np.uint64] | None = None
        if record is not None and record.num_own == len(self._rows):
            self._content = record.hashes.content[: record.num_own]

    def find(self) -> ResumedData:
        """Finds every image, in the order of the run."""
        at = TextIndex(self._dataset.packed.names).find(self._rows)
        missing = self._rows.names.take(np.flatnonzero(at < 0))
        if not missing:
            items = self._dataset.packed.take(at)
            images = self._scan(items)
            changed = self._changed(images)
            if not changed:
                leave_out_unreadable(items, images, "error")
                return self._found(items, images)
        # Renamed images are the same ones, and a name can have gone to another image.
        if self._content is not None and (matched := self._match()):
            return self._found(*matched)
        if missing:
            raise DataError(
                f"images of this run are missing in {self._dataset.spec}: {len(missing):,} of {len(self._rows):,}, "
                f"such as {missing[0]}",
                hint=self._hint,
            )
        leave_out_unreadable(items, images, "error")
        raise DataError(
            f"the images have changed since this run began: {len(changed):,} of {len(self._rows):,} have other "
            f"content, such as {changed[0]}",
            hint="restore them, or start a new run: resnet-cli finetune DATA",
        )

    def _scan(self, items: Sequence[Item]) -> ScannedImages:
        return scan(items, signatures=False, bit_depth=self._bit_depth, on_progress=self._on_check)

    def _changed(self, images: ScannedImages) -> Sequence[str]:
        """Names of the images whose content is not the recorded one."""
        if self._content is None:
            return []
        return self._rows.names.take(np.flatnonzero(self._content != ImageHashes.of(images).content))

    def _match(self) -> tuple[Items, ScannedImages] | None:
        """The images with the recorded content; None unless all are there."""
        assert self._content is not None
        items = self._dataset.packed
        images = self._scan(items)
        places: dict[int, dict[str, int]] = defaultdict(dict)
        for place, content in enumerate(ImageHashes.of(images).content.tolist()):
            places[content][items[place].name] = place
        chosen = []
        for (name, row), content in zip(self._rows.items(), self._content.tolist(), strict=True):
            left = places[content]
            if not left:
                return None
            # Of copies, the one of the same name, else one with the same labels.
            labeled = (other for other, at in left.items() if to_row(self._dataset, items[at])[1:] == row[1:])
            chosen.append(left.pop(name if name in left else next(labeled, next(iter(left)))))
        return items.take(chosen), images.take(chosen)

    def _found(self, items: Items, images: ScannedImages) -> ResumedData:
        placed = take_splits(self._dataset, items, self._rows, self._path)
        num_renamed = sum(one != other for one, other in zip(items.names, self._rows, strict=True))
        dataset = dataclasses.replace(self._dataset, items=placed, split_note=f"from {self._path}")
        return ResumedData(dataset, images, num_renamed)
