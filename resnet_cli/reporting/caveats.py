"""Sentences on how far an evaluation's metrics can be trusted."""

from __future__ import annotations

import math

from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.text import first_of

#: The metrics of a class with fewer evaluated images say little.
FEW_IMAGES = 10
#: Half-width of top-1's interval below which it is not mentioned.
NARROW = 0.01


def notes_about(evaluation: Evaluation) -> list[str]:
    """Sentences for readers: few images, classes without images, and what the intervals hold for."""
    support = [scores.support for scores in evaluation.per_class]
    share = evaluation.top1_interval
    notes = []
    if share.high - share.low > 2 * NARROW:
        points = 100 * max(share.high - share.value, share.value - share.low)
        notes.append(
            f"{evaluation.num_images:,} images determine top-1 to within {math.ceil(points):.0f} points: they cannot "
            "tell whether a model that differs by less is better or worse."
        )
    absent = [name for name, num in zip(evaluation.classes, support, strict=True) if not num]
    if absent:
        notes.append(f"Nothing is known about {first_of(absent, 5)}: no evaluated image is of these classes.")
    num_few = sum(0 < num < FEW_IMAGES for num in support)
    if num_few:
        which = "One class has" if num_few == 1 else f"{num_few:,} classes have"
        notes.append(f"{which} fewer than {FEW_IMAGES} evaluated images: the metrics of such a class say little.")
    if evaluation.tta != "none":
        notes.append("Each prediction is the mean over an image and its mirror image (--tta flip).")
    notes.append(
        "Intervals hold for new images taken in the same way. Another camera, place or season may give worse results: "
        "evaluate on images from there."
    )
    return notes
