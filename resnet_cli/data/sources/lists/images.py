"""Finds the images that official lists name, wherever below DATA the images are."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence

from resnet_cli.data.sources.folder_names import IMAGE_FOLDERS
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.images import EXTENSIONS

#: Entries that are tried to find out where a list's images are.
NUM_TRIED = 100

#: Leading folders of a path that are ignored at most.
MAX_DROPPED = 8
#: Folders that may contain masks, whatever else their names say: ``SegmentationClass``, ``masks_png``.
_MASKS = re.compile(r"mask|trimap|segment|annotation|label", re.IGNORECASE)


class ImageNames:
    """The images of DATA, by name with and without extension.

    Args:
        survey: The content of DATA.
    """

    def __init__(self, survey: Survey) -> None:
        self._survey = survey

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Paths below DATA of all its images."""
        return frozenset(self._survey.images())

    @functools.cached_property
    def _without_extension(self) -> dict[str, str]:
        # An image and its mask may differ only in their extensions: of .jpg and .png, .jpg is the image.
        return {os.path.splitext(name)[0]: name for name in sorted(self.names, reverse=True)}

    @functools.cached_property
    def _by_last(self) -> dict[str, str]:
        """Images by the last part of their names; empty for parts that several images share."""
        found: dict[str, str] = {}
        for name in self.names:
            last = name.rpartition("/")[2]
            for key in (last, os.path.splitext(last)[0]):
                found[key] = "" if key in found else name
        return found

    def locate(self, references: Sequence[str], *, split: str = "") -> list[str]:
        """The images that a list names; empty texts for those that do not exist.

        All of them are below one folder, usually the one below which most of a sample are found. A folder of the
        list's split is preferred to one such as ``images``, this one to others, and all of them to masks. If
        several remain, nothing is found. If the list names no folders and the images are in several, names that occur
        only once are found wherever they are.

        Args:
            references: Paths as written, with ``/``; leading folders of another machine are ignored.
            split: Split of the list; empty if it has none.
        """
        tried = references[:: max(1, len(references) // NUM_TRIED)]
        num_found, start, num_dropped = self._place(tried, split)
        located = [self._find(start + _tail(reference, num_dropped)) for reference in references] if num_found else []
        if num_found < len(tried) and not any("/" in reference for reference in tried):
            anywhere = [self._by_last.get(reference, "") for reference in references]
            if sum(map(bool, anywhere)) > sum(map(bool, located)):
                return anywhere
        return located or [""] * len(references)

    def _place(self, tried: Sequence[str], split: str) -> tuple[int, str, int]:
        """How many references are found below which folder, without how many of their own leading folders."""
        longest = max((reference.count("/") for reference in tried), default=0)
        for num_dropped in range(min(longest, MAX_DROPPED) + 1):
            tails = [_tail(reference, num_dropped) for reference in tried]
            counts = {}
            for folder in self._survey.folders:
                start = f"{folder}/" if folder else ""
                if num_found := sum(bool(self._find(start + tail)) for tail in tails):
                    counts[folder] = num_found
            if not counts:
                continue
            # The mask of a missing image is not taken for the image.
            likely = {folder: number for folder, number in counts.items() if not _MASKS.search(folder)} or counts
            likely = {folder: number for folder, number in likely.items() if number * 2 >= max(likely.values())}
            best = max(_preference(folder, split) for folder in likely)
            chosen = [folder for folder in likely if _preference(folder, split) == best]
            if len(chosen) > 1:
                break
            # With fewer folders, images of the same name in other folders would be found too.
            return counts[chosen[0]], f"{chosen[0]}/" if chosen[0] else "", num_dropped
        return 0, "", 0

    def _find(self, name: str) -> str:
        if name in self.names:
            return name
        if os.path.splitext(name)[1].lower() in EXTENSIONS:
            return ""
        return self._without_extension.get(name, "")


def _preference(folder: str, split: str) -> int:
    parts = folder.split("/")
    return 2 * bool(split and any(split_of(part) == split for part in parts)) + any(
        part.lower() in IMAGE_FOLDERS for part in parts
    )


def _tail(reference: str, num_dropped: int) -> str:
    return reference.split("/", num_dropped)[-1] if num_dropped else reference


def folder_labels(names: Sequence[str]) -> list[str]:
    """The class that each image's folder denotes; empty for images in no class folder.

    What all folders have in common, folders of splits, folders such as ``images`` and initials (``a/airfield``,
    as in SUN397 and Places365) denote no class.

    Args:
        names: Images below DATA, with ``/``.
    """
    folders = {name.rpartition("/")[0] for name in names}
    parts = {folder: folder.split("/") if folder else [] for folder in folders}
    shared = num_common(list(parts.values()))
    parts = {folder: part[shared:] for folder, part in parts.items()}
    # Among folders of one level, a name such as `train` is a class, unless all are such names.
    has_splits = any(len(part) > 1 for part in parts.values()) or all(
        split_of(part[0]) for part in parts.values() if part
    )
    classes = {folder: _without_containers(part, has_splits) for folder, part in parts.items()}
    deep = [part for part in classes.values() if part]
    if deep and all(len(part) > 1 and len(part[0]) == 1 and part[1].startswith(part[0]) for part in deep):
        classes = {folder: part[1:] for folder, part in classes.items()}
    joined = {folder: "/".join(part) for folder, part in classes.items()}
    return [joined[name.rpartition("/")[0]] for name in names]


def top_folders(names: Sequence[str]) -> list[str]:
    """The first folder in which the paths of images differ; empty for images that are in none."""
    parts = [name.split("/")[:-1] for name in names]
    shared = num_common(parts)
    return ["".join(part[shared : shared + 1]) for part in parts]


def num_common(parts: Sequence[list[str]]) -> int:
    """Number of leading folders that all paths have in common; a single folder denotes a class."""
    first, last = min(parts, default=[]), max(parts, default=[])
    if first == last and len(first) > 0:
        return len(first) - 1
    return next(
        (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )


def _without_containers(parts: list[str], has_splits: bool) -> list[str]:
    while parts and (_is_container(parts[0]) or (has_splits and split_of(parts[0]))):
        parts = parts[1:]
    while parts and _is_container(parts[-1]):
        parts = parts[:-1]
    return parts


def _is_container(name: str) -> bool:
    """Whether a folder is called ``images`` or the like, or is a part of it, as ``images_001`` of NIH ChestX-ray14."""
    return re.sub(r"(?:[-_ ]?part)?[-_ ]?\d+$", "", name.lower()) in IMAGE_FOLDERS or name.lower() in IMAGE_FOLDERS
