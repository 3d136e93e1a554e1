"""Files of arrays: NumPy's .npy and .npz, HDF5, and MATLAB's .mat. Headers are read first, and values on demand.

Nothing is unpickled: an array of Python objects is refused.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.sources.arrays.mat_arrays import MatArray, list_arrays
from resnet_cli.data.sources.arrays.mat_variables import read_variables
from resnet_cli.data.sources.packed_sizes import MAX_RATIO, unpacked_limit
from resnet_cli.errors import DataError, missing_extra
from resnet_cli.text import size

#: Largest arrays in memory if the system does not tell how much memory it has.
_MAX_LOADED_BYTES = 8 * 10**9
#: Memory of a container in bytes. Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, and
#: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
_CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_CHUNK_BYTES = 16 * 1024**2
#: Memory for the texts of an HDF5 file that are read at once, however long they are.
_TEXTS_BYTES = 10**9
#: Largest number of groups of an HDF5 file that are searched, and of arrays in a file.
_MAX_DEPTH, _MAX_ARRAYS = 3, 1000
#: Source: NPY_MAXDIMS of NumPy 1; no array of images has as many.
_MAX_AXES = 32
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    # NumPy parses the header of an array as Python.
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class StoredArray:
    """One array of a file, of which only the header was read.

    Attributes:
        path: The file.
        key: Name of the array in the file; the file's stem if it has no name.
        shape: Its shape.
        dtype: Type of its values; of kind ``O`` if they are objects that are not read.
        load: Reads it.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], NDArray[Any]]

    def __str__(self) -> str:
        return str(self.path) if self.key == self.path.stem else f"{self.path}, array {ascii(self.key)[:60]}"


def open_arrays(path: Path) -> list[StoredArray]:
    """The arrays of a file.

    Raises:
        DataError: It is damaged, or not in the format that its name says.
        SetupError: It is HDF5, and h5py is not installed.
    """
    with _readable(path):
        found = ARRAY_FORMATS[path.suffix.lower()](path)
        damaged = [array.key for array in found if len(array.shape) > _MAX_AXES or min(array.shape, default=0) < 0]
        if damaged:
            raise ValueError(f"array {ascii(damaged[0])[:60]} has an impossible shape")
        return found


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        # NumPy warns about oddities of files that it reads nevertheless.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or f"damaged: {str(error)[:200] or type(error).__name__}"
        raise DataError(f"{path}: {reason}") from error


def _check_size(path: Path, num_bytes: int) -> None:
    """Rejects arrays that would fill the memory, or that are much larger than their file."""
    if num_bytes > unpacked_limit(path.stat().st_size):
        raise DataError(
            f"{path}: refused: its arrays are more than {MAX_RATIO} times as large as the file, as in a "
            "decompression bomb"
        )
    if num_bytes > _memory_limit():
        raise DataError(
            f"{path}: its arrays take {size(num_bytes)} of memory, more than the limit of {size(_memory_limit())}",
            hint="save each array with numpy.save as X_train.npy, y_train.npy, ...: such files stay on disk",
        )


def _memory_limit() -> int:
    """Half of the memory of the machine, or of the container if it has less."""
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):
        limits = [2 * _MAX_LOADED_BYTES]
    for file in _CONTAINER_LIMITS:
        # ValueError: "max", which is no limit.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text("ascii")))
    return min(limits) // 2


def _open_npy(path: Path) -> list[StoredArray]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: does not contain one array")
    return [StoredArray(path, path.stem, array.shape, array.dtype, lambda: np.asarray(array))]


def _open_npz(path: Path) -> list[StoredArray]:
    found = []
    with zipfile.ZipFile(path) as file:
        for info in file.infolist()[:_MAX_ARRAYS]:
            if not info.filename.endswith(".npy"):
                continue
            with file.open(info) as stream:
                shape, is_fortran, dtype = _npy_header(stream)
            load = functools.partial(_load_npz, path, info.filename, shape, dtype, is_fortran)
            found.append(StoredArray(path, info.filename.removesuffix(".npy"), shape, dtype, load))
    return found


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version[0]}.{version[1]} of the array format is unknown")
    return readers[version](stream)


def _load_npz(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], is_fortran: bool) -> NDArray[Any]:
    num_bytes = math.prod(shape) * dtype.itemsize
    _check_size(path, num_bytes)
    data = bytearray()
    with _readable(path), zipfile.ZipFile(path) as file, file.open(name) as stream:
        _npy_header(stream)
        while chunk := stream.read(_CHUNK_BYTES):
            data += chunk
            if len(data) > num_bytes:
                break
    if len(data) != num_bytes:
        raise DataError(f"{path}: damaged: array {ascii(name)[:60]} does not have as many values as its header says")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise missing_extra(f"{path}: reading HDF5 needs h5py, which is not installed", "arrays") from error
    with _readable(path), h5py.File(path, "r") as file:
        yield file


def _open_hdf5(path: Path, *, is_matlab: bool = False) -> list[StoredArray]:
    found: list[StoredArray] = []
    with _hdf5(path) as file:
        if "keras_version" in file.attrs or "model_weights" in file:
            raise DataError(f"{path}: a Keras model, not a data set", hint="give the folder or file of the images")
        _walk_hdf5(path, file, found, is_matlab=is_matlab)
    return found


def _walk_hdf5(path: Path, group: Any, found: list[StoredArray], *, depth: int = 0, is_matlab: bool) -> None:
    import h5py

    for key in group:
        # Soft and external links may lead to other files.
        if not isinstance(group.get(key, getlink=True), h5py.HardLink) or len(found) >= _MAX_ARRAYS:
            continue
        entry = group[key]
        if isinstance(entry, h5py.Group) and depth < _MAX_DEPTH:
            _walk_hdf5(path, entry, found, depth=depth + 1, is_matlab=is_matlab)
        elif isinstance(entry, h5py.Dataset) and entry.shape and not entry.is_virtual and not entry.external:
            is_text = h5py.check_string_dtype(entry.dtype) is not None
            shape = tuple(reversed(entry.shape)) if is_matlab else tuple(entry.shape)
            load = functools.partial(_load_hdf5, path, entry.name, is_text=is_text, is_matlab=is_matlab)
            dtype = np.dtype("U1") if is_text else np.dtype(entry.dtype)
            found.append(StoredArray(path, entry.name.strip("/"), shape, dtype, load))


def _load_hdf5(path: Path, name: str, *, is_text: bool, is_matlab: bool) -> NDArray[Any]:
    with _hdf5(path) as file:
        entry = file[name]
        num_bytes = math.prod(entry.shape) * entry.dtype.itemsize
        offset = entry.id.get_offset()
        if offset is not None and num_bytes and not is_text:
            # Neither compressed nor in chunks: it stays on the disk.
            array: NDArray[Any] = np.asarray(np.memmap(path, entry.dtype, "r", offset, entry.shape))
        else:
            _check_size(path, max(num_bytes, math.prod(entry.chunks or ()) * entry.dtype.itemsize))
            array = _hdf5_texts(path, entry) if is_text else entry[()]
    return array.T if is_matlab else array


def _hdf5_texts(path: Path, entry: Any) -> NDArray[Any]:
    """Reads an array of texts, of which many may refer to the same long text of the file."""
    # In steps, so that even texts as long as the file fit in memory before they are checked.
    step = max(1, _TEXTS_BYTES // path.stat().st_size)
    parts = [np.empty((0, *entry.shape[1:]), np.str_)]
    longest = 1
    for start in range(0, entry.shape[0], step):
        part = entry.asstr()[start : start + step]
        longest = max(longest, *map(len, part.ravel()))
        # NumPy gives every text as many characters as the longest has, of 4 bytes each.
        _check_size(path, 4 * longest * entry.size)
        parts.append(np.asarray(part.tolist(), np.str_))
    return np.concatenate(parts)


def _open_mat(path: Path) -> list[StoredArray]:
    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith(b"MATLAB 7.3"):
        # HDF5 with the axes in the reverse order. Source: MathWorks, "MAT-File Versions".
        return _open_hdf5(path, is_matlab=True)
    if not head.startswith(b"MATLAB 5") or len(head) < 128:
        raise DataError(f"{path}: not a MATLAB file of version 5 or newer")
    return [
        StoredArray(path, array.name, array.shape, array.dtype, functools.partial(_load_mat, path, array))
        for array in list_arrays(path, max_arrays=_MAX_ARRAYS)
    ]


def _load_mat(path: Path, array: MatArray) -> NDArray[Any]:
    with _readable(path):
        return array.load(path, functools.partial(_check_size, path))


def read_mat_variables(path: Path) -> dict[str, Any]:
    """All variables of a MATLAB file of version 5; see :func:`.mat_variables.read_variables`.

    Raises:
        DataError: The file is damaged, or does not fit in memory.
    """
    with _readable(path):
        return read_variables(path, functools.partial(_check_size, path))


#: Extension -> reader.
ARRAY_FORMATS: dict[str, Callable[[Path], list[StoredArray]]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".mat": _open_mat,
}
