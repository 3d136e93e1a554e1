"""The images that models are evaluated on."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.base import flag_name
from resnet_cli.config.data import DataConfig
from resnet_cli.data.class_names import as_flag
from resnet_cli.data.dataset import Dataset, Item, Items
from resnet_cli.data.inspection.scan import leave_out_unreadable, scan
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.packed_text import TextIndex
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError, ImageError
from resnet_cli.evaluation.label_alignment import align, alignment_note
from resnet_cli.evaluation.seen_images import Handling, SeenImages, has_splits, recognize, with_run_splits
from resnet_cli.evaluation.slices import named_slice
from resnet_cli.evaluation.unseen_selection import select_unseen
from resnet_cli.runs import Known, find_run_folder, open_run_dataset, read_run_config
from resnet_cli.system.events import OnWork

#: Options that decide what a data set contains; a folder of images may have moved with the data.
_READING = (
    "classes",
    "label_regex",
    "classes_at",
    "image_column",
    "label_column",
    "split_column",
    "on_missing_label",
    "multi_label",
    "follow_links",
)


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """The images that models are evaluated on.

    Attributes:
        dataset: The data set that they come from, with its own labels.
        split: Name of the split: ``train``, ``val``, ``test`` or ``all``.
        items: The images of the split. Labels index the first model's classes; groups are set if slices are asked for.
        owner: File of the model whose run these images are from; None if DATA are other images.
        skipped: Images that were skipped because they cannot be read.
        apart: Images that a model has seen in its training and that are scored separately.
        seen: What each model has seen, by its file; None stands for weights by name.
        source_note: How DATA is related to the data set of the first model's run; empty if they are unrelated.
    """

    dataset: Dataset
    split: str
    items: Items
    owner: Path | None
    skipped: tuple[ImageError, ...] = ()
    apart: Items = dataclasses.field(default_factory=lambda: Items.of(()))
    seen: Mapping[Path | None, SeenImages] = dataclasses.field(default_factory=dict)
    source_note: str = ""

    def is_own_of(self, model: Known) -> bool:
        """Whether the images come from the model's own run."""
        return self.owner is not None and model.path == self.owner

    def seen_by(self, model: Known) -> SeenImages | None:
        """What a model has seen; weights by name, whose file is known only once they are open, share an entry."""
        return self.seen.get(model.path, self.seen.get(None))

    def items_for(self, model: Known, items: Items | None = None) -> Items:
        """The images, with labels that index a model's classes; classes are matched by name.

        Args:
            model: The model.
            items: Some images of the data set; None for those that are evaluated.

        Raises:
            DataError: The model does not know a class.
        """
        chosen = self.items if items is None else items
        return chosen.with_kinds_of(align(self.dataset, model), self.dataset.packed.positions_of(chosen))

    def label_note(self, model: Known) -> str:
        """What the labels of the data mean for a multi-label model; empty if there is nothing to say."""
        return alignment_note(self.dataset, model)

    def trust_note(self, model: Known, chosen: str) -> str:
        """A sentence fragment on how far the metrics can be trusted.

        Args:
            model: The model that is evaluated.
            chosen: What its validation split chose, such as ``epoch 3``.
        """
        is_own = self.is_own_of(model)
        if is_own and self.split == "val":
            return (
                f"validation split; it chose the checkpoint ({chosen}), so expect slightly lower accuracy on new images"
            )
        if is_own and self.split == "test":
            return "test split; it did not choose the checkpoint, the validation split did"
        seen = self.seen_by(model)
        others = " other" if seen and (seen.num_left_out or self.apart) else ""
        note = f"all{others} images" if self.split == "all" else f"{self.split} split"
        if seen and seen.handling == "include":
            if seen.num_trained:
                note += f"; the model was trained on {seen.num_trained:,} of them, so expect lower accuracy on new ones"
            if seen.num_validation:
                note += f"; {seen.num_validation:,} of them chose its checkpoint"
        return note


def open_data(
    model: Known, data: str | None, config: DataConfig, *, split: str | None, on_work: OnWork = lambda *_: None
) -> Dataset:
    """Opens the data set that DATA names, else that of the model's run.

    If DATA has no splits and is the data set of the run at another place, its images get the splits of the run.

    Args:
        model: The model whose run is used without ``data``.
        data: DATA as for ``finetune``.
        config: How the data are read. For the run's own images only ``classes`` and ``offline`` apply.
        split: The split that is evaluated: of the run's own images, all of this split must still exist.
        on_work: Called while files are downloaded and unpacked, and while images are checked.

    Raises:
        ConfigError: No data are named, and the model is in no run folder.
        DataError: The data no longer exist, or are not a data set.
    """
    dataset = _open(model, data, config, split=split, on_work=on_work)
    if data is None or has_splits(dataset) or find_run_folder(model.path) is None:
        return dataset
    return with_run_splits(dataset, recognize(model.path, dataset, _scan(model, dataset.items, on_work)))


def choose_evaluation_set(
    model: Known,
    data: str | None,
    config: DataConfig,
    *,
    split: str | None,
    seen: Handling | None = None,
    others: Sequence[Path | None] = (),
    slice_by: str | None = None,
    on_work: OnWork = lambda *_: None,
) -> EvaluationSet:
    """Finds the images to evaluate on, and leaves out those that a model has seen in its training.

    Args:
        model: The first model, whose own images are used without ``data``.
        data: DATA as for ``finetune``.
        config: How the data are read. For the run's own images only ``classes``, ``offline`` and ``on_bad_image``
            apply.
        split: Name of the split; None takes test, else val, else all.
        seen: What to do with images that a model has seen; None leaves them out unless ``split`` asks for them.
        others: Files of the models that are compared with the first.
        slice_by: What to group the images by, see :func:`find_groups`; None does not group them.
        on_work: Called while files are downloaded and unpacked, and while images are checked.

    Raises:
        ConfigError: No data are known, or ``slice_by`` is not valid.
        DataError: The split is empty, the model does not know a class, or it has seen every image.
    """
    dataset = _open(model, data, config, split=split, on_work=on_work)
    with _hint_of_run(model, data, config):
        labeled = align(dataset, model)

    scanned = ScannedImages(len(labeled), signatures=False)
    is_scanned = np.zeros(len(labeled), bool)

    def scan_rows(rows: NDArray[np.int64]) -> ScannedImages:
        # Each image once, also where no index keeps the results.
        new = rows[~is_scanned[rows]]
        if len(new):
            scanned.put(new, _scan(model, labeled.take(new), on_work))
            is_scanned[new] = True
        return scanned.take(rows)

    chosen = select_unseen(dataset, (model.path, *others), scan_rows, split=split, handling=seen, is_own=data is None)
    items, apart = labeled.take(chosen.rows), labeled.take(chosen.apart)
    skipped: Sequence[ImageError] = ()
    if config.on_bad_image == "skip":
        images = scan_rows(chosen.rows)
        _, _, skipped = leave_out_unreadable(items, images, "skip")
        items = items.take(images.is_readable)
    if slice_by is not None:
        source, options = (data, config) if data is not None else _own_source(model)
        items = find_groups(items, source, slice_by, options)
    return EvaluationSet(
        dataset,
        chosen.split,
        items,
        model.path if chosen.is_own else None,
        tuple(skipped),
        apart,
        chosen.seen,
        chosen.source_note,
    )


def find_groups(items: Items, spec: str, by: str, options: DataConfig) -> Items:
    """Assigns a group to each image.

    Args:
        items: Images of the data set that ``spec`` opens.
        spec: DATA as :func:`~resnet_cli.data.sources.opening.open_dataset` takes it.
        by: A column of the table, ``parent`` (the folder), or a regular expression for the images' names.
        options: How the data set was read.

    Raises:
        ConfigError: ``by`` is neither a column, nor ``parent``, nor an expression.
        DataError: No image has a group.
    """
    with named_slice():
        dataset = open_dataset(spec, options.model_copy(update={"group_by": by, "classes": None}))
    grouped = dataset.packed
    found = TextIndex(grouped.names).find(items.names)
    codes = grouped.group_of[found].tolist()
    return items.with_groups(grouped.groups[code] if at >= 0 else "" for at, code in zip(found, codes, strict=True))


def _open(model: Known, data: str | None, config: DataConfig, *, split: str | None, on_work: OnWork) -> Dataset:
    if data is not None:
        with _hint_of_run(model, data, config):
            return open_dataset(data, config, on_work=on_work)
    dataset = open_run_dataset(model, split=split, offline=config.offline)
    return dataset.select(config.classes) if config.classes else dataset


@contextlib.contextmanager
def _hint_of_run(model: Known, data: str | None, config: DataConfig) -> Iterator[None]:
    """Adds to the hint of an error about DATA how the model's run read its data, if it read them in another way."""
    try:
        yield
    except DataError as error:
        folder = find_run_folder(model.path)
        if data is None or folder is None:
            raise
        run = read_run_config(folder)
        flags = []
        for name in _READING:
            value, default = getattr(run, name), type(run).model_fields[name].default
            if value not in (default, getattr(config, name)):
                shown = [] if value is True else [as_flag(value) if name == "classes" else shlex.quote(str(value))]
                flags.append(" ".join([flag_name(type(run), name), *shown]))
        if flags:
            same = f"if this is the data of {folder.name}, add the flags that it was trained with: {' '.join(flags)}"
            hint = f"{error.hint}; {same}"
            raise DataError(error.message, hint=hint.removeprefix("None; ")) from error
        raise


def _scan(model: Known, items: Sequence[Item], on_work: OnWork) -> ScannedImages:
    return scan(
        items,
        signatures=False,
        bit_depth=model.preprocess.bit_depth,
        on_progress=lambda done, total: on_work("check", done, total),
    )


def _own_source(model: Known) -> tuple[str, DataConfig]:
    """The data that the model's run was trained on, and how they were read."""
    assert model.path is not None
    config = read_run_config(model.path.resolve().parent)
    return config.data, config
