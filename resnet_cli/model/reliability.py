"""When not to answer: answers that are too often wrong, and images unlike anything that was trained on. No torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.text import percent

#: Training images that an image is compared with: the nearest ones of those that the model remembers.
NUM_NEAREST = 20
#: Share of the mean variance added to each feature's own, so that features that hardly vary count little.
VARIANCE_FLOOR = 0.1
#: Share of validation images that count as known.
KNOWN_SHARE = 0.95
#: The chance that a promise about errors is kept, over the choice of the validation images.
CERTAINTY = 0.95
#: Where the search for a threshold begins: at the fewest images that can be enough, and at twice and four times so
#: many, which may hold a mistake or more.
NUM_STARTS = 3
#: Steps that the search takes over all images.
NUM_STEPS = 100
#: Images compared at once: their similarities to 2,000 remembered ones take 8 MB.
ROWS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """How a model answered its validation split, which is all that is needed to say when it should not answer.

    Attributes:
        confidence: Probability of each image's most probable class, at the model's temperature, float32 [v].
        is_right: Whether that class is right, bool [v].
        novelty: See :func:`novelty`, float32 [v].
    """

    confidence: NDArray[np.float32]
    is_right: NDArray[np.bool_]
    novelty: NDArray[np.float32]

    def is_sound(self) -> bool:
        """Whether this can be what a training wrote."""
        shapes = {values.shape for values in vars(self).values()}
        dtypes = [values.dtype for values in vars(self).values()]
        return (
            len(shapes) == 1
            and self.confidence.ndim == 1
            and len(self.confidence) > 0
            and dtypes == [np.dtype(np.float32), np.dtype(np.bool_), np.dtype(np.float32)]
            and bool(((self.confidence >= 0) & (self.confidence <= 1.00001)).all())
            and bool(np.isfinite(self.novelty).all())
        )

    @property
    def most_novel(self) -> float:
        """The novelty up to which an image counts as known: ``KNOWN_SHARE`` of validation images do.

        Source: the conformal quantile of Vovk et al. 2005, ``ceil((v + 1) * share)`` smallest, where there is one.
        """
        rank = min(len(self.novelty), math.ceil((len(self.novelty) + 1) * KNOWN_SHARE))
        return float(np.sort(self.novelty)[rank - 1])


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """Answer only what is at least this probable, and few answers are wrong.

    Attributes:
        min_prob: The threshold.
        coverage: Share of validation images that reach it.
        error: Share of those that are answered wrong.
        error_bound: What the share of wrong answers among new images of the same kind stays below.
    """

    min_prob: float
    coverage: float
    error: float
    error_bound: float


@dataclasses.dataclass(frozen=True)
class Abstention:
    """The rule by which an image is not answered.

    Attributes:
        min_prob: Of the most probable class.
        max_novelty: Of the image; infinite: any.
    """

    min_prob: float = 0.0
    max_novelty: float = math.inf

    def reason(self, prob: float, novelty: float | None) -> str | None:
        """Why an image is not answered, in words; None if it is."""
        if novelty is not None and novelty > self.max_novelty:
            return "unlike the training images"
        if prob < self.min_prob:
            return f"only {percent(prob)} sure"
        return None


def made_in(provenance: Mapping[str, Any]) -> str | None:
    """The precision in which a model's validation figures, temperature and thresholds were made; None: not known."""
    recipe = provenance.get("recipe")
    found = recipe.get("precision") if isinstance(recipe, Mapping) else None
    return found if isinstance(found, str) else None


def precision_conflict(provenance: Mapping[str, Any], precision: str) -> str | None:
    """What to say where a model answers in another precision than the one in which it got to know its limits.

    Args:
        provenance: Of the model.
        precision: In which it answers.

    Returns:
        A sentence; None where the two are the same, or nothing is known.
    """
    made = made_in(provenance)
    if made is None or made == precision:
        return None
    return (
        f"the model's validation figures, temperature and thresholds were computed in {made}, these answers in "
        f"{precision}: probabilities may differ by some hundredths"
    )


def abstention(reliability: Reliability | None, *, threshold: float = 0.0, target_error: float | None) -> Abstention:
    """The rule of a model: unfamiliar images are not answered, nor those below a probability.

    Args:
        reliability: The model's; None where it has none.
        threshold: Least probability that the user asks for.
        target_error: Largest share of wrong answers among the answered; None: no such promise.

    Raises:
        ModelError: The model carries nothing to decide by.
        ConfigError: Its validation split is too small, or its answers too bad, for the promise.
    """
    if reliability is None:
        raise ModelError(
            "the model does not know its own limits: it has no validation figures and remembers no images",
            hint="train one with this version: resnet-cli finetune DATA",
        )
    if target_error is not None:
        threshold = max(
            threshold, select_threshold(reliability.confidence, reliability.is_right, target_error).min_prob
        )
    return Abstention(threshold, reliability.most_novel)


def novelty(features: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float32]:
    """How unlike all training images each image is: one minus the mean cosine to its nearest ones, in [0, 2].

    Each feature is divided by its standard deviation among the training images first. Area under the ROC curve for
    two classes of CIFAR-10 (500 images each, 128 px) against the other eight, mean of five such pairs: 0.906, and
    0.870 for cats and dogs; without the division 0.897 and 0.844, centred features 0.700, distance from the principal
    256 directions 0.901. Ten neighbours: 0.902; fifty: 0.907.

    Args:
        features: [n x 2048] of any float dtype.
        reference: Of training images, [m x 2048], m at least 1.

    Source: Sun et al. 2022, https://arxiv.org/abs/2204.06507.
    """
    return NoveltyScorer(reference).novelty(features)


class NoveltyScorer:
    """Training images, made ready once to compare any number of others with.

    Args:
        reference: Their features, [m x 2048].

    Attributes:
        scales: What each feature is divided by, float32 [2048].
        units: The reference divided by it, as rows of length 1, float32 [m x 2048].
    """

    def __init__(self, reference: NDArray[Any]) -> None:
        exact = np.asarray(reference, dtype=np.float32)
        variance = exact.var(axis=0)
        # Features that never vary leave nothing to divide by.
        floored = np.maximum(variance + VARIANCE_FLOOR * variance.mean(), np.float32(1e-12))
        self.scales: NDArray[np.float32] = np.sqrt(floored)
        self.units = _units(exact / self.scales)

    def novelty(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """See :func:`novelty`."""
        num_nearest = min(NUM_NEAREST, len(self.units))
        found = np.empty(len(features), dtype=np.float32)
        for start in range(0, len(features), ROWS_AT_ONCE):
            cosines = _units(features[start : start + ROWS_AT_ONCE] / self.scales) @ self.units.T
            nearest = np.partition(cosines, -num_nearest, axis=1)[:, -num_nearest:]
            found[start : start + ROWS_AT_ONCE] = 1 - nearest.mean(axis=1)
        return found


def select_threshold(confidence: NDArray[Any], is_right: NDArray[np.bool_], target_error: float) -> OperatingPoint:
    """The lowest threshold found at which wrong answers stay below a share, with a certainty of 95 %.

    The bound holds for new images drawn as the validation images were, and for nothing else.

    Thresholds are tried from high to low while the bound holds, so that all but the first wrong step need no room in
    the certainty: it is shared by the ``NUM_STARTS`` places where that begins alone. A binary search over all
    thresholds, as in SGR, gives a share of it to each look, and starts with so few images that no bound can hold.

    Args:
        confidence: [v], probabilities of the answers to validation images.
        is_right: [v].
        target_error: In (0, 1).

    Raises:
        ConfigError: No threshold keeps it: too few images, or too many wrong ones.

    Source: selection by a bound: Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500; fixed sequences with
    several starts: Angelopoulos et al. 2021, https://arxiv.org/abs/2110.01052, section 4; the bound: Clopper and
    Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~is_right[order])
    num, doubt = len(order), (1 - CERTAINTY) / NUM_STARTS
    # Without a single mistake so many are enough.
    needed = math.ceil(math.log(doubt) / math.log1p(-target_error))
    ends = _ends_of_ties(ranked)
    found = None
    for start in range(NUM_STARTS):
        for num_answered in _steps(ends, needed * 2**start):
            num_wrong = int(wrong[num_answered - 1])
            bound = error_bound(num_wrong, num_answered, doubt)
            if bound > target_error:
                break
            if found is None or num_answered / num > found.coverage:
                min_prob = float(ranked[num_answered - 1])
                found = OperatingPoint(min_prob, num_answered / num, num_wrong / num_answered, bound)
    if found is None:
        reason = f"{num:,} validation images" if num < needed else "these answers"
        raise ConfigError(
            f"--target-error {target_error:.2%}: no threshold can promise that with {reason}",
            hint=f"give it at least {needed:,} validation images, or ask for less"
            if num < needed
            else "ask for less, or train a better model",
        )
    return found


def _ends_of_ties(ranked: NDArray[Any]) -> NDArray[np.int64]:
    """How many images are answered at each threshold: all that are as probable as the last one are, too."""
    return np.append(np.flatnonzero(np.diff(ranked)) + 1, len(ranked))


def _steps(ends: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """The numbers of answered images to try, from ``start`` up, about a hundredth of all apart."""
    wanted = np.arange(start, ends[-1] + 1, max(1, ends[-1] // NUM_STEPS))
    if start <= ends[-1]:
        wanted = np.append(wanted, ends[-1])
    return np.unique(ends[np.searchsorted(ends, wanted)])


def error_bound(num_wrong: int, num: int, doubt: float) -> float:
    """The upper end of the one-sided Clopper-Pearson interval of a share.

    Args:
        num_wrong: Of ``num``.
        num: At least 1.
        doubt: The chance that the bound does not hold.
    """
    from scipy.stats import beta

    return 1.0 if num_wrong == num else float(beta.ppf(1 - doubt, num_wrong + 1, num - num_wrong))


def _units(rows: NDArray[Any]) -> NDArray[np.float32]:
    exact = np.asarray(rows, dtype=np.float32)
    # A dead feature row stays zero.
    lengths = np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), np.float32(1e-12))
    units: NDArray[np.float32] = exact / lengths
    return units
