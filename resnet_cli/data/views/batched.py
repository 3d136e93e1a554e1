"""Views of a whole batch at once, on its device: what ``augment.py`` does to one image, in torch.

Pillow's resampling is two products with small matrices. They are built here for each image, so that parts of any
position and size are resized as by Pillow, antialiased and rounded between the passes: equal except for one level of
255 in a few of ten thousand values. For upright images, newer versions of Pillow resize the height first, which rounds
differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from resnet_cli.data.views.augment import Box, View, shift_pad
from resnet_cli.preprocess import Interpolation, Preprocess


class Frame(NamedTuple):
    """Which part of a stored image fills which part of the view.

    Attributes:
        box: Left, top, right and bottom of the part, in pixels of the stored image.
        target: Left, top, right and bottom in the view, in whole pixels; the rest has the mean color.
    """

    box: Box
    target: tuple[int, int, int, int]


def show(pixels: Tensor, views: Sequence[View], frames: Sequence[Frame], preprocess: Preprocess) -> Tensor:
    """Makes the view of each image.

    Args:
        pixels: Stored images, uint8 [b x h x w x 3].
        views: One per image; either all or none are shifted.
        frames: One per view.
        preprocess: Preprocessing with the size of the views.

    Returns:
        uint8 [b x 3 x crop_size x crop_size], channels last in memory.
    """
    side, device = preprocess.crop_size, pixels.device
    fill = to_device(torch.tensor(preprocess.mean_color, dtype=torch.uint8), device)
    source_shifts = [view.source_shift for view in views if view.source_shift is not None]
    if source_shifts:
        pixels = _cut(pixels, source_shifts)
    is_whole = (0, 0, side, side)
    if pixels.shape[1:3] != (side, side) or any(frame != (is_whole, is_whole) for frame in frames):
        rows = [[*box, *target] for box, target in frames]
        numbers = to_device(torch.tensor(rows, dtype=torch.float32), device)
        pixels = resample(pixels, numbers[:, :4], numbers[:, 4:], side=side, interpolation=preprocess.interpolation)
        if preprocess.fit == "pad":
            pixels = torch.where(_rectangles(numbers[:, 4:], side), pixels, fill)
    shifts = [view.shift for view in views if view.shift is not None]
    if shifts:
        pixels = _cut(pixels, shifts)
    if any(view.mirrored for view in views):
        mirrored = to_device(torch.tensor([view.mirrored for view in views]), device)
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(2), pixels)
    if any(view.erased for view in views):
        erased = to_device(torch.tensor([view.erased or (0, 0, 0, 0) for view in views]), device)
        pixels = torch.where(_rectangles(erased, side), fill, pixels)
    return pixels.permute(0, 3, 1, 2)


def whole_box(size: tuple[int, int], preprocess: Preprocess) -> Box:
    """The part of an image that evaluation uses, as in :meth:`Preprocess.__call__` except for panoramas.

    Args:
        size: Width and height of the image.
        preprocess: Preprocessing with the size of the view.
    """
    width, height = size
    if preprocess.fit != "crop":
        return 0, 0, width, height
    short, side = min(size), preprocess.crop_size
    new_width = int(preprocess.resize_size * width / short)
    new_height = int(preprocess.resize_size * height / short)
    left, top = round((new_width - side) / 2), round((new_height - side) / 2)
    across, down = width / new_width, height / new_height
    return left * across, top * down, (left + side) * across, (top + side) * down


def target_of(box: Box, preprocess: Preprocess) -> tuple[int, int, int, int]:
    """Where :meth:`Preprocess.resize` puts a part of an image: left, top, right and bottom in the view.

    Args:
        box: The part, in source pixels.
        preprocess: Preprocessing with the size of the view.
    """
    side = preprocess.crop_size
    if preprocess.fit != "pad":
        return 0, 0, side, side
    width, height = box[2] - box[0], box[3] - box[1]
    scale = side / max(width, height)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = round((side - new_width) / 2), round((side - new_height) / 2)
    return left, top, left + new_width, top + new_height


def resample(pixels: Tensor, boxes: Tensor, targets: Tensor, *, side: int, interpolation: Interpolation) -> Tensor:
    """Resizes a part of each image as ``Image.resize(size, filter, box)`` does.

    Args:
        pixels: uint8 [b x h x w x 3].
        boxes: float32 [b x 4]: left, top, right, bottom in pixels; may be fractional.
        targets: float32 [b x 4]: position of the part in the result; pixels outside it are undefined.
        side: Side of the result in pixels.
        interpolation: Pillow's name of the filter.

    Returns:
        uint8 [b x side x side x 3].
    """
    _, height, width, _ = pixels.shape
    across = _weights(boxes[:, 0::2], targets[:, 0::2], width, side, interpolation=interpolation)
    down = _weights(boxes[:, 1::2], targets[:, 1::2], height, side, interpolation=interpolation)
    wide = _to_uint8(torch.einsum("bxw,bhwc->bhxc", across, pixels.float()))
    return _to_uint8(torch.einsum("byh,bhxc->byxc", down, wide.float()))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Moves a tensor to a device without waiting for a GPU's queued work."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _weights(ends: Tensor, targets: Tensor, num_in: int, num_out: int, *, interpolation: Interpolation) -> Tensor:
    """Weight of each input pixel in each output pixel along one axis: float32 [b x num_out x num_in].

    Source: Pillow, src/libImaging/Resample.c, precompute_coeffs.
    """
    kernel, support = _KERNELS[interpolation]
    start, end = ends[:, 0].view(-1, 1, 1), ends[:, 1].view(-1, 1, 1)
    target_start, target_end = targets[:, 0].view(-1, 1, 1), targets[:, 1].view(-1, 1, 1)
    scale = (end - start) / (target_end - target_start)
    outputs = torch.arange(num_out, device=ends.device).view(1, -1, 1)
    inputs = torch.arange(num_in, device=ends.device).view(1, 1, -1)
    centers = start + (outputs - target_start + 0.5) * scale
    distances = ((inputs + 0.5 - centers) / scale.clamp(min=1)).abs()
    weights = torch.where(distances < support, kernel(distances), 0)
    # Outputs outside the target have no input nearby: their weights stay 0.
    sums = weights.sum(dim=2, keepdim=True)
    return weights / torch.where(sums == 0, 1, sums)


def _bilinear(distances: Tensor) -> Tensor:
    return 1 - distances


def _bicubic(distances: Tensor) -> Tensor:
    """Keys 1981 with a = -0.5, as in Pillow (torch's bicubic has -0.75 and no antialiasing)."""
    near = (1.5 * distances - 2.5) * distances * distances + 1
    far = ((2.5 - 0.5 * distances) * distances - 4) * distances + 2
    return torch.where(distances < 1, near, far)


#: Kernel of positive distances, and its support.
_KERNELS: dict[Interpolation, tuple[Callable[[Tensor], Tensor], int]] = {
    "bilinear": (_bilinear, 1),
    "bicubic": (_bicubic, 2),
}


def _to_uint8(values: Tensor) -> Tensor:
    # Rounds half up, as Pillow does; torch.round rounds half to even.
    return values.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _cut(pixels: Tensor, corners: Sequence[tuple[int, int]]) -> Tensor:
    """Crops each image, padded by reflection, at its own row and column."""
    num_images, height, width, _ = pixels.shape
    pad = shift_pad(min(height, width))
    offsets = to_device(torch.tensor(corners), pixels.device) - pad
    rows = _reflected(offsets[:, :1], height)
    columns = _reflected(offsets[:, 1:], width)
    images = torch.arange(num_images, device=pixels.device).view(-1, 1, 1)
    return pixels[images, rows[:, :, None], columns[:, None, :]]


def _reflected(offsets: Tensor, length: int) -> Tensor:
    """Start offsets [b x 1] -> indices [b x length], reflected at both ends."""
    positions = (offsets + torch.arange(length, device=offsets.device)).abs()
    return length - 1 - (length - 1 - positions).abs()


def _rectangles(boxes: Tensor, side: int) -> Tensor:
    """Boxes [b x 4] (left, top, right, bottom) -> bool [b x side x side x 1], true inside."""
    at = torch.arange(side, device=boxes.device)
    left, top, right, bottom = boxes.unsqueeze(2).unbind(dim=1)
    columns, rows = (at >= left) & (at < right), (at >= top) & (at < bottom)
    return (rows[:, :, None] & columns[:, None, :]).unsqueeze(3)
