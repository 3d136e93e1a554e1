"""Which labels a multi-label model predicts for an image: its thresholds, and those with a guarantee. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ModelError, UnreachableTarget
from resnet_cli.model.reliability import UNLIKE, Reliability, ValidationResults
from resnet_cli.model.thresholds import (
    ClassThreshold,
    num_needed_for_precision,
    num_needed_for_recall,
    precision_thresholds,
    recall_thresholds,
)
from resnet_cli.task import UNKNOWN, YES, TaskName
from resnet_cli.text import first_of

#: Values of a probability and its target that a model stores at most, 5 bytes each; of more validation images a random
#: sample is stored.
MAX_CELLS = 2_000_000
#: Classes that are named in a sentence.
NUM_NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class LabelReliability(ValidationResults):
    """A multi-label model's results on its validation split, from which thresholds with a bound are derived.

    Attributes:
        probs: Probabilities, float32 [v x k].
        targets: 1 yes, 0 no, -1 unknown, int8 [v x k].
        novelty: Novelty of each image, float32 [v].
    """

    probs: NDArray[np.float32]
    targets: NDArray[np.int8]
    novelty: NDArray[np.float32]

    def is_sound(self, num_classes: int) -> bool:
        """Whether shapes, types and values are valid."""
        return (
            self.novelty.ndim == 1
            and len(self.novelty) > 0
            and self.probs.shape == self.targets.shape == (len(self.novelty), num_classes)
            and [x.dtype for x in (self.probs, self.targets, self.novelty)] == [np.float32, np.int8, np.float32]
            and bool(((self.probs >= 0) & (self.probs <= 1)).all())
            and bool(((self.targets >= UNKNOWN) & (self.targets <= YES)).all())
            and bool(np.isfinite(self.novelty).all())
        )

    @classmethod
    def measure(cls, probs: NDArray[np.floating[Any]], targets: NDArray[Any], novelty: NDArray[np.float32]) -> Self:
        """The results from probabilities [v x k], targets int8 [v x k], and the novelty [v]."""
        return cls(probs.astype(np.float32), targets.astype(np.int8), novelty)

    @classmethod
    def from_flat(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The results from arrays by name, each with one axis.

        Raises:
            ValueError: Their sizes do not fit.
        """
        shape = len(arrays["novelty"]), -1
        return cls(arrays["probs"].reshape(shape), arrays["targets"].reshape(shape), arrays["novelty"])

    @property
    def may_be_sample(self) -> bool:
        """Whether there are as many images as a model stores, so that there may have been more."""
        return len(self.probs) >= self._most

    @property
    def _most(self) -> int:
        return max(1, MAX_CELLS // int(self.probs.shape[1]))

    def sample(self, *, seed: int) -> LabelReliability:
        """At most as many images as a model stores, chosen at random."""
        most = self._most
        if len(self.probs) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.probs))[:most])
        return LabelReliability(self.probs[chosen], self.targets[chosen], self.novelty[chosen])


#: Task -> what a model of it stores about its validation split.
RESULTS: Mapping[TaskName, type[Reliability] | type[LabelReliability]] = {
    "single-label": Reliability,
    "multi-label": LabelReliability,
}


class LabelScaling(NamedTuple):
    """The scale and shift of each class's logits that were fitted on the validation split; the head contains them.

    Attributes:
        scale: Factors of the logits, [k], above 0.
        shift: What is added to them afterwards, [k].
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]


def label_metadata(num_classes: int) -> dict[str, Callable[[Any], bool]]:
    """Name -> check of a value that files hold about a multi-label model with this many classes."""

    def are_numbers(values: Any, least: float, most: float) -> bool:
        return (
            isinstance(values, list)
            and len(values) == num_classes
            and all(isinstance(x, int | float) and least <= x <= most for x in values)
        )

    def is_scaling(values: Any) -> bool:
        return values is None or (
            isinstance(values, dict)
            and values.keys() == {"scale", "shift"}
            and are_numbers(values["scale"], 1e-6, 1e6)
            and are_numbers(values["shift"], -1e6, 1e6)
        )

    return {
        "task": lambda task: task == "multi-label",
        "thresholds": lambda values: are_numbers(values, 0, 1),
        "scaling": is_scaling,
    }


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """The rule by which labels are chosen.

    Attributes:
        thresholds: The least probability at which each class is predicted, [k]; None: never.
        unfamiliar: Whether images that are unlike the training images are labeled "unknown".
        caveat: A sentence about classes whose thresholds do not hold what was requested; None if there are none.
    """

    thresholds: tuple[float | None, ...]
    unfamiliar: bool = False
    caveat: str | None = dataclasses.field(default=None, compare=False, repr=False)

    def reason(self, prob: float, is_unfamiliar: bool | None) -> str | None:
        """Why an image is labeled "unknown", in words; None if it is classified, with any number of labels."""
        return UNLIKE if self.unfamiliar and is_unfamiliar else None


def is_predicted(probs: NDArray[np.floating[Any]], thresholds: Sequence[float | None]) -> NDArray[np.bool_]:
    """Which classes are predicted: those whose probability is at or above their threshold.

    Args:
        probs: Probabilities [n x k].
        thresholds: One per class; a class with None is never predicted.

    Returns:
        bool [n x k].
    """
    # As float32, in which `eval` and exported files compare too.
    cuts = np.array([np.inf if x is None else x for x in thresholds], dtype=np.float32)
    found: NDArray[np.bool_] = probs >= cuts
    return found


def select_label_thresholds(
    reliability: ValidationResults | None,
    classes: Sequence[str],
    *,
    target_precision: float | None = None,
    target_recall: float | None = None,
) -> tuple[tuple[ClassThreshold, ...], str | None]:
    """The threshold of each class that keeps precision or recall above a target at a confidence level of 95 %.

    Args:
        reliability: Validation results of the model; None if it has none.
        classes: Class names in index order.
        target_precision: Smallest accepted precision of each class, in (0, 1); None for no target.
        target_recall: Smallest accepted recall of each class; exactly one of the two is given.

    Returns:
        The thresholds, and a sentence about classes for which none holds; None if there are none.

    Raises:
        ModelError: The model has no validation results.
        ConfigError: No threshold of any class holds.
    """
    by_precision = target_precision is not None
    flag, target = ("--target-precision", target_precision) if by_precision else ("--target-recall", target_recall)
    assert target is not None
    if not isinstance(reliability, LabelReliability):
        raise ModelError(
            f"{flag}: the model has no validation results to choose thresholds by",
            hint="train one with this version: resnet-cli finetune DATA",
        )
    select: Callable[..., tuple[ClassThreshold, ...]] = precision_thresholds if by_precision else recall_thresholds
    needed = num_needed_for_precision(target) if by_precision else num_needed_for_recall(target)
    found = select(reliability.probs, reliability.targets, target)
    missing = [index for index, one in enumerate(found) if one.bound is None]
    if len(missing) == len(found):
        num, name = max((one.num_positives, name) for one, name in zip(found, classes, strict=True))
        reason = f"; '{name}' has the most validation images ({num:,})" if num < needed else " with these results"
        raise UnreachableTarget(
            f"{flag} {100 * target:g}%: no threshold of any class can guarantee this{reason}",
            hint=f"a class needs at least {needed:,} validation images that have it; add images, or lower the target"
            if num < needed
            else "lower the target, or train a better model",
        )
    return found, _caveat(flag, needed, classes, found, missing=missing) if missing else None


def _caveat(
    flag: str, needed: int, classes: Sequence[str], found: Sequence[ClassThreshold], *, missing: Sequence[int]
) -> str:
    def why(index: int) -> str:
        num = found[index].num_positives
        return f"{classes[index]} ({num:,} in validation, {needed:,} needed)" if num < needed else classes[index]

    is_are = "is" if len(missing) == 1 else "are"
    then = f"{is_are} never predicted" if flag == "--target-precision" else f"{is_are} predicted for every image"
    named = first_of([why(index) for index in missing], NUM_NAMED)
    return f"{flag}: {named} {then}, because no other threshold can guarantee the target"
