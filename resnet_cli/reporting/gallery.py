"""The images of a report: thumbnails of those in galleries, and those that are unlike the training images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.sections import Section, optional_section
from resnet_cli.reporting.thumbnails import Thumbnail, shrink, thumbnails
from resnet_cli.reporting.trust_charts import novelty_chart

#: Images of galleries are large enough to recognize; with their heat maps at most 48 images, 0.9 MB.
GALLERY_PX, GALLERY_BYTES = 224, 14_000
_SIZE: dict[str, Any] = {"side_px": GALLERY_PX, "max_bytes": GALLERY_BYTES}
#: Number of images shown that are unlike the training images.
MAX_UNKNOWN = 6


class Shown(NamedTuple):
    """One image of a gallery.

    Attributes:
        position: Position in the evaluation.
        name: Name of the file.
        true: The true class.
        predicted: The predicted class.
        prob: Probability of the predicted class.
        true_prob: Probability of the true class.
        novelty: Novelty of the image; None if it is not known.
        image: Thumbnail of the image.
        overlay: Thumbnail with the heat map; None if there is none.
    """

    position: int
    name: str
    true: str
    predicted: str
    prob: float
    true_prob: float
    novelty: float | None
    image: Thumbnail
    overlay: Thumbnail | None

    @property
    def is_right(self) -> bool:
        """Whether the prediction is correct."""
        return self.true == self.predicted

    @property
    def about(self) -> str:
        """What the image shows, for people who do not see it."""
        return f"of class {self.true}"

    @property
    def explained(self) -> tuple[str, str]:
        """What the heat map explains: the kind of class, and its name."""
        return "predicted class", self.predicted


class GalleryImages:
    """Thumbnails for a report; each image is read once.

    Args:
        content: The content of the report.
        positions: Positions of the images.
    """

    def __init__(self, content: ReportContent, positions: Sequence[int]) -> None:
        items: list[Item] = [content.items[at] for at in positions]
        made = thumbnails(items, bit_depth=content.bit_depth, **_SIZE)
        self._overlays = content.overlays
        self._images = dict(zip(positions, made, strict=True))

    def image(self, position: int) -> Thumbnail:
        """The thumbnail of an image."""
        return self._images[position]

    def overlay(self, key: int) -> Thumbnail | None:
        """The thumbnail with a heat map, if there is one."""
        return shrink(self._overlays[key], **_SIZE) if key in self._overlays else None


class Unfamiliar(Protocol):
    """What the section about novelty needs of an evaluation."""

    @property
    def num_images(self) -> int:
        """Number of images, n."""

    @property
    def novelty(self) -> NDArray[np.float32] | None:
        """Novelty of each image, [n]."""

    @property
    def is_unfamiliar(self) -> NDArray[np.bool_] | None:
        """Whether each image is unlike the training images, [n]."""

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, [n]."""


def shown_images(evaluation: Evaluation, images: GalleryImages, positions: Sequence[int]) -> list[Shown]:
    """The images at some positions, as a gallery shows them."""
    found = []
    for at in positions:
        probs, label = evaluation.probs[at], int(evaluation.labels[at])
        predicted = int(probs.argmax())
        found.append(
            Shown(
                position=at,
                name=evaluation.names[at],
                true=evaluation.classes[label],
                predicted=evaluation.classes[predicted],
                prob=float(probs[predicted]),
                true_prob=float(probs[label]),
                novelty=None if evaluation.novelty is None else float(evaluation.novelty[at]),
                image=images.image(at),
                overlay=images.overlay(at),
            )
        )
    return found


def most_unfamiliar(evaluation: Unfamiliar, shown: Collection[int]) -> list[int]:
    """Positions of the images with the highest novelty among those that count as unlike the training images.

    Args:
        evaluation: The evaluation.
        shown: Positions that are already shown.
    """
    novelty, is_unfamiliar = evaluation.novelty, evaluation.is_unfamiliar
    if novelty is None or is_unfamiliar is None:
        return []
    order = [int(at) for at in np.argsort(-novelty, kind="stable")[: MAX_UNKNOWN + len(shown)]]
    return [at for at in order if is_unfamiliar[at] and at not in shown][:MAX_UNKNOWN]


def novelty_section(
    content: ReportContent, evaluation: Unfamiliar, gallery: Markup, *, wrong: str, about: str
) -> Section:
    """The section about images unlike the training images; omitted if the model cannot tell.

    Args:
        content: The content of the report.
        evaluation: The evaluation.
        gallery: The images that are most unlike them.
        wrong: Heading of the error rates.
        about: A sentence on what the evaluated images are.
    """
    novelty = _novelty_values(evaluation, content.most_novel)
    values = {
        "content": content,
        "n": evaluation.num_images,
        "novelty": novelty,
        "gallery": gallery,
        "wrong": wrong,
        "about": about,
    }
    return optional_section("unknown", "Unlike the training images", novelty, values)


def _novelty_values(evaluation: Unfamiliar, most_novel: float | None) -> dict[str, Any] | None:
    """The number of images that count as unknown, and the error rates of known and unknown images."""
    if evaluation.novelty is None:
        return None
    found: dict[str, Any] = {"chart": novelty_chart(evaluation.novelty, most_novel), "num_unknown": None}
    is_unknown = evaluation.is_unfamiliar
    if is_unknown is not None:
        found |= {
            "num_unknown": int(is_unknown.sum()),
            "unknown_error": float(1 - evaluation.is_right[is_unknown].mean()) if is_unknown.any() else None,
            "known_error": float(1 - evaluation.is_right[~is_unknown].mean()) if not is_unknown.all() else None,
        }
    return found
