"""CIFAR as DATA: the folders that its archives contain, in the binary version; the pickled version is refused."""

from __future__ import annotations

import numpy as np

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.arrays.cifar import CifarName, cifar_name, read_cifar_folder
from resnet_cli.data.sources.arrays.pixel_arrays import labeled_images
from resnet_cli.data.sources.labeled import LabeledImage
from resnet_cli.data.sources.reading import ROW_FLAGS, Reading
from resnet_cli.data.sources.survey import Folder, Survey
from resnet_cli.errors import DataError

#: The file of class names of the Python version -> data set. Source: https://www.cs.toronto.edu/~kriz/cifar.html.
_PICKLED: dict[str, CifarName] = {"batches.meta": "cifar10", "meta": "cifar100"}


def read_cifar_files(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads a folder with the files of a binary CIFAR archive, or with the folder that the archive contains.

    Raises:
        DataError: A file is missing or damaged, or it is the version of Python pickles.
    """
    if survey.file is not None or survey.has_images:
        return None
    found = [(folder, name) for folder in survey.folders.values() if (name := cifar_name(folder.others))]
    if not found:
        _refuse_pickles(survey)
        return None
    if len(found) > 1:
        raise DataError(
            f"{survey.spec}: several CIFAR data sets: {', '.join(folder.name for folder, _ in found)}",
            hint=f"give one of them as DATA: {survey.path(found[0][0].name)}",
        )
    ((folder, name),) = found
    return Reading(
        _images(survey, folder, name),
        f"the binary version of {name}",
        "from the names of the files",
        no_effect=ROW_FLAGS,
    )


def _images(survey: Survey, folder: Folder, name: CifarName) -> list[LabeledImage]:
    arrays = read_cifar_folder(survey.path(folder.name), name)
    names = np.asarray(arrays.classes)
    return [
        *labeled_images(arrays.train_images, names[arrays.train_labels].tolist(), "train"),
        *labeled_images(arrays.test_images, names[arrays.test_labels].tolist(), "test"),
    ]


def _refuse_pickles(survey: Survey) -> None:
    for folder in survey.folders.values():
        name = next((_PICKLED[other] for other in folder.others if other in _PICKLED), None)
        is_whole = {"data_batch_1", "test_batch"} <= set(folder.others) or {"train", "test"} <= set(folder.others)
        if name and (is_whole or len(folder.others) == 1):
            raise DataError(
                f"{survey.spec}: the Python version of {name}, which consists of pickles; they are never unpickled, "
                "because they can run code",
                hint=f"use it by name: resnet-cli finetune {name}; or give the binary version, "
                f"{name[:5]}-{name[5:]}-binary.tar.gz",
            )
