"""Calibration: whether predictions with a probability of 0.9 are right in nine of ten cases."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.intervals import NUMBERS_AT_ONCE, resamples_for
from resnet_cli.heads.temperature import TINY
from resnet_cli.task import softmax

#: Bins of equal width over the probability of the predicted class. Source: Guo et al. 2017, section 2.
NUM_BINS = 15


@dataclasses.dataclass(frozen=True)
class Bin:
    """The predictions whose probability is in (low, high].

    Attributes:
        low: Lower edge of the bin.
        high: Upper edge of the bin.
        num: Number of predictions.
        confidence: Their mean probability; NaN for an empty bin.
        accuracy: The share of them that is correct; NaN for an empty bin.
    """

    low: float
    high: float
    num: int
    confidence: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How well probabilities match the accuracy.

    Attributes:
        ece: Expected calibration error: mean difference between confidence and accuracy over the bins, weighted by the
            number of predictions.
        brier: Brier score: squared error of the probabilities, summed over the classes, mean over images; in [0, 2].
        loss: Mean cross-entropy in nats.
        bins: The ``NUM_BINS`` bins of the reliability diagram.

    Source: ECE: Guo et al. 2017, https://arxiv.org/abs/1706.04599; Brier 1950, Monthly Weather Review 78(1).
    """

    ece: float
    brier: float
    loss: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; confidence and accuracy of an empty bin are None."""
        bins = [
            dataclasses.asdict(one) if one.num else dataclasses.asdict(one) | {"confidence": None, "accuracy": None}
            for one in self.bins
        ]
        return {"ece": self.ece, "brier": self.brier, "loss": self.loss, "bins": bins}


def calibration(probs: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> Calibration:
    """Measures the calibration.

    Args:
        probs: Probabilities [n x k], n at least 1.
        labels: True class indices [n].
    """
    confidence, is_right = top_predictions(probs, labels)
    places = bin_of(confidence)
    counts = np.bincount(places, minlength=NUM_BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(places, confidence, NUM_BINS) / counts
        shares = np.bincount(places, is_right, NUM_BINS) / counts
    filled = counts > 0
    ece = float((counts[filled] * np.abs(means - shares)[filled]).sum() / len(labels))
    edges = np.linspace(0, 1, NUM_BINS + 1).tolist()
    rows = zip(edges, edges[1:], counts.tolist(), means.tolist(), shares.tolist(), strict=False)
    return Calibration(
        ece,
        float(squared_errors(probs, labels).mean()),
        float(losses(probs, labels).mean()),
        tuple(Bin(*r) for r in rows),
    )


def top_predictions(
    probs: NDArray[np.floating[Any]], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probability of each predicted class [n], and whether it is correct [n]."""
    predicted = probs.argmax(axis=1)
    return probs[np.arange(len(probs)), predicted].astype(np.float64), predicted == labels


def bin_of(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the bin of each probability, [n]; the upper edge belongs to the bin."""
    found: NDArray[np.int64] = np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    return found


def losses(probs: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cross-entropy of each image, -ln(probability of the true class), [n] nats."""
    true_probs = probs[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(true_probs, TINY))


def squared_errors(probs: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared error of each row of probabilities, summed over the classes, [n] in [0, 2]."""
    true_probs = probs[np.arange(len(labels)), labels].astype(np.float64)
    # In slices: 50,000 rows of 1,000 classes are 400 MB as float64.
    squares = [np.einsum("nk,nk->n", rows, rows) for rows in (slice_.astype(np.float64) for slice_ in _slices(probs))]
    found: NDArray[np.float64] = np.concatenate(squares) - 2 * true_probs + 1
    return found


def chance_ece(confidence: NDArray[np.float64], *, seed: int = 0) -> float:
    """The ECE below which a perfectly calibrated model stays in 95 of 100 samples of this size.

    ECE has no interval here: sampling noise always raises it, resampling adds the noise once more, and such intervals
    nearly always miss a small true value.

    Source: consistency resampling, Broecker and Smith 2007, https://doi.org/10.1175/WAF993.1.

    Args:
        confidence: Probabilities of the predicted classes, [n].
        seed: Random seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    num, total = len(confidence), resamples_for(len(confidence))
    at_once = max(1, NUMBERS_AT_ONCE // num)
    places = bin_of(confidence)
    drawn = []
    for start in range(0, total, at_once):
        right = rng.random((min(at_once, total - start), num)) < confidence
        bins = places + NUM_BINS * np.arange(len(right))[:, None]
        sums = np.bincount(bins.ravel(), (right - confidence).ravel(), NUM_BINS * len(right))
        drawn.append(np.abs(sums.reshape(-1, NUM_BINS)).sum(axis=1) / num)
    return float(np.quantile(np.concatenate(drawn), 0.95))


def rescale(probs: NDArray[np.floating[Any]], scale: float) -> NDArray[np.float32]:
    """The probabilities if all logits were multiplied by ``scale``, [n x k].

    The logarithms of probabilities are logits up to a constant, which softmax ignores. With a model's temperature as
    the scale, these are its probabilities without temperature scaling.
    """
    logits = (np.float32(scale) * np.log(np.maximum(part, np.float32(TINY))) for part in _slices(probs))
    return np.concatenate([softmax(part) for part in logits]).astype(np.float32)


def _slices(probs: NDArray[np.floating[Any]]) -> list[NDArray[np.floating[Any]]]:
    return np.array_split(probs, max(1, probs.size // 2_000_000))
