"""Sentences on how far an evaluation's metrics can be trusted."""

from __future__ import annotations

import math

from resnet_cli.evaluation.intervals import Interval
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.text import first_of

#: The metrics of a class with fewer evaluated images say little.
FEW_IMAGES = 10
#: Half-width of top-1's interval below which it is not mentioned.
NARROW = 0.01
TTA = "Each prediction is the mean over an image and its mirror image (--tta flip)."
NEW_IMAGES = (
    "Intervals hold for new images taken in the same way. Another camera, place or season may give worse results: "
    "evaluate on images from there."
)


def notes_about(evaluation: Evaluation) -> list[str]:
    """Sentences for readers: few images, classes without images, and what the intervals hold for."""
    support = [scores.support for scores in evaluation.per_class]
    share = evaluation.top1_interval
    notes = imprecision(share, evaluation.num_images, "top-1")
    absent = [name for name, num in zip(evaluation.classes, support, strict=True) if not num]
    if absent:
        notes.append(f"Nothing is known about {first_of(absent, 5)}: no evaluated image is of these classes.")
    num_few = sum(0 < num < FEW_IMAGES for num in support)
    if num_few:
        which = "One class has" if num_few == 1 else f"{num_few:,} classes have"
        notes.append(f"{which} fewer than {FEW_IMAGES} evaluated images: the metrics of such a class say little.")
    if evaluation.tta != "none":
        notes.append(TTA)
    return [*notes, NEW_IMAGES]


def imprecision(score: Interval, num_images: int, name: str) -> list[str]:
    """A sentence on a score that these images determine only roughly; none if its interval is narrow."""
    if score.high - score.low <= 2 * NARROW:
        return []
    points = 100 * max(score.high - score.value, score.value - score.low)
    return [
        f"{num_images:,} images determine {name} to within {math.ceil(points):.0f} points: they cannot "
        "tell whether a model that differs by less is better or worse."
    ]
