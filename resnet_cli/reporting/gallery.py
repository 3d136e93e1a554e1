"""The images of a report: thumbnails of those in galleries, and those that are unlike the training images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.model.heatmap import in_whole_image
from resnet_cli.reporting.file_links import file_link
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.sections import Section, optional_section
from resnet_cli.reporting.thumbnails import Size, Thumbnail, read_once, shrink
from resnet_cli.reporting.trust_charts import novelty_chart

#: Images of galleries are large enough to recognize, also enlarged; with their heat maps at most 48 images, 1.4 MB.
GALLERY_SIZE = Size(320, 22_000)
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
        link: Address of the image's file; empty if it has none.
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
    link: str = ""

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


class _Copies(NamedTuple):
    """The small copies of one image.

    Attributes:
        gallery: For a gallery.
        cell: For a cell of the confusion matrix.
        tile: For the map of all images; None if it is not on the map, or cannot be read.
        whole: The image itself, small, for its heat map; None without a heat map.
    """

    gallery: Thumbnail
    cell: Thumbnail
    tile: Image.Image | None
    whole: Image.Image | None


class GalleryImages:
    """Small copies of the images of a report; each image is read once.

    Args:
        content: The content of the report.
        positions: Positions of the images in galleries.
        cells: Positions of the images in cells of the confusion matrix.
        cell_size: Size of the latter.
        tiles: Positions of the images that only the map shows.
        tile_px: Side of the latter.
    """

    def __init__(
        self,
        content: ReportContent,
        positions: Sequence[int],
        *,
        cells: Sequence[int] = (),
        cell_size: Size = GALLERY_SIZE,
        tiles: Sequence[int] = (),
        tile_px: int = 0,
    ) -> None:
        self._content, self._tiles = content, tiles
        in_gallery, in_cells, on_map = set(positions), set(cells), set(tiles)
        every = sorted(in_gallery | in_cells | on_map)
        self._shapes: dict[int, tuple[int, int]] = {}

        def make(index: int, image: Image.Image | None) -> _Copies:
            at = every[index]
            if image is None:
                return _Copies(Thumbnail(), Thumbnail(), None, None)
            self._shapes[at] = image.size
            return _Copies(
                shrink(image, **GALLERY_SIZE._asdict()) if at in in_gallery else Thumbnail(),
                shrink(image, **cell_size._asdict()) if at in in_cells else Thumbnail(),
                _reduced(image, tile_px) if at in on_map else None,
                _reduced(image, GALLERY_SIZE.side_px) if at in in_gallery and content.overlays else None,
            )

        made = read_once([content.items[at] for at in every], make, bit_depth=content.bit_depth)
        self._copies = dict(zip(every, made, strict=True))

    def image(self, position: int) -> Thumbnail:
        """The copy of an image for a gallery."""
        return self._copies[position].gallery

    def cell(self, position: int) -> Thumbnail:
        """The copy of an image for a cell of the confusion matrix."""
        return self._copies[position].cell

    @property
    def tiles(self) -> dict[int, Image.Image | None]:
        """Position -> copy of the image for the map; None for one that cannot be read."""
        return {at: self._copies[at].tile for at in self._tiles}

    def link(self, position: int) -> str:
        """The address of an image's file; empty if it has none."""
        return file_link(self._content.items[position], self._content.folder)

    def overlay(self, key: int, position: int) -> Thumbnail | None:
        """The image with a heat map where the network saw it, if there is one.

        Args:
            key: Key of the heat map.
            position: Position of the image.
        """
        explained, whole = self._content.overlays.get(key), self._copies[position].whole
        if explained is None:
            return None
        if whole is None or self._content.preprocess is None:
            return shrink(explained, **GALLERY_SIZE._asdict())
        width, height = self._shapes[position]
        seen, place = self._content.preprocess.seen(width, height)
        shares = tuple(end / length for end, length in zip(seen, (width, height) * 2, strict=True))
        return shrink(in_whole_image(whole, explained, shares, place), **GALLERY_SIZE._asdict())


def _reduced(image: Image.Image, side_px: int) -> Image.Image:
    small = image.copy()
    small.thumbnail((side_px, side_px))
    return small


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
                overlay=images.overlay(at, at),
                link=images.link(at),
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
