"""The sections of a report that every task has: the map of all images, and ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_cli.evaluation.curves import ranking_curves
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.reporting.embedding_map import EmbeddingMap, map_data, map_series, tile_side
from resnet_cli.reporting.gallery import GALLERY_SIZE, GalleryImages
from resnet_cli.reporting.ranking_charts import ranking_charts
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.sections import Section, optional_section
from resnet_cli.reporting.thumbnails import Size


def images_of_page(
    content: ReportContent,
    shown: Sequence[int],
    found: EmbeddingMap | None,
    *,
    cells: Sequence[int] = (),
    cell_size: Size = GALLERY_SIZE,
) -> GalleryImages:
    """The images of galleries, of cells and of the map."""
    elsewhere = {*shown, *cells}
    tiles = [] if found is None else [at for at in found.positions.tolist() if at not in elsewhere]
    return GalleryImages(content, shown, cells=cells, cell_size=cell_size, tiles=tiles, tile_px=tile_side(len(tiles)))


def map_section(evaluation: Scores, found: EmbeddingMap | None, values: dict[str, Any]) -> Section:
    """The map of all images; omitted if their features are not known."""
    more: dict[str, Any] = {"map": found}
    if found is not None:
        more |= {
            "series": map_series(evaluation, found),
            "num_wrong": int((~evaluation.is_right[found.positions]).sum()),
        }
    return optional_section("embedding", "Map", found, values | more)


def map_values(evaluation: Scores, found: EmbeddingMap | None, images: GalleryImages) -> dict[str, Any]:
    """What the page's script needs for the map."""
    if found is None:
        return {}
    return {"map": map_data(evaluation, found, images.tiles, images.link)}


def ranking_section(evaluation: Scores, values: dict[str, Any]) -> Section:
    """ROC and precision-recall curves; omitted if no class has both images and images of others."""
    curves = ranking_curves(evaluation)
    charts = ranking_charts(curves)
    return optional_section(
        "ranking", "ROC and precision-recall", charts, values | {"charts": charts, "curves": curves}
    )
