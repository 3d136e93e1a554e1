"""The page of ``inspect --html``: one file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnet_cli.data.dataset import SPLITS
from resnet_cli.data.inspection.findings import find_problems, ranked
from resnet_cli.data.inspection.inspect import Inspection, Leak
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.file_links import file_link
from resnet_cli.reporting.histograms import aspect_histogram, cut_histogram, labels_histogram, side_histogram
from resnet_cli.reporting.inspection_galleries import Card, galleries, share_cut
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.templating import render_page
from resnet_cli.reporting.thumbnails import thumbnails
from resnet_cli.text import counted, size

#: With the largest thumbnails, this many keep a page below 5 MB. Galleries need at most 24 x 13 + 12 x 5, samples
#: get the rest.
MAX_THUMBNAILS = 400
MAX_SAMPLED_CLASSES = 20
MAX_SAMPLES = 6
MAX_PAIRS = 20
#: In place of the index of a class.
_NO_LABEL = -1
#: Rows of a table, and findings; ``--json`` has all of them.
MAX_ROWS = 500

_PASSED_OVER = {
    "others": "Files that are not images by their name",
    "hidden": "Hidden files and folders",
    "links": "Links that were not followed",
    "unlabelled": "Images in no class",
    "unlisted": "Images without a label",
}


class Sample(NamedTuple):
    """A class and positions of some of its images."""

    name: str
    num_images: int
    images: list[int]


def inspection_page(inspection: Inspection, provenance: Provenance | None = None, *, folder: Path | None = None) -> str:
    """The HTML document that shows an inspection, thumbnails included; at most about 5 MB.

    Images are read again for their thumbnails; one that can no longer be read gets a placeholder.

    Args:
        inspection: The results of ``inspect``.
        provenance: Where the page comes from; None for this machine, now.
        folder: Folder of the page, for links to the files of images; None for a page without such links.
    """
    dataset = inspection.dataset
    leaks, conflicts = inspection.leaks, inspection.label_conflicts
    all_galleries = galleries(inspection, leaks, conflicts)
    cards = [card for gallery in all_galleries for card in gallery.cards]
    samples = _samples(inspection, MAX_THUMBNAILS - sum(len(card.images) for card in cards))
    shown: Iterable[Card | Sample] = (*cards, *samples)
    positions = sorted({position for card in shown for position in card.images})
    small = thumbnails([dataset.items[position] for position in positions], bit_depth=inspection.wide.bit_depth or 16)
    counts, num_bytes = dataset.counts(), inspection.num_bytes()
    totals = inspection.totals()
    splits = [split for split in SPLITS if totals[split][0]]
    return render_page(
        "inspection.html.j2",
        provenance or Provenance.now(data=dataset.spec),
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
        totals=[totals[split] for split in splits],
        histograms=_histograms(inspection),
        labels=_labels(inspection),
        sizes=inspection.sizes(),
        samples=samples,
        galleries=[gallery for gallery in all_galleries if gallery.cards],
        near_by=inspection.near_by,
        unreadable=inspection.unreadable,
        thumbnails=dict(zip(positions, small, strict=True)),
        link=lambda position: file_link(dataset.items[position], folder),
        passed_over=[(_PASSED_OVER.get(key, key), count) for key, count in dataset.passed_over.items() if count],
        max_rows=MAX_ROWS,
    )


def _labels(inspection: Inspection) -> dict[str, Any] | None:
    """How many labels images have, and which ones together; None if each image has one."""
    names, sets = inspection.dataset.classes, inspection.label_sets
    if sets.is_single:
        return None
    return {
        "histogram": labels_histogram(sets.per_image),
        "num_negatives": sets.num_negatives,
        "mean": sets.mean,
        "num_unknown": sum(sets.unknown),
        "num_values": sets.num_images * len(names),
        "num_pairs": len(sets.together),
        # Both classes, the images with both, and their share of the images of each class.
        "pairs": [
            (names[one], names[other], count, count / sets.positives[one], count / sets.positives[other])
            for one, other, count in sets.together[:MAX_PAIRS]
        ],
    }


def _histograms(inspection: Inspection) -> list[Chart]:
    sides = inspection.sides
    if not len(sides):
        return []
    return [
        side_histogram(sides.min(axis=1)),
        aspect_histogram(sides[:, 0] / sides[:, 1]),
        cut_histogram(share_cut(sides)),
    ]


def _samples(inspection: Inspection, room: int) -> list[Sample]:
    """Images of the first classes, and without a label, at equal distances within each, at most ``room`` in all."""
    kinds, is_readable = inspection.kinds, inspection.images.is_readable
    names = dict(enumerate(inspection.dataset.classes[:MAX_SAMPLED_CLASSES]))
    by_label = {}
    for label in (*names, _NO_LABEL):
        has_label = np.array([label in (one.labels or (_NO_LABEL,)) for one in kinds.examples], bool)
        by_label[label] = np.flatnonzero(is_readable & has_label[kinds.of_image])
    if len(by_label[_NO_LABEL]) and len(names) < MAX_SAMPLED_CLASSES:
        names[_NO_LABEL] = "no label"
    num_each = min(MAX_SAMPLES, room // max(1, len(names)))
    samples = []
    for label, name in names.items():
        found = by_label[label]
        taken = min(num_each, len(found))
        samples.append(Sample(name, len(found), [int(found[n * len(found) // taken]) for n in range(taken)]))
    return samples


def _tiles(inspection: Inspection, splits: Sequence[str], leaks: Sequence[Leak]) -> list[dict[str, Any]]:
    num_copies = inspection.exact.num_extra
    near = counted(len(inspection.near), "near pair") if inspection.near_by else "near pairs not searched for"
    num_exact = sum(leak.is_exact for leak in leaks)
    num_bytes = int(inspection.images.rows["num_bytes"].sum())
    return [
        {"name": "images", "value": len(inspection.images), "note": size(num_bytes)},
        {"name": "classes", "value": len(inspection.dataset.classes), "anchor": "classes"},
        {"name": "splits", "value": len(splits), "note": ", ".join(splits), "anchor": "classes"},
        {"name": "unreadable", "value": len(inspection.unreadable), "rank": 0, "anchor": "unreadable"},
        {"name": "exact copies", "value": num_copies, "note": near, "rank": 1, "anchor": "exact_duplicates"},
        {"name": "leaks", "value": len(leaks), "note": f"{num_exact:,} exact", "rank": 0, "anchor": "leaks"},
    ]
