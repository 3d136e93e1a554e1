"""Items to uint8 batches: decode and resize on threads, in order, a few batches ahead.

Threads and not processes: Pillow releases the GIL while it decodes and resizes, there is nothing to pickle,
and nothing hangs when a run is interrupted.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch

from resnet_cli.device import num_threads
from resnet_cli.errors import DataError, ImageError
from resnet_cli.preprocess import Pixels

#: Batches decoded ahead of the one in use: enough to hide a slow picture, small enough for any memory.
PREFETCH_BATCHES = 2


T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Batch(Generic[T]):
    """Consecutive items of whatever kind was asked for.

    Attributes:
        items: All of them, in order, readable or not.
        pixels: uint8 [b x 3 x h x w] of the readable ones, in order.
        errors: Position in ``items`` -> why that picture cannot be read.
    """

    items: list[T]
    pixels: torch.Tensor
    errors: dict[int, ImageError]

    @property
    def good(self) -> list[T]:
        """The items that ``pixels`` holds."""
        return [item for position, item in enumerate(self.items) if position not in self.errors]


def load_batches(
    items: Iterable[T], transform: Callable[[T], Pixels], *, batch_size: int | Iterable[int]
) -> Iterator[Batch[T]]:
    """Applies ``transform`` (decode, resize, augment) on threads and stacks the results.

    Args:
        items: Any number; only a few batches are taken from it at a time.
        transform: Item -> uint8 [h x w x 3], all of one size; an :class:`ImageError` is kept, not raised.
        batch_size: Items a batch, the last one may be smaller; or the size of each batch.
    """
    waiting = iter(items)
    sizes = itertools.repeat(batch_size) if isinstance(batch_size, int) else iter(batch_size)
    ahead: deque[tuple[list[T], list[Future[Pixels | ImageError]]]] = deque()

    def attempt(item: T) -> Pixels | ImageError:
        try:
            return transform(item)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(num_threads(), thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(ahead) <= PREFETCH_BATCHES and (chunk := list(itertools.islice(waiting, next(sizes, 0)))):
                    ahead.append((chunk, [pool.submit(attempt, item) for item in chunk]))
                if not ahead:
                    return
                chunk, futures = ahead.popleft()
                yield _stack(chunk, [future.result() for future in futures])
        finally:
            # An abandoned iterator (an interrupt, a failed step) must not decode on.
            pool.shutdown(wait=False, cancel_futures=True)


def map_threaded(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """``map`` on threads, results in order; the first exception is raised where its result would stand."""
    with ThreadPoolExecutor(num_threads(), thread_name_prefix="scan") as pool:
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _stack(items: list[T], results: list[Pixels | ImageError]) -> Batch[T]:
    errors = {position: result for position, result in enumerate(results) if isinstance(result, ImageError)}
    arrays = [result for result in results if not isinstance(result, ImageError)]
    # [b x h x w x 3] seen as [b x 3 x h x w]: channels last in memory, as the convolutions want it.
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) if arrays else torch.empty(0, 3, 0, 0)
    return Batch(items, pixels, errors)


def raise_unreadable(errors: list[ImageError], num_images: int) -> None:
    """Reports every unreadable picture at once, if there are any.

    Raises:
        DataError: Names up to ten of them with their reasons.
    """
    if not errors:
        return
    shown = "\n".join(f"  {error.path}: {error.reason}" for error in errors[:10])
    more = f"\n  and {len(errors) - 10} more" if len(errors) > 10 else ""
    raise DataError(
        f"{len(errors)} of {num_images:,} pictures cannot be read:\n{shown}{more}",
        hint="replace or remove them, then run the same command again",
    )
