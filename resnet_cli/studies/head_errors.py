"""The errors of heads on the same evaluated images: 1 - top-1 or 1 - mAP, also of resamples of the images."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.errors import DataError
from resnet_cli.evaluation.label_resampling import rank_samples, ranked_columns
from resnet_cli.heads.average_precision import mean_average_precision
from resnet_cli.studies.power_law import Errors
from resnet_cli.task import TaskName

#: Bootstrap samples of the evaluated images and of the subsets.
NUM_RESAMPLES = 1000
#: Values (images times classes) times resamples of one head of a multi-label curve: of 26 heads, half a minute.
MAX_RANKED, MIN_RESAMPLES = 50_000_000, 200


class HeadErrors(abc.ABC):
    """The errors of the heads of one subset size.

    Attributes:
        num_images: Number of evaluated images.
        num_resamples: Number of bootstrap samples.
        more: Name of a forecast for ``each`` further images per class, ``total`` in all.
    """

    more: ClassVar[str] = "{each} more of each class"
    num_images: int
    num_resamples: int = NUM_RESAMPLES

    @abc.abstractmethod
    def add(self, probs: Tensor) -> None:
        """Adds a head by its probabilities [t x k] of the evaluated images."""

    @property
    @abc.abstractmethod
    def each(self) -> Errors:
        """The error of each head, [draws]."""

    @property
    @abc.abstractmethod
    def mean(self) -> float:
        """Their mean."""

    @abc.abstractmethod
    def resample(self, counts: NDArray[np.int64]) -> Errors:
        """The error of each head in each bootstrap sample, [resamples x draws].

        Args:
            counts: How often each image is in each sample, [resamples x t].
        """


class Top1Errors(HeadErrors):
    """1 - top-1.

    Args:
        labels: Labels of the evaluated images, int64 [t].
    """

    def __init__(self, labels: Tensor) -> None:
        self.num_images = len(labels)
        self._labels = labels
        self._rights: list[NDArray[np.bool_]] = []

    def add(self, probs: Tensor) -> None:
        """Keeps which images are classified correctly."""
        self._rights.append((probs.argmax(dim=1) == self._labels).numpy())

    @property
    def each(self) -> Errors:
        """The share of wrong predictions of each head."""
        return np.asarray(1 - np.array(self._rights).mean(axis=1))

    @property
    def mean(self) -> float:
        """The share of wrong predictions of all heads."""
        return float(1 - np.array(self._rights).mean())

    def resample(self, counts: NDArray[np.int64]) -> Errors:
        """One matrix product for all samples."""
        return np.asarray(1 - counts @ np.array(self._rights).T.astype(np.float64) / self.num_images)


class MapErrors(HeadErrors):
    """1 - macro mAP.

    Args:
        targets: Labels of the evaluated images, int8 [t x k].
    """

    more = "{total:,} more images"

    def __init__(self, targets: Tensor) -> None:
        self.num_images = len(targets)
        self.num_resamples = max(MIN_RESAMPLES, min(NUM_RESAMPLES, MAX_RANKED // max(1, targets.numel())))
        self._targets = targets.numpy()
        self._probs: list[NDArray[np.float32]] = []
        self._errors: list[float] = []

    def add(self, probs: Tensor) -> None:
        """Keeps the probabilities.

        Raises:
            DataError: No class has both images with the label and images without it, so that there is no mAP.
        """
        error = 1 - mean_average_precision(probs.numpy(), self._targets)
        if np.isnan(error):
            raise DataError(
                f"mAP is not defined on {self.num_images:,} images: no class has both images with it and without it",
                hint="evaluate on more images",
            )
        self._probs.append(probs.numpy())
        self._errors.append(error)

    @property
    def each(self) -> Errors:
        """The error of each head."""
        return np.array(self._errors)

    @property
    def mean(self) -> float:
        """The mean error of the heads."""
        return float(np.mean(self._errors))

    def resample(self, counts: NDArray[np.int64]) -> Errors:
        """One sort for each class of each head."""
        weights = np.ascontiguousarray(counts.T, dtype=np.float32)
        columns = [
            self._resampled(probs, error, weights) for probs, error in zip(self._probs, self._errors, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _resampled(self, probs: NDArray[np.float32], error: float, weights: NDArray[np.float32]) -> Errors:
        found = rank_samples(ranked_columns(probs, self._targets), probs.shape[1], weights).average_precision
        is_known = ~np.isnan(found)
        num_known = is_known.sum(axis=1)
        # A sample in which no class has both values says nothing.
        means = np.where(is_known, found, 0).sum(axis=1) / np.maximum(num_known, 1)
        return np.asarray(np.where(num_known > 0, 1 - means, error))


#: Task -> how the heads of a learning curve are scored.
HEAD_ERRORS: Mapping[TaskName, Any] = {"single-label": Top1Errors, "multi-label": MapErrors}
