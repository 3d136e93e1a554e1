"""The worst mistakes of each class of a multi-label evaluation, for a gallery."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.reporting.gallery import GalleryImages
from resnet_cli.reporting.label_charts import worst_classes
from resnet_cli.reporting.thumbnails import Thumbnail

#: Classes with a gallery, those with the lowest F1 first, and images in all galleries together.
MAX_CLASSES, MAX_SHOWN = 12, 48
#: Images of each kind of mistake per class.
MAX_OF_KIND = 4


class Mistake(NamedTuple):
    """A wrong decision: one class of one image.

    Attributes:
        position: Position of the image.
        label: Index of the class.
        is_missed: Whether the label is missed; False: it is predicted without being true.
    """

    position: int
    label: int
    is_missed: bool


class ShownLabels(NamedTuple):
    """One image of a gallery.

    Attributes:
        position: Position in the evaluation.
        name: Name of the file.
        kind: ``missed`` or ``false alarm``; empty for an image that is not shown for a mistake.
        label: The class of the mistake.
        prob: Its probability.
        threshold: The lowest probability at which it is predicted; infinite if it never is.
        true: The labels of the image.
        predicted: The labels that are predicted.
        image: Thumbnail of the image.
        overlay: Thumbnail with the heat map of the class; None if there is none.
        link: Address of the image's file; empty if it has none.
    """

    position: int
    name: str
    kind: str
    label: str
    prob: float
    threshold: float
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    image: Thumbnail
    overlay: Thumbnail | None
    link: str = ""

    @property
    def about(self) -> str:
        """What the image shows, for people who do not see it."""
        return f"with the labels {', '.join(self.true)}" if self.true else "without labels"

    @property
    def explained(self) -> tuple[str, str]:
        """What the heat map explains: the kind of class, and its name."""
        return "class", self.label


class ClassGallery(NamedTuple):
    """The worst mistakes of one class.

    Attributes:
        name: The class.
        num_missed: Number of all positives that are missed.
        num_alarms: Number of all false alarms.
        cards: Some of both, the missed ones first.
    """

    name: str
    num_missed: int
    num_alarms: int
    cards: list[ShownLabels]


def shown_mistakes(evaluation: LabelEvaluation) -> list[Mistake]:
    """The mistakes that a report shows, class by class."""
    labels = worst_classes(evaluation, MAX_CLASSES)
    limit = max(1, min(MAX_OF_KIND, MAX_SHOWN // (2 * max(1, len(labels)))))
    found = []
    for label in labels:
        missed, alarms = evaluation.worst_mistakes(label, limit)
        found += [Mistake(at, label, True) for at in missed] + [Mistake(at, label, False) for at in alarms]
    return found


def heat_map_key(mistake: Mistake, num_classes: int) -> int:
    """The key of a mistake's heat map."""
    return mistake.position * num_classes + mistake.label


def class_galleries(evaluation: LabelEvaluation, mistakes: list[Mistake], images: GalleryImages) -> list[ClassGallery]:
    """The mistakes as a page shows them."""
    found = []
    is_true = evaluation.targets == 1
    for label in dict.fromkeys(mistake.label for mistake in mistakes):
        missed = int((is_true[:, label] & ~evaluation.predicted[:, label]).sum())
        wrong = int(evaluation.is_wrong[:, label].sum())
        cards = [shown_labels(evaluation, one, images) for one in mistakes if one.label == label]
        found.append(ClassGallery(evaluation.classes[label], missed, wrong - missed, cards))
    return found


def shown_labels(evaluation: LabelEvaluation, mistake: Mistake, images: GalleryImages) -> ShownLabels:
    """One mistake as a page shows it."""
    at, label, is_missed = mistake
    return ShownLabels(
        position=at,
        name=evaluation.names[at],
        kind="missed" if is_missed else "false alarm",
        label=evaluation.classes[label],
        prob=float(evaluation.probs[at, label]),
        threshold=float(evaluation.thresholds[label]),
        true=evaluation.labels_of(at),
        predicted=evaluation.predicted_of(at),
        image=images.image(at),
        overlay=images.overlay(heat_map_key(mistake, len(evaluation.classes)), at),
        link=images.link(at),
    )


def shown_images(evaluation: LabelEvaluation, positions: list[int], images: GalleryImages) -> list[ShownLabels]:
    """Images that are not shown for a mistake; each with its most probable class."""
    found = []
    for at in positions:
        label = int(np.argmax(evaluation.probs[at]))
        found.append(shown_labels(evaluation, Mistake(at, label, False), images)._replace(kind="", overlay=None))
    return found
