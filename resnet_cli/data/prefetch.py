"""Decodes items on threads, in order, a few batches ahead; without torch.

Threads instead of processes: Pillow releases the GIL while it decodes and resizes, nothing has to be pickled, and
nothing hangs when a run is interrupted.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import Generic, TypeVar

from resnet_cli.data.reading import Readers, load
from resnet_cli.errors import ImageError
from resnet_cli.system.threads import num_threads

#: Number of batches that are decoded ahead: enough to hide a slow image, and few enough for any memory.
PREFETCH_BATCHES = 2
#: Most items per task: the overhead of a task is a fifth of the time of a 32-pixel image.
TASK_ITEMS = 4

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Group(Generic[T, R]):
    """A batch of consecutive items.

    Attributes:
        items: All items in order, readable or not.
        decoded: Results for the readable items, in order.
        errors: Position in ``items`` -> why that image cannot be read.
    """

    items: list[T]
    decoded: list[R]
    errors: dict[int, ImageError]


def decode_ahead(
    items: Iterable[T],
    transform: Callable[[T], R],
    *,
    batch_size: int | Iterable[int],
    num_workers: int | None = None,
) -> Generator[Group[T, R], None, None]:
    """Applies ``transform`` (decode, resize, augment) on threads.

    Where files are slow to read, they are read on more threads; ``transform`` gets each item with its file in memory.

    Args:
        items: Any number of items; only a few batches are taken at a time.
        transform: Called once per item; an :class:`ImageError` is collected, not raised.
        batch_size: Number of items per group, of which the last may be smaller; or the size of each group.
        num_workers: Number of threads; None for the number of processors.
    """
    waiting = iter(items)
    sizes = itertools.repeat(batch_size) if isinstance(batch_size, int) else iter(batch_size)
    ahead: deque[tuple[list[T], list[Future[list[R | ImageError]]]]] = deque()

    def read(item: T) -> tuple[T | ImageError, int]:
        try:
            return load(item)
        except ImageError as error:
            return error, 0

    def attempt(loaded: T | ImageError) -> R | ImageError:
        if isinstance(loaded, ImageError):
            return loaded
        try:
            return transform(loaded)
        except ImageError as error:
            return error

    num_workers = num_workers or num_threads()
    readers = Readers(read, attempt, num_workers=num_workers)
    try:
        while True:
            while len(ahead) <= PREFETCH_BATCHES and (chunk := list(itertools.islice(waiting, next(sizes, 0)))):
                # Several per task, for tiny images, but enough tasks for all threads.
                size = min(TASK_ITEMS, max(1, len(chunk) // (2 * num_workers)))
                parts = [chunk[start : start + size] for start in range(0, len(chunk), size)]
                ahead.append((chunk, [readers.submit(part) for part in parts]))
            if not ahead:
                return
            chunk, futures = ahead.popleft()
            yield _group(chunk, [result for future in futures for result in future.result()])
    finally:
        # An abandoned iterator (an interrupt, a failed step) must stop decoding.
        readers.close(wait=True)


def _group(items: list[T], results: list[R | ImageError]) -> Group[T, R]:
    errors = {position: result for position, result in enumerate(results) if isinstance(result, ImageError)}
    return Group(items, [result for result in results if not isinstance(result, ImageError)], errors)
