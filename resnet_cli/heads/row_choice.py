"""Which rows of many a head is fitted to: every different one once, or a sample of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.task import YES

#: Rows of a group that a sample takes first, however small the group's share is.
MIN_ROWS = 4
#: Seed of the choice among equals, the same for all data sets.
_SEED = 0
#: Rows of targets that are compared at once.
_ROWS_AT_ONCE = 2**16


def merge_copies(contents: NDArray[np.int32], targets: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that stand for all rows with the same image and the same targets, ordered by the number of the image.

    Args:
        contents: Number of the image of each row, int32 [n].
        targets: Labels int64 [n], or int8 [n x k].

    Returns:
        Positions of u rows, and how many rows each of them stands for; both int64 [u].
    """
    known = targets.numpy(force=True)
    order = np.lexsort((known, contents)) if known.ndim == 1 else np.argsort(contents, kind="stable")
    is_new = np.ones(len(order), dtype=bool)
    for start in range(1, len(order), _ROWS_AT_ONCE):
        here = order[start : start + _ROWS_AT_ONCE]
        before = order[start - 1 : start - 1 + len(here)]
        differs = known[here] != known[before]
        is_new[start : start + len(here)] = (contents[here] != contents[before]) | (
            differs if known.ndim == 1 else differs.any(axis=1)
        )
    starts = np.flatnonzero(is_new)
    return order[starts], np.diff(np.append(starts, len(order)))


def sample_rows(targets: Tensor, most: int) -> NDArray[np.int64]:
    """Positions of at most ``most`` rows in increasing order: of each class the same share, and of small classes more.

    An image with several labels counts for the rarest of them.

    Args:
        targets: Labels int64 [n], or int8 [n x k].
        most: Maximum number of rows.
    """
    if len(targets) <= most:
        return np.arange(len(targets))
    groups = _groups(targets)
    shuffled = np.random.default_rng(_SEED).permutation(len(groups))
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]  # Group by group, at random within each.
    sizes = np.bincount(groups)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    share = (rank + 0.5) / np.repeat(sizes, sizes)
    # Below all shares: the first rows of every group.
    share[rank < MIN_ROWS] -= 1
    return np.sort(order[np.argsort(share, kind="stable")[:most]])


def _groups(targets: Tensor) -> NDArray[np.int64]:
    if targets.ndim == 1:
        return targets.numpy(force=True)
    is_yes = targets == YES
    counts = is_yes.sum(dim=0)
    rarity = torch.where(counts > 0, len(targets) - counts + 1, 0)
    groups: NDArray[Any] = np.empty(len(targets), dtype=np.int64)
    for start in range(0, len(targets), _ROWS_AT_ONCE):
        rarest = (is_yes[start : start + _ROWS_AT_ONCE] * rarity).max(dim=1)
        # Images without a label are a group of their own.
        groups[start : start + _ROWS_AT_ONCE] = torch.where(rarest.values > 0, rarest.indices, len(counts)).numpy()
    return groups
