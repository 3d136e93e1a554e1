"""Which image file a cell of a table, a list or an annotation file denotes."""

from __future__ import annotations

import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

from resnet_cli.config.data import DataConfig
from resnet_cli.data.packed_text import PackedText
from resnet_cli.data.sources.folder_names import is_for_images
from resnet_cli.data.sources.image_index import ImageIndex, is_web_address
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.rows.same_names import Likely, choose_folder
from resnet_cli.data.sources.rows.text import is_undecoded, western
from resnet_cli.data.sources.survey import MAX_BESIDE, Survey
from resnet_cli.errors import DataError
from resnet_cli.system.paths import user_path

#: Rows that are tried to find out where a file's images are.
NUM_TRIED = 200
#: Up to this number of rows, each image is asked for by name; for more, folders are listed instead.
_FEW = 1_000


@dataclass(frozen=True)
class Located:
    """Where the images of a file are.

    Attributes:
        paths: The file of each row's image; rows whose image was not found keep the path that they name.
        num_missing: Number of rows whose image was not found.
        missing: The image of the first such row as written; empty if there is none.
        notes: How the images were found, if not as they are written.
    """

    paths: Sequence[Path]
    num_missing: int = 0
    missing: str = ""
    notes: tuple[str, ...] = ()


class Paths(Sequence[Path]):
    """Paths as text in one block of memory: a path of its own takes 400 bytes.

    Args:
        paths: The paths.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._texts = PackedText(paths).all()

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        return [*map(Path, self._texts[index])] if isinstance(index, slice) else Path(self._texts[index])

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self._texts)


class Found(NamedTuple):
    """The images that a reference may denote.

    Attributes:
        images: Paths below the folder of the index, with ``/``.
        num_cut: Number of folders at the beginning of the reference that the images do not have.
    """

    images: list[str]
    num_cut: int


def image_folder(survey: Survey, options: DataConfig) -> Path | None:
    """The folder of ``--image-folder``: a folder of DATA, else one relative to the working directory.

    Raises:
        DataError: It is not a folder, or it is outside of data that may not be left.
    """
    if options.image_folder is None:
        return None
    path = user_path(options.image_folder)
    for folder in (survey.root / path, path):
        if folder.is_dir() and (survey.within is None or fence(survey.within)(folder)):
            return folder
    raise DataError(
        f"--image-folder {options.image_folder}: no such folder", hint=f"name a folder below {survey.spec}, or its path"
    )


def lasting_image_folder(spec: str, folder: str | None) -> str | None:
    """``--image-folder`` as it means the same from every working directory."""
    root = Path(spec) if os.path.isdir(spec) else Path(spec).parent
    if folder is None or (root / folder).is_dir():
        return folder
    path = user_path(folder)
    # A folder in an archive or in remote data is not here.
    return str(path.absolute()) if path.is_dir() else folder


def direct_path(reference: str, folder: Path) -> Path:
    """The path that a reference denotes relative to a folder, whether or not it exists."""
    # Tables written on Windows contain backslashes; a file name does not on other systems.
    text = os.path.normpath(reference.replace("\\", "/"))
    # The parent of a link is not the parent of its target.
    return Path(os.path.normpath(os.path.join(os.path.realpath(folder) if text.startswith("..") else folder, text)))


def direct_paths(references: Iterable[str], folder: Path) -> Paths:
    """The same for many references, with each of their folders resolved once."""
    resolved = functools.cache(lambda part: str(direct_path(part, folder)) if part else str(folder))

    def path(reference: str) -> str:
        head, _, name = reference.replace("\\", "/").rpartition("/")
        # An absolute path in the top folder has an empty head, too.
        if name in ("", ".", "..") or reference[:1] in ("/", "\\"):
            return str(direct_path(reference, folder))
        start = resolved(head)
        return name if start == os.curdir else f"{start}/{name}"

    return Paths(map(path, references))


def sample(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows that are spread over the whole file."""
    return rows[:: max(1, len(rows) // NUM_TRIED)]


class Locator:
    """Finds the images of the rows of all files of DATA.

    Args:
        survey: The content of DATA.
        options: How DATA is read.

    Raises:
        DataError: ``--image-folder`` does not exist.
    """

    def __init__(self, survey: Survey, options: DataConfig) -> None:
        self._survey = survey
        self._folder = image_folder(survey, options)
        #: The folder below which images are looked for by name.
        self._top = self._folder or survey.root

    @functools.cached_property
    def _index(self) -> ImageIndex:
        if self._folder is None:
            return self._survey.image_index
        return Survey(self._folder, spec=str(self._folder)).image_index

    def _look_beside(self) -> bool:
        """Looks for images by name in `images` and `train` beside the folder of a given table, from now on."""
        above = self._survey.root.absolute().parent
        if self._survey.file is None or self._survey.within is not None or self._folder or self._top == above:
            return False
        folders = [folder for folder in _folders_in(above) if is_for_images(folder.name)]
        names = (
            f"{folder.name}/{image}"
            for folder in folders
            if folder != self._survey.root.absolute()
            for image in Survey(folder, spec=str(folder)).images()
        )
        try:
            self._index = ImageIndex(itertools.islice(names, MAX_BESIDE))
        except DataError:
            return False
        self._top = above
        return True

    def base(self, file: RowFile) -> Path:
        """The folder that the paths of a file are relative to."""
        return self._folder or file.image_folder or file.path.parent

    def num_found(self, file: RowFile, rows: Sequence[Row]) -> int:
        """Number of rows whose image exists in any place where it would be looked for."""
        num_direct = self._num_direct(file, rows)
        num_by_name = 0 if num_direct == len(rows) else self._num_by_name(rows)
        if not num_direct and not num_by_name and self._look_beside():
            num_by_name = self._num_by_name(rows)
        return max(num_direct, num_by_name)

    def _num_by_name(self, rows: Sequence[Row]) -> int:
        return sum(bool(self._find(row.image).images) for row in rows)

    def locate(self, file: RowFile, rows: Sequence[Row]) -> Located:
        """The image of each row.

        Where the images are is decided once, by rows that are spread over the file: relative to the folder of the
        file, or by the longest tail of the path that an image of DATA has in common with the row. A row of a file
        whose images are in one place is not looked for in another.

        Raises:
            DataError: A row may denote several images, or the rows are web addresses of images that are not here.
        """
        tried = sample(rows)
        num_direct = self._num_direct(file, tried)
        if not tried or 2 * num_direct >= len(tried):
            return self._directly(file, rows)
        found = [self._find(row.image) for row in tried]
        if not num_direct and not any(entry.images for entry in found) and self._look_beside():
            found = [self._find(row.image) for row in tried]
        if sum(bool(entry.images) for entry in found) <= num_direct:
            if is_web_address(rows[0].image):
                raise _not_downloaded(file, rows)
            return self._directly(file, rows)
        cuts = Counter(entry.num_cut for entry in found if entry.images)
        usual = [cut for cut, number in cuts.items() if 3 * number > cuts.total() or number >= max(3, len(tried) // 10)]
        # If only a few rows match an image by a shorter tail, they denote other images, which are missing.
        return self._by_name(file, rows, max(usual or cuts))

    def _num_direct(self, file: RowFile, rows: Sequence[Row]) -> int:
        base = self.base(file)
        return sum(row.data is not None or os.path.isfile(direct_path(row.image, base)) for row in rows)

    def _find(self, reference: str) -> Found:
        found = self._index.find(reference)
        if not found[0] and is_undecoded(reference) and (decoded := western(reference)):
            found = self._index.find(decoded)
        return Found(*found)

    def _directly(self, file: RowFile, rows: Sequence[Row]) -> Located:
        base = self.base(file)
        paths = direct_paths((row.image for row in rows), base)
        exists = _existence(paths)
        missing = [row.image for row, path in zip(rows, paths, strict=True) if row.data is None and not exists(path)]
        return Located(paths, len(missing), missing[0] if missing else "")

    def _by_name(self, file: RowFile, rows: Sequence[Row], max_cut: int) -> Located:
        base = self.base(file)
        likely = Likely(file, self._top)
        paths = direct_paths((row.image for row in rows), base)
        # Some rows may be relative to the folder of the file.
        exists = _existence(paths)
        choices: dict[int, list[str]] = {}
        for number, row in enumerate(rows):
            if row.data is None and not exists(paths[number]):
                images, num_cut = self._find(row.image)
                choices[number] = images if num_cut <= max_cut else []
                if len(images) > 1:
                    choices[number] = likely.of(choices[number], row, paths[number])
        notes = choose_folder(file, rows, choices)
        paths = Paths(
            str(self._top / found[0] if (found := choices.get(at)) else path) for at, path in enumerate(paths)
        )
        missing = [rows[number].image for number, images in choices.items() if not images]
        for number, images in itertools.islice((pair for pair in choices.items() if pair[1]), 1):
            notes.insert(
                0,
                f"{file.path.name}: images were found by name: {len(choices) - len(missing):,} of {len(rows):,}, "
                f"such as {images[0]} for '{rows[number].image}'",
            )
        return Located(paths, len(missing), missing[0] if missing else "", tuple(notes))


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _existence(paths: Sequence[Path]) -> Callable[[Path], bool]:
    """Makes a test whether one of the paths exists; links that lead nowhere count as existing."""
    if len(paths) <= _FEW:
        return os.path.lexists
    listed: dict[str, frozenset[str]] = {}

    def exists(path: Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                listed[folder] = frozenset(os.listdir(folder))
            except (OSError, ValueError):
                listed[folder] = frozenset()
        # Names may be equal to the system where they are not equal here.
        return name in listed[folder] or os.path.lexists(path)

    return exists


def _not_downloaded(file: RowFile, rows: Sequence[Row]) -> DataError:
    num_addresses = sum(is_web_address(row.image) for row in rows)
    return DataError(
        f"{file.path}: web addresses, which are not downloaded: {num_addresses:,} of {len(rows):,}, such as "
        f"{rows[0].image}",
        hint="download the images under the same names and name their folder: --image-folder FOLDER",
    )


def fence(top: Path) -> Callable[[Path], bool]:
    """Makes a test whether a file is below a folder once links are resolved; each folder is resolved once."""
    inside = os.path.join(os.path.realpath(top), "")
    real_folder = functools.cache(os.path.realpath)

    def is_inside(file: Path) -> bool:
        folder, name = os.path.split(file)
        real = os.path.realpath(file) if os.path.islink(file) else os.path.join(real_folder(folder), name)
        return os.path.join(real, "").startswith(inside)

    return is_inside
