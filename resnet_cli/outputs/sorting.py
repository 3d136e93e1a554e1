"""Sorts images into folders of their labels, as copies or links."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.outputs.prediction_files import Write
from resnet_cli.outputs.safe_files import copy_file, folder_names, new_file, place, place_link, safe_name
from resnet_cli.prediction import NONE, UNKNOWN, PredictedItem
from resnet_cli.system.paths import cache_dir
from resnet_cli.task import TaskName

#: Folders of images without a label.
_WITHOUT_LABEL: Mapping[TaskName, tuple[str, ...]] = {"single-label": (), "multi-label": (NONE,)}


def sort_into(
    folder: Path, classes: Sequence[str], *, task: TaskName = "single-label", abstains: bool, link: bool = False
) -> Write:
    """Puts each image into ``folder/<class>/<its name>``, for each of its labels; existing files are never changed.

    If two files have the same name, the later one gets a mark in its name. The same bytes under the same name are one
    image, so that repeating a call changes nothing. Unreadable images are skipped.

    Args:
        folder: The folder; created if needed.
        classes: All class names.
        task: The task of the model; images for which a multi-label model chooses no label go into the folder ``none``.
        abstains: Whether images may be labeled "unknown", which then is a folder too.
        link: Symbolic links instead of copies; images that are not files of the user (stdin, the network, an archive)
            are copied nevertheless.

    Returns:
        Writes one predicted image; raises DiskError if a file cannot be written.
    """
    names = folder_names(classes, reserved=[*[UNKNOWN] * abstains, *_WITHOUT_LABEL[task]])

    def write(predicted: PredictedItem[Any]) -> None:
        prediction, item = predicted.prediction, predicted.item
        if prediction.error is not None:
            return
        if prediction.unknown is not None:
            folders = [UNKNOWN]
        else:
            folders = [names[label] for label, _ in prediction.chosen] or [NONE]
        put = _putter(item, link=link)
        for one in folders:
            put(folder / one)

    return write


def _putter(item: Item, *, link: bool) -> Callable[[Path], object]:
    """What puts one image into a folder."""
    name = file_name(item)
    if isinstance(item.source, Path):
        source = item.source
        if link and not _is_cached(source):
            return lambda into: place_link(into, name, source)
        return lambda into: place(into, name, os.path.abspath(source), copy_file(source))
    data = encoded(item)
    return lambda into: place(into, name, item.name, new_file(data))


def file_name(item: Item) -> str:
    """The last part of an image's name, safe on every system; ``stdin`` for the image without a name."""
    last = item.name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "stdin" if item.name == "-" else safe_name(last)


def encoded(item: Item) -> bytes:
    """The bytes of an image's file, wherever it is stored.

    Raises:
        ImageError: It cannot be read any more.
    """
    from resnet_cli.data.inputs.web import downloaded

    source = downloaded(item).source
    if isinstance(source, bytes):
        return source
    raise ImageError(item.name, "no file")


def _is_cached(path: Path) -> bool:
    # Files unpacked from an archive are deleted with the cache.
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(cache_dir()), ""))
