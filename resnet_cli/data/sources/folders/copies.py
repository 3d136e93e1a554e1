"""Images in several class folders: copies are recognized by their content, and joined with all their labels."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from resnet_cli.data.dataset import Item
from resnet_cli.data.sources.labeled import LabeledImage
from resnet_cli.errors import DataError, ImageError
from resnet_cli.system.threads import map_threaded
from resnet_cli.text import first_of

#: The folder, beside class folders, of images that show none of the classes.
NEGATIVES_FOLDER = "_none"
#: Names of class folders that may hold such images.
_LIKE_NEGATIVES = frozenset({"none", "negative", "negatives", "nothing", "background", "empty", "no_class"})

Key = TypeVar("Key")


def join_copies(images: Sequence[LabeledImage]) -> tuple[list[LabeledImage], list[str]]:
    """One image for each content and split, with the labels of all folders that it is in.

    Only files of the same size are read. Copies in different splits stay apart, and are reported as leaks when images
    are checked. A file that cannot be read is kept, and is reported then, too.

    Args:
        images: Files with the labels of their folders; those in :data:`NEGATIVES_FOLDER` have none.

    Returns:
        The images, each under the first of its names, and notes about them.

    Raises:
        DataError: An image is in a class folder and among the negatives.
    """
    groups = _copies(images)
    joined: dict[int, LabeledImage] = {}
    dropped: set[int] = set()
    num_several = 0
    for group in groups:
        first, *others = sorted(group, key=lambda at: images[at].name)
        labels = {label for at in group for label in images[at].labels}
        if labels and not all(images[at].labels for at in group):
            shown = " and ".join(images[at].name for at in (first, *others)[:3])
            raise DataError(
                f"one image is in a class folder and in {NEGATIVES_FOLDER}: {shown}", hint="remove one of the files"
            )
        joined[first] = images[first]._replace(labels=tuple(sorted(labels)))
        dropped.update(others)
        num_several += len(labels) > 1
    found = [joined.get(at, image) for at, image in enumerate(images) if at not in dropped]
    notes = [
        f"images in several class folders, by their content: {num_several:,} of {len(found):,}; files that are copies "
        f"of others: {len(dropped):,}"
    ]
    if num_negatives := sum(not image.labels for image in found):
        notes.append(
            f"images in {NEGATIVES_FOLDER}, which show none of the classes: {num_negatives:,} of {len(found):,}"
        )
    names = sorted({label for image in found for label in image.labels if label.lower() in _LIKE_NEGATIVES})
    if names:
        notes.append(
            f"{first_of(names, 3)} is a class; if its images show none of the classes, call the folder "
            f"{NEGATIVES_FOLDER}"
        )
    return found, notes


def _copies(images: Sequence[LabeledImage]) -> list[list[int]]:
    """Positions of images of one split with the same content, two or more in each group."""

    def size(at: int) -> tuple[str, int] | None:
        try:
            return images[at].split, os.stat(Path(str(images[at].source))).st_size
        except (OSError, ValueError):
            return None

    found: list[list[int]] = []
    same_size = _grouped(range(len(images)), map(size, range(len(images))))
    positions = [at for group in same_size for at in group]
    hashes = dict(zip(positions, map_threaded(lambda at: _content(images[at]), positions), strict=True))
    for group in same_size:
        found += _grouped(group, (hashes[at] for at in group))
    return found


def _grouped(positions: Iterable[int], keys: Iterable[Key | None]) -> list[list[int]]:
    """Positions with the same key, two or more in each group; None is equal to nothing."""
    groups: dict[Key, list[int]] = defaultdict(list)
    for at, key in zip(positions, keys, strict=True):
        if key is not None:
            groups[key].append(at)
    return [group for group in groups.values() if len(group) > 1]


def _content(image: LabeledImage) -> bytes | None:
    try:
        return Item(image.name, image.source).content_hash()
    except (ImageError, MemoryError):
        return None
