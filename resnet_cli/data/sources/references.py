"""Which image file a cell of a table, a list or an annotation file denotes."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.image_index import ImageIndex, is_web_address
from resnet_cli.data.sources.rows import Row, RowFile
from resnet_cli.data.sources.split_names import SPLIT_NAMES, split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tree import name_below
from resnet_cli.errors import DataError
from resnet_cli.system.paths import user_path

#: Rows that are tried to find out where a file's images are.
NUM_TRIED = 200
#: Up to this number of rows, each image is asked for by name; for more, folders are listed instead.
_FEW = 1_000
#: Folders whose images describe other images of the same names.
MASK_FOLDERS = frozenset(
    "mask masks annotation annotations trimap trimaps segmentation segmentations gt ground_truth groundtruth".split()
)


@dataclass(frozen=True)
class Located:
    """Where the images of a file are.

    Attributes:
        paths: The file of each row's image; rows whose image was not found keep the path that they name.
        num_missing: Number of rows whose image was not found.
        missing: The image of the first such row as written; empty if there is none.
        notes: How the images were found, if not as they are written.
    """

    paths: list[Path]
    num_missing: int = 0
    missing: str = ""
    notes: tuple[str, ...] = ()


class Found(NamedTuple):
    """The images that a reference may denote.

    Attributes:
        images: Paths below the folder of the index, with ``/``.
        common: Number of folders at the end of the path that the reference and the images have in common.
    """

    images: list[str]
    common: int


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


def direct_path(reference: str, folder: Path) -> Path:
    """The path that a reference denotes relative to a folder, whether or not it exists."""
    # Tables written on Windows contain backslashes; a file name does not on other systems.
    text = os.path.normpath(reference.replace("\\", "/"))
    # The parent of a link is not the parent of its target.
    return Path(os.path.normpath(os.path.join(os.path.realpath(folder) if text.startswith("..") else folder, text)))


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

    @functools.cached_property
    def _top(self) -> Path:
        """The folder below which images are looked for by name."""
        return self._folder or self._survey.root

    @functools.cached_property
    def _index(self) -> ImageIndex:
        if self._folder is None:
            return self._survey.image_index
        return Survey(self._folder, spec=str(self._folder)).image_index

    def base(self, file: RowFile) -> Path:
        """The folder that the paths of a file are relative to."""
        return self._folder or file.image_folder or file.path.parent

    def num_found(self, file: RowFile, rows: Sequence[Row]) -> int:
        """Number of rows whose image exists in any place where it would be looked for."""
        return max(self._num_direct(file, rows), sum(bool(self._find(row.image).images) for row in rows))

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
        if sum(bool(entry.images) for entry in found) <= num_direct:
            if is_web_address(rows[0].image):
                raise _not_downloaded(file, rows)
            return self._directly(file, rows)
        depths = sorted(entry.common for entry in found if entry.images)
        # A few rows that have less in common with an image denote another one, which is not here.
        return self._by_name(file, rows, depths[len(depths) // 20])

    def _num_direct(self, file: RowFile, rows: Sequence[Row]) -> int:
        base = self.base(file)
        return sum(row.data is not None or os.path.lexists(direct_path(row.image, base)) for row in rows)

    def _find(self, reference: str) -> Found:
        return Found(*self._index.find(reference))

    def _directly(self, file: RowFile, rows: Sequence[Row]) -> Located:
        base = self.base(file)
        paths = [direct_path(row.image, base) for row in rows]
        exists = _existence(paths)
        missing = [row.image for row, path in zip(rows, paths, strict=True) if row.data is None and not exists(path)]
        return Located(paths, len(missing), missing[0] if missing else "")

    def _by_name(self, file: RowFile, rows: Sequence[Row], min_common: int) -> Located:
        base = self.base(file)
        likely = _Likely(file, self._top)
        paths = [direct_path(row.image, base) for row in rows]
        # Some rows may be relative to the folder of the file.
        exists = _existence(paths)
        choices: dict[int, list[str]] = {}
        for number, row in enumerate(rows):
            if row.data is None and not exists(paths[number]):
                images, common = self._index.find(row.image)
                choices[number] = images if common >= min_common else []
                if len(images) > 1:
                    choices[number] = likely.of(choices[number], row, paths[number])
        notes = _choose_folder(file, rows, choices)
        for number, images in choices.items():
            if images:
                paths[number] = self._top / images[0]
        missing = [rows[number].image for number, images in choices.items() if not images]
        number, example = next((number, images[0]) for number, images in choices.items() if images)
        return Located(
            paths,
            len(missing),
            missing[0] if missing else "",
            (
                f"{file.path.name}: images were found by name: {len(choices) - len(missing):,} of {len(rows):,}, "
                f"such as {example} for '{rows[number].image}'",
                *notes,
            ),
        )


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


class _Likely:
    """Which of several images with the same name a row most likely denotes.

    Args:
        file: The file of the row.
        top: The folder that the images are below.
    """

    def __init__(self, file: RowFile, top: Path) -> None:
        folder = name_below(file.path.parent, top)
        self._folder = "" if Path(folder).is_absolute() or file.path.parent == top else f"{folder}/"
        names = (file.path.stem, *reversed(folder.split("/")))
        self._split = file.split or next((split for name in names if (split := split_of(name))), "")
        self._top = top

    def of(self, images: list[str], row: Row, direct: Path) -> list[str]:
        """The images that remain after each rule that some of them fulfill.

        Args:
            images: Paths below the top folder, with ``/``.
            row: The row that may denote each of them.
            direct: The path that the row denotes relative to the folder of its file.
        """
        folders = {image: image.split("/")[:-1] for image in images}
        split = SPLIT_NAMES.get(row.split.lower(), self._split)
        rules: tuple[Callable[[str], bool], ...] = (
            lambda image: str(self._top / image).rpartition(".")[0] == str(direct),
            lambda image: image.startswith(self._folder),
            lambda image: not MASK_FOLDERS.intersection(part.lower() for part in folders[image]),
            lambda image: bool(split) and any(split_of(part) == split for part in folders[image]),
            lambda image: row.label in folders[image],
        )
        for rule in rules:
            images = [image for image in images if rule(image)] or images
        return images


def _choose_folder(file: RowFile, rows: Sequence[Row], choices: dict[int, list[str]]) -> list[str]:
    """Decides between several images of the same name by the one folder that has an image for each row.

    ``choices`` (row number -> images) is narrowed down to one image a row.

    Returns:
        A note if a folder was chosen.

    Raises:
        DataError: No folder or several have an image for each row.
    """
    doubtful = {number: images for number, images in choices.items() if len(images) > 1}
    if not doubtful:
        return []
    groups = {group for images in doubtful.values() for group in _groups(images)}
    covered: Mapping[str, int] = _coverage(groups, choices)
    num_found = sum(bool(images) for images in choices.values())
    complete = [group for group in groups if covered[group] == num_found]
    number, images = next(iter(doubtful.items()))
    if len(complete) == 1:
        chosen = complete[0]
        for number, images in doubtful.items():
            choices[number] = [image for image in images if image.startswith(f"{chosen}/")] or images
        if all(len(choices[number]) == 1 for number in doubtful):
            others = ", ".join(sorted(groups - {chosen}))
            return [f"{file.path.name}: names that are also in {others} denote the images in {chosen}, which has all"]
    raise DataError(
        f"{file.path}: {len(doubtful):,} of {len(rows):,} rows fit several images, such as '{rows[number].image}': "
        f"{', '.join(images[:3])}",
        hint="name the folder of the images: "
        + ", or ".join(f"--image-folder {group or '.'}" for group in sorted(groups)[:3]),
    )


def _groups(images: Sequence[str]) -> list[str]:
    """The folders in which images of the same name differ: ``a/train/x/1.jpg``, ``a/test/1.jpg`` -> a/train, a/test."""
    folders = [image.split("/")[:-1] for image in images]
    common = 0
    while len({tuple(folder[: common + 1]) for folder in folders}) == 1 and common < len(folders[0]):
        common += 1
    return ["/".join(folder[: common + 1]) for folder in folders]


def _coverage(groups: set[str], choices: Mapping[int, Sequence[str]]) -> Mapping[str, int]:
    """Group -> number of rows with an image in or below its folder."""
    covered: dict[str, int] = defaultdict(int)
    for images in choices.values():
        found = set()
        for image in images:
            parts = image.split("/")[:-1]
            found |= {group for length in range(len(parts) + 1) if (group := "/".join(parts[:length])) in groups}
        for group in found:
            covered[group] += 1
    return covered


def _not_downloaded(file: RowFile, rows: Sequence[Row]) -> DataError:
    num_addresses = sum(is_web_address(row.image) for row in rows)
    return DataError(
        f"{file.path}: {num_addresses:,} of {len(rows):,} rows are web addresses, which are not downloaded, such as "
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
