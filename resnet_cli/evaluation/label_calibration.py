"""Calibration of a multi-label model: whether nine in ten of the labels with a probability of 0.9 are right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.calibration import NUM_BINS, Bin, bin_of
from resnet_cli.evaluation.intervals import NUM_RESAMPLES
from resnet_cli.heads.temperature import TINY
from resnet_cli.task import TASKS

#: Replaces one minus a probability of 1: half the distance from 1 to the float32 below it.
_TINY_REST = float(np.finfo(np.float32).epsneg) / 2


@dataclasses.dataclass(frozen=True)
class LabelCalibration:
    """How well the probabilities of the labels match their shares, over known values alone.

    Attributes:
        ece: Expected calibration error: that of each class, averaged over the classes with known values.
        per_class: Calibration error of each class; NaN if no value of it is known.
        chance_ece: The ECE below which a perfectly calibrated model stays in 95 of 100 samples of this size.
        brier: Brier score: squared error of the probabilities, mean over the known values; in [0, 1].
        loss: Mean binary cross-entropy in nats over the known values.
        bins: The ``NUM_BINS`` bins of the reliability diagram of all classes together: their probability, and the
            share of labels among them (``accuracy``).
    """

    ece: float
    per_class: tuple[float, ...]
    chance_ece: float
    brier: float
    loss: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; confidence and accuracy of an empty bin are None."""
        empty = {"confidence": None, "accuracy": None}
        bins = [dataclasses.asdict(one) | ({} if one.num else empty) for one in self.bins]
        return {"ece": self.ece, "brier": self.brier, "loss": self.loss, "bins": bins}


def label_calibration(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> LabelCalibration:
    """Measures the calibration of each class, in ``NUM_BINS`` bins of equal width.

    Args:
        probs: Probabilities [n x k].
        targets: 1 yes, 0 no, -1 unknown, [n x k]; at least one is known.

    Source: the calibration error of a binary classifier in bins of its probability: Naeini, Cooper and Hauskrecht
    2015, https://doi.org/10.1609/aaai.v29i1.9602.
    """
    num_classes = probs.shape[1]
    nums, sums, hits = (np.zeros((num_classes, NUM_BINS)) for _ in range(3))
    for label in range(num_classes):
        known = targets[:, label] >= 0
        column = probs[known, label].astype(np.float64)
        places = bin_of(column)
        nums[label] = np.bincount(places, minlength=NUM_BINS)
        sums[label] = np.bincount(places, column, NUM_BINS)
        hits[label] = np.bincount(places, targets[known, label], NUM_BINS)
    totals = nums.sum(axis=1)
    is_known = totals > 0
    errors = np.full(num_classes, np.nan)
    errors[is_known] = np.abs(sums - hits).sum(axis=1)[is_known] / totals[is_known]
    num_known = totals.sum()
    return LabelCalibration(
        ece=float(errors[is_known].mean()),
        per_class=tuple(errors.tolist()),
        chance_ece=_chance_ece(nums[is_known], sums[is_known]),
        brier=float(squared_errors(probs, targets).sum() / num_known),
        loss=float(cross_entropies(probs, targets).sum() / num_known),
        bins=_pooled_bins(nums.sum(axis=0), sums.sum(axis=0), hits.sum(axis=0)),
    )


def cross_entropies(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> NDArray[np.float64]:
    """Binary cross-entropy of the known values of each image, summed over them, [n] nats; 0 without known values."""
    is_true = targets == 1
    exact = probs.astype(np.float64)
    right = np.where(is_true, np.maximum(exact, TINY), np.maximum(1 - exact, _TINY_REST))
    found: NDArray[np.float64] = -np.where(targets >= 0, np.log(right), 0).sum(axis=1)
    return found


def squared_errors(probs: NDArray[np.floating[Any]], targets: NDArray[np.int8]) -> NDArray[np.float64]:
    """Squared error of the known values of each image, summed over them, [n]; 0 without known values."""
    found: NDArray[np.float64] = (np.where(targets >= 0, probs - targets.astype(np.float64), 0) ** 2).sum(axis=1)
    return found


def unscaled(probs: NDArray[np.floating[Any]], scale: Sequence[float], shift: Sequence[float]) -> NDArray[np.float32]:
    """The probabilities before each class's logits were scaled and shifted, [n x k].

    Args:
        probs: Calibrated probabilities [n x k].
        scale: What the logits of each class were multiplied by, above 0, [k].
        shift: What was added to them then, [k].
    """
    exact = probs.astype(np.float64)
    logits = np.log(np.maximum(exact, TINY)) - np.log(np.maximum(1 - exact, _TINY_REST))
    return TASKS["multi-label"].probs((logits - np.array(shift)) / np.array(scale)).astype(np.float32)


def _chance_ece(nums: NDArray[np.float64], sums: NDArray[np.float64]) -> float:
    """The ECE below which a perfectly calibrated model stays in 95 of 100 samples, from the bins [k x NUM_BINS].

    Within a bin all probabilities count as their mean: labels are then binomial, and vary slightly more than they do.

    Source: consistency resampling, Broecker and Smith 2007, https://doi.org/10.1175/WAF993.1.
    """
    rng = np.random.default_rng(0)
    shares = np.clip(sums / np.maximum(nums, 1), 0, 1)
    drawn = np.zeros(NUM_RESAMPLES)
    # Class by class, since 1,000 classes would be 15 million numbers. Classes are drawn independently: labels of one
    # image can depend on each other, and the mean over classes then varies a little more.
    for counts, means, total in zip(nums.astype(np.int64), shares, nums.sum(axis=1), strict=True):
        hits = rng.binomial(counts, means, size=(NUM_RESAMPLES, len(counts)))
        drawn += np.abs(hits - counts * means).sum(axis=1) / total
    return float(np.quantile(drawn / len(nums), 0.95))


def _pooled_bins(nums: NDArray[np.float64], sums: NDArray[np.float64], hits: NDArray[np.float64]) -> tuple[Bin, ...]:
    edges = np.linspace(0, 1, NUM_BINS + 1).tolist()
    with np.errstate(invalid="ignore"):
        means, shares = (sums / nums).tolist(), (hits / nums).tolist()
    rows = zip(edges, edges[1:], nums.astype(int).tolist(), means, shares, strict=False)
    return tuple(Bin(*row) for row in rows)
