"""Items to decoded images: on threads, in order, a few batches ahead; no torch.

Threads and not processes: Pillow releases the GIL while it decodes and resizes, there is nothing to pickle,
and nothing hangs when a run is interrupted.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from resnet_cli.errors import ImageError
from resnet_cli.system.threads import num_threads

#: Batches decoded ahead of the one in use: enough to hide a slow image, small enough for any memory.
PREFETCH_BATCHES = 2

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Group(Generic[T, R]):
    """Consecutive items of whatever kind was asked for.

    Attributes:
        items: All of them, in order, readable or not.
        decoded: What became of the readable ones, in order.
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

    Args:
        items: Any number; only a few batches are taken from it at a time.
        transform: Called once an item; an :class:`ImageError` is kept, not raised.
        batch_size: Items a group, the last one may be smaller; or the size of each group.
        num_workers: Threads; None for as many as there are processors.
    """
    waiting = iter(items)
    sizes = itertools.repeat(batch_size) if isinstance(batch_size, int) else iter(batch_size)
    ahead: deque[tuple[list[T], list[Future[R | ImageError]]]] = deque()

    def attempt(item: T) -> R | ImageError:
        try:
            return transform(item)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(num_workers or num_threads(), thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(ahead) <= PREFETCH_BATCHES and (chunk := list(itertools.islice(waiting, next(sizes, 0)))):
                    ahead.append((chunk, [pool.submit(attempt, item) for item in chunk]))
                if not ahead:
                    return
                chunk, futures = ahead.popleft()
                yield _group(chunk, [future.result() for future in futures])
        finally:
            # An abandoned iterator (an interrupt, a failed step) must not decode on.
            pool.shutdown(wait=False, cancel_futures=True)


def _group(items: list[T], results: list[R | ImageError]) -> Group[T, R]:
    errors = {position: result for position, result in enumerate(results) if isinstance(result, ImageError)}
    return Group(items, [result for result in results if not isinstance(result, ImageError)], errors)
