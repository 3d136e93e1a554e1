"""Addresses of images' files in a page: relative, so that they say nothing about who made the page."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from resnet_cli.data.dataset import Item
from resnet_cli.system.paths import shorten_home


def file_link(item: Item, folder: Path | None) -> str:
    """The address of an image's file, relative to a page's folder; empty if it is no file, or if it has none.

    It works as long as page and images stay where they are. It has none on another drive than the page, and where it
    would name the user's home folder: the page is outside of it, the image inside.

    Args:
        item: The image.
        folder: Folder of the page; None for a page that has no place.
    """
    if folder is None or not isinstance(item.source, Path):
        return ""
    file, start = os.path.abspath(item.source), os.path.abspath(folder)
    if shorten_home(file) != file and shorten_home(start) == start:
        return ""
    try:
        relative = os.path.relpath(file, start)
    except ValueError:
        return ""
    # The dot keeps a name like `javascript:` from being anything but a name.
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")))
