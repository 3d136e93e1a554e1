"""Loads items as uint8 batches of torch: decoded and resized on threads, in order, a few batches ahead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch

from resnet_cli.data.prefetch import PREFETCH_BATCHES, decode_ahead
from resnet_cli.errors import ImageError
from resnet_cli.images import Pixels
from resnet_cli.system.threads import num_threads

__all__ = ["PREFETCH_BATCHES", "ImageBatch", "load_batches", "stack"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class ImageBatch(Generic[T]):
    """A batch of consecutive items.

    Attributes:
        items: All items in order, readable or not.
        pixels: uint8 [b x 3 x h x w] of the readable items, in order.
        errors: Position in ``items`` -> why that image cannot be read.
    """

    items: list[T]
    pixels: torch.Tensor
    errors: dict[int, ImageError]

    @property
    def good(self) -> list[T]:
        """The items whose images are in ``pixels``."""
        return [item for position, item in enumerate(self.items) if position not in self.errors]


def load_batches(
    items: Iterable[T], transform: Callable[[T], Pixels], *, batch_size: int | Iterable[int]
) -> Iterator[ImageBatch[T]]:
    """Applies ``transform`` (decode, resize, augment) on threads and stacks the results.

    Args:
        items: Any number of items; only a few batches are taken at a time.
        transform: Item -> uint8 [h x w x 3], all of one size; an :class:`ImageError` is collected, not raised.
        batch_size: Number of items per batch, of which the last may be smaller; or the size of each batch.
    """
    groups = decode_ahead(items, transform, batch_size=batch_size, num_workers=num_threads())
    try:
        for group in groups:
            yield ImageBatch(group.items, stack(group.decoded), group.errors)
    finally:
        # Closed explicitly, not by the garbage collector: an abandoned iterator must stop its threads at once.
        groups.close()


def stack(images: Sequence[Pixels]) -> torch.Tensor:
    """Images uint8 [h x w x 3] of one size -> uint8 [b x 3 x h x w]; without images, [0 x 3 x 0 x 0]."""
    # [b x h x w x 3] viewed as [b x 3 x h x w]: channels last in memory, as is best for convolutions.
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) if images else torch.empty(0, 3, 0, 0)
