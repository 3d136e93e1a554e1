"""Images that only their content shows: their names have no extension, or the one of something else."""

from __future__ import annotations

import itertools
import os
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from resnet_cli.images import is_image_name, recognize_image

#: Files that are looked into: in each folder, and in all. A look takes about 20 microseconds.
MAX_PER_FOLDER, MAX_LOOKS = 5, 200
#: Files after which the search in a folder without images is given up.
_MAX_SEARCH = 10_000
#: Bytes of a file that are read: the signatures of all formats are in them.
_HEAD_BYTES = 1024


class Misnamed(NamedTuple):
    """A file that is an image by its content and not by its name.

    Attributes:
        path: The file.
        format: Name of the format of its content.
        extension: The extension that it should have.
    """

    path: str
    format: str
    extension: str

    def describe(self, folder: str | Path) -> str:
        """What was found below a folder."""
        shown = os.path.relpath(self.path, folder).replace(os.sep, "/")
        return f"files such as {shown} are images by their content ({self.format}), but not by their names"

    def hint(self, folder: str | Path) -> str:
        """The command that gives files without an extension the one of this file."""
        where = shlex.quote(os.fspath(folder))
        return f"give them an extension: find {where} -type f ! -name '*.*' -exec mv {{}} {{}}{self.extension} ';'"


class ContentLooks:
    """Looks into some of the files whose names are not those of images.

    Attributes:
        found: The first that is an image by its content; None if there was none so far.
    """

    def __init__(self) -> None:
        self.found: Misnamed | None = None
        self._num_looks = 0
        self._by_folder: Counter[str] = Counter()

    def add(self, path: str | Path) -> None:
        """Looks into a file, unless one was found already or there were enough looks."""
        folder = os.path.dirname(path)
        if self.found is not None or self._num_looks >= MAX_LOOKS or self._by_folder[folder] >= MAX_PER_FOLDER:
            return
        self._num_looks += 1
        self._by_folder[folder] += 1
        try:
            with open(path, "rb") as file:
                known = recognize_image(file.read(_HEAD_BYTES))
        except OSError:
            return
        if known is not None:
            self.found = Misnamed(os.fspath(path), known.name, known.extensions[0])


def find_misnamed(folder: str | Path) -> Misnamed | None:
    """Looks for such files below a folder that contains no images by their names."""
    looks = ContentLooks()
    for path in itertools.islice(_files_below(folder), _MAX_SEARCH):
        # Images that were left out for another reason, such as the plots of a run, have the names of images.
        if not is_image_name(path):
            looks.add(path)
    return looks.found


def _files_below(folder: str | Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (os.path.join(root, name) for name in sorted(names) if not name.startswith("."))
        # Reading a pipe or a device could block forever.
        yield from (path for path in paths if os.path.isfile(path))
