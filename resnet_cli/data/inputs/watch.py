"""Images as they arrive in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.file_walk import images_below
from resnet_cli.errors import ConfigError
from resnet_cli.images import MAX_PIXELS
from resnet_cli.system.paths import user_path

#: The folder is looked through so often: about a tenth of a core at 100,000 images.
POLL_S = 0.5
#: At most so many are answered before the folder is looked at again.
MAX_AT_ONCE = 512


def watch(
    folder: str,
    *,
    recursive: bool = True,
    max_pixels: int = MAX_PIXELS,
    known: Container[str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[Item]]:
    """New images of a folder, a few at a time, without end; an image counts once, by its name.

    An image is taken once its size and time have not changed from one look to the next: until then somebody may be
    writing it. One that is moved to its place in one piece comes with the second look.

    Args:
        folder: Exists. What lies in it at the start is not new.
        recursive: Also the folders in it.
        max_pixels: A larger image counts as one that cannot be read.
        known: Instead: the paths that are not new; also what lies in the folder at the start is looked at.
        sleep: Waits so many seconds.

    Returns:
        Images, sorted by folder and name; an empty list where nothing has come.

    Raises:
        ConfigError: There is no such folder, or (from the iterator) it is gone.
    """
    top = str(user_path(folder))
    # Now and not with the first look, before which a model is loaded and other images are answered.
    here = _images(top, recursive)
    seen = here if known is None else set()
    return _arrivals(top, seen, known, recursive=recursive, max_pixels=max_pixels, sleep=sleep)


def _arrivals(
    top: str,
    seen: set[str],
    known: Container[str] | None,
    *,
    recursive: bool,
    max_pixels: int,
    sleep: Callable[[float], None],
) -> Iterator[list[Item]]:
    growing: dict[str, tuple[int, int]] = {}
    while True:
        here = _images(top, recursive)
        # Names of what is gone are forgotten: they may come again.
        seen &= here
        states = {path: state for path in here - seen if (state := _state(path)) is not None}
        ready = sorted(path for path, state in states.items() if growing.get(path) == state)[:MAX_AT_ONCE]
        growing = states
        seen.update(ready)
        new = [path for path in ready if known is None or path not in known]
        yield [Item(path, Path(path), max_pixels=max_pixels) for path in new]
        if len(ready) < MAX_AT_ONCE:
            sleep(POLL_S)


def _images(folder: str, recursive: bool) -> set[str]:
    if not os.path.isdir(folder):
        raise ConfigError(f"--watch {folder}: no such folder", hint="make it first")
    return set(images_below(folder, recursive=recursive, patient=True))


def _state(path: str) -> tuple[int, int] | None:
    """Size and time; None for what is gone again, and for an empty file, which is one that somebody has just begun."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
