"""The page of ``inspect --html``: one file that loads nothing from elsewhere and runs no script."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from resnet_cli.data.dataset import SPLITS, Item
from resnet_cli.data.inspection.findings import find_problems
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.inspect import KINDS, LONG_SHARE, Inspection, Leak
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.histograms import aspect_histogram, cut_histogram, side_histogram
from resnet_cli.reporting.templating import environment, ranked
from resnet_cli.reporting.thumbnails import thumbnails
from resnet_cli.text import percent, size
from resnet_cli.version import __version__

#: With the largest thumbnails, this many keep a page below 5 MB. Galleries need at most 24 x 13, samples get the rest.
MAX_THUMBNAILS = 400
MAX_CARDS = 24
#: Names shown per group of copies.
MAX_LINES = 6
MAX_SAMPLED_CLASSES = 20
MAX_SAMPLES = 6
#: Rows of a table, and findings; ``--json`` has all of them.
MAX_ROWS = 500

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
_PASSED_OVER = {
    "others": "Files that are not images by their name",
    "hidden": "Hidden files and folders",
    "links": "Links that were not followed",
    "unlabelled": "Images in no class",
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


class Sample(NamedTuple):
    """A class and positions of some of its images."""

    name: str
    num_images: int
    images: list[int]


def inspection_page(inspection: Inspection) -> str:
    """The HTML document that shows an inspection, thumbnails included; at most about 5 MB.

    Images are read again for their thumbnails; one that can no longer be read gets a placeholder.

    Args:
        inspection: The results of ``inspect``.
    """
    dataset = inspection.dataset
    leaks, conflicts = inspection.leaks, inspection.label_conflicts
    galleries = [*_shared_galleries(inspection, leaks, conflicts), *_kind_galleries(inspection)]
    cards = [card for gallery in galleries for card in gallery.cards]
    samples = _samples(inspection, MAX_THUMBNAILS - sum(len(card.images) for card in cards))
    shown: Iterable[Card | Sample] = (*cards, *samples)
    positions = sorted({position for card in shown for position in card.images})
    small = thumbnails([dataset.items[position] for position in positions], bit_depth=inspection.wide.bit_depth or 16)
    counts, num_bytes = dataset.counts(), inspection.num_bytes()
    splits = [split for split in SPLITS if any(counts[split])]
    template = environment().get_template("inspection.html.j2")
    return template.render(
        version=__version__,
        dataset=dataset,
        tiles=_tiles(inspection, splits, leaks),
        findings=ranked(find_problems(inspection)),
        splits=splits,
        # Images and bytes per class and split.
        rows=[
            (name, [(counts[split][label], num_bytes[split][label]) for split in splits])
            for label, name in enumerate(dataset.classes)
        ],
        most=max([1, *(count for split in splits for count in counts[split])]),
        totals=[(sum(counts[split]), sum(num_bytes[split])) for split in splits],
        histograms=_histograms(inspection),
        sizes=inspection.sizes(),
        samples=samples,
        galleries=[gallery for gallery in galleries if gallery.cards],
        near_by=inspection.near_by,
        unreadable=inspection.unreadable,
        thumbnails=dict(zip(positions, small, strict=True)),
        passed_over=[(_PASSED_OVER.get(key, key), count) for key, count in dataset.passed_over.items() if count],
        max_rows=MAX_ROWS,
    )


def _histograms(inspection: Inspection) -> list[Chart]:
    sides = [(image.width, image.height) for image in inspection.images if not image.error]
    if not sides:
        return []
    return [
        side_histogram([min(side) for side in sides]),
        aspect_histogram([width / height for width, height in sides]),
        cut_histogram([_cut(width, height) for width, height in sides]),
    ]


def _cut(width: int, height: int) -> float:
    return 1 - min(width, height) / max(width, height)


def _shared_galleries(inspection: Inspection, leaks: Sequence[Leak], conflicts: Sequence[Leak]) -> list[Gallery]:
    """Images that occur more than once."""
    items, classes = inspection.dataset.items, inspection.dataset.classes
    scores = {(pair.first, pair.second): percent(pair.score) for pair in inspection.near}

    def card(leak: Leak, chip: Callable[[Item], str]) -> Card:
        lines = [Line(position, chip(items[position])) for position in leak.positions]
        first = {line.chip: line for line in reversed(lines)}
        # Conflicting labels must not be among the omitted names.
        lines.sort(key=lambda line: line != first[line.chip])
        if leak.is_exact:
            images, badge = leak.positions[:1], f"{len(lines)} identical files"
        else:
            images, badge = leak.positions, scores.get((leak.positions[0], leak.positions[1]), "alike")
        return Card(images, tuple(lines[:MAX_LINES]), max(0, len(lines) - MAX_LINES), badge)

    def gallery(code: str, title: str, about: str, found: Sequence[Leak], chip: Callable[[Item], str]) -> Gallery:
        return Gallery(code, title, about, [card(leak, chip) for leak in found[:MAX_CARDS]], len(found))

    def place(item: Item) -> str:
        return f"{item.split} · {classes[item.label]}"

    found_by = "similarity of shapes and colors" + (
        ", or the cosine of features" if "features" in inspection.near_by else ""
    )
    return [
        gallery(
            "label_conflicts",
            "Label conflicts",
            "One image in two classes: any prediction is wrong for one of the labels.",
            conflicts,
            lambda item: classes[item.label],
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
            [Leak(group, True) for group in inspection.exact],
            place,
        ),
        gallery(
            "near_duplicates",
            "Near duplicates",
            f"Pairs that look the same: resaved, resized or slightly cropped images. The score is the {found_by}.",
            [Leak((pair.first, pair.second), False) for pair in inspection.near],
            place,
        ),
    ]


def _kind_galleries(inspection: Inspection) -> list[Gallery]:
    """Images that decoding or cropping changes, one per card."""
    images = inspection.images
    galleries = []
    for code, (title, about, chip) in _KINDS.items():
        found = [n for n, image in enumerate(images) if not image.error and KINDS[code](image)]
        cards = [Card((position,), (Line(position, chip(images[position])),)) for position in found[:MAX_CARDS]]
        galleries.append(Gallery(code, title, about, cards, len(found), is_wide=False))
    cut = {n: _cut(image.width, image.height) for n, image in enumerate(images) if not image.error}
    long = sorted((n for n in cut if cut[n] > LONG_SHARE), key=lambda n: -cut[n])
    cards = [Card((position,), (Line(position, f"{100 * cut[position]:.0f} % cut"),)) for position in long[:MAX_CARDS]]
    about = "A square center crop removes more than half of each image; the longest come first."
    return [*galleries, Gallery("long", "Long images", about, cards, len(long), is_wide=False)]


def _samples(inspection: Inspection, room: int) -> list[Sample]:
    """Images of the first classes, at equal distances within each, at most ``room`` in all."""
    by_label: dict[int, list[int]] = defaultdict(list)
    for position, (item, image) in enumerate(zip(inspection.dataset.items, inspection.images, strict=True)):
        if not image.error:
            by_label[item.label].append(position)
    names = inspection.dataset.classes[:MAX_SAMPLED_CLASSES]
    num_each = min(MAX_SAMPLES, room // max(1, len(names)))
    samples = []
    for label, name in enumerate(names):
        found = by_label[label]
        taken = min(num_each, len(found))
        samples.append(Sample(name, len(found), [found[n * len(found) // taken] for n in range(taken)]))
    return samples


def _tiles(inspection: Inspection, splits: Sequence[str], leaks: Sequence[Leak]) -> list[dict[str, Any]]:
    num_copies = sum(len(group) - 1 for group in inspection.exact)
    near = f"{len(inspection.near):,} near pairs" if inspection.near_by else "near pairs not searched for"
    num_exact = sum(leak.is_exact for leak in leaks)
    num_bytes = sum(image.num_bytes for image in inspection.images)
    return [
        {"name": "images", "value": len(inspection.images), "note": size(num_bytes)},
        {"name": "classes", "value": len(inspection.dataset.classes), "anchor": "classes"},
        {"name": "splits", "value": len(splits), "note": ", ".join(splits), "anchor": "classes"},
        {"name": "unreadable", "value": len(inspection.unreadable), "rank": 0, "anchor": "unreadable"},
        {"name": "exact copies", "value": num_copies, "note": near, "rank": 1, "anchor": "exact_duplicates"},
        {"name": "leaks", "value": len(leaks), "note": f"{num_exact:,} exact", "rank": 0, "anchor": "leaks"},
    ]
