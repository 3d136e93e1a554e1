"""The images that a training used, by their content: they are recognized wherever they are now.

A run folder has one file with three numbers of 64 bits for each image, 25 bytes in all: a hash of the file's bytes, a
hash of its pixels (the same after a lossless conversion or without metadata), and a coarse hash of its appearance,
which tells a copy that was resized or compressed again from another image of the same name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import SPLITS, Item
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.errors import DataError
from resnet_cli.system.paths import write_bytes

#: Name of the file in a run folder.
USED_IMAGES_FILE = "used_images.safetensors"
#: How a training used an image; ``earlier``: a run that it started from did. The later, the greater the effect.
Use: TypeAlias = Literal["test", "earlier_val", "val", "earlier_train", "train"]
USES: tuple[Use, ...] = ("test", "earlier_val", "val", "earlier_train", "train")
#: The uses that make a model's accuracy on an image too high: the model was trained on it, or it chose the checkpoint.
TRAINED: frozenset[Use | None] = frozenset({"train", "earlier_train"})
VALIDATION: frozenset[Use | None] = frozenset({"val", "earlier_val"})
#: Version of the file, raised when an old reader would misread it.
SCHEMA_VERSION = 1
_METADATA_KEY = "resnet_cli"
_HASHES = ("content", "pixels", "look")
#: Bits of ``look`` in which copies of an image may differ. Measured on 2,000 images of CIFAR-10 and 398 photos: 97 and
#: 99.7 % of the copies with JPEG quality 50 are within it, more of those that were resized, and of pairs of different
#: images 0.012 and 0.006 %.
MAX_LOOK_BITS = 10

Hashes: TypeAlias = NDArray[np.uint64]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageHashes:
    """The hashes of n images; 0 where a hash is not known.

    Attributes:
        content: The first 8 bytes of the SHA-256 of each file, uint64 [n].
        pixels: The first 8 bytes of the SHA-256 of its pixels, uint64 [n].
        look: Where a thumbnail of 8 x 8 pixels gets lighter from left to right, one bit per pixel, uint64 [n].
    """

    content: Hashes
    pixels: Hashes
    look: Hashes

    @classmethod
    def of(cls, images: Sequence[ScannedImage]) -> ImageHashes:
        """The hashes of scanned images, in their order."""
        rows = ScannedImages.of(images).rows
        return cls(_numbers(rows["sha256"]), _numbers(rows["pixels"]), rows["look"].astype(np.uint64))

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, rows: NDArray[Any]) -> ImageHashes:
        return ImageHashes(self.content[rows], self.pixels[rows], self.look[rows])

    def equals_any(self, others: ImageHashes) -> NDArray[np.bool_]:
        """Whether each image has the bytes or the pixels of any of the others, bool [n]."""
        equal = np.isin(self.content, others.content) & (self.content != 0)
        return np.asarray(equal | (np.isin(self.pixels, others.pixels) & (self.pixels != 0)))


@dataclasses.dataclass(frozen=True, eq=False)
class UsedImages:
    """The images that a training used, and those of the runs that it started from.

    Attributes:
        hashes: The hashes of n images.
        uses: Index into :data:`USES` of each image, uint8 [n]. The run's own images come first, in the order of its
            ``split.csv``.
        unrecorded: Names of models that the training started from whose images are not known.
    """

    hashes: ImageHashes
    uses: NDArray[np.uint8]
    unrecorded: tuple[str, ...] = ()

    @classmethod
    def of(cls, items: Sequence[Item], images: Sequence[ScannedImage]) -> UsedImages:
        """The images of a data set, each with its split as its use.

        Args:
            items: The images that a training uses.
            images: The scan of each.
        """
        uses = np.array([USES.index(item.split) for item in items], dtype=np.uint8)
        return cls(ImageHashes.of(images), uses)

    @property
    def num_own(self) -> int:
        """Number of the run's own images."""
        return int(_is_own(self.uses).sum())

    def started_from(self, earlier: UsedImages) -> UsedImages:
        """Adds the training and validation images of the run that a training started from."""
        is_kept = earlier.uses != USES.index("test")
        later = {"train": "earlier_train", "val": "earlier_val"}
        renamed = np.array([USES.index(later.get(use, use)) for use in USES], dtype=np.uint8)
        pairs = [(getattr(self.hashes, name), getattr(earlier.hashes, name)[is_kept]) for name in _HASHES]
        return UsedImages(
            ImageHashes(*(np.concatenate(pair) for pair in pairs)),
            np.concatenate([self.uses, renamed[earlier.uses[is_kept]]]),
            tuple(dict.fromkeys((*self.unrecorded, *earlier.unrecorded))),
        )

    def find(self, hashes: ImageHashes) -> list[Use | None]:
        """How the training used each image; the greatest effect if it used it in several ways, None if it did not."""
        found = np.full(len(hashes), -1)
        for index in range(len(USES)):
            found[hashes.equals_any(self.hashes[self.uses == index])] = index
        return [None if index < 0 else USES[index] for index in found.tolist()]

    def save(self, path: Path) -> None:
        """Writes the file atomically.

        Raises:
            DiskError: It cannot be written.
        """
        from safetensors.numpy import save

        about = {"schema_version": SCHEMA_VERSION, "uses": USES, "unrecorded": self.unrecorded}
        tensors = {name: np.ascontiguousarray(getattr(self.hashes, name)) for name in _HASHES} | {"uses": self.uses}
        write_bytes(path, save(tensors, metadata={_METADATA_KEY: json.dumps(about)}))

    @classmethod
    def read(cls, path: Path) -> UsedImages | None:
        """Reads the file; None if there is none.

        Raises:
            DataError: It is damaged, or was written by a later version.
        """
        if not path.is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                about = json.loads((file.metadata() or {})[_METADATA_KEY])
                hashes = ImageHashes(*(file.get_tensor(name) for name in _HASHES))
                uses = file.get_tensor("uses")
            if about["schema_version"] != SCHEMA_VERSION or tuple(about["uses"]) != USES:
                raise ValueError(f"schema version {about['schema_version']}")
            found = cls(hashes, uses, tuple(map(str, about["unrecorded"])))
            if not found._is_sound():
                raise ValueError("impossible values")
        except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path}: not a record of the images that a training used ({error})",
                hint="restore it, or delete it: images are then recognized by their names",
            ) from error
        return found

    def _is_sound(self) -> bool:
        arrays = [getattr(self.hashes, name) for name in _HASHES]
        return (
            all(one.dtype == np.uint64 and one.shape == (len(self.uses),) for one in arrays)
            and self.uses.dtype == np.uint8
            and self.uses.ndim == 1
            and bool((self.uses < len(USES)).all())
            and bool(_is_own(self.uses)[: self.num_own].all())
        )


def look_alike(looks: Hashes, others: Hashes) -> NDArray[np.bool_]:
    """Whether the images of each pair look the same, bool [n].

    Args:
        looks: ``look`` of the first image of each pair, uint64 [n].
        others: ``look`` of the second, uint64 [n].
    """
    num_apart = np.bitwise_count(looks ^ others)
    return np.asarray((looks != 0) & (others != 0) & (num_apart <= MAX_LOOK_BITS))


def _is_own(uses: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(uses, [USES.index(split) for split in SPLITS])


def _numbers(digests: NDArray[Any]) -> Hashes:
    """The first 8 bytes of each digest as a number; 0 for an empty digest."""
    data = np.ascontiguousarray(digests).view(np.uint8).reshape(len(digests), digests.dtype.itemsize)[:, :8]
    return np.ascontiguousarray(data).view("<u8").reshape(-1).astype(np.uint64)


#: A record without images.
NO_USED_IMAGES = UsedImages.of((), ())
