"""When to abstain: predictions that are too often wrong, and images unlike all training images. No torch."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ModelError
from resnet_cli.model.operating_point import select_threshold
from resnet_cli.text import percent

#: Number of nearest exemplars that an image is compared with.
NUM_NEAREST = 20
#: Share of the mean variance that is added to the variance of each feature, so that nearly constant features get a
#: small weight.
VARIANCE_FLOOR = 0.1
#: Share of validation images that count as familiar.
KNOWN_SHARE = 0.95
#: What is said about an image whose novelty is above :attr:`Reliability.most_novel`.
UNLIKE = "unlike the training images"
#: Images compared at once: their similarities to 2,000 exemplars take 8 MB.
ROWS_AT_ONCE = 1024


class ValidationResults:
    """What a model's results on its validation split tell for every task: which images count as familiar.

    Attributes:
        novelty: Novelty of each image, see :func:`novelty`, float32 [v].
    """

    novelty: NDArray[np.float32]

    def is_sound(self, num_classes: int) -> bool:
        """Whether shapes, types and values are valid for a model with this many classes."""
        raise NotImplementedError

    @classmethod
    def measure(cls, probs: NDArray[np.floating[Any]], targets: NDArray[Any], novelty: NDArray[np.float32]) -> Self:
        """The results from probabilities [v x k], the task's targets, and the novelty [v] of the validation images."""
        raise NotImplementedError

    @classmethod
    def from_flat(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The results from arrays by name, each with one axis.

        Raises:
            ValueError: Their sizes do not fit.
        """
        return cls(**arrays)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, as files hold them."""
        # Not `vars`, which would include what is cached.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @functools.cached_property
    def most_novel(self) -> float:
        """The novelty up to which an image counts as familiar: ``KNOWN_SHARE`` of validation images do.

        Source: the conformal quantile of Vovk et al. 2005, ``ceil((v + 1) * share)`` smallest, if there is one.
        """
        return float(np.sort(self.novelty)[self._rank - 1])

    @property
    def false_alarms(self) -> float:
        """Expected share of new images above ``most_novel`` among images like the validation images.

        At most ``1 - KNOWN_SHARE`` with 19 images or more; with fewer no threshold among them can keep it so low.
        """
        return 1 - self._rank / (len(self.novelty) + 1)

    @property
    def _rank(self) -> int:
        return min(len(self.novelty), math.ceil((len(self.novelty) + 1) * KNOWN_SHARE))


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability(ValidationResults):
    """A single-label model's results on its validation split, from which the rules for abstaining are derived.

    Attributes:
        confidence: Probability of each image's predicted class, at the model's temperature, float32 [v].
        is_right: Whether each prediction is correct, bool [v].
        novelty: Novelty of each image, see :func:`novelty`, float32 [v].
    """

    confidence: NDArray[np.float32]
    is_right: NDArray[np.bool_]
    novelty: NDArray[np.float32]

    @classmethod
    def measure(cls, probs: NDArray[np.floating[Any]], targets: NDArray[Any], novelty: NDArray[np.float32]) -> Self:
        """The results from probabilities [v x k], labels int64 [v], and the novelty [v]."""
        return cls(probs.max(axis=1).astype(np.float32), probs.argmax(axis=1) == targets, novelty)

    def is_sound(self, num_classes: int) -> bool:
        """Whether shapes, types and values are valid."""
        arrays = list(self.arrays().values())
        shapes = {values.shape for values in arrays}
        dtypes = [values.dtype for values in arrays]
        return (
            len(shapes) == 1
            and self.confidence.ndim == 1
            and len(self.confidence) > 0
            and dtypes == [np.dtype(np.float32), np.dtype(np.bool_), np.dtype(np.float32)]
            and bool(((self.confidence >= 0) & (self.confidence <= 1.00001)).all())
            and bool(np.isfinite(self.novelty).all())
        )


@dataclasses.dataclass(frozen=True)
class Abstention:
    """The rule by which an image is labeled "unknown".

    Attributes:
        min_prob: Least probability of the predicted class.
        unfamiliar: Whether images that are unlike the training images are labeled "unknown".
    """

    min_prob: float = 0.0
    unfamiliar: bool = False

    def reason(self, prob: float, is_unfamiliar: bool | None) -> str | None:
        """Why an image is labeled "unknown", in words; None if it is classified."""
        if self.unfamiliar and is_unfamiliar:
            return UNLIKE
        if prob < self.min_prob:
            return f"only {percent(prob)} sure"
        return None


def validation_precision(provenance: Mapping[str, Any]) -> str | None:
    """The precision of a model's validation results, temperature and thresholds; None if it is not known."""
    recipe = provenance.get("recipe")
    found = recipe.get("precision") if isinstance(recipe, Mapping) else None
    return found if isinstance(found, str) else None


def quantized_sha256(provenance: Mapping[str, Any]) -> str | None:
    """The checksum of the quantized backbone that a head was trained with; None if it was not trained in int8."""
    return str(provenance.get("quantized")) if validation_precision(provenance) == "int8" else None


def precision_conflict(provenance: Mapping[str, Any], precision: str) -> str | None:
    """A sentence for the user if a model predicts in another precision than its thresholds were computed in.

    Args:
        provenance: Provenance of the model.
        precision: Precision of the predictions.

    Returns:
        The sentence; None if the two are the same, or the first is not known.
    """
    made = validation_precision(provenance)
    if made is None or made == precision:
        return None
    return (
        f"the model's validation metrics, temperature and thresholds were computed in {made}, these predictions in "
        f"{precision}: probabilities can differ by a few hundredths"
    )


def abstention(
    reliability: ValidationResults | None, *, threshold: float = 0.0, target_error: float | None
) -> Abstention:
    """The rule of a single-label model: unfamiliar images are "unknown", and so are predictions below a threshold.

    Args:
        reliability: Validation results of the model; None if it has none.
        threshold: Least probability that the user asks for.
        target_error: Largest accepted share of wrong predictions among those that are kept; None for no target.

    Raises:
        ModelError: The model has no validation results.
        ConfigError: No threshold meets the target: the validation split is too small, or too often predicted wrong.
    """
    if not isinstance(reliability, Reliability):
        raise cannot_abstain()
    if target_error is not None:
        threshold = max(
            threshold, select_threshold(reliability.confidence, reliability.is_right, target_error).min_prob
        )
    return Abstention(threshold, unfamiliar=True)


def cannot_abstain() -> ModelError:
    """The error for a model without validation results."""
    return ModelError(
        "the model cannot abstain: it has no validation metrics and no exemplars",
        hint="train one with this version: resnet-cli finetune DATA",
    )


def is_unfamiliar(
    novelty: NDArray[np.float32] | None, reliability: ValidationResults | None
) -> NDArray[np.bool_] | None:
    """Whether images are unlike the training images: the one rule of every command, report and export.

    Args:
        novelty: Novelty of each image, [n]; None if the model does not compute it.
        reliability: Results of the model on its validation split, which set the limit; None if it has none.

    Returns:
        [n]; None if the model cannot tell.
    """
    return None if novelty is None or reliability is None else novelty > reliability.most_novel


def novelty(features: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float32]:
    """How unlike all training images each image is: one minus the mean cosine to the nearest ones, in [0, 2].

    Each feature is first divided by its standard deviation among the training images. Area under the ROC curve for two
    classes of CIFAR-10 (500 images each, 128 px) against the other eight, mean of five such pairs: 0.906, and 0.870 for
    cats and dogs; without the division 0.897 and 0.844, with centered features 0.700, with the distance from the first
    256 principal directions 0.901. With ten neighbors: 0.902; with fifty: 0.907.

    Args:
        features: Features [n x 2048] of any float dtype.
        reference: Features of training images, [m x 2048], m at least 1.

    Source: Sun et al. 2022, https://arxiv.org/abs/2204.06507.
    """
    return NoveltyScorer(reference).novelty(features)


class NoveltyScorer:
    """Computes the novelty of any number of images against the same training images.

    Args:
        reference: Features of the training images, [m x 2048].

    Attributes:
        scales: Divisor of each feature, float32 [2048].
        units: The scaled reference with rows of length 1, float32 [m x 2048].
    """

    def __init__(self, reference: NDArray[Any]) -> None:
        exact = np.asarray(reference, dtype=np.float32)
        variance = exact.var(axis=0)
        # Constant features would be divided by zero.
        floored = np.maximum(variance + VARIANCE_FLOOR * variance.mean(), np.float32(1e-12))
        self.scales: NDArray[np.float32] = np.sqrt(floored)
        self.units = unit_rows(exact / self.scales)

    def novelty(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Novelty of each row of features; see :func:`novelty`."""
        num_nearest = min(NUM_NEAREST, len(self.units))
        found = np.empty(len(features), dtype=np.float32)
        for start in range(0, len(features), ROWS_AT_ONCE):
            cosines = unit_rows(features[start : start + ROWS_AT_ONCE] / self.scales) @ self.units.T
            nearest = np.partition(cosines, -num_nearest, axis=1)[:, -num_nearest:]
            found[start : start + ROWS_AT_ONCE] = 1 - nearest.mean(axis=1)
        return found


def unit_rows(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows divided by their length, float32; rows of zeros stay zero."""
    exact = np.asarray(rows, dtype=np.float32)
    lengths = np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), np.float32(1e-12))
    units: NDArray[np.float32] = exact / lengths
    return units
