"""Folders and images of DATA that do not count: results of this tool, and masks of other images."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from pathlib import PurePosixPath

from resnet_cli.data.sources.folder_names import CONTAINERS, mask_words
from resnet_cli.data.sources.folders.layout import Layout, images, last
from resnet_cli.data.sources.split_names import split_of, words_of
from resnet_cli.data.sources.survey import Survey

#: Words of masks that could also be the name of a class, such as faces with a mask.
_SINGULAR = frozenset({"annotation", "label", "mask", "segmentation", "trimap"})
_NEGATION = re.compile(r"(no|non|not|un|with|without|incorrect|wrong)(mask|label|annotat|segment)")
#: Endings of the names of masks beside their images. Source: BUSI (`benign (1)_mask_1.png`), ISIC (`_segmentation`).
_MASK_FILE = re.compile(
    r"(.+)[ ._-](?:mask|masks|seg|segmentation|gt|groundtruth|trimap|annotation)(?:[ _-]?[0-9]+)?", re.IGNORECASE
)
_MASK_HINTS = ("mask", "seg", "gt", "groundtruth", "trimap", "annotation")
#: Share of the names in a folder of masks that other images have too.
_MIN_PAIRED = 0.9


def pass_over(layout: Layout, keep: Container[str]) -> list[str]:
    """Marks the folders and images of a layout that do not count.

    Args:
        layout: The folders of DATA; changed.
        keep: Names of class folders that the user asks for.

    Returns:
        Notes for the user, with numbers of images.
    """
    masks: list[str] = []
    mask_files: dict[str, frozenset[str]] = {}
    for folder in list(layout.below("")):
        if folder.name and last(folder.name) not in keep and not _is_below(folder.name, masks):
            if _is_mask_folder(layout, folder.name):
                masks.append(folder.name)
        if found := _mask_files(folder.images):
            mask_files[folder.name] = found
    notes = []
    runs = sorted(layout.survey.own_runs)
    if num_images := sum(_num_images(layout.survey, name) for name in runs):
        notes.append(
            f"{images(num_images)} in results of this tool ({', '.join(runs[:3])}) {_were(num_images)} not used"
        )
    if num_images := sum(map(layout.count, masks)):
        notes.append(
            f"{images(num_images)} in {', '.join(masks[:3])}{', ...' * (len(masks) > 3)} {_were(num_images)} not used, "
            "because the names are those of other images, as for masks"
        )
    layout.leave_out(masks, mask_files)
    if num_images := sum(len(names) for name, names in mask_files.items() if not _is_below(name, masks)):
        example = min(min(names) for names in mask_files.values())
        notes.append(
            f"{images(num_images)} such as {example} {_were(num_images)} not used, because the names are those of masks"
        )
    return notes


def _were(num: int) -> str:
    return "was" if num == 1 else "were"


def _is_below(name: str, folders: Iterable[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _num_images(survey: Survey, name: str) -> int:
    """Number of images in and below a folder, used or not."""
    folder = survey.folder(name)
    return len(folder.images) + sum(_num_images(survey, folder.child(child)) for child in folder.folders)


def _is_mask_folder(layout: Layout, name: str) -> bool:
    """Whether a folder has a name for masks, and its images have the names of those beside the folder."""
    words = mask_words(last(name))
    if not words:
        return False
    parent = name.rpartition("/")[0]
    beside = [other for other in layout.folders(parent) if other != name]
    if any(_is_negation(other) for other in beside) or not layout.count(name):
        return False
    masks = {_unmasked(stem) for stem in _stems(layout, [name])}
    others = _stems(layout, beside) | {PurePosixPath(image).stem for image in layout.images(parent)}
    if len(masks & others) < _MIN_PAIRED * len(masks):
        return False
    if layout.images(parent) or any(map(_is_container, beside)):
        return True
    # Numbers alone do not make a pair: class folders are often numbered from 1.
    is_counted = all(stem.isdigit() for stem in masks)
    return not (is_counted or _SINGULAR.issuperset(words))


def _is_container(name: str) -> bool:
    """Whether a folder is called `images` or `train_images`."""
    words = [word for word in words_of(last(name)) if split_of(word) is None]
    return bool(words) and CONTAINERS.issuperset(words)


def _is_negation(name: str) -> bool:
    """Whether a folder is called `no_mask` or `with_mask`, so that `mask` beside it is a class."""
    return _NEGATION.match("".join(words_of(last(name)))) is not None


def _stems(layout: Layout, names: Iterable[str]) -> set[str]:
    return {
        PurePosixPath(image).stem
        for name in names
        for folder in layout.below(name)
        for image in layout.images(folder.name)
    }


def _unmasked(stem: str) -> str:
    match = _MASK_FILE.fullmatch(stem)
    return match[1] if match else stem


def _mask_files(names: tuple[str, ...]) -> frozenset[str]:
    """The images of a folder whose names are those of masks of other images in it."""
    # One look at all names together: a regular expression for each of them would take too long.
    text = "\n".join(names).lower()
    if not any(hint in text for hint in _MASK_HINTS):
        return frozenset()
    stems = {name: PurePosixPath(name).stem for name in names}
    images_beside = frozenset(stems.values())
    matches = {name: match for name, stem in stems.items() if (match := _MASK_FILE.fullmatch(stem))}
    return frozenset(name for name, match in matches.items() if match[1] in images_beside)
