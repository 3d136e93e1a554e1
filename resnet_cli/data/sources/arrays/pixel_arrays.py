"""Images and labels that are stored in arrays: which axes and values are obvious, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Split
from resnet_cli.data.sources.labeled import LabeledImage
from resnet_cli.errors import DataError
from resnet_cli.images import Pixels

#: Arrays with shorter sides are tables of numbers, not images.
MIN_SIDE_PX = 8
#: An image whose brightest value is below this was hardly stored with 8 bits.
_MIN_BRIGHTEST = 128
#: Values that are looked at or converted at a time.
_CHUNK_VALUES = 16 * 1024**2
#: As many classes of one character each are digits or letters, which a mirror changes.
_MIN_CHARACTERS = 8
_AS_UINT8 = "save them as uint8 from 0 to 255 in an array [n x h x w] or [n x h x w x 3]"


def to_pixels(array: NDArray[Any], num_images: int, where: str) -> tuple[Pixels, str]:
    """The images of an array as RGB, without a copy where they are stored with 8 bits.

    Args:
        array: [n x h x w], [n x h x w x c] or [n x c x h x w] with 1 or 3 channels, [n x pixels] of square gray
            images, or the same with n as the last axis, as MATLAB stores it.
        num_images: n.
        where: Name of the array, for messages.

    Returns:
        uint8 [n x h x w x 3], and how the values are stored: ``uint8``, ``0 to 255`` or ``0 to 1``.

    Raises:
        DataError: The meaning of an axis or of the values is ambiguous.
    """
    images = _arranged(array, num_images, where)
    images, values = _to_uint8(images, where)
    return np.broadcast_to(images, (*images.shape[:3], 3)), values


def check_shape(shape: Sequence[int], num_images: int, where: str) -> None:
    """Rejects an array by its shape, before it is read.

    Raises:
        DataError: Its axes are not obvious.
    """
    _arranged(np.broadcast_to(np.uint8(0), tuple(shape)), num_images, where)


def _arranged(array: NDArray[Any], num_images: int, where: str) -> NDArray[Any]:
    """A view [n x h x w x c]."""
    shape = array.shape
    views = []
    if array.ndim == 2 and shape[0] == num_images:
        side = math.isqrt(shape[1])
        if side * side == shape[1]:
            views.append(array.reshape(num_images, side, side, 1))
    elif array.ndim == 3:
        views += [array[..., None]] if shape[0] == num_images else []
        views += [np.moveaxis(array, 2, 0)[..., None]] if shape[2] == num_images != shape[0] else []
    elif array.ndim == 4:
        if shape[0] == num_images:
            views += [array] if shape[3] in (1, 3) else []
            views += [np.moveaxis(array, 1, 3)] if shape[1] in (1, 3) else []
        if shape[3] == num_images and shape[2] in (1, 3):
            views.append(np.moveaxis(array, 3, 0))
    views = [view for view in views if min(view.shape[1:3]) >= MIN_SIDE_PX]
    if len(views) != 1:
        shown = " x ".join(map(str, shape))
        what = "may be arranged in several ways" if views else "is not that of images"
        raise DataError(
            f"{where}: the shape {shown}, with {num_images:,} labels, {what}",
            hint="save images as [n x h x w] or [n x h x w x 3], of at least "
            f"{MIN_SIDE_PX} x {MIN_SIDE_PX} pixels, in the order of their labels",
        )
    return views[0]


def _to_uint8(images: NDArray[Any], where: str) -> tuple[Pixels, str]:
    kind = images.dtype.kind
    if images.dtype == np.uint8:
        # Reading all of a large file would take long; masks show themselves in the first images.
        if images[:64].max() == 1 and images.max() == 1:
            _refuse_values(images, where, "the values are only 0 and 1")
        return images, "uint8"
    if kind not in "iuf":
        _refuse_values(images, where, "are not brightness values")
    low, high, is_whole = _range(images)
    if not (math.isfinite(low) and math.isfinite(high)):
        _refuse_values(images, where, "some values are not finite")
    if low >= 0 and _MIN_BRIGHTEST <= high <= 255 and is_whole:
        return _converted(images, 1), "0 to 255"
    if kind == "f" and low >= 0 and 0.5 <= high <= 1 and not is_whole:
        return _converted(images, 255), "0 to 1"
    _refuse_values(images, where, f"values from {low:g} to {high:g} may mean any brightness")


def _refuse_values(images: NDArray[Any], where: str, why: str) -> NoReturn:
    raise DataError(f"{where}: {images.dtype} images: {why}", hint=_AS_UINT8)


def _chunks(images: NDArray[Any]) -> Iterator[slice]:
    step = max(1, _CHUNK_VALUES // max(1, math.prod(images.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(images), step))


def _range(images: NDArray[Any]) -> tuple[float, float, bool]:
    """Lowest and highest value, and whether all are whole numbers; NaN if there is one."""
    lows, highs, is_whole = [], [], True
    for part in _chunks(images):
        values = images[part]
        lows.append(float(values.min()))
        highs.append(float(values.max()))
        is_whole = is_whole and (values.dtype.kind != "f" or bool((values == np.floor(values)).all()))
    return float(np.min(lows)), float(np.max(highs)), is_whole


def _converted(images: NDArray[Any], factor: int) -> Pixels:
    pixels = np.empty(images.shape, np.uint8)
    for part in _chunks(images):
        pixels[part] = np.rint(images[part] * np.float32(factor)) if factor != 1 else images[part]
    return pixels


def num_labels(shape: Sequence[int]) -> int:
    """The number of labels in an array: [n], [n x 1 ...], [1 x n] or one-hot [n x k]."""
    return shape[1] if len(shape) == 2 and shape[0] == 1 else shape[0] if shape else 0


def to_labels(array: NDArray[Any], where: str, class_names: Sequence[str] = ()) -> list[str]:
    """The class of each image.

    Args:
        array: Whole numbers or names [n], [n x 1 ...] or [1 x n], or one-hot rows [n x k].
        where: Name of the array, for messages.
        class_names: Names that the numbers count, from 0; empty to use the numbers.

    Raises:
        DataError: An image has several labels or none, or the array contains something else.
    """
    count = num_labels(array.shape)
    if array.size == count:
        labels = array.reshape(count)
    elif array.ndim == 2 and array.dtype.kind in "biuf":
        labels = _from_one_hot(array, where)
    else:
        _refuse_labels(where, f"the shape {' x '.join(map(str, array.shape))} is not that of labels")
    if labels.dtype.kind in "US":
        return [_text(label, where) for label in labels.tolist()]
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
        _refuse_labels(where, "labels must be whole numbers or names")
    numbers = labels.astype(np.int64)
    if len(numbers) and numbers.min() < 0 and set(np.unique(numbers).tolist()) != {-1, 1}:
        _refuse_labels(where, f"negative labels, which often mean no label: {int((numbers < 0).sum()):,}")
    if not class_names:
        return [str(number) for number in numbers.tolist()]
    used = set(np.unique(numbers).tolist())
    if not all(0 <= number < len(class_names) and class_names[number] for number in used):
        _refuse_labels(where, f"label {numbers.max()} is not one of the {len(class_names)} classes that are named")
    return [class_names[number] for number in numbers.tolist()]


def _from_one_hot(array: NDArray[Any], where: str) -> NDArray[np.int64]:
    if not np.isin(array, (0, 1)).all():
        _refuse_labels(where, f"the shape {' x '.join(map(str, array.shape))} is not that of labels")
    per_image = array.astype(np.int64).sum(axis=1)
    if (per_image > 1).any():
        raise DataError(
            f"{where}: images with several labels (multi-label data): {int((per_image > 1).sum()):,}",
            hint="give each image one label: an array [n] of class numbers",
        )
    if (per_image < 1).any():
        _refuse_labels(where, f"images without a label, as in multi-label data: {int((per_image < 1).sum()):,}")
    return np.asarray(array.argmax(axis=1), np.int64)


def _text(label: str | bytes, where: str) -> str:
    try:
        text = (label.decode() if isinstance(label, bytes) else label).strip()
        text.encode()
    except UnicodeError:
        text = ""
    if not text or "\0" in text:
        _refuse_labels(where, f"{ascii(label)[:60]} is not the name of a class")
    return text


def _refuse_labels(where: str, why: str) -> NoReturn:
    raise DataError(f"{where}: {why}", hint="save labels as an array [n] of class numbers or names, one for each image")


def labeled_images(pixels: Pixels, labels: Sequence[str], split: Split) -> list[LabeledImage]:
    """Labeled images that are views of one array [n x h x w x 3], named ``train/0000012``."""
    return [
        LabeledImage(f"{split}/{index:07d}", image, (label,), split)
        for index, (image, label) in enumerate(zip(np.asarray(pixels), labels, strict=True))
    ]


def is_mirror_safe(images: Sequence[LabeledImage], name: str) -> bool:
    """Whether a mirrored image still belongs to its class: not if the classes look like those of characters.

    Args:
        images: All images; digits and letters are gray and have names of one character.
        name: Name of DATA, which tells Fashion-MNIST from the digits whose files it imitates.
    """
    classes = {image.label for image in images}
    if "fashion" in name.lower() or len(classes) < _MIN_CHARACTERS or any(len(label) > 1 for label in classes):
        return True
    source = images[0].source
    return not (isinstance(source, np.ndarray) and source.strides[-1] == 0)
