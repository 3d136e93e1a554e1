"""The data sets of the registry: where they are stored, and how they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.data.sources.named import torchvision_sets
from resnet_cli.images import Pixels
from resnet_cli.network.download import fetch, is_offline
from resnet_cli.network.known_sets import DATASETS
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.system.caches import place_to_write
from resnet_cli.system.paths import data_dir

#: Data sets read from their binary archives; torchvision would unpickle Python objects.
_CIFAR = ("cifar10", "cifar100")


def open_named(name: str, *, offline: bool = False, on_download: OnProgress | None = None) -> Dataset:
    """Opens a data set of the registry with its official splits.

    Args:
        name: One of :data:`resnet_cli.network.known_sets.DATASETS`.
        offline: Never download.
        on_download: Called with (bytes done, bytes in all) of one file after the other.

    Raises:
        NetworkError: A file is missing and cannot be downloaded.
        DataError: The files are damaged.
        DiskError: The cache cannot be written, or the disk is full.
        SetupError: The installed torchvision cannot read the data set.
    """
    where = local_path(name)
    if where is not None and not (is_here(name) or is_offline(offline)):
        where = place_to_write(where)
    _fetch(name, where, offline=offline, on_download=on_download)
    if where is None:
        classes, items = _read_digits()
    elif name in _CIFAR:
        classes, items = _read_cifar(name, where)
    else:
        classes, items = _read_with_torchvision(name, where)
    return Dataset(name, name, classes, tuple(items), mirror_safe=DATASETS[name].mirror_safe)


def fetch_named(name: str, *, offline: bool = False, on_download: OnProgress | None = None) -> None:
    """Downloads a data set of the registry to :func:`local_path`, ready to be opened; existing files are kept.

    Args:
        name: One of :data:`resnet_cli.network.known_sets.DATASETS`.
        offline: Never download.
        on_download: Called with (bytes done, bytes in all) of one file after the other.

    Raises:
        NetworkError: A file is missing and cannot be downloaded.
        DataError: An archive is damaged.
        DiskError: The cache cannot be written, or the disk is full.
    """
    _fetch(name, local_path(name), offline=offline, on_download=on_download)


def _fetch(name: str, where: Path | None, *, offline: bool, on_download: OnProgress | None) -> None:
    if where is None:
        return
    if name in _CIFAR:
        fetch(DATASETS[name].files[0], where.parent, on_progress=on_download, offline=offline, keep=True)
    else:
        torchvision_sets.fetch_set(name, where, offline=offline, on_download=on_download)


def local_path(name: str) -> Path | None:
    """Where a data set of the registry is or would be stored; None if a library contains it.

    For the data sets that torchvision reads, this is its ``root`` argument.
    """
    files = DATASETS[name].files
    if not files:
        return None
    return data_dir() / (files[0].name if name in _CIFAR else name)


def is_here(name: str) -> bool:
    """Whether a data set can be opened without the network, by names and lengths; no bytes are read."""
    where = local_path(name)
    if where is None:
        return True
    if name in _CIFAR:
        return torchvision_sets.has_length(where, DATASETS[name].files[0].num_bytes)
    return torchvision_sets.is_here(name, where)


def _read_digits() -> tuple[tuple[str, ...], list[Item]]:
    """The scans that scikit-learn contains: 1,797 handwritten digits, 8 x 8 pixels, 17 gray levels.

    Source: UCI "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998), its test split.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    gray = np.round(digits.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(digit) for digit in range(10))
    return classes, _items("digits", "train", np.repeat(gray[..., None], 3, axis=-1), digits.target, classes=classes)


def _read_cifar(name: str, archive: Path) -> tuple[tuple[str, ...], list[Item]]:
    from resnet_cli.data.sources.arrays.cifar import read_cifar

    cifar = read_cifar(archive, cast(Literal["cifar10", "cifar100"], name))
    items = _items(f"{name}/train", "train", cifar.train_images, cifar.train_labels, classes=cifar.classes)
    items += _items(f"{name}/test", "test", cifar.test_images, cifar.test_labels, classes=cifar.classes)
    return cifar.classes, items


def _read_with_torchvision(name: str, root: Path) -> tuple[tuple[str, ...], list[Item]]:
    classes, parts = torchvision_sets.read_set(name, root)
    items: list[Item] = []
    for part in parts:
        if isinstance(part.images, list):
            items += [
                Item(path.relative_to(root).as_posix(), path, (label,), part.split)
                for path, label in zip(part.images, part.labels, strict=True)
            ]
        else:
            items += _items(f"{name}/{part.split}", part.split, part.images, np.asarray(part.labels), classes=classes)
    return classes, items


def _items(
    prefix: str, split: Split, images: Pixels, labels: NDArray[np.int64], *, classes: tuple[str, ...]
) -> list[Item]:
    """Items that are views of one array [n x h x w x 3], named like files so that a split file can list them."""
    width = len(str(len(images) - 1))
    return [
        Item(f"{prefix}/{classes[label]}/{index:0{width}d}", image, (int(label),), split)
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
