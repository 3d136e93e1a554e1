"""Selects the images that the plots of predictions show, wrong ones first, and reads them."""

from __future__ import annotations

import numpy as np

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.reporting.prediction_plot import COLUMNS, PIXELATED_UP_TO_PX, SIDE_PX, ShownPredictions, Tile
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kinds import kind_of

#: Images that are shown, and wrong ones among them if there are enough right ones.
NUM_SHOWN, MOST_WRONG = 3 * COLUMNS, 2 * COLUMNS


def shown_predictions(content: ReportContent) -> ShownPredictions:
    """Selects and reads images of an evaluation; those that can no longer be read are omitted."""
    evaluation = content.evaluation
    wrong, right = _positions(evaluation)
    rng = np.random.default_rng(0)
    if isinstance(evaluation, Evaluation):
        by_confidence = wrong[np.argsort(-evaluation.confidence[wrong], kind="stable")]
    else:
        by_confidence = rng.permutation(wrong)
    num_right = min(len(right), max(NUM_SHOWN - MOST_WRONG, NUM_SHOWN - len(wrong)))
    chosen = by_confidence[: NUM_SHOWN - num_right], rng.permutation(right)[:num_right]
    tiles = [[tile for at in part.tolist() if (tile := _read(content, at)) is not None] for part in chosen]
    return ShownPredictions(tiles[0], tiles[1], len(wrong), len(right))


def _positions(evaluation: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the images with wrong and with right predictions; an image without known labels has neither."""
    is_scored = np.ones(evaluation.num_images, bool) if isinstance(evaluation, Evaluation) else evaluation.is_scored
    return np.flatnonzero(is_scored & ~evaluation.is_right), np.flatnonzero(is_scored & evaluation.is_right)


def _read(content: ReportContent, position: int) -> Tile | None:
    item: Item = content.items[position]
    try:
        image = item.open(content.bit_depth)
    except ImageError:
        return None
    if max(image.size) > PIXELATED_UP_TO_PX:
        image.thumbnail((SIDE_PX, SIDE_PX))
    true, predicted, prob = kind_of(content.evaluation).captions(content.evaluation, position)
    return Tile(np.asarray(image), predicted, true, prob)
