"""Items to uint8 batches: decode and resize on threads, in order, a few batches ahead.

Threads and not processes: Pillow releases the GIL while it decodes and resizes, there is nothing to pickle,
and nothing hangs when a run is interrupted.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch

from resnet_cli.errors import ImageError
from resnet_cli.images import Pixels
from resnet_cli.threads import num_threads

#: Batches decoded ahead of the one in use: enough to hide a slow picture, small enough for any memory.
PREFETCH_BATCHES = 2


T = TypeVar("T")


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


def _stack(items: list[T], results: list[Pixels | ImageError]) -> Batch[T]:
    errors = {position: result for position, result in enumerate(results) if isinstance(result, ImageError)}
    arrays = [result for result in results if not isinstance(result, ImageError)]
    # [b x h x w x 3] seen as [b x 3 x h x w]: channels last in memory, as the convolutions want it.
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) if arrays else torch.empty(0, 3, 0, 0)
    return Batch(items, pixels, errors)
