"""Images that must stay in one split, as arrays: most blocks are a single image."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Items


class Blocks(Sequence[Sequence[int]]):
    """Blocks of numbers, one after the other in one array.

    Attributes:
        members: The numbers of all blocks, int64 [n].
        starts: Where each block begins in ``members``, and the end of the last one, int64 [number of blocks + 1].
    """

    def __init__(self, members: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        self.members = members
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        found: list[int] = self.members[self.starts[index] : self.starts[index + 1]].tolist()
        return found

    def block_of(self) -> NDArray[np.int64]:
        """The block of each of the members, int64 [n]."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def numbered(self) -> Blocks:
        """The same blocks of the numbers from 0 to n - 1, which stand for the members in their order."""
        return Blocks(np.arange(len(self.members)), self.starts)


def blocks_of(items: Items, together: Iterable[Sequence[int]], seed: int) -> Blocks:
    """Positions of train items that must stay together, in an order that depends only on the seed and names.

    A group is ordered by its name, so that an additional image does not change its position.

    Args:
        items: All items.
        together: Positions of items that must stay in one split, besides those of one group.
        seed: Random seed.
    """
    is_grouped = np.array([bool(group) for group in items.groups], dtype=bool)[items.group_of]
    block_of = np.arange(len(items))
    if is_grouped.any():
        members = np.flatnonzero(is_grouped)
        _, place, group = np.unique(items.group_of[members], return_index=True, return_inverse=True)
        block_of[members] = members[place[group]]
    block_of = _joined(block_of, together)
    groups, grouped = items.groups, zip(items.names, items.group_of.tolist(), strict=True)
    order = order_by_names((groups[code] or name for name, code in grouped), len(items), seed=seed, last=~is_grouped)
    order = order[items.in_split("train")[order]]
    # A block has the place of its first member.
    _, start, number = np.unique(block_of[order], return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(start))[number]
    members = order[np.lexsort((order, place))]
    return Blocks(members, np.append(0, np.cumsum(np.bincount(place))))


def _joined(block_of: NDArray[np.int64], together: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    """Joins blocks: the first position in the block of each position."""
    parents = array("q", block_of.tobytes())

    def root(at: int) -> int:
        while parents[at] != at:
            parents[at] = at = parents[parents[at]]
        return at

    for block in together:
        roots = {root(at) for at in block}
        for one in roots:
            parents[one] = min(roots)
    found = np.frombuffer(parents, dtype=np.int64).copy()
    while (found[found] != found).any():
        found = found[found]
    return found


def order_by_names(
    names: Iterable[str], num: int, *, seed: int, last: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """An order of images that depends only on a seed and their names: a new image does not reorder the others.

    Args:
        names: The name of each image.
        num: Number of images, n.
        seed: Random seed.
        last: Which of several images with the same name come last, bool [n].

    Returns:
        Positions, int64 [n].
    """
    digests = bytearray()
    for name in names:
        # 128 of the 256 bits: no two names have the same.
        digests += hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()[:16]
    words = np.frombuffer(digests, dtype=">u8").reshape(num, 2)
    return np.lexsort((*(() if last is None else (last,)), words[:, 1], words[:, 0]))
