"""Similarity search: the images whose features are most similar."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.web import downloaded
from resnet_cli.data.inspection.scan import scan
from resnet_cli.engines.features import extract_features
from resnet_cli.errors import DataError, ImageError
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import unit_rows
from resnet_cli.system.device import Compute

#: Images whose features are held at once: 64 MB in half precision.
CHUNK_IMAGES = 16_384


@dataclasses.dataclass(frozen=True)
class Match:
    """One result of a search.

    Attributes:
        query: The query image, as the user named it.
        rank: Rank of the result, from 1.
        path: The similar image.
        similarity: Cosine similarity of the features, in [-1, 1].
    """

    query: str
    rank: int
    path: str
    similarity: float


@dataclasses.dataclass(frozen=True)
class Similar:
    """The results of a search.

    Attributes:
        matches: Results for each query, most similar first.
        errors: Images that could not be read.
        num: Number of images that were searched.
        queries: The query images.
        items: The image of each result.
        written: The page with the images, if one was written.
    """

    matches: tuple[Match, ...]
    errors: tuple[ImageError, ...]
    num: int
    queries: tuple[Item, ...] = ()
    items: tuple[Item, ...] = ()
    written: Path | None = None


def find_similar(
    model: Model,
    queries: Sequence[Item],
    among: Iterable[Item],
    compute: Compute,
    *,
    topk: int = 10,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Similar:
    """Finds the images whose features have the largest cosine similarity with those of a query; features are cached.

    The query's own file is excluded; a copy of it under another name is not.

    Args:
        model: The model, whose backbone computes the features.
        queries: At least one image.
        among: The images to search, any number; only a part of their features is in memory at a time.
        compute: Device and precision.
        topk: Number of results per query.
        on_progress: Called with the number of images done.

    Raises:
        DataError: A query cannot be read, or none of the images to search.
    """
    queries = [downloaded(query) for query in queries]
    rows = extract_features(model.network, queries, model.preprocess, compute)
    asked = unit_rows(rows.numpy())
    own = [_real_path(query) for query in queries]
    # The number breaks ties: among equals the first one wins.
    best: list[list[tuple[float, int, Item]]] = [[] for _ in queries]
    errors: list[ImageError] = []
    num = 0
    for chunk in _chunks(among):
        good = _readable(chunk, errors, model.preprocess.bit_depth)
        if good:
            before = num

            def of_all(done: int, _: int, before: int = before) -> None:
                on_progress(before + done)

            features = extract_features(model.network, good, model.preprocess, compute, on_progress=of_all)
            cosines = np.clip(asked @ unit_rows(features.numpy()).T, -1, 1)  # [queries x images]
            paths = [_real_path(item) for item in good]
            for row, heap in enumerate(best):
                for column in np.argsort(-cosines[row], kind="stable")[: topk + 1].tolist():
                    if paths[column] is None or paths[column] != own[row]:
                        _keep(heap, (float(cosines[row, column]), -(num + column), good[column]), topk)
        num += len(good)
    if not num:
        raise DataError("no image of --among can be read", hint="name a folder of images: --among FOLDER")
    ranked = [
        (Match(query.name, rank, item.name, similarity), item)
        for query, heap in zip(queries, best, strict=True)
        for rank, (similarity, _, item) in enumerate(sorted(heap, key=_order), start=1)
    ]
    matches, items = tuple(match for match, _ in ranked), tuple(item for _, item in ranked)
    return Similar(matches, tuple(errors), num, tuple(queries), items)


def _order(found: tuple[float, int, Item]) -> tuple[float, int]:
    similarity, number, _ = found
    return -similarity, -number


def _readable(items: Sequence[Item], errors: list[ImageError], bit_depth: int) -> list[Item]:
    """The images that can be read; the errors of the others are added to ``errors``."""
    here = []
    for item in items:
        try:
            here.append(downloaded(item))
        except ImageError as error:
            errors.append(error)
    pairs = list(zip(here, scan(here, signatures=False, bit_depth=bit_depth), strict=True))
    errors += [ImageError(item.location, image.error) for item, image in pairs if image.error]
    return [item for item, image in pairs if not image.error]


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    waiting = iter(items)
    while chunk := list(itertools.islice(waiting, CHUNK_IMAGES)):
        yield chunk


def _keep(heap: list[tuple[float, int, Item]], match: tuple[float, int, Item], most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, match)
    else:
        heapq.heappushpop(heap, match)


def _real_path(item: Item) -> str | None:
    return os.path.realpath(item.source) if isinstance(item.source, Path) else None
