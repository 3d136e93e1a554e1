"""Lists in MATLAB files, as Stanford Cars, Stanford Dogs and Oxford Flowers 102 have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnet_cli.data.sources.arrays.files import read_mat_variables
from resnet_cli.data.sources.lists.lines import Entry, clean
from resnet_cli.errors import DataError

#: Larger files are not lists of a data set's images.
MAX_MAT_BYTES = 64 * 1024**2


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file, as dictionaries, lists and arrays.

    Raises:
        DataError: The file is damaged, too large, or in the format of MATLAB 7.3, which is HDF5.
    """
    try:
        if path.stat().st_size > MAX_MAT_BYTES:
            raise DataError(f"{path}: larger than {MAX_MAT_BYTES // 1024**2} MB, too large for a list of images")
        with path.open("rb") as file:
            head = file.read(128)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if not head.startswith(b"MATLAB 5") or len(head) < 128:
        raise DataError(f"{path}: not a MATLAB file of version 5", hint="download it again")
    return read_mat_variables(path)


def is_file_list(path: Path) -> bool:
    """Whether a MATLAB file is a list of images, as ``train_list.mat`` of Stanford Dogs."""
    try:
        return bool(read_file_list(path))
    except DataError:
        return False


def read_file_list(path: Path) -> list[Entry]:
    """The entries of a MATLAB file whose variable ``file_list`` names images.

    Raises:
        DataError: The file is damaged.
    """
    return [Entry(clean(name), "", line) for line, name in enumerate(texts(read_mat(path).get("file_list")), 1)]


def texts(value: Any) -> list[str]:
    """The texts in a cell array; a single one is a list of one."""
    if isinstance(value, str):
        return [value]
    found = list(value.ravel()) if hasattr(value, "ravel") else value if isinstance(value, list) else []
    return [text for text in found if isinstance(text, str)]


def integers(value: Any) -> list[int]:
    """The numbers in an array, in order; empty if it has other values."""
    try:
        return [int(number) for number in value.ravel()]
    except (AttributeError, TypeError, ValueError, OverflowError):
        return [value] if isinstance(value, int) else []
