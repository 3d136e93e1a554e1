"""What an evaluation's own figures say about how far to trust them."""

from __future__ import annotations

import math

from resnet_cli.evaluation.scores import Evaluation

#: A class with fewer judged images has figures that say little.
FEW_IMAGES = 10
#: Half an interval of top-1 below which its width needs no word.
NARROW = 0.01


def notes_about(evaluation: Evaluation) -> list[str]:
    """Sentences for readers: how few images there are, which classes are not judged, what intervals hold for."""
    support = [scores.support for scores in evaluation.per_class]
    share = evaluation.top1_interval
    notes = []
    if share.high - share.low > 2 * NARROW:
        points = 100 * max(share.high - share.value, share.value - share.low)
        notes.append(
            f"{evaluation.num_images:,} images tell top-1 to within {math.ceil(points):.0f} points: "
            "a model that differs by less is neither better nor worse as far as they show."
        )
    absent = [name for name, num in zip(evaluation.classes, support, strict=True) if not num]
    if absent:
        more = f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
        notes.append(f"Nothing is known about {', '.join(absent[:5])}{more}: no judged image is of them.")
    num_few = sum(0 < num < FEW_IMAGES for num in support)
    if num_few:
        which = "One class has" if num_few == 1 else f"{num_few:,} classes have"
        notes.append(f"{which} fewer than {FEW_IMAGES} judged images: read their figures as anecdotes.")
    if evaluation.tta != "none":
        notes.append("Each answer is the mean of an image and its mirror image (--tta flip).")
    notes.append(
        "Intervals hold for new images taken the same way. Another camera, place or season may do worse: "
        "judge by images from there."
    )
    return notes
