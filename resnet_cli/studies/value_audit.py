"""Finds missing and wrong labels of a multi-label data set: each value is checked with heads trained without its image.

A value is one class of one image: 1 yes, 0 no, -1 unknown. Each class is a yes/no question of its own, and values are
ranked by the probability that the heads give to them (self-confidence), lowest first. Measured on 3,500 mosaics of
CIFAR-10 (four images of 32 px each, one to four of ten classes, heads with a mAP of 0.7) with 444 labels removed and
246 added: of the first 20 suspected missing labels 19 are planted, of the first 100 59; of the first 100 suspected
wrong ones 27.

The number of missing labels is estimated on the values that are most certainly yes, that of wrong ones on those that
are most certainly no: 440 for 444 missing labels, 1,784 for 1,778, 40 for none; 593 for 246 wrong ones, 427 for none,
since objects that the heads never find look like wrong labels. The thresholds of confident learning, class by class,
gave 2,400 for 444 missing labels and 2,050 for none. An image is as doubtful as its most doubtful value: that ranks
images with a planted error better (average precision 0.34) than a moving average over the values (0.28).

Sources: confident learning: Northcutt et al. 2021, https://arxiv.org/abs/1911.00068; each class by itself, and scores
of images: Thyagarajan et al. 2022, https://arxiv.org/abs/2211.13895.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.errors import DataError
from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.studies.folds import NUM_FOLDS, assign_folds, blocks_of, out_of_fold_probs
from resnet_cli.studies.label_audit import MIN_SUREST, MIN_TRAINED
from resnet_cli.system.events import Progress
from resnet_cli.task import NO, UNKNOWN, YES

#: The numbers of errors are estimated on this share of the most certain values, but at least on ``MIN_SUREST``.
SUREST_SHARE = 0.05


class Suspect(NamedTuple):
    """A value that is likely wrong, or a suggestion for an unknown one.

    Attributes:
        image: Position of the image.
        label: Index of the class.
        given: The value in the data: 1 yes, 0 no, -1 unknown.
        prob: Probability that the image has the label, according to heads that were trained without it.
    """

    image: int
    label: int
    given: int
    prob: float

    @property
    def kind(self) -> str:
        """``missing``, ``wrong`` or ``unknown``."""
        return {YES: "wrong", NO: "missing", UNKNOWN: "unknown"}[self.given]

    @property
    def suggested(self) -> int:
        """The value that is more likely, 1 or 0."""
        return {YES: NO, NO: YES}.get(self.given, YES if self.prob > 0.5 else NO)

    @property
    def doubt(self) -> float:
        """Probability of the suggested value."""
        return self.prob if self.suggested == YES else 1 - self.prob


@dataclasses.dataclass(frozen=True, eq=False)
class ValueAudit:
    """The values of all images, ranked by how likely they are to be wrong.

    Attributes:
        classes: Class names in index order.
        targets: The given values, int8 [n x k].
        probs: Out-of-fold probabilities, float32 [n x k].
        is_checked: Whether each value was checked, bool [n x k].
        num_missing: Estimated number of missing labels among the checked values.
        num_wrong: Estimated number of wrong labels among them.
        suspects: Values that are likely wrong, the worst first; both kinds together.
        unknown: Suggestions for unknown values, the most certain first; empty unless requested.
    """

    classes: tuple[str, ...]
    targets: NDArray[np.int8]
    probs: NDArray[np.float32]
    is_checked: NDArray[np.bool_]
    num_missing: Interval
    num_wrong: Interval
    suspects: tuple[Suspect, ...]
    unknown: tuple[Suspect, ...]

    @property
    def num_checked(self) -> int:
        """Number of values that were checked."""
        return int(self.is_checked.sum())

    @property
    def num_unchecked(self) -> int:
        """Number of known values that were not checked: too few images have, or lack, the label."""
        return int((self.targets >= 0).sum()) - self.num_checked

    @property
    def by_class(self) -> list[tuple[int, int, int]]:
        """(class, suspected missing labels, suspected wrong ones) of each class with suspects, most suspects first."""
        counts = np.zeros((len(self.classes), 2), dtype=np.int64)
        for suspect in self.suspects:
            counts[suspect.label, int(suspect.given == YES)] += 1
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        return [(int(label), *counts[label].tolist()) for label in order if counts[label].any()]

    @property
    def image_order(self) -> list[int]:
        """All images, that with the most doubtful value first."""
        given = np.where(self.targets == YES, self.probs, 1 - self.probs)
        worst = np.where(self.is_checked, given, np.inf).min(axis=1, initial=np.inf)
        return [int(at) for at in np.argsort(worst, kind="stable")]

    def suggested_labels(self, image: int, suspects: Sequence[Suspect]) -> tuple[str, ...]:
        """The labels of an image after all suggestions."""
        values = self.targets[image].copy()
        for suspect in suspects:
            values[suspect.label] = suspect.suggested
        return tuple(self.classes[label] for label in np.flatnonzero(values == YES))

    def to_dict(self, items: Sequence[Item]) -> dict[str, Any]:
        """Plain JSON values; the likely wrong values, the worst first.

        Args:
            items: The images that the values belong to, [n].
        """
        return {
            "num_judged": self.num_checked,
            "num_unjudged": self.num_unchecked,
            "num_missing": self.num_missing._asdict(),
            "num_wrong": self.num_wrong._asdict(),
            "per_class": {self.classes[label]: {"missing": m, "wrong": w} for label, m, w in self.by_class},
            "likely_wrong": [self._entry(items, one) for one in self.suspects],
            "unknown": [self._entry(items, one) for one in self.unknown],
        }

    def _entry(self, items: Sequence[Item], one: Suspect) -> dict[str, Any]:
        return {
            "path": items[one.image].name,
            "split": items[one.image].split,
            "class": self.classes[one.label],
            "kind": one.kind,
            "suggested": bool(one.suggested),
            "prob": round(one.prob, 6),
        }


def audit_values(
    features: Tensor,
    targets: NDArray[np.int8],
    classes: Sequence[str],
    *,
    groups: Sequence[str] = (),
    device: str = "cpu",
    seed: int = 0,
    suggest_unknown: bool = False,
    on_progress: Progress | None = None,
) -> ValueAudit:
    """Checks every known value with a head that was trained without its image.

    Copies of an image, and images of one group, are in one fold: a copy with the same wrong label would confirm it.

    Args:
        features: Features of a backbone that was not trained on these labels, [n x 2048].
        targets: The given values, int8 [n x k].
        classes: Names of the k classes.
        groups: Group of each image, or empty; an empty name means no group.
        device: Device that heads are trained on.
        seed: Random seed of the folds.
        suggest_unknown: Whether unknown values get suggestions.
        on_progress: Called with (images checked, images in all).

    Raises:
        DataError: No class is large enough to be checked.
    """
    folds = assign_folds(targets, blocks_of(features, groups), seed=seed)
    trained = _is_trained(targets, folds)
    is_checked = trained & (targets != UNKNOWN)
    if not is_checked.any():
        raise DataError(
            f"{len(targets):,} images of {len(classes):,} classes are too few to check their labels",
            hint=f"a class needs {MIN_TRAINED} images with the label and as many without it, besides the image itself",
        )
    rows = features, torch.from_numpy(targets)
    probs = out_of_fold_probs(rows, folds, len(classes), task="multi-label", device=device, on_progress=on_progress)
    return rank_values(probs, targets, classes, trained, suggest_unknown=suggest_unknown)


def rank_values(
    probs: NDArray[np.float32],
    targets: NDArray[np.int8],
    classes: Sequence[str],
    is_trained: NDArray[np.bool_],
    *,
    suggest_unknown: bool = False,
) -> ValueAudit:
    """Ranks values by their out-of-fold probability.

    Args:
        probs: Out-of-fold probabilities [n x k].
        targets: The given values [n x k].
        classes: Names of the k classes.
        is_trained: Whether the head of a value could learn its class, [n x k].
        suggest_unknown: Whether unknown values get suggestions.
    """
    is_checked = is_trained & (targets != UNKNOWN)
    estimates: dict[int, Interval] = {}
    suspects: list[Suspect] = []
    for given in (NO, YES):
        # Probability of the other value than the given one.
        certainty = probs if given == NO else 1 - probs
        estimate = _estimate(certainty[is_checked], targets[is_checked] == given)
        images, labels = np.nonzero(is_checked & (targets == given))
        order = np.argsort(-certainty[images, labels], kind="stable")[: round(estimate.value)]
        pairs = zip(images[order].tolist(), labels[order].tolist(), strict=True)
        suspects += [Suspect(image, label, given, float(probs[image, label])) for image, label in pairs]
        estimates[given] = estimate
    images, labels = np.nonzero(is_trained & (targets == UNKNOWN) & suggest_unknown)
    pairs = zip(images.tolist(), labels.tolist(), strict=True)
    unknown = [Suspect(image, label, UNKNOWN, float(probs[image, label])) for image, label in pairs]
    return ValueAudit(
        tuple(classes),
        targets,
        probs,
        is_checked,
        num_missing=estimates[NO],
        num_wrong=estimates[YES],
        suspects=tuple(sorted(suspects, key=lambda one: -one.doubt)),
        unknown=tuple(sorted(unknown, key=lambda one: -one.doubt)),
    )


def _estimate(certainty: NDArray[np.float32], is_contradicted: NDArray[np.bool_]) -> Interval:
    """Estimates how many values of one kind are wrong, from the share that the most certain predictions contradict.

    That share is the one of all images that truly have the other value: it is related to those that are not
    contradicted.

    Args:
        certainty: Probability that a value is the other one than the kind of values in question, [m].
        is_contradicted: Whether the value is of this kind, so that a certain prediction contradicts it, [m].
    """
    num_others = int((~is_contradicted).sum())
    # At most half of those that have the other value: the rest is not certain, even if the heads are good.
    num = max(1, min(num_others // 2, max(MIN_SUREST, round(SUREST_SHARE * num_others))))
    surest = np.argsort(-certainty, kind="stable")[:num]
    share = wilson(int(is_contradicted[surest].sum()), num)
    most = len(certainty) - num_others
    return Interval(*(min(most, num_others * end / max(1 - end, 1e-9)) for end in share))


def _is_trained(targets: NDArray[np.int8], folds: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether the folds that a value's head is trained on have enough images with its class and without it, [n x k]."""
    enough = np.ones(targets.shape, dtype=bool)
    for value in (YES, NO):
        counts = np.zeros((NUM_FOLDS, targets.shape[1]), dtype=np.int64)
        np.add.at(counts, folds, targets == value)
        enough &= (counts.sum(axis=0) - counts)[folds] >= MIN_TRAINED
    return enough
