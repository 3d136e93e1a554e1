"""The review sheet of a multi-label audit: likely missing and likely wrong labels of each class, with their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnet_cli.data.dataset import Item
from resnet_cli.reporting.file_links import file_link
from resnet_cli.reporting.label_sheet import MAX_CARDS
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.templating import render_page
from resnet_cli.reporting.thumbnails import Thumbnail, thumbnails

if TYPE_CHECKING:
    from resnet_cli.studies.value_audit import Suspect, ValueAudit

#: Classes that are shown, and least number of cards of each kind for a class.
MAX_CLASSES, MIN_PER_KIND = 40, 3
#: Kind of a suspect -> heading, and what is asked about its images.
_KINDS = {
    "missing": ("Likely missing", "Does the image show it? Then add the label."),
    "wrong": ("Likely wrong", "Does the image not show it? Then remove the label."),
    "unknown": ("Unknown", "What the heads suggest; the most certain suggestions come first."),
}


class Card(NamedTuple):
    """One value of the sheet.

    Attributes:
        item: The image.
        thumbnail: Its thumbnail.
        labels: The labels that it has in the data.
        prob: Probability that it has the label in question.
        is_added: Whether the suggestion is to add the label.
    """

    item: Item
    thumbnail: Thumbnail
    labels: list[str]
    prob: float
    is_added: bool


class Part(NamedTuple):
    """The suspects of one kind and class.

    Attributes:
        title: Heading.
        question: What to look for.
        num: Number of all of them.
        cards: The first of them.
    """

    title: str
    question: str
    num: int
    cards: list[Card]


def value_sheet(
    audit: ValueAudit,
    items: Sequence[Item],
    *,
    name: str,
    table: str,
    note: str = "",
    has_files: bool = True,
    bit_depth: int = 16,
    provenance: Provenance | None = None,
    folder: Path | None = None,
) -> str:
    """The HTML document, thumbnails included.

    Images are read again for their thumbnails; one that can no longer be read gets a placeholder.

    Args:
        audit: The audit of the items' labels.
        items: The images, [n].
        name: Name of the data set.
        table: File name of the table to edit.
        note: Which features were used, if that should be mentioned.
        has_files: Whether the images are files, so that the table is a data set of its own.
        bit_depth: Bits of the values of 16-bit images.
        provenance: Where the sheet comes from; None for this machine, now.
        folder: Folder of the sheet, for links to the files of images; None for a sheet without such links.
    """
    chosen = _chosen(audit)
    positions = sorted({one.image for suspects in chosen.values() for one in suspects})
    made = thumbnails([items[at] for at in positions], bit_depth=bit_depth)
    images = dict(zip(positions, made, strict=True))
    groups: dict[int, list[Part]] = {}
    for (label, kind), suspects in chosen.items():
        num = sum(one.label == label and one.kind == kind for one in (*audit.suspects, *audit.unknown))
        cards = [_card(audit, items[one.image], images[one.image], one) for one in suspects]
        groups.setdefault(label, []).append(Part(*_KINDS[kind], num, cards))
    estimates = [[round(end) for end in estimate] for estimate in (audit.num_missing, audit.num_wrong)]
    return render_page(
        "value_sheet.html.j2",
        provenance or Provenance.now(data=name),
        link=lambda item: file_link(item, folder),
        name=name,
        table=table,
        note=note,
        has_files=has_files,
        has_unknown=bool((audit.targets < 0).any()),
        num_checked=audit.num_checked,
        num_unchecked=audit.num_unchecked,
        estimates=estimates,
        groups=[(audit.classes[label], parts) for label, parts in groups.items()],
        num_classes=len({one.label for one in (*audit.suspects, *audit.unknown)}),
    )


def _chosen(audit: ValueAudit) -> dict[tuple[int, str], list[Suspect]]:
    """The suspects that are shown, by class and kind: the class with the most suspects first, then the worst ones."""
    order = dict.fromkeys(label for label, *_ in audit.by_class)
    order |= dict.fromkeys(one.label for one in audit.unknown)
    labels = list(order)[:MAX_CLASSES]
    most = max(MIN_PER_KIND, MAX_CARDS // (len(_KINDS) * max(1, len(labels))))
    found = {}
    for label in labels:
        for kind in _KINDS:
            suspects = [one for one in (*audit.suspects, *audit.unknown) if (one.label, one.kind) == (label, kind)]
            if suspects:
                found[label, kind] = suspects[:most]
    return found


def _card(audit: ValueAudit, item: Item, image: Thumbnail, suspect: Suspect) -> Card:
    labels = [audit.classes[label] for label in item.labels]
    return Card(item, image, labels, suspect.prob, bool(suspect.suggested))
