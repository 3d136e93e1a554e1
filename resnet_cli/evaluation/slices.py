"""Metrics per group of images: a model that is good on average can be bad for one camera, site or year."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.labeled import group_items
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.evaluation.intervals import Interval, wilson


@dataclasses.dataclass(frozen=True)
class SliceScores:
    """Metrics of one group.

    Attributes:
        group: Name of the group; empty for images without a group.
        num_images: Number of images in the group.
        top1: Top-1 accuracy with its 95 % interval.
        loss: Mean cross-entropy in nats.
    """

    group: str
    num_images: int
    top1: Interval
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "group": self.group,
            "num_images": self.num_images,
            "top1": self.top1.value,
            "top1_interval": [self.top1.low, self.top1.high],
            "loss": self.loss,
        }


def score_slices(
    groups: Sequence[str], is_right: NDArray[np.bool_], losses: NDArray[np.float64]
) -> tuple[SliceScores, ...]:
    """Scores each group; the lowest top-1 comes first, and the larger group among equals.

    Args:
        groups: Group of each image, [n]; empty for no result.
        is_right: Whether each prediction is correct, [n].
        losses: Cross-entropy of each image in nats, [n].
    """
    if not groups:
        return ()
    names, places = np.unique(np.array(groups, dtype=object), return_inverse=True)
    counts, right = np.bincount(places), np.bincount(places, is_right)
    means = np.bincount(places, losses) / counts
    found = [
        SliceScores(str(name), int(num), wilson(int(num_right), int(num)), float(loss))
        for name, num, num_right, loss in zip(names, counts, right, means, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.top1.value, -one.num_images, one.group)))


def slice_items(dataset: Dataset, by: str) -> Dataset:
    """Groups images by their names; see :func:`~resnet_cli.data.sources.labeled.group_items`.

    Raises:
        ConfigError: ``by`` is neither ``parent`` nor an expression.
        DataError: ``by`` matches no image.
    """
    with named_slice():
        return group_items(dataset, by)


@contextlib.contextmanager
def named_slice() -> Iterator[None]:
    """Makes errors about groups name ``--slice``: grouping is shared with ``--group-by``."""
    try:
        yield
    except (ConfigError, DataError) as error:
        if "--group-by" not in error.message:
            raise
        raise type(error)(error.message.replace("--group-by", "--slice"), hint=error.hint) from error
