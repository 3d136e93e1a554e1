"""Features of any number of images: they are on disk, and a block of them at a time is in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.engines.feature_shards import MemoryShard, Shard, read_places

#: Rows of a block: 16 MB in float32.
BLOCK_ROWS = 2048


class Features:
    """Rows of features, one per image, that are read when they are asked for.

    It has the shape, the dtype and the indexing of a tensor; what indexing returns is a copy in memory.

    Args:
        shards: Where the features of the different contents are.
        places: Shard of each content times 2**32, plus its row there, int64 [u].
        contents: Number of the content of each image, int32 [n]: copies of an image have the same number.
        shape: Number of images, and of features.
        dtype: float16 or float32.
        holds: Kept as long as this object, so that nothing deletes the shards.

    Attributes:
        contents: As above.
        shape: As above.
        dtype: As above.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        places: NDArray[np.int64],
        contents: NDArray[np.int32],
        *,
        shape: tuple[int, int],
        dtype: torch.dtype,
        holds: Any = None,
    ) -> None:
        self._shards, self._places, self._holds = shards, places, holds
        self.contents, self.shape, self.dtype = contents, shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor | NDArray[np.integer[Any]]) -> Tensor:
        """Rows by a slice, by indices or by a mask [n], as a tensor [m x 2048] on the CPU."""
        at = self.contents[rows.numpy() if isinstance(rows, Tensor) else rows]
        if not len(at):
            return torch.empty(0, self.shape[1], dtype=self.dtype)
        return torch.from_numpy(read_places(self._shards, self._places[at])).to(self.dtype)

    def tensor(self) -> Tensor:
        """All rows, [n x 2048]."""
        found = torch.empty(self.shape, dtype=self.dtype)
        for start in range(0, len(self), BLOCK_ROWS):
            found[start : start + BLOCK_ROWS] = self[start : start + BLOCK_ROWS]
        return found

    def take(self, rows: NDArray[np.integer[Any]]) -> Features:
        """Some of the rows, which stay on disk."""
        return self._like(self.contents[rows], self._shards, self._places)

    def split(self, sizes: Sequence[int]) -> list[Features]:
        """Consecutive parts of these sizes, as ``torch.split``."""
        bounds = np.cumsum([0, *sizes]).tolist()
        return [
            self._like(self.contents[start:stop], self._shards, self._places)
            for start, stop in itertools.pairwise(bounds)
        ]

    def behind(self, first: Tensor) -> Features:
        """The same rows after others, which stay in memory."""
        shards = [*self._shards, MemoryShard(first.to(self.dtype).numpy())]
        places = np.append(self._places, ((len(shards) - 1) << 32) + np.arange(len(first), dtype=np.int64))
        new = np.arange(len(self._places), len(places), dtype=np.int32)
        return self._like(np.append(new, self.contents), shards, places)

    def _like(self, contents: NDArray[np.int32], shards: Sequence[Shard], places: NDArray[np.int64]) -> Features:
        shape = len(contents), self.shape[1]
        return Features(shards, places, contents, shape=shape, dtype=self.dtype, holds=self._holds)


#: Features in memory, or on disk.
AnyFeatures: TypeAlias = Tensor | Features


def blocks(features: AnyFeatures, size: int = BLOCK_ROWS) -> Iterator[Tensor]:
    """All rows in order, ``size`` at a time; one empty block if there are none."""
    return (features[start : start + size] for start in range(0, max(1, len(features)), size))


def in_memory(features: AnyFeatures) -> Tensor:
    """All rows as a tensor, [n x 2048]."""
    return features if isinstance(features, Tensor) else features.tensor()
