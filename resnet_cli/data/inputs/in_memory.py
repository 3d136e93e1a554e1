"""Images in the memory of a program, decoded as their files would be."""

from __future__ import annotations

import dataclasses
import io
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from resnet_cli.data.dataset import Item
from resnet_cli.errors import DataError, ImageError

#: Modes that PNG stores without loss; TIFF stores the others.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


@dataclasses.dataclass(frozen=True, slots=True)
class BrokenItem(Item):
    """An image that is already known to be unreadable.

    Attributes:
        reason: Why it cannot be read.
    """

    reason: str = ""

    def open(self, bit_depth: int | None = 16) -> Image.Image:
        """Raises the error when the image would be opened.

        Raises:
            ImageError: Always.
        """
        raise ImageError(self.name, self.reason)


def to_item(image: object, number: int) -> Item:
    """Wraps one image of a program as an item.

    Args:
        image: A path, a PIL image of any mode, or an array uint8 [h x w x 3] in RGB.
        number: Number of an image without a name, which is called ``image 0``.

    Raises:
        DataError: ``image`` is anything else.
    """
    if isinstance(image, str | PathLike):
        return Item(str(image), Path(image))
    if isinstance(image, Image.Image):
        name = str(getattr(image, "filename", "")) or f"image {number}"
        try:
            return _from_pil(image, name)
        except (OSError, ValueError, SyntaxError) as error:
            return BrokenItem(name, b"", reason=f"damaged: {error}")
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise DataError(
                f"image {number}: an array of {image.dtype} {list(image.shape)}, not uint8 [h x w x 3] in RGB",
                hint="for values in [0, 1]: (255 * x).astype('uint8'); for one channel: np.stack([x] * 3, axis=-1)",
            )
        return Item(f"image {number}", np.ascontiguousarray(image))
    raise DataError(f"image {number}: a {type(image).__name__} is not a path, PIL image or array")


def _from_pil(image: Image.Image, name: str) -> Item:
    orientation = _orientation(image)
    if image.mode == "RGB" and orientation == 1 and "transparency" not in image.info:
        return Item(name, np.asarray(image))
    # Everything else goes through the one decoder, so that predictions equal those for the file.
    data = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    extra = {"transparency": image.info["transparency"]} if "transparency" in image.info else {}
    if image.mode in _PNG_MODES or image.mode.startswith("I;16"):
        image.save(data, "PNG", exif=exif, compress_level=1, **extra)
    else:
        image.save(data, "TIFF", exif=exif)
    return Item(name, data.getvalue())


def _orientation(image: Image.Image) -> int:
    # The EXIF block may be damaged while the pixels are not.
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, TypeError):
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1
