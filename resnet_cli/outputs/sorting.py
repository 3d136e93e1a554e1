"""Sorts images into folders of their classes, as copies or links."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.outputs.prediction_files import Write
from resnet_cli.outputs.safe_files import copy_file, folder_names, new_file, place, place_link, safe_name
from resnet_cli.prediction import UNKNOWN, PredictedItem
from resnet_cli.system.paths import cache_dir


def sort_into(folder: Path, classes: Sequence[str], *, abstains: bool, link: bool = False) -> Write:
    """Puts each image into ``folder/<class>/<its name>``; existing files are never changed.

    If two files have the same name, the later one gets a mark in its name. The same bytes under the same name are one
    image, so that repeating a call changes nothing. Unreadable images are skipped.

    Args:
        folder: The folder; created if needed.
        classes: All class names.
        abstains: Whether images may be labeled "unknown", which then is a folder too.
        link: Symbolic links instead of copies; images that are not files of the user (stdin, the network, an archive)
            are copied nevertheless.

    Returns:
        Writes one predicted image; raises DiskError if a file cannot be written.
    """
    names = folder_names(classes, reserved=[UNKNOWN] if abstains else [])

    def write(predicted: PredictedItem[Any]) -> None:
        prediction, item = predicted.prediction, predicted.item
        if prediction.error is not None:
            return
        into = folder / (UNKNOWN if prediction.unknown is not None else names[prediction.topk[0][0]])
        name = file_name(item)
        if link and isinstance(item.source, Path) and not _is_cached(item.source):
            place_link(into, name, item.source)
        elif isinstance(item.source, Path):
            place(into, name, os.path.abspath(item.source), copy_file(item.source))
        else:
            place(into, name, item.name, new_file(encoded(item)))

    return write


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
