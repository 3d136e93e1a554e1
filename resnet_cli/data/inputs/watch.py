"""New images as they arrive in a folder."""

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

#: Seconds between two scans of the folder: about a tenth of a core at 100,000 images.
POLL_S = 0.5
#: Number of images that are yielded at most before the folder is scanned again.
MAX_AT_ONCE = 512


def watch(
    folder: str,
    *,
    recursive: bool = True,
    max_pixels: int = MAX_PIXELS,
    known: Container[str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[Item]]:
    """Yields new images of a folder in small batches, forever; an image counts once, by its name.

    An image is yielded when its size and time are equal in two scans: until then it may still be being written. An
    image that is moved into the folder is yielded after the second scan.

    Args:
        folder: An existing folder. By default, files that it contains at the start are not new.
        recursive: Whether to include subfolders.
        max_pixels: Larger images are reported as unreadable.
        known: Paths that are not new; if given, other files that the folder contains at the start are yielded too.
        sleep: Waits for a number of seconds.

    Returns:
        Images, sorted by folder and name; an empty list if there are no new ones.

    Raises:
        ConfigError: There is no such folder, or (from the iterator) it no longer exists.
    """
    top = str(user_path(folder))
    # Here and not in the first scan, before which a model is loaded and other images are processed.
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
        # Names of deleted files are forgotten: they may be used again.
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
        raise ConfigError(f"--watch {folder}: no such folder", hint="create it first")
    return set(images_below(folder, recursive=recursive, patient=True))


def _state(path: str) -> tuple[int, int] | None:
    """Size and time of a file; None if it no longer exists, or is still empty and about to be written."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
