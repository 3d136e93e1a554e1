"""Names and sources of many images in little memory: a file below a common folder is its name alone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.packed_text import PackedText
from resnet_cli.images import Pixels

Source: TypeAlias = Path | bytes | Pixels

#: Codes of images that need no object of their own: the file is below the root, or the name is its path.
_BELOW_ROOT, _NAME_IS_PATH = -1, -2


class PackedSources:
    """Names and sources, shared by all views on them.

    Attributes:
        root: What the paths of most files begin with, before their names.
        names: Names of the images.
        others: Sources that are neither below the root nor called by their paths; a path as text.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root
        self.names = PackedText()
        self.others: list[str | bytes | Pixels] = []
        # None as long as all files are below the root.
        self._code_of: array[int] | None = None

    def add_files(self, folder: str, names: Sequence[str]) -> None:
        """Adds files of one folder below the root."""
        self.names.extend(folder, names)
        if self._code_of is not None:
            self._code_of.extend([_BELOW_ROOT] * len(names))

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, source: Source) -> None:
        """Adds an image of any kind."""
        code = self._code(name, source)
        if code != _BELOW_ROOT and self._code_of is None:
            self._code_of = array("i", [_BELOW_ROOT]) * len(self.names)
        self.names.append(name)
        if self._code_of is not None:
            self._code_of.append(code)

    def _code(self, name: str, source: Source) -> int:
        if isinstance(source, Path):
            path, local = str(source), _local(name)
            if not len(self.names) and path.endswith(os.sep + local):
                self.root = path.removesuffix(local)
            if path == self.root + local:
                return _BELOW_ROOT
            if path == local:
                return _NAME_IS_PATH
            self.others.append(path)
        else:
            self.others.append(source)
        return len(self.others) - 1

    def source(self, at: int, name: str) -> Source:
        """The source of an image, by its position and name."""
        code = _BELOW_ROOT if self._code_of is None else self._code_of[at]
        if code == _BELOW_ROOT:
            return Path(self.root + _local(name))
        if code == _NAME_IS_PATH:
            return Path(_local(name))
        found = self.others[code]
        return Path(found) if isinstance(found, str) else found

    def are_files(self, rows: NDArray[np.integer[Any]]) -> bool:
        """Whether the images at some positions are files."""
        if self._code_of is None:
            return True
        codes = np.frombuffer(self._code_of, dtype=np.int32)[rows]
        return all(isinstance(self.others[code], str) for code in codes[codes >= 0].tolist())


def _local(name: str) -> str:
    return name if os.sep == "/" else name.replace("/", os.sep)
