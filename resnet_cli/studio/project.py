"""A project: a folder with images in class folders, runs, exports, and what the page knows about them.

Everything that the page changes is below this folder. Images and classes that are removed go to ``removed/``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.data.sources.folders.layout import is_unlabeled
from resnet_cli.data.sources.split_names import parse_split
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.images.formats import is_image_name
from resnet_cli.outputs.safe_files import new_file, place, safe_name
from resnet_cli.runs import RunFolder, is_run
from resnet_cli.system.paths import disk_errors, make_dir, sha256_of, write_text

STATE_FILE = "studio.json"
#: Version of :data:`STATE_FILE`.
STATE_VERSION = 1
MAX_NAME_CHARS = 60
#: Results are stored by several threads, each of which reads what is there first.
_STORING = threading.Lock()
#: Names of the folders of runs and of the files of label checks.
NUMBERED = re.compile(r"[1-9]\d{0,5}")


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of a project.

    Attributes:
        label: Its class.
        name: Its file name.
    """

    label: str
    name: str

    @property
    def path(self) -> str:
        """Its path below the folder of the images, as other commands name it."""
        return f"{self.label}/{self.name}"


@dataclasses.dataclass(frozen=True)
class Project:
    """A project.

    Attributes:
        path: Its folder, absolute.
    """

    path: Path

    @property
    def name(self) -> str:
        """Name of the project, which is that of its folder."""
        return self.path.name

    @property
    def images(self) -> Path:
        """The folder with one folder per class."""
        return self.path / "images"

    @property
    def runs(self) -> Path:
        """The folder with one numbered folder per training."""
        return self.path / "runs"

    def classes(self) -> dict[str, list[str]]:
        """Class -> the names of its images, both in the order of names."""
        found = {}
        for folder in folders_in(self.images):
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if is_image_name(entry.name) and entry.is_file()]
            found[folder.name] = sorted(names)
        return found

    def stamp(self) -> str:
        """Changes whenever an image is added, moved or removed."""
        names = [f"{label}/{name}" for label, names in self.classes().items() for name in names]
        return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def folder_of(self, label: str) -> Path:
        """The folder of a class.

        Raises:
            DataError: There is no such class.
        """
        if label not in {folder.name for folder in folders_in(self.images)}:
            raise DataError(f"there is no class {label!r}; was it renamed or removed?")
        return self.images / label

    def _own_folder(self, label: str) -> Path:
        """The folder of a class, if files in it may be added and moved."""
        folder = self.folder_of(label)
        if folder.is_symlink():
            raise DataError(f"the folder of the class {label!r} is a link; what it leads to is not changed")
        return folder

    def file_of(self, image: Image) -> Path:
        """The file of an image.

        Raises:
            DataError: There is no such image.
        """
        folder = self.folder_of(image.label)
        file = folder / image.name
        # A pipe with the name of an image would be waited for forever.
        if not is_image_name(image.name) or image.name not in os.listdir(folder) or not file.is_file():
            raise DataError(f"there is no image {image.path!r}; was it moved or removed?")
        return file

    def add_class(self, name: str) -> str:
        """Creates a class.

        Returns:
            Its name.

        Raises:
            ConfigError: The name cannot be that of a class.
        """
        name = self._check_class(name)
        make_dir(self.images / name)
        return name

    def rename_class(self, old: str, new: str) -> str:
        """Gives a class another name.

        Raises:
            ConfigError: The name cannot be that of a class.
        """
        folder = self.folder_of(old)
        if new == old:
            return old
        new = self._check_class(new, instead_of=old)
        with disk_errors(folder, "rename"):
            folder.rename(self.images / new)
        return new

    def remove_class(self, label: str) -> Path:
        """Moves a class to ``removed/``, and returns where it is."""
        folder = self.folder_of(label)
        target = _free(make_dir(self.path / "removed"), label)
        with disk_errors(folder, "move"):
            folder.rename(target)
        return target

    def add_image(self, label: str, name: str, data: bytes) -> Image | None:
        """Adds an image to a class.

        Args:
            label: The class.
            name: Name of the file as it was sent, whose extension is that of an image.
            data: Its bytes.

        Returns:
            The image; None if the class has the same file already.

        Raises:
            DiskError: It cannot be written.
        """
        name = os.path.basename(name.replace("\\", "/"))
        return self._place(label, name, hashlib.sha256(data).hexdigest(), new_file(data))

    def adopt(self, label: str, file: Path) -> Image | None:
        """Moves a file of the project's folder for incoming files into a class; None if the class has it already."""
        return self._place(label, file.name, sha256_of(file), lambda temporary: os.replace(file, temporary))

    def _place(self, label: str, name: str, digest: str, write: Callable[[Path], object]) -> Image | None:
        folder = self._own_folder(label)
        before = set(os.listdir(folder))
        target = place(folder, safe_name(name), digest, write)
        return None if target.name in before else Image(label, target.name)

    def move(self, image: Image, label: str | None) -> Path:
        """Moves an image to another class, or to ``removed/`` if ``label`` is None; returns where it is."""
        file = self.file_of(image)
        if label == image.label:
            return file
        self._own_folder(image.label)
        folder = make_dir(self.path / "removed" / image.label) if label is None else self._own_folder(label)
        target = _free(folder, image.name)
        with disk_errors(target):
            file.rename(target)
        return target

    def restore(self, label: str, name: str) -> Image:
        """Moves a removed image back into its class.

        Raises:
            DataError: There is no such image.
        """
        file = self.path / "removed" / safe_name(label) / safe_name(name)
        if safe_name(label) != label or safe_name(name) != name or not file.is_file():
            raise DataError(f"there is no removed image {label}/{name}")
        if label not in self.classes():
            self.add_class(label)
        target = _free(self.folder_of(label), name)
        with disk_errors(target):
            file.rename(target)
        return Image(label, target.name)

    def new_path(self, folder: str, suffix: str = "") -> str:
        """A numbered path that does not exist, relative to the project: ``runs/3``."""
        parent = self.path / folder
        taken = {name.split(".")[0] for name in os.listdir(parent)} if parent.is_dir() else set()
        numbers = [int(name) for name in taken if NUMBERED.fullmatch(name)]
        return f"{folder}/{max(numbers, default=0) + 1}{suffix}"

    def list_runs(self) -> list[RunFolder]:
        """The runs that the page has made, the newest first."""
        found = [folder for folder in folders_in(self.runs) if NUMBERED.fullmatch(folder.name) and is_run(folder)]
        return [RunFolder(folder) for folder in sorted(found, key=lambda one: -int(one.name))]

    def run(self, number: str) -> RunFolder:
        """A run by its number.

        Raises:
            DataError: There is no such run.
        """
        for run in self.list_runs():
            if run.path.name == number:
                return run
        raise DataError(f"there is no run {number!r}; was it removed?")

    def read_state(self) -> dict[str, Any]:
        """What the page has stored: the result of each kind of work; empty if it has stored nothing."""
        try:
            found = json.loads((self.path / STATE_FILE).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        is_known = isinstance(found, dict) and found.get("version") == STATE_VERSION
        results = found.get("results") if is_known else None
        return (
            {kind: one for kind, one in results.items() if isinstance(one, dict)} if isinstance(results, dict) else {}
        )

    def store(self, kind: str, result: dict[str, Any] | None) -> None:
        """Stores the result of one kind of work, or forgets it.

        Raises:
            DiskError: It cannot be written.
        """
        with _STORING:
            kept = {name: one for name, one in (self.read_state() | {kind: result}).items() if one is not None}
            write_text(self.path / STATE_FILE, json.dumps({"version": STATE_VERSION, "results": kept}, indent=1) + "\n")

    def _check_class(self, name: str, *, instead_of: str | None = None) -> str:
        name = check_name(name, "a class")
        split = parse_split(name)
        if (split and not split.rest) or is_unlabeled(name):
            raise ConfigError(
                f"a folder named {name!r} is not read as a class, but as a part of a data set",
                hint="name the class after what its images show",
            )
        others = {other.casefold() for other in self.classes() if other != instead_of}
        if name.casefold() in others:
            raise ConfigError(f"the class {name!r} already exists")
        return name


def check_name(name: str, of: str) -> str:
    """A name that can be that of a folder on every system.

    Raises:
        ConfigError: It cannot.
    """
    # Half of a character, which JSON can hold and a file name cannot, becomes a question mark.
    name = " ".join(name.encode("utf-8", "replace").decode().split())
    if not name:
        raise ConfigError(f"the name of {of} is empty")
    if len(name) > MAX_NAME_CHARS:
        raise ConfigError(f"the name of {of} is longer than {MAX_NAME_CHARS} characters")
    if safe_name(name) != name:
        raise ConfigError(
            f"{name!r} cannot be the name of a folder on every system",
            hint=f'{safe_name(name)!r} can; names have no / \\ : * ? " < > | and do not begin or end with a dot',
        )
    return name


def read_images(names: Sequence[Any]) -> list[Image]:
    """Images as the page names them: ``class/file``.

    Raises:
        DataError: It is not a list of such names.
    """
    if not all(isinstance(name, str) and name.count("/") == 1 for name in names):
        raise DataError("images are named class/file")
    try:
        return [Image(*os.fsdecode(os.fsencode(name)).split("/")) for name in names]
    except UnicodeEncodeError as error:
        raise DataError(f"{error.object!r} is not a name that a file can have") from error


def folders_in(parent: Path) -> Iterator[Path]:
    """The folders in a folder, without hidden ones, in the order of names."""
    if not parent.is_dir():
        return
    with os.scandir(parent) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    yield from (parent / name for name in sorted(names))


def _free(folder: Path, name: str) -> Path:
    """A path in a folder that does not exist: the name itself, or with a number."""
    stem, extension = os.path.splitext(name)
    names = itertools.chain([name], (f"{stem}-{number}{extension}" for number in itertools.count(2)))
    return next(folder / one for one in names if not os.path.lexists(folder / one))
