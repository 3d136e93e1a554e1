"""What is judged, and by which images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from resnet_cli.config.base import resolve
from resnet_cli.config.data import DataConfig
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.inspection.scan import leave_out_unreadable, raise_unreadable, scan
from resnet_cli.data.prefetch import decode_ahead
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.remote import is_remote
from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.evaluation.scores import Evaluation, Tta, score
from resnet_cli.evaluation.slices import named_slice
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.opening import exported_kind, open_exported
from resnet_cli.model.network import Model
from resnet_cli.model.reliability import Reliability, precision_conflict
from resnet_cli.model.weights import MODEL_FILE, load_model
from resnet_cli.network.registry import DATASETS, HUB_WEIGHTS, WEIGHTS
from resnet_cli.runs import choose_items, count_trained, open_run_dataset
from resnet_cli.system.device import Compute
from resnet_cli.system.events import OnWork, Progress
from resnet_cli.system.paths import user_path

#: Images that an exported model is given at once.
EXPORTED_BATCH = 32
MODEL_SUFFIXES = frozenset({".safetensors", ".pth", ".pt"})


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model that is judged: ours, or an exported file of ours.

    Attributes:
        name: As the user called it.
        model: What answers; exactly one of the two is there.
        exported: Likewise.
    """

    name: str
    model: Model | None = None
    exported: ExportedModel | None = None

    @property
    def path(self) -> Path | None:
        """The file."""
        return self._known.path

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in index order."""
        return self._known.classes

    @property
    def reliability(self) -> Reliability | None:
        """How it answered its validation split; None for weights that are not ours."""
        return self._known.reliability

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it comes from."""
        return self.model.provenance if self.model else self._known_exported.provenance

    @property
    def temperature(self) -> float:
        """Logits are divided by it."""
        return self.model.temperature if self.model else self._known_exported.temperature

    def precision(self, compute: Compute) -> str:
        """In which it answers: an exported file has its own, whatever is asked for."""
        return compute.precision if self.model else self._known_exported.precision

    def precision_conflict(self, compute: Compute) -> str | None:
        """What to say where its limits were found in another precision than it answers in."""
        if self.exported is not None:
            return self.exported.precision_conflict
        return precision_conflict(self.provenance, compute.precision)

    @property
    def _known(self) -> Model | ExportedModel:
        return self.model or self._known_exported

    @property
    def _known_exported(self) -> ExportedModel:
        assert self.exported is not None
        return self.exported

    def evaluate(
        self, items: Sequence[Item], compute: Compute, *, tta: Tta = "none", on_progress: Progress | None = None
    ) -> Evaluation:
        """Answers labelled images and scores the answers; labels index this model's classes.

        Raises:
            ConfigError: An exported file cannot do that.
            DataError: Images that cannot be read; all are named.
        """
        if self.model is not None:
            return evaluate(self.model, items, compute, tta=tta, on_progress=on_progress)
        if tta != "none":
            raise ConfigError(
                f"--tta {tta} has no effect on {self.name}: an exported model sees each image once",
                hint="judge the model that it was exported from",
            )
        return evaluate_exported(self._known_exported, items, on_progress=on_progress)


def sort_specs(specs: Sequence[str]) -> tuple[list[str], str | None]:
    """Tells models from data among what a user typed, in any order.

    A model is a run folder, a file that ends in .safetensors or .pth, what was exported, or the name of weights.
    ``hf:OWNER/NAME`` may be either: it is the data where it comes last and a model comes before.

    Args:
        specs: As typed.

    Returns:
        The models, of which there may be none, and the data, if any.

    Raises:
        ConfigError: Something is not there, or two are no models.
    """
    models: list[str] = []
    data: list[str] = []
    for position, spec in enumerate(specs):
        is_last = position == len(specs) - 1
        (models if _is_model(spec, may_be_data=bool(models) and is_last and not data) else data).append(spec)
    if len(data) > 1:
        raise ConfigError(
            f"{' and '.join(data)}: neither is a model, and only one can be DATA",
            hint="a model is a run folder, a .safetensors, .pth, .onnx or .pt2 file, or the name of weights",
        )
    return models, next(iter(data), None)


def _is_model(spec: str, *, may_be_data: bool) -> bool:
    if spec in WEIGHTS or spec in HUB_WEIGHTS:
        return True
    if spec.startswith("hf:"):
        return not may_be_data
    path = user_path(spec)
    if path.suffix.lower() in MODEL_SUFFIXES or path.name == "latest" or exported_kind(path):
        return True
    if os.path.isdir(path):
        # A run that was stopped has a config and no model yet.
        return os.path.isfile(path / MODEL_FILE) or os.path.isfile(path / "split.csv")
    if spec in DATASETS or is_remote(spec) or os.path.exists(path):
        return False
    raise ConfigError(
        f"{spec}: no such model and no such data",
        hint="a model is a run folder, a .safetensors, .pth, .onnx or .pt2 file, or the name of weights; DATA is a "
        "folder, a table, an archive, an address or a name",
    )


def load_subject(
    spec: str, *, offline: bool = False, trusted: bool = False, on_download: Callable[[int, int | None], None]
) -> Subject:
    """Loads what MODEL names; ``trusted`` lets an exported file run what code it has.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged or of another architecture.
        UntrustedFileError: It would run code when loaded.
    """
    if exported_kind(user_path(spec)):
        return Subject(spec, exported=open_exported(user_path(spec), trusted=trusted))
    return Subject(spec, model=load_model(spec, offline=offline, on_download=on_download))


def evaluate_exported(
    exported: ExportedModel, items: Sequence[Item], *, on_progress: Progress | None = None
) -> Evaluation:
    """Answers labelled images with an exported file.

    Args:
        exported: Its classes are what the labels index.
        items: At least one.
        on_progress: Called with (images done, images in all).

    Raises:
        DataError: Images that cannot be read; all are named.
    """
    leave_out_unreadable(items, scan(items, looks=False), "error")
    probs, novel = [], []
    for group in decode_ahead(items, Item.open, batch_size=EXPORTED_BATCH):
        # Readable a moment ago: the file was changed or removed in between.
        raise_unreadable(list(group.errors.values()), len(items))
        output = exported.predict_images(group.decoded)
        probs.append(output.probs)
        novel.append(output.novelty)
        if on_progress:
            on_progress(sum(map(len, probs)), len(items))
    labels = np.array([item.label for item in items], dtype=np.int64)
    scores = score(np.concatenate(probs), labels, exported.classes, [item.name for item in items])
    found = None if any(one is None for one in novel) else np.concatenate(cast("list[Any]", novel))
    limit = exported.reliability
    return dataclasses.replace(
        scores,
        novelty=found,
        temperature=exported.temperature,
        is_unfamiliar=None if found is None or limit is None else found > limit.most_novel,
    )


@dataclasses.dataclass(frozen=True)
class Jury:
    """The images that models are judged by.

    Attributes:
        dataset: Where they come from, labels as it has them.
        split: Which of them.
        items: Labels index the first model's classes; groups are those that were asked for.
        owner: The file of the model whose own images they are; None if they are nobody's.
        skipped: Images that were left out.
    """

    dataset: Dataset
    split: str
    items: list[Item]
    owner: Path | None
    skipped: tuple[ImageError, ...] = ()

    def is_own_of(self, subject: Subject) -> bool:
        """Whether the model's own run chose the images."""
        return self.owner is not None and subject.path == self.owner

    def items_for(self, subject: Subject) -> list[Item]:
        """The images, their labels aligned with a model's classes by name.

        Raises:
            DataError: It does not know a class.
        """
        labels = {item.name: item.label for item in self.dataset.relabel(subject.classes).items}
        return [dataclasses.replace(item, label=labels[item.name]) for item in self.items]

    def count_trained(self, subject: Subject) -> int:
        """How many of the images a model was trained on, as far as its run folder tells."""
        return count_trained(subject, self.dataset.spec, self.items)


def open_data(
    subject: Subject, data: str | None, config: DataConfig, *, split: str | None, on_work: OnWork = lambda *_: None
) -> Dataset:
    """The data set that DATA names, else that of the model's run, labels as it has them.

    Args:
        subject: A model.
        data: As for finetune.
        config: How it is read; of the run's own images only ``classes`` and ``offline`` count.
        split: Of the run's own images, those of which none may be gone.
        on_work: Told of downloads and unpacking.

    Raises:
        ConfigError: No data are known.
        DataError: They are gone or no data set.
    """
    if data is not None:
        return open_dataset(data, config, on_work=on_work)
    dataset = open_run_dataset(subject, split=split, offline=config.offline)
    return dataset.select(config.classes) if config.classes else dataset


def choose_jury(
    subject: Subject,
    data: str | None,
    config: DataConfig,
    *,
    split: str | None,
    slice_by: str | None = None,
    on_work: OnWork = lambda *_: None,
) -> Jury:
    """Finds the images to judge by.

    Args:
        subject: The first model, whose own images are taken without ``data``.
        data: As for finetune.
        config: How it is read; of the run's own images only ``classes``, ``offline`` and ``on_bad_image`` count.
        split: None takes test, else val, else all.
        slice_by: What groups the images; None: nothing.
        on_work: Told of downloads and unpacking.

    Raises:
        ConfigError: No data are known, or ``slice_by`` cannot be.
        DataError: The split is empty, or the model does not know a class.
    """
    dataset = open_data(subject, data, config, split=split, on_work=on_work)
    chosen, items = choose_items(dataset, subject, split)
    skipped: Sequence[ImageError] = ()
    if config.on_bad_image == "skip":
        items, _, skipped = leave_out_unreadable(items, scan(items, looks=False), "skip")
    if slice_by is not None:
        source, options = (data, config) if data is not None else _own_source(subject)
        items = find_groups(items, source, slice_by, options)
    return Jury(dataset, chosen, items, subject.path if data is None else None, tuple(skipped))


def find_groups(items: Sequence[Item], spec: str, by: str, options: DataConfig) -> list[Item]:
    """Gives images their groups.

    Args:
        items: Of the data set that ``spec`` opens.
        spec: As :func:`~resnet_cli.data.sources.opening.open_dataset` takes it.
        by: A column of the table that it is, ``parent`` (the folder), or an expression on the images' names.
        options: How the data set was read.

    Raises:
        ConfigError: Neither a column, ``parent`` nor an expression.
        DataError: No image has a group.
    """
    with named_slice():
        dataset = open_dataset(spec, options.model_copy(update={"group_by": by, "classes": None}))
    groups = {item.name: item.group for item in dataset.items}
    return [dataclasses.replace(item, group=groups.get(item.name, "")) for item in items]


def _own_source(subject: Subject) -> tuple[str, DataConfig]:
    """What the run of a model was trained on, and how that was read."""
    assert subject.path is not None
    config = resolve(FinetuneConfig, {}, subject.path.resolve().parent / "config.yaml").config
    return config.data, config
