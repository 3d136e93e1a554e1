"""What no split of a data set into training and validation makes trainable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from resnet_cli.data.class_names import as_flag, plain_name
from resnet_cli.data.dataset import Dataset, Split
from resnet_cli.errors import DataError
from resnet_cli.task import TASKS

#: Number of class names in a hint.
MAX_LISTED = 50


def refuse_untrainable(dataset: Dataset) -> None:
    """Rejects data that no split makes trainable.

    Raises:
        DataError: There are too few classes, a class has fewer than two training images, fewer than two training images
            are without a class of a multi-label data set, or a group is in two splits.
    """
    if not dataset.classes:
        raise DataError(f"{dataset.name}: no image has a label", hint="label at least two images with each class")
    if len(dataset.classes) < TASKS[dataset.task].min_classes:
        raise DataError(
            f"{dataset.name}: only one class, '{dataset.classes[0]}'",
            hint="add images of another class: training needs two or more",
        )
    if not dataset.split("train"):
        raise DataError(
            f"{dataset.name}: no image is for training; all {len(dataset.items):,} are in val or test",
            hint="put images of each class into a train folder, or give the folder above; eval takes these data as "
            "they are",
        )
    _refuse_small(dataset)
    _refuse_separated_groups(dataset)


def _refuse_small(dataset: Dataset) -> None:
    train = dataset.counts()["train"]
    small = [label for label, count in enumerate(train) if count < 2]
    if small:
        first, count = dataset.classes[small[0]], train[small[0]]
        message = f"the class '{first}' has {count or 'no'} training image; at least two are needed"
        message += _perhaps_meant(dataset, small[0])
        raise _too_few(dataset, small, message, images="to")
    without = dataset.counts_without()["train"]
    common = [label for label, count in enumerate(without) if count < 2]
    if common and dataset.task == "multi-label":
        first, count = dataset.classes[common[0]], without[common[0]]
        message = f"{'only one' if count else 'no'} training image is without the class '{first}'; at least two are"
        raise _too_few(dataset, common, f"{message} needed", images="without")


def _too_few(dataset: Dataset, refused: Sequence[int], message: str, *, images: Literal["to", "without"]) -> DataError:
    others = [name for label, name in enumerate(dataset.classes) if label not in refused]
    them = "it" if len(refused) == 1 else "them"
    hint = f"add images {images} {them}"
    if len(others) >= TASKS[dataset.task].min_classes:
        # A list of a thousand classes does not help.
        hint += f", or omit {them}: --classes {as_flag(others) if len(others) <= MAX_LISTED else ''}".rstrip()
    more = f"; other classes with too few: {len(refused) - 1:,}" if len(refused) > 1 else ""
    return DataError(f"{dataset.name}: {message}{more}", hint=hint)


def _refuse_separated_groups(dataset: Dataset) -> None:
    splits: dict[str, Split] = {}
    for item in dataset.items:
        if item.group and splits.setdefault(item.group, item.split) != item.split:
            raise DataError(
                f"{dataset.name}: the group '{item.group}' is in {splits[item.group]} and in {item.split}",
                hint="move its images into one split, or choose other groups with --group-by",
            )


def _perhaps_meant(dataset: Dataset, label: int) -> str:
    """Suggests a class that differs only in case, spaces, dashes or underscores: most likely a misspelling."""
    close = [name for name in dataset.classes if plain_name(name) == plain_name(dataset.classes[label])]
    others = [name for name in close if name != dataset.classes[label]]
    return f" (the same as '{others[0]}'?)" if others else ""
