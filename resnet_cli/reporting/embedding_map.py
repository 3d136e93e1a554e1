"""The map of a report: images in two dimensions, so that those with similar features are close to each other."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.reporting.palette import SERIES
from resnet_cli.reporting.thumbnails import shrink
from resnet_cli.text import shorten

if TYPE_CHECKING:
    from resnet_cli.engines.feature_rows import AnyFeatures

#: Most images on a map; this many are drawn at random if there are more. t-SNE of them takes 2 s of one core
#: (AMD EPYC, AVX-512); its time grows faster than their number.
MAX_IMAGES = 1_000
#: Fewer images say nothing about each other; and t-SNE needs more than its perplexity.
MIN_IMAGES, MIN_TSNE = 5, 16
#: Dimensions that PCA keeps for t-SNE. Source: van der Maaten & Hinton 2008, https://jmlr.org/papers/v9/, section 4.2.
_NUM_COMPONENTS = 50
_PERPLEXITY, _NUM_STEPS = 30, 500
#: Most small images of points -> their side: the more, the smaller, so that they take at most about 0.75 MB together.
_TILES_PX = ((220, 128), (450, 88), (MAX_IMAGES, 56))
_MOST_TILE_BYTES = 750_000
#: Room at each side of the map, as a share of it.
_MARGIN = 0.04
#: Index in place of a class, for an image without a label.
NO_LABEL = -1
_NAME_WIDTH = 60


class EmbeddingMap(NamedTuple):
    """Places of images on a plane.

    Attributes:
        positions: Positions of the images in the evaluation, [m].
        places: Their places in [0, 1] x [0, 1], from the upper left corner, float64 [m x 2].
        method: How they were found.
        num_images: Number of images that they were drawn from.
    """

    positions: NDArray[np.intp]
    places: NDArray[np.float64]
    method: str
    num_images: int


class Series(NamedTuple):
    """The points of one color.

    Attributes:
        name: The class; ``other classes`` or ``no label`` for the last, gray one.
        css: Its CSS class.
        num: Number of its images.
        right: Places of correct predictions, as an SVG path.
        wrong: Places of wrong predictions.
    """

    name: str
    css: str
    num: int
    right: str
    wrong: str


def tile_side(num_tiles: int) -> int:
    """Side of the small images of points, in pixels."""
    return next(side for most, side in _TILES_PX if num_tiles <= most)


def embedding_map(features: AnyFeatures | None, *, seed: int = 0) -> EmbeddingMap | None:
    """Places for the images of an evaluation: PCA, then t-SNE; PCA alone for very few images.

    The same features give the same map: the seed is fixed, and one thread adds in one order.

    Args:
        features: Features of the images, [n x 2048]; None if they are not known.
        seed: Seed of the images that are drawn, and of t-SNE.

    Returns:
        None without features, or for fewer than five images.
    """
    if features is None or len(features) < MIN_IMAGES:
        return None
    positions = np.arange(len(features))
    if len(positions) > MAX_IMAGES:
        positions = np.sort(np.random.default_rng(seed).choice(len(positions), MAX_IMAGES, replace=False))
    rows = features[positions].float().numpy()
    if not np.isfinite(rows).all():
        return None
    # Imported here, since it takes a second.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # Its many short parallel loops would wait for each other on a machine that does other things as well.
    with threadpool_limits(1), warnings.catch_warnings():
        # Images that are all equal have no variance to explain.
        warnings.simplefilter("ignore", RuntimeWarning)
        num = min(_NUM_COMPONENTS, *rows.shape)
        reduced = PCA(num, svd_solver="randomized", random_state=seed).fit_transform(rows)
        places, method = reduced[:, :2], "PCA"
        if len(rows) >= MIN_TSNE and np.ptp(reduced) > 0:
            perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
            tsne = TSNE(2, perplexity=perplexity, init="pca", max_iter=_NUM_STEPS, random_state=seed)
            places, method = tsne.fit_transform(reduced), "PCA and t-SNE"
    return EmbeddingMap(positions, _inside(places), method, len(features))


def _inside(places: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The places, moved and scaled into the unit square; each axis on its own."""
    low, span = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1e-9)
    return np.asarray(_MARGIN + (1 - 2 * _MARGIN) * (places - low) / span, dtype=np.float64)


def shown_label(scores: Scores, position: int) -> int:
    """The class whose color an image has: its own, or of several labels the most probable one; -1 without a label."""
    own = _own(scores, position)
    return max(own, key=lambda label: float(scores.probs[position, label]), default=NO_LABEL)


def map_series(scores: Scores, found: EmbeddingMap) -> list[Series]:
    """The points by color.

    There are eight colors: of more classes, those with the most images on the map have one, and the others share gray.
    """
    labels = [shown_label(scores, int(at)) for at in found.positions]
    counts = Counter(label for label in labels if label != NO_LABEL)
    common = sorted(label for label, _ in counts.most_common(len(SERIES)))
    colored = {label: f"series-{index}" for index, label in enumerate(common)}
    groups: dict[tuple[str, str], list[int]] = {(scores.classes[label], css): [] for label, css in colored.items()}
    num_others = len(counts) - len(common)
    for point, label in enumerate(labels):
        other = ("no label" if label == NO_LABEL else f"{num_others:,} other classes", "other")
        key = (scores.classes[label], colored[label]) if label in colored else other
        groups.setdefault(key, []).append(point)
    is_right = scores.is_right[found.positions]
    return [
        Series(
            name,
            css,
            len(points),
            _path(found.places[[point for point in points if is_right[point]]]),
            _path(found.places[[point for point in points if not is_right[point]]]),
        )
        for (name, css), points in groups.items()
    ]


def _path(places: NDArray[np.float64]) -> str:
    return "".join(f"M{100 * x:.1f} {100 * y:.1f}h0" for x, y in places.tolist())


def map_data(
    scores: Scores, found: EmbeddingMap, tiles: Mapping[int, Image.Image | None], link: Callable[[int], str]
) -> dict[str, Any]:
    """The data for the page's script: one row per point, and one sheet with the small images of points.

    Args:
        scores: The evaluation.
        found: The map.
        tiles: Position -> small image, for images that are nowhere else in the page; None for one that cannot be read.
        link: Takes a position and returns the address of the image's file; empty if it has none.
    """
    columns, side = max(1, int(np.ceil(np.sqrt(len(tiles))))), tile_side(len(tiles))
    sheet = Image.new("RGB", (columns * side, max(1, -(-len(tiles) // columns)) * side), (128, 128, 128))
    corners = {}
    for index, (at, tile) in enumerate(tiles.items()):
        if tile is not None:
            corners[at] = (side * (index % columns), side * (index // columns), *tile.size)
            sheet.paste(tile, corners[at][:2])
    points = []
    for at, (x, y) in zip(found.positions.tolist(), (100 * found.places).round(1).tolist(), strict=True):
        # An empty list: the image cannot be read. None: it is elsewhere in the page.
        corner = list(corners.get(at, ())) if at in tiles else None
        name = shorten(scores.names[at], _NAME_WIDTH)
        points.append(
            [x, y, int(scores.is_right[at]), *_said(scores, at), name, link(at), at, corner, _own(scores, at)]
        )
    image = shrink(sheet, side_px=max(sheet.size), max_bytes=_MOST_TILE_BYTES)
    word = "labels" if isinstance(scores, LabelEvaluation) else "true class"
    return {"points": points, "sheet": str(image.src), "word": word}


def _own(scores: Scores, position: int) -> list[int]:
    """The true classes of an image."""
    if isinstance(scores, LabelEvaluation):
        return [int(label) for label in np.flatnonzero(scores.targets[position] == 1)]
    return [int(scores.labels[position])]


def _said(scores: Scores, position: int) -> tuple[str, str, str]:
    """True class or labels, predicted ones, and the probability if it is one number."""
    if isinstance(scores, LabelEvaluation):
        return (
            ", ".join(scores.labels_of(position)) or "none",
            ", ".join(scores.predicted_of(position)) or "none",
            "",
        )
    classes = scores.classes
    prob = f"{100 * float(scores.confidence[position]):.1f} %"
    return classes[scores.labels[position]], classes[scores.predicted[position]], prob
