"""Data sets that go by a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.preprocess import Pixels
from resnet_cli.registry import DATASETS


def open_named(
    name: str, *, offline: bool = False, on_download: Callable[[int, int | None], None] | None = None
) -> Dataset:
    """Opens a set of the registry; its official splits are kept.

    Args:
        name: One of :data:`resnet_cli.registry.DATASETS`.
        offline: Never download.
        on_download: Called with (bytes done, bytes in all).

    Raises:
        NetworkError: The archive is not here and cannot be downloaded.
        DataError: The archive is damaged.
    """
    if name == "digits":
        return _open_digits()
    from resnet_cli.data.cifar import read_cifar
    from resnet_cli.download import fetch
    from resnet_cli.paths import data_dir

    archive = fetch(DATASETS[name].files[0], data_dir(), on_progress=on_download, offline=offline)
    cifar = read_cifar(archive, cast(Literal["cifar10", "cifar100"], name))
    items = _items(f"{name}/train", "train", cifar.train_images, cifar.train_labels, cifar.classes)
    items += _items(f"{name}/test", "test", cifar.test_images, cifar.test_labels, cifar.classes)
    return Dataset(name, name, cifar.classes, tuple(items))


def _open_digits() -> Dataset:
    """Scikit-learn's bundled scans: 1,797 handwritten digits, 8 x 8 pixels, 17 gray levels.

    Source: UCI "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998), its test part.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    gray = np.round(digits.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(digit) for digit in range(10))
    items = _items("digits", "train", np.repeat(gray[..., None], 3, axis=-1), digits.target, classes)
    return Dataset("digits", "digits", classes, tuple(items), mirror_safe=False)


def _items(
    prefix: str, split: Split, images: Pixels, labels: NDArray[np.int64], classes: tuple[str, ...]
) -> list[Item]:
    """Views into one array [n x h x w x 3], named like files so that a split can be written down."""
    width = len(str(len(images) - 1))
    return [
        Item(f"{prefix}/{classes[label]}/{index:0{width}d}", image, int(label), split)
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
