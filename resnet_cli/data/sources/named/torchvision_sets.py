"""Data sets that torchvision supports: downloaded and unpacked here, read through its dataset classes.

All files are stored where torchvision's own ``download=True`` would put them, so that other tools find them with the
same ``root``. torchvision's downloads are not used: they accept truncated files and do not resume.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resnet_cli.data.dataset import Split
from resnet_cli.errors import DataError, SetupError
from resnet_cli.images import Pixels
from resnet_cli.network.known_sets import DATASETS
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.system.locks import locked
from resnet_cli.system.paths import MORE_ROOM, atomic_path, disk_errors


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How torchvision stores and reads one data set.

    Attributes:
        reader: Name of the class in ``torchvision.datasets``.
        folder: Folder of the downloads, below its root.
        becomes: Archive -> the folder or file beside it that it is unpacked to. Other downloads are used as they are.
        splits: Our name of a split -> arguments of the class that select it.
        images: Attribute with paths, pixels, or (path, label) pairs.
        labels: Attribute with the labels, if the images are not pairs.
        classes: Class names, if the class has none.
        trusts_files: Whether to keep the class from hashing its files each time it is created.
    """

    reader: str
    folder: str = ""
    becomes: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[Split, Mapping[str, Any]] = field(
        default_factory=lambda: {"train": {"split": "train"}, "test": {"split": "test"}}
    )
    images: str
    labels: str = ""
    classes: tuple[str, ...] = ()
    trusts_files: bool = False


# Source: torchvision 0.29, torchvision/datasets/*.py.
_LAYOUTS: dict[str, _Layout] = {
    "flowers102": _Layout(
        reader="Flowers102",
        folder="flowers-102",
        becomes={"102flowers.tgz": "jpg"},
        splits={"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}},
        images="_image_files",
        labels="_labels",
    ),
    "oxford-pets": _Layout(
        reader="OxfordIIITPet",
        folder="oxford-iiit-pet",
        becomes={"images.tar.gz": "images", "annotations.tar.gz": "annotations"},
        splits={"train": {"split": "trainval"}, "test": {"split": "test"}},
        images="_images",
        labels="_labels",
    ),
    "food101": _Layout(
        reader="Food101", becomes={"food-101.tar.gz": "food-101"}, images="_image_files", labels="_labels"
    ),
    # Each of the two splits would hash all files, 3 GB with the unlabeled images.
    "stl10": _Layout(
        reader="STL10",
        becomes={"stl10_binary.tar.gz": "stl10_binary"},
        images="data",
        labels="labels",
        trusts_files=True,
    ),
    "svhn": _Layout(reader="SVHN", images="data", labels="labels", classes=tuple("0123456789")),
    "fashion-mnist": _Layout(
        reader="FashionMNIST",
        folder="FashionMNIST/raw",
        becomes={
            f"{part}-ubyte.gz": f"{part}-ubyte"
            for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        },
        splits={"train": {"train": True}, "test": {"train": False}},
        images="data",
        labels="targets",
    ),
    "eurosat": _Layout(
        reader="EuroSAT", folder="eurosat", becomes={"EuroSAT.zip": "2750"}, splits={"train": {}}, images="samples"
    ),
    "dtd": _Layout(
        reader="DTD",
        folder="dtd",
        becomes={"dtd-r1.0.1.tar.gz": "dtd"},
        splits={split: {"split": split, "partition": 1} for split in ("train", "val", "test")},
        images="_image_files",
        labels="_labels",
    ),
    "imagenette": _Layout(
        reader="Imagenette",
        becomes={"imagenette2-320.tgz": "imagenette2-320"},
        splits={split: {"split": split, "size": "320px"} for split in ("train", "val")},
        images="_samples",
    ),
}


@dataclass(frozen=True, eq=False)
class Part:
    """One split as torchvision reads it.

    Attributes:
        split: Name of the split.
        images: Files, or uint8 RGB [n x h x w x 3].
        labels: Index into the classes of each image.
    """

    split: Split
    images: list[Path] | Pixels
    labels: list[int]


def is_here(name: str, root: Path) -> bool:
    """Whether all files are in place, by names and lengths; no bytes are read."""
    layout = _LAYOUTS[name]
    return all(
        os.path.exists(root / layout.folder / layout.becomes[file.name])
        if file.name in layout.becomes
        else has_length(root / layout.folder / file.name, file.num_bytes)
        for file in DATASETS[name].files
    )


def has_length(path: Path, num_bytes: int | None) -> bool:
    """Whether a file exists and has the right length, if that is known."""
    try:
        return path.is_file() and num_bytes in (None, path.stat().st_size)
    except OSError:
        return False


def fetch_set(name: str, root: Path, *, offline: bool = False, on_download: OnProgress | None = None) -> None:
    """Downloads and unpacks the files that are not in place yet; archives are kept, as torchvision keeps them.

    Args:
        name: A data set of the registry that torchvision reads.
        root: The ``root`` argument of torchvision.
        offline: Fail instead of using the network.
        on_download: Called with (bytes done, bytes in all) of one file after the other.

    Raises:
        NetworkError: A file is missing and cannot be downloaded.
        DataError: An archive is damaged.
        DiskError: The folder cannot be written, or the disk is full.
    """
    from resnet_cli.network.download import fetch

    layout = _LAYOUTS[name]
    folder = root / layout.folder
    for file in DATASETS[name].files:
        target = folder / layout.becomes.get(file.name, file.name)
        if file.name not in layout.becomes:
            if not has_length(target, file.num_bytes):
                fetch(file, folder, on_progress=on_download, offline=offline, keep=True)
        elif not os.path.exists(target):
            _unpack(fetch(file, folder, on_progress=on_download, offline=offline, keep=True), target)


def read_set(name: str, root: Path) -> tuple[tuple[str, ...], list[Part]]:
    """Reads what :func:`fetch_set` downloaded; image files are listed, not opened.

    Returns:
        Class names in index order, and the official splits.

    Raises:
        DataError: torchvision cannot read the files.
        SetupError: This version of torchvision has a different interface.
    """
    from torchvision import datasets

    layout = _LAYOUTS[name]
    reader = _attribute(datasets, layout.reader)
    if layout.trusts_files:
        reader = type(layout.reader, (reader,), {"_check_integrity": lambda _: True})
    parts: list[Part] = []
    found: list[tuple[str, ...]] = []
    try:
        for split, arguments in layout.splits.items():
            loaded = reader(root, download=False, **arguments)
            parts.append(_part(layout, split, loaded))
            found.append(layout.classes or _class_names(_attribute(loaded, "classes")))
        if len(set(found)) > 1:
            raise ValueError("its splits have different classes")
        if any(set(part.labels) - set(range(len(found[0]))) for part in parts):
            raise ValueError("a label has no class")
    # Errors of its readers on invalid files.
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, EOFError) as error:
        raise DataError(
            f"{root}: torchvision cannot read {name}: {error}",
            hint=f"remove {root} and run the same command again to download it",
        ) from error
    return found[0], parts


def _part(layout: _Layout, split: Split, loaded: Any) -> Part:
    images = _attribute(loaded, layout.images)
    labels = _attribute(loaded, layout.labels) if layout.labels else [label for _, label in images]
    if not layout.labels:
        images = [path for path, _ in images]
    is_files = isinstance(images, list)
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images with {len(labels)} labels")
    return Part(
        split,
        [Path(path) for path in images] if is_files else _rgb(np.asarray(images)),
        np.asarray(labels).tolist(),
    )


def _rgb(pixels: np.ndarray) -> Pixels:
    if pixels.ndim == 3:
        # [n x h x w], gray.
        return np.repeat(pixels[..., None], 3, axis=-1)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))  # from [n x 3 x h x w]


def _class_names(classes: list[Any]) -> tuple[str, ...]:
    # Imagenette gives each class as a tuple of its names.
    return tuple(name if isinstance(name, str) else name[0] for name in classes)


def _attribute(thing: Any, name: str) -> Any:
    """An attribute of torchvision, possibly a private one."""
    try:
        return getattr(thing, name)
    except AttributeError as error:
        import torchvision

        where = getattr(thing, "__name__", type(thing).__name__)
        raise SetupError(
            f"torchvision {torchvision.__version__} has no {where}.{name}, which is needed to read this data set",
            hint="install a version that works: pip install 'torchvision<0.30'",
        ) from error


def _unpack(archive: Path, target: Path) -> None:
    """Unpacks an archive for torchvision; ``target`` appears complete or not at all."""
    with disk_errors(target, hint=MORE_ROOM), locked(archive.with_name(f"{archive.name}.lock")):
        # Another process may have unpacked it while this one waited for the lock.
        if target.exists():
            return
        if archive.name == f"{target.name}.gz":
            _gunzip(archive, target)
        else:
            _unpack_folder(archive, target)


def _gunzip(archive: Path, target: Path) -> None:
    with atomic_path(target) as temporary, gzip.open(archive) as source, temporary.open("wb") as sink:
        try:
            shutil.copyfileobj(source, sink)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{archive}: the file is damaged: {error}", hint=f"remove {archive}") from error


def _unpack_folder(archive: Path, target: Path) -> None:
    from resnet_cli.data.sources.fetching.archives import unpack

    whole = archive.with_name(f".{archive.name}.unpacked")
    # It was left by a process that died: this one holds the lock.
    if whole.exists():
        shutil.rmtree(whole)
    unpack(archive, whole)
    try:
        if not (whole / target.name).is_dir():
            raise DataError(f"{archive}: the archive has no folder {target.name}", hint=f"remove {archive}")
        (whole / target.name).rename(target)
    finally:
        shutil.rmtree(whole, ignore_errors=True)
