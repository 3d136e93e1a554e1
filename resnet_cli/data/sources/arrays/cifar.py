"""Reads the published binary CIFAR files, from the ``.tar.gz`` directly or from a folder, without pickle.

Of an archive, nothing is extracted to the disk. The members are read in the order of the archive, so the gzip stream is
decompressed once.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version" (the layout of a record).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.sources.fetching.archive_reader import Budget, open_members, readable
from resnet_cli.errors import DataError

CifarName = Literal["cifar10", "cifar100"]

_SIDE_PX = 32
_NUM_PIXEL_BYTES = 3 * _SIDE_PX * _SIDE_PX

# The largest published member has 50,000 records of 3,074 bytes (153.7 MB). Much larger members are not CIFAR, and are
# rejected before they are decompressed.
_MAX_MEMBER_BYTES = 256 * 1024 * 1024
_MAX_NUM_MEMBERS = 64


@dataclass(frozen=True)
class _Layout:
    """Where the records of an archive are, and how they are structured."""

    train: tuple[str, ...]
    test: str
    class_names: str
    num_label_bytes: int
    label_at: int
    num_classes: int


_LAYOUTS: dict[CifarName, _Layout] = {
    "cifar10": _Layout(
        train=tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        test="cifar-10-batches-bin/test_batch.bin",
        class_names="cifar-10-batches-bin/batches.meta.txt",
        num_label_bytes=1,
        label_at=0,
        num_classes=10,
    ),
    # Two label bytes: the coarse label (20 classes), then the fine label (100 classes), which is used.
    "cifar100": _Layout(
        train=("cifar-100-binary/train.bin",),
        test="cifar-100-binary/test.bin",
        class_names="cifar-100-binary/fine_label_names.txt",
        num_label_bytes=2,
        label_at=1,
        num_classes=100,
    ),
}


@dataclass(frozen=True, eq=False)
class CifarArrays:
    """A CIFAR data set in memory.

    Attributes:
        train_images: uint8 RGB [n x 32 x 32 x 3].
        train_labels: int64 [n], indices into ``classes``.
        test_images: uint8 RGB [m x 32 x 32 x 3].
        test_labels: int64 [m].
        classes: Class names in index order.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]


def read_cifar(archive: Path, name: CifarName) -> CifarArrays:
    """Reads a whole CIFAR archive into memory (about 185 MB, and twice that while reading).

    Args:
        archive: The published ``cifar-10-binary.tar.gz`` or ``cifar-100-binary.tar.gz``.
        name: Name of the data set in the archive.

    Raises:
        DataError: The archive is missing or damaged, or does not contain CIFAR.
    """
    layout = _LAYOUTS[name]
    splits: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]] = {}
    classes: tuple[str, ...] = ()
    wanted = {*layout.train, layout.test, layout.class_names}
    seen: set[str] = set()
    with readable(archive):
        budget = Budget(archive, archive.stat().st_size)
    with open_members(budget) as members:
        for num_members, member in enumerate(members, start=1):
            if num_members > _MAX_NUM_MEMBERS or member.num_bytes > _MAX_MEMBER_BYTES:
                _refuse(archive, f"is too large for {name} at its member {member.name!r}")
            path = member.name.removeprefix("./")
            if path not in wanted:
                continue
            if path in seen:
                _refuse(archive, f"contains {path} twice")
            # A link would replace this member by another one, or by nothing.
            if member.kind != "file":
                _refuse(archive, f"contains {path} as something other than a plain file")
            seen.add(path)
            data = b"".join(member.chunks())
            if path == layout.class_names:
                classes = _class_names(data, layout, archive)
            else:
                splits[path] = _records(data, layout, archive, path)
    if missing := sorted(wanted - seen):
        _refuse(archive, f"has no member {missing[0]}")
    return _joined(layout, splits, classes)


def read_cifar_folder(folder: Path, name: CifarName) -> CifarArrays:
    """Reads the files of an unpacked CIFAR archive.

    Args:
        folder: The folder with the files, such as ``cifar-10-batches-bin``.
        name: Name of the data set.

    Raises:
        DataError: A file is missing or damaged.
    """
    layout = _LAYOUTS[name]
    data = {path: _read_file(folder, path) for path in (*layout.train, layout.test, layout.class_names)}
    classes = _class_names(data.pop(layout.class_names), layout, folder)
    return _joined(layout, {path: _records(data[path], layout, folder, path) for path in data}, classes)


def cifar_name(names: Container[str]) -> CifarName | None:
    """The CIFAR data set whose files of class names and test images a folder contains; None if there is none."""
    for name, layout in _LAYOUTS.items():
        if all(PurePosixPath(path).name in names for path in (layout.test, layout.class_names)):
            return name
    return None


def _read_file(folder: Path, path: str) -> bytes:
    file = folder / PurePosixPath(path).name
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_MEMBER_BYTES + 1)
    except OSError as error:
        _refuse(folder, f"has no readable {file.name}: {error.strerror or error}", cause=error)
    if len(data) > _MAX_MEMBER_BYTES:
        _refuse(folder, f"has more bytes in {file.name} than any file of CIFAR")
    return data


def _joined(
    layout: _Layout, splits: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int64]]], classes: tuple[str, ...]
) -> CifarArrays:
    train = [splits[path] for path in layout.train]
    test_images, test_labels = splits[layout.test]
    return CifarArrays(
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=test_images,
        test_labels=test_labels,
        classes=classes,
    )


def _records(data: bytes, layout: _Layout, archive: Path, path: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    num_record_bytes = layout.num_label_bytes + _NUM_PIXEL_BYTES
    if not data or len(data) % num_record_bytes:
        _refuse(archive, f"has {len(data)} bytes in {path}, not a whole number of {num_record_bytes}-byte records")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, num_record_bytes)  # [n x (labels + pixels)]
    labels = records[:, layout.label_at].astype(np.int64)
    if labels.max() >= layout.num_classes:
        _refuse(archive, f"has the label {labels.max()} in {path}; the last is {layout.num_classes - 1}")
    planes = records[:, layout.num_label_bytes :].reshape(-1, 3, _SIDE_PX, _SIDE_PX)  # [n x 3 x h x w]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _class_names(data: bytes, layout: _Layout, archive: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in data.decode("ascii").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        _refuse(archive, f"has class names that are not text in {layout.class_names}", cause=error)
    if len(set(names)) != layout.num_classes or len(names) != layout.num_classes:
        _refuse(
            archive,
            f"names {len(set(names))} different classes in {layout.class_names}, not {layout.num_classes}",
        )
    return names


def _refuse(archive: Path, reason: str, *, cause: Exception | None = None) -> NoReturn:
    if archive.is_dir():
        raise DataError(f"{archive}: the folder {reason}", hint="unpack the published archive again") from cause
    raise DataError(
        f"{archive}: the archive {reason}",
        hint=f"delete {archive} and run the same command again to download it",
    ) from cause
