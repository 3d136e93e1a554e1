"""Which image file a cell of a table, a list or an annotation file denotes."""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from resnet_cli.data.sources.rows import Row, RowFile
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.images import is_image_name

#: Rows that are tried to find out where a file's images are.
NUM_TRIED = 200
#: Source: Label Studio's import, which puts eight hexadecimal digits before the name of an uploaded file.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")


class ImageIndex:
    """The images in and below a folder of DATA, by name.

    Args:
        survey: The content of DATA.
        folder: Name of the folder; empty for all of DATA.
    """

    def __init__(self, survey: Survey, folder: str = "") -> None:
        self._survey = survey
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for image in survey.images(folder):
            self._by_stem[PurePosixPath(image).stem].append(image)

    def find(self, reference: str, *, prefer: str = "") -> list[str]:
        """The images that a reference may denote, best first: those with the longest common tail of folders.

        Args:
            reference: A path of any machine, a name, or a name without its extension.
            prefer: Split whose folder is preferred among several.
        """
        parts = [part for part in reference.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            return []
        last = parts[-1]
        names = [last, _UPLOADED.sub("", last, count=1)]
        for name in names:
            stem = PurePosixPath(name).stem if is_image_name(name) else name
            found = self._by_stem.get(stem, [])
            exact = [image for image in found if image.rpartition("/")[2] == name]
            found = exact or found
            if found:
                return _best(found, parts[:-1], prefer)
        return []


def _best(found: Sequence[str], folders: Sequence[str], prefer: str) -> list[str]:
    def num_common(image: str) -> int:
        common = 0
        for own, asked in zip(reversed(image.split("/")[:-1]), reversed(folders), strict=False):
            if own != asked:
                break
            common += 1
        return common

    longest = max(map(num_common, found))
    best = [image for image in found if num_common(image) == longest]
    if len(best) > 1 and prefer:
        best = [image for image in best if any(split_of(part) == prefer for part in image.split("/")[:-1])] or best
    return best


def direct_path(reference: str, folder: Path) -> Path:
    """The path that a reference denotes relative to a folder, whether or not it exists."""
    # Tables written on Windows contain backslashes; a file name does not on other systems.
    text = os.path.normpath(reference.replace("\\", "/"))
    # The parent of a link is not the parent of its target.
    return Path(os.path.normpath(os.path.join(os.path.realpath(folder) if text.startswith("..") else folder, text)))


def sample(rows: Sequence[Row]) -> list[Row]:
    """Rows that are spread over the whole file."""
    step = max(1, len(rows) // NUM_TRIED)
    return list(rows[::step])


def locate(file: RowFile, rows: Sequence[Row], survey: Survey) -> tuple[list[Path], str]:
    """The file of each row's image, and where they were looked for if it was not beside the table.

    Rows whose image is not found keep the path that they name, so that it is reported as a missing image.
    """
    folder = file.image_folder or file.path.parent
    direct = [direct_path(row.image, folder) for row in rows]
    tried = sample(rows)
    if not tried or any(direct_path(row.image, folder).exists() for row in tried):
        return direct, ""
    index = ImageIndex(survey)
    prefer = file.split or split_of(file.path.stem) or ""
    located, num_found = [], 0
    for row, path in zip(rows, direct, strict=True):
        found = index.find(row.image, prefer=row.split or prefer)
        num_found += bool(found)
        located.append(survey.path(found[0]) if found else path)
    if not num_found:
        return direct, ""
    return located, f"{num_found:,} of {len(rows):,} images were found by name below {survey.root.name or survey.root}"


def fence(top: Path) -> Callable[[Path], bool]:
    """Makes a test whether a file is below a folder once links are resolved; each folder is resolved once."""
    inside = os.path.join(os.path.realpath(top), "")
    real_folder = functools.cache(os.path.realpath)

    def is_inside(file: Path) -> bool:
        folder, name = os.path.split(file)
        real = os.path.realpath(file) if os.path.islink(file) else os.path.join(real_folder(folder), name)
        return os.path.join(real, "").startswith(inside)

    return is_inside
