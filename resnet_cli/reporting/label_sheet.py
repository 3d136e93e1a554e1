"""The review sheet of ``eval --label-audit``: likely wrong labels with their images, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnet_cli.data.dataset import Item
from resnet_cli.reporting.file_links import file_link
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.templating import render_page
from resnet_cli.reporting.thumbnails import Thumbnail, thumbnails

if TYPE_CHECKING:
    from resnet_cli.studies.label_audit import LabelAudit

#: With the largest thumbnails and texts, this many keep a sheet below 3 MB; the table has all.
MAX_CARDS = 240
#: The worst labels are shown even if the estimate says that none is wrong.
MIN_CARDS = 24


class Suspect(NamedTuple):
    """One image of the sheet.

    Attributes:
        rank: Rank of the label; 1 is the worst.
        label: The given label.
        label_prob: Probability of the label according to heads that were trained without the image.
        suggested: The most probable class according to these heads.
        suggested_prob: Probability of that class.
    """

    rank: int
    item: Item
    thumbnail: Thumbnail
    label: str
    label_prob: float
    suggested: str
    suggested_prob: float


def label_sheet(
    audit: LabelAudit,
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
    num_likely = round(audit.num_wrong.value)
    shown = audit.order[: min(MAX_CARDS, max(MIN_CARDS, num_likely))]
    small = thumbnails([items[at] for at in shown], bit_depth=bit_depth)
    suspects = [
        Suspect(
            rank + 1,
            items[at],
            thumbnail,
            audit.classes[audit.labels[at]],
            float(audit.label_probs[at]),
            audit.classes[audit.suggested[at]],
            float(audit.suggested_probs[at]),
        )
        for rank, (at, thumbnail) in enumerate(zip(shown, small, strict=True))
    ]
    return render_page(
        "label_sheet.html.j2",
        provenance or Provenance.now(data=name),
        link=lambda item: file_link(item, folder),
        name=name,
        table=table,
        note=note,
        has_files=has_files,
        num_checked=len(audit.order),
        num_unchecked=audit.num_unchecked,
        estimate=[round(end) for end in audit.num_wrong],
        likely=suspects[:num_likely],
        others=suspects[num_likely:],
    )
