"""The images that a file is calibrated on and checked with."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.export import ExportConfig
from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.engines.int8 import NUM_CALIBRATION
from resnet_cli.errors import ConfigError, ResnetCliError
from resnet_cli.evaluation.label_alignment import align
from resnet_cli.model.model_file import Model
from resnet_cli.runs import open_run_dataset

#: Images of a run's validation split; the data of ``--verify-with`` are used completely.
MAX_IMAGES = 1_000


@dataclasses.dataclass(frozen=True)
class VerificationImages:
    """Labeled images to check a file with.

    Attributes:
        items: At least one image; labels index the model's classes.
        description: Which images they are.
        is_validation: Whether they are the model's own validation split.
    """

    items: list[Item]
    description: str
    is_validation: bool


def images_to_verify(model: Model, config: ExportConfig) -> VerificationImages:
    """The images of ``--verify-with``, else the run's validation split.

    Raises:
        ConfigError: There are no such images.
        DataError: They cannot be read, or have classes or a number of labels that the model does not know.
    """
    if config.verify_with is not None:
        dataset = open_dataset(config.verify_with)
        labeled = list(align(dataset, model))
        return VerificationImages(labeled, f"all {len(labeled):,} images of {dataset.name}", False)
    dataset = _run_dataset(model, config, "--verify-with DATA, labeled images of its classes")
    items = dataset.split("val")
    if not items:
        raise ConfigError(f"{dataset.name} has no validation split", hint="specify images: --verify-with DATA")
    chosen = spread(items, MAX_IMAGES)
    which = f"{len(chosen):,} of {len(items):,}" if len(chosen) < len(items) else f"all {len(items):,}"
    return VerificationImages(chosen, f"{which} validation images of {dataset.name}", True)


def images_to_calibrate(model: Model, config: ExportConfig) -> list[Item]:
    """Images of ``--calibrate-with``, else of the run's training split, balanced across the classes.

    Raises:
        ConfigError: There are no such images.
        DataError: They cannot be read.
    """
    if config.calibrate_with is not None:
        items: Sequence[Item] = open_dataset(config.calibrate_with).items
    else:
        items = _run_dataset(model, config, "--calibrate-with DATA, images like those of its training").split("train")
    return spread(items, NUM_CALIBRATION)


def _run_dataset(model: Model, config: ExportConfig, instead: str) -> Dataset:
    try:
        return open_run_dataset(model, offline=config.offline).relabel(model.classes)
    except ResnetCliError as error:
        raise ConfigError(f"no images to check with: {error.message}", hint=f"specify some: {instead}") from error


def spread(items: Sequence[Item], num: int) -> list[Item]:
    """At most ``num`` items, balanced across the classes; always the same ones, in their order.

    An image with several labels counts for the rarest of them; those without any are one more class.
    """
    counts = Counter(label for item in items for label in item.labels)
    labels: NDArray[np.int64] = np.array(
        [min(item.labels, key=lambda label: (counts[label], label), default=-1) for item in items], dtype=np.int64
    )
    order = np.random.default_rng(0).permutation(len(items))
    rank = np.empty(len(items), dtype=np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        rank[mine] = np.arange(len(mine))
    return [items[index] for index in sorted(order[np.argsort(rank[order], kind="stable")][:num])]
