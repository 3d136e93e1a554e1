"""Labels of a data set as a model knows them: classes matched by name, and both kinds of tasks."""

from __future__ import annotations

from resnet_cli.data.dataset import Dataset, Items
from resnet_cli.errors import DataError
from resnet_cli.runs import Known
from resnet_cli.text import first_of


def align(dataset: Dataset, model: Known) -> Items:
    """The images with labels that index a model's classes.

    A class of a multi-label model that multi-label data do not have is unknown in all images: nobody has looked for it.
    In single-label data, an image does not belong to any class but its own, so that all others are negatives.

    Args:
        dataset: The data set.
        model: The model.

    Raises:
        DataError: The data have a class that the model does not have, or several labels per image and the model gives
            one.
    """
    if dataset.task == "multi-label" and model.task == "single-label":
        raise DataError(
            f"{dataset.name} has any number of labels per image, and the model gives exactly one",
            hint="evaluate a multi-label model: resnet-cli finetune DATA trains one on such data",
        )
    return dataset.relabel(model.classes).packed


def missing_classes(dataset: Dataset, model: Known) -> list[str]:
    """The classes of a multi-label model about which multi-label data say nothing."""
    if dataset.task == "single-label" or model.task == "single-label":
        return []
    return [name for name in model.classes if name not in dataset.classes]


def alignment_note(dataset: Dataset, model: Known) -> str:
    """What the labels of the data mean for a multi-label model; empty if there is nothing to say."""
    if model.task == "multi-label" and dataset.task == "single-label":
        return "one label per image: it counts as the only label, and all other classes as negatives"
    missing = missing_classes(dataset, model)
    if not missing:
        return ""
    names = first_of([f"'{name}'" for name in missing], 5)
    if len(missing) == 1:
        return f"the class {names} of the model is not in the data, and counts as unknown in all images"
    return f"{len(missing)} classes of the model are not in the data, and count as unknown in all images: {names}"
