"""Which of several images with the same name a row of a table or a list denotes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from resnet_cli.data.sources.folder_names import mask_words
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.split_names import SPLIT_NAMES, split_of
from resnet_cli.data.sources.tree import name_below
from resnet_cli.errors import DataError


class Likely:
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
            lambda image: not any(map(mask_words, folders[image])),
            lambda image: bool(split) and any(split_of(part) == split for part in folders[image]),
            lambda image: row.label in folders[image],
        )
        for rule in rules:
            images = [image for image in images if rule(image)] or images
        return images


def choose_folder(file: RowFile, rows: Sequence[Row], choices: dict[int, list[str]]) -> list[str]:
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
            return [
                f"{file.path.name}: names that are also in {others} denote the images in {chosen}, which has all of "
                "them"
            ]
    raise DataError(
        f"{file.path}: rows that fit several images: {len(doubtful):,} of {len(rows):,}, such as "
        f"'{rows[number].image}': {', '.join(images[:3])}",
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
