"""The page of ``predict --similar``: each query image beside the images that are most similar to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from resnet_cli.data.dataset import Item
from resnet_cli.engines.similar import Match, Similar
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.templating import render_page
from resnet_cli.reporting.thumbnails import Thumbnail, thumbnails

#: Results that are shown in all; with the largest thumbnails this many keep a page below 4 MB.
MAX_SHOWN = 400
_SIDE_PX, _MAX_BYTES = 224, 14_000


class Card(NamedTuple):
    """One result: its place, its image and its similarity."""

    match: Match
    image: Thumbnail


class Query(NamedTuple):
    """One query image with its results."""

    name: str
    image: Thumbnail
    cards: list[Card]


def similar_sheet(found: Similar, provenance: Provenance, *, among: Sequence[str], bit_depth: int = 16) -> str:
    """The HTML document, thumbnails included.

    Args:
        found: The results of a search.
        provenance: Where the page comes from.
        among: Where was searched, as the user named it.
        bit_depth: Bits of the values of 16-bit images.
    """
    matches, items = found.matches[:MAX_SHOWN], found.items[:MAX_SHOWN]
    queries: dict[int, list[Card]] = {}
    place = -1
    images = _thumbnails(items, bit_depth)
    for match, image in zip(matches, images, strict=True):
        place += match.rank == 1
        queries.setdefault(place, []).append(Card(match, image))
    asked = list(found.queries[: len(queries)])
    shown = [
        Query(item.name, image, queries[at])
        for at, (item, image) in enumerate(zip(asked, _thumbnails(asked, bit_depth), strict=True))
    ]
    return render_page(
        "similar.html.j2",
        provenance,
        queries=shown,
        num=found.num,
        among=", ".join(among),
        num_left_out=len(found.matches) - len(matches),
    )


def _thumbnails(items: Sequence[Item], bit_depth: int) -> list[Thumbnail]:
    return thumbnails(items, bit_depth=bit_depth, side_px=_SIDE_PX, max_bytes=_MAX_BYTES)
