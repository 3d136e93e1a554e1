"""The galleries of the page of ``inspect --html``: images that occur more than once, or have something in common."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.compact import Made, NearPairs
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.inspect import LONG_SHARE, Inspection, Leak
from resnet_cli.task import TaskName
from resnet_cli.text import percent

#: Cards of a gallery, and of one of images that training gains little from.
MAX_CARDS = 24
MAX_LOOK_CARDS = 12
#: Names shown per group of copies.
MAX_LINES = 6
#: What is wrong with copies whose labels contradict each other.
_CONFLICTS: dict[TaskName, str] = {
    "single-label": "One image in two classes: any prediction is wrong for one of the labels.",
    "multi-label": "Copies of one image with different labels: any prediction is wrong for one of them.",
}
#: Kind -> title, how such images are handled, and the label of one image.
_KINDS: dict[str, tuple[str, str, Callable[[ScannedImage], str]]] = {
    "rotated": (
        "Rotated by EXIF",
        "Stored rotated, with the orientation in EXIF; shown upright here, as in training.",
        lambda image: f"orientation {image.orientation}",
    ),
    "transparent": ("Transparent", "Placed on white, here as in training.", lambda image: image.mode),
    "gray": ("Gray", "Read as RGB with three equal channels.", lambda image: image.mode),
    "sixteen_bit": ("16-bit", "Converted to 8 bits.", lambda image: image.mode),
    "cmyk": ("CMYK", "Made for print; colors may differ slightly in RGB.", lambda image: image.mode),
}
#: Look -> title, what it is, the label of one image, and the order of the images.
_LOOKS: dict[str, tuple[str, str, Callable[[ScannedImage], str], Callable[[ScannedImage], float]]] = {
    "tiny": (
        "Tiny images",
        "Much smaller than the others: the network sees them enlarged.",
        lambda image: f"{image.width} x {image.height} px",
        lambda image: min(image.width, image.height),
    ),
    "flat": (
        "One color, or nearly so",
        "Images with hardly any contrast.",
        lambda image: f"contrast {image.contrast} of 255",
        lambda image: image.contrast,
    ),
    "dark": (
        "Nearly black",
        "Hardly any pixel is brighter than a quarter of the range.",
        lambda image: f"up to {image.lightest} of 255",
        lambda image: image.lightest,
    ),
    "bright": (
        "Nearly white",
        "Hardly any pixel is darker than three quarters of the range.",
        lambda image: f"from {image.darkest} of 255",
        lambda image: -image.darkest,
    ),
    "blurred": (
        "Blurred",
        "No edge is sharp: out of focus, blurred by motion, or enlarged from a small image. The blurriest come first.",
        lambda image: f"sharpness {image.sharpness:.2f}",
        lambda image: image.sharpness,
    ),
}


class Line(NamedTuple):
    """An image's name in a card, with a label: its split, class or mode."""

    position: int
    chip: str


class Card(NamedTuple):
    """One entry of a gallery.

    Attributes:
        images: Positions of the items to show; one of several exact copies.
        lines: Names of the images, at most ``MAX_LINES``.
        num_more: Number of omitted names.
        badge: A value that belongs to the whole card.
    """

    images: tuple[int, ...]
    lines: tuple[Line, ...]
    num_more: int = 0
    badge: str = ""


class Gallery(NamedTuple):
    """One section of cards.

    Attributes:
        code: Anchor that findings with the same code link to.
        title: Heading of the section.
        about: What the section shows.
        cards: At most ``MAX_CARDS`` cards.
        num_all: Number of cards without that limit.
        is_wide: Whether a card has several names.
    """

    code: str
    title: str
    about: str
    cards: list[Card]
    num_all: int
    is_wide: bool = True


def galleries(inspection: Inspection, leaks: Sequence[Leak], conflicts: Sequence[Leak]) -> list[Gallery]:
    """All galleries, the worst first, also empty ones.

    Args:
        inspection: What was found.
        leaks: Its leaks.
        conflicts: Its label conflicts.
    """
    return [
        *_shared_galleries(inspection, leaks, conflicts),
        *_look_galleries(inspection),
        *_kind_galleries(inspection),
    ]


def share_cut(sides: NDArray[np.int32]) -> NDArray[np.float64]:
    """Share of each image that a center square cuts away, float64 [n], from widths and heights [n x 2]."""
    return np.asarray(1 - sides.min(axis=1) / sides.max(axis=1))


def _shared_galleries(inspection: Inspection, leaks: Sequence[Leak], conflicts: Sequence[Leak]) -> list[Gallery]:
    """Images that occur more than once."""
    items, label_text = inspection.dataset.items, inspection.dataset.label_text

    def card(leak: Leak, chip: Callable[[Item], str]) -> Card:
        lines = [Line(position, chip(items[position])) for position in leak.positions]
        first = {line.chip: line for line in reversed(lines)}
        # Conflicting labels must not be among the omitted names.
        lines.sort(key=lambda line: line != first[line.chip])
        if leak.is_exact:
            images, badge = leak.positions[:1], f"{len(lines)} identical files"
        else:
            images, badge = leak.positions, _score(inspection.near, leak)
        return Card(images, tuple(lines[:MAX_LINES]), max(0, len(lines) - MAX_LINES), badge)

    def gallery(code: str, title: str, about: str, found: Sequence[Leak], chip: Callable[[Item], str]) -> Gallery:
        return Gallery(code, title, about, [card(leak, chip) for leak in found[:MAX_CARDS]], len(found))

    def place(item: Item) -> str:
        return f"{item.split} · {label_text(item)}"

    found_by = "similarity of shapes and colors" + (
        ", or the cosine of features" if "features" in inspection.near_by else ""
    )
    return [
        gallery(
            "label_conflicts",
            "Label conflicts",
            _CONFLICTS[inspection.dataset.task],
            conflicts,
            label_text,
        ),
        gallery(
            "leaks",
            "Leaks between splits",
            "An image that is used for both training and evaluation makes metrics look better than they are.",
            leaks,
            lambda item: item.split,
        ),
        gallery(
            "exact_duplicates",
            "Exact duplicates",
            "Several copies of the same file; each image is shown once.",
            Made(len(inspection.exact), lambda index: Leak(inspection.exact[index], True)),
            place,
        ),
        gallery(
            "near_duplicates",
            "Near duplicates",
            f"Pairs that look the same: resaved, resized or slightly cropped images. The score is the {found_by}.",
            Made(len(inspection.near), lambda index: Leak(inspection.near[index][:2], False)),
            place,
        ),
    ]


def _score(near: NearPairs, pair: Leak) -> str:
    """The similarity of two images; only ``alike`` if copies of them were compared."""
    first, second = pair.positions
    start, stop = np.searchsorted(near.first, [first, first + 1]).tolist()
    found = np.flatnonzero(near.second[start:stop] == second)
    return percent(near[start + int(found[0])].score) if len(found) else "alike"


def _look_galleries(inspection: Inspection) -> list[Gallery]:
    """Images that training gains little from, the worst first."""
    images = inspection.images
    galleries = []
    for code, (title, about, chip, order) in _LOOKS.items():
        found = inspection.looks[code]
        worst = heapq.nsmallest(MAX_LOOK_CARDS, found, key=lambda position: order(images[position]))
        cards = [Card((position,), (Line(position, chip(images[position])),)) for position in worst]
        galleries.append(Gallery(code, title, about, cards, len(found), is_wide=False))
    return galleries


def _kind_galleries(inspection: Inspection) -> list[Gallery]:
    """Images that decoding or cropping changes, one per card."""
    images = inspection.images
    galleries = []
    for code, (title, about, chip) in _KINDS.items():
        found = inspection.with_mode(code)
        cards = [Card((position,), (Line(position, chip(images[position])),)) for position in found[:MAX_CARDS]]
        galleries.append(Gallery(code, title, about, cards, len(found), is_wide=False))
    cut = np.zeros(len(images))
    cut[images.is_readable] = share_cut(inspection.sides)
    long = np.argsort(-cut, kind="stable")[: np.count_nonzero(cut > LONG_SHARE)]
    cards = [
        Card((position,), (Line(position, f"{100 * cut[position]:.0f} % cut"),))
        for position in long[:MAX_CARDS].tolist()
    ]
    about = "A square center crop removes more than half of each image; the longest come first."
    return [*galleries, Gallery("long", "Long images", about, cards, len(long), is_wide=False)]
