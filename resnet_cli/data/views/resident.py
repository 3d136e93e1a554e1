"""Where training images come from: the device's memory, a memory-mapped file, or threads that decode them.

All three give the same views, a function of (seed, epoch, index); they differ only by the resampling of stored images.
A resumed process gets the same bits as long as its images are stored in the same way.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.scan import leave_out_unreadable, raise_unreadable, scan
from resnet_cli.data.loading import load_batches
from resnet_cli.data.views.augment import TINY_SOURCE_PX, Augment, Augmentation, draw_view
from resnet_cli.data.views.batched import show, to_device
from resnet_cli.data.views.image_cache import Layout, choose_layout, decode_all, open_mapped
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import memory_errors_named

Storage: TypeAlias = Literal["auto", "resident", "mapped", "threads"]

#: Largest share of a GPU's free memory for images; the rest is for activations.
MEMORY_SHARE = 1 / 3
#: Median ratio of the longer to the shorter side, above which crops of squashed images are too soft.
MAX_SQUASHED_ASPECT = 2.0


class Views(Protocol):
    """Augmented views of the train split."""

    def batches(self, shares: Sequence[Sequence[int]], *, epoch: int, size: int) -> Iterator[Tensor]:
        """Yields the views of each share of images, in order.

        Args:
            shares: Indices into the train split, one share per batch.
            epoch: Number of the epoch, from 1.
            size: Side of the square in pixels, for progressive resizing.

        Returns:
            uint8 [b x 3 x size x size], channels last in memory, on the device or in memory that it can read.

        Raises:
            DataError: An image can no longer be read.
        """


class Stored(Protocol):
    """Images that have been decoded and stored."""

    def rows(self, shares: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        """Yields the images of each share as uint8 [b x height x width x 3] on the device."""


class ResidentImages:
    """Images in the memory of a device, decoded once.

    Args:
        items: Items in the order of their indices.
        layout: Layout of the images.
        device: The device.

    Raises:
        DataError: An image can no longer be read.
        MemoryExhausted: They do not fit into the device's memory.
    """

    def __init__(self, items: Sequence[Item], layout: Layout, device: torch.device) -> None:
        shape = (len(items), layout.height, layout.width, 3)
        with memory_errors_named(len(items)):
            self._images = torch.empty(shape, dtype=torch.uint8, device=device)
        at = 0
        for images in decode_all(items, layout):
            self._images[at : at + len(images)] = to_device(images, device)
            at += len(images)

    def rows(self, shares: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        """Yields the images of each share as uint8 [b x height x width x 3] on the device."""
        for share in shares:
            yield self._images[to_device(torch.tensor(share, dtype=torch.int64), device)]


class StoredViews:
    """Views of stored images, made in whole batches on the device.

    Args:
        stored: The stored images.
        layout: Layout of the images.
        sizes: Width and height of each source.
        augmentation: How images are augmented; without a policy.
        seed: Seed of the training.
        device: Device on which views are made.
    """

    def __init__(
        self,
        stored: Stored,
        layout: Layout,
        sizes: Sequence[tuple[int, int]],
        *,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
    ) -> None:
        self._stored, self._layout, self._sizes = stored, layout, sizes
        self._augmentation, self._seed, self._device = augmentation, seed, device

    def batches(self, shares: Sequence[Sequence[int]], *, epoch: int, size: int) -> Iterator[Tensor]:
        """See :class:`Views`."""
        preprocess = self._layout.preprocess.with_size(size)
        for share, pixels in zip(shares, self._stored.rows(shares, self._device), strict=True):
            sizes = [self._sizes[index] for index in share]
            views = [
                draw_view(self._augmentation, preprocess, source, key=(self._seed, epoch, index))
                for index, source in zip(share, sizes, strict=True)
            ]
            frames = [self._layout.frame(view, source, preprocess) for view, source in zip(views, sizes, strict=True)]
            with memory_errors_named(len(share)):
                shown = show(pixels, views, frames, preprocess)
            yield shown


class ThreadedViews:
    """Views of images that are decoded each time, on threads and a few batches ahead.

    Args:
        items: Items in the order of their indices.
        preprocess: Preprocessing at its full size.
        augmentation: How images are augmented.
        seed: Seed of the training.
        device: Device to which views are moved.
    """

    def __init__(
        self,
        items: Sequence[Item],
        preprocess: Preprocess,
        *,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
    ) -> None:
        self._items, self._preprocess = items, preprocess
        self._augmentation, self._seed, self._device = augmentation, seed, device

    def batches(self, shares: Sequence[Sequence[int]], *, epoch: int, size: int) -> Iterator[Tensor]:
        """See :class:`Views`."""
        augment = Augment(self._preprocess, self._augmentation, seed=self._seed, epoch=epoch, size=size)
        loaded = load_batches(
            [index for share in shares for index in share],
            lambda index: augment(index, self._items[index]),
            batch_size=[len(share) for share in shares],
        )
        for batch in loaded:
            raise_unreadable(list(batch.errors.values()), len(self._items))
            with memory_errors_named(len(batch.items)):
                pixels = to_device(batch.pixels, self._device)
            yield pixels


def open_views(
    items: Sequence[Item],
    preprocess: Preprocess,
    augmentation: Augmentation,
    *,
    seed: int,
    device: str,
    storage: Storage = "auto",
) -> Views:
    """Stores the images of the train split where their views can be made fastest.

    Args:
        items: Items in the order of their indices.
        preprocess: Preprocessing at its full size.
        augmentation: How images are augmented.
        seed: Seed of the training.
        device: Name of the device, as in torch.
        storage: ``resident`` keeps decoded images in the device's memory, ``mapped`` in a memory-mapped file, and
            ``threads`` decodes them again in each epoch. ``auto`` takes the first that fits on a CUDA device, and
            threads on other devices, where decoding is a small share of the time. If the augmentation or the disk
            does not allow the others, threads are used.

    Raises:
        DataError: Images cannot be read.
    """
    on = torch.device(device)
    threads = ThreadedViews(items, preprocess, augmentation=augmentation, seed=seed, device=on)
    if storage == "threads" or (storage == "auto" and on.type != "cuda"):
        return threads
    images = scan(items, signatures=False)
    leave_out_unreadable(items, images, "error")
    sizes = [(image.width, image.height) for image in images]
    layout = choose_layout(augmentation, sizes, preprocess)
    if why_not_resident(augmentation, layout, sizes):
        return threads
    stored: Stored | None
    if storage == "resident" or (storage == "auto" and fits(len(items), layout, on)):
        stored = ResidentImages(items, layout, on)
    else:
        stored = open_mapped(items, [image.sha256 for image in images], layout)
    return StoredViews(stored, layout, sizes, augmentation=augmentation, seed=seed, device=on) if stored else threads


def why_not_resident(augmentation: Augmentation, layout: Layout, sizes: Sequence[tuple[int, int]]) -> str:
    """Why stored images cannot give the views of an augmentation; empty if they can.

    Args:
        augmentation: How images are augmented.
        layout: Layout in which images would be stored.
        sizes: Width and height of each source.
    """
    if augmentation.policy != "none":
        return f"{augmentation.policy} works on one image at a time"
    if augmentation.source_pad and layout.kind != "source" and min(map(min, sizes)) <= TINY_SOURCE_PX:
        return "tiny images of several sizes are each shifted by their own pixels"
    typical = statistics.median(max(size) / min(size) for size in sizes)
    if layout.kind == "square" and layout.preprocess.fit == "crop" and typical > MAX_SQUASHED_ASPECT:
        return f"parts of images {typical:.1f} times as long as wide need more pixels than a square keeps"
    return ""


def fits(num_images: int, layout: Layout, device: torch.device, *, free_bytes: int | None = None) -> bool:
    """Whether images leave enough of the device's memory for training.

    Args:
        num_images: Number of images.
        layout: Layout of the images.
        device: Device on which they would be stored.
        free_bytes: Free memory of the device; None asks a CUDA device, and is 0 for any other.
    """
    if free_bytes is None:
        free_bytes = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    return num_images * layout.num_bytes <= MEMORY_SHARE * free_bytes
