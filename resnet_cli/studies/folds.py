"""Out-of-sample probabilities: each image is classified by a head that was trained without it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.data.splits import connected
from resnet_cli.heads import logistic
from resnet_cli.heads.logistic import Rows
from resnet_cli.heads.paths import PATHS
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.system.events import Progress
from resnet_cli.task import YES, TaskName

#: Number of folds; the images of each are classified by a head trained on the others.
NUM_FOLDS = 5


def out_of_fold_probs(
    rows: Rows,
    folds: NDArray[np.intp],
    num_classes: int,
    *,
    task: TaskName = "single-label",
    device: str,
    on_progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Probabilities [n x k] of heads that were trained on the other folds; the first fold selects the L2 penalty.

    Args:
        rows: Features [n x 2048] and targets of the task.
        folds: Fold of each image, [n].
        num_classes: Number of classes, k.
        task: Whether an image has one label or any number.
        device: Device that heads are trained on.
        on_progress: Called with (images classified, images in all).
    """
    features, targets = rows
    probs = np.full((len(features), num_classes), np.nan, dtype=np.float32)
    penalties: Sequence[Any] = logistic.PENALTIES
    num_done = 0
    for fold in np.unique(folds):
        rest, held = (torch.from_numpy(np.flatnonzero(which)) for which in (folds != fold, folds == fold))
        parts = [(features[part], targets[part]) for part in (rest, held)]
        path = PATHS[task](parts[0], parts[1], num_classes, device=device, penalties=penalties)
        chosen = logistic.choose(list(path))
        penalties = chosen.chosen
        probs[held.numpy()] = head_probs(chosen.head, features[held], task=task).numpy()
        num_done += len(held)
        if on_progress:
            on_progress(num_done, len(features))
    return probs


def assign_folds(targets: NDArray[np.integer[Any]], blocks: Sequence[Sequence[int]], *, seed: int) -> NDArray[np.intp]:
    """Assigns each block of images to a fold, so that the classes are balanced over the folds.

    Args:
        targets: Class indices [n], or int8 [n x k] of 1 (yes), 0 (no) and -1 (unknown).
        blocks: Positions that must stay together; every position is in exactly one block.
        seed: Random seed of the order.

    Returns:
        Fold of each image [n], from 0 to at most ``NUM_FOLDS`` - 1.
    """
    labels_in, num_labels = _labels_of_blocks(targets)
    folds = np.empty(len(targets), dtype=np.intp)
    counts = np.zeros((NUM_FOLDS, num_labels), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(blocks))
    # Large blocks first, so that the small ones can balance the folds.
    for at in sorted(order, key=lambda number: -len(blocks[number])):
        block = np.array(blocks[at])
        found, num = np.unique(labels_in(block), return_counts=True)
        # The fold with the fewest images of these classes, then with the fewest images.
        fold = int(np.lexsort((counts.sum(axis=1), counts[:, found] @ num))[0])
        folds[block] = fold
        counts[fold, found] += num
    return folds


def _labels_of_blocks(
    targets: NDArray[np.integer[Any]],
) -> tuple[Callable[[NDArray[np.intp]], NDArray[np.int64]], int]:
    """A function that returns all labels of some images, and the number of different labels; no label counts as one."""
    if targets.ndim == 1:
        return (lambda block: targets[block].astype(np.int64)), int(targets.max()) + 1
    has_label = np.concatenate([targets == YES, ~(targets == YES).any(axis=1, keepdims=True)], axis=1)
    return (lambda block: np.nonzero(has_label[block])[1]), has_label.shape[1]


def blocks_of(features: Tensor, groups: Sequence[str]) -> list[list[int]]:
    """Positions of images that must stay together: copies, which have the same features, and groups."""
    together: dict[object, list[int]] = defaultdict(list)
    for position, row in enumerate(features.numpy()):
        together[hashlib.sha256(row.tobytes()).digest()].append(position)
    for position, group in enumerate(groups):
        if group:
            together[group].append(position)
    return connected(together.values())
