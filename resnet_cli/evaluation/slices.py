"""Figures of groups of images: a model that is good on average may be bad for one camera, site or year."""

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
    """One group's figures.

    Attributes:
        group: Its name; empty: images of no group.
        top1: With its 95 % interval.
        loss: Mean nats.
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
    """Scores each group; the lowest top-1 comes first, of equal ones the larger group.

    Args:
        groups: The group of each image, [n]; empty: no figures.
        is_right: [n].
        losses: [n].
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
    """Gives images groups by their names; see :func:`~resnet_cli.data.sources.labeled.group_items`.

    Raises:
        ConfigError: Neither ``parent`` nor an expression.
        DataError: It matches no image.
    """
    with named_slice():
        return group_items(dataset, by)


@contextlib.contextmanager
def named_slice() -> Iterator[None]:
    """Lets errors about groups name the flag that was typed: splits and slices are made by one thing."""
    try:
        yield
    except (ConfigError, DataError) as error:
        if "--group-by" not in error.message:
            raise
        raise type(error)(error.message.replace("--group-by", "--slice"), hint=error.hint) from error
