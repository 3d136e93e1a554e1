"""ROC and precision-recall curves of each class against the rest, and their averages, as points that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.evaluation.ranking import MAX_CELLS, mean_known
from resnet_cli.evaluation.scoring import Scores

#: What a curve is of: one class against the rest; all decisions of all classes together (micro average); the mean of
#: the curves of the classes (macro average).
CurveKind: TypeAlias = Literal["class", "micro", "macro"]
#: Number of classes whose curves are drawn: those with the lowest average precision.
MAX_CLASSES = 6
#: Points of a curve, at equal distances along it; the error of the drawing is below 1 / 100 of its side.
MAX_POINTS = 200
#: Places at which the curves of the classes are averaged. Twice at 0, where a ROC curve may rise.
_GRID = np.concatenate([[0.0], np.linspace(0, 1, 501)])


class RankingCurve(NamedTuple):
    """One curve of a chart.

    Attributes:
        name: Name of the class, ``micro average`` or ``macro average``.
        kind: What it is of.
        x: False positive rate, or recall, float64 [m], ascending from 0 to 1.
        y: True positive rate, or precision, float64 [m].
        area: ROC-AUC, or average precision: that of all points, of the micro average, or the mean of all classes.
        label: Index of the class; None for an average.
    """

    name: str
    kind: CurveKind
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area: float
    label: int | None = None


class RankingCurves(NamedTuple):
    """The curves of one evaluation.

    Attributes:
        roc: True positive rate against false positive rate: the averages, then the classes.
        precision_recall: Precision against recall, in the same order.
        num_classes: Number of classes that have a curve, drawn or not.
        positives: Share of positive decisions, which guessing has as its precision; the mean of the classes drawn.
    """

    roc: Sequence[RankingCurve]
    precision_recall: Sequence[RankingCurve]
    num_classes: int
    positives: float


def ranking_curves(scores: Scores) -> RankingCurves:
    """The curves of an evaluation; a class with only positives, or with none, has no curve.

    There are no averages for two mutually exclusive classes, whose own curves they would repeat, or for more than ten
    million probabilities.

    Source: as ``sklearn.metrics.roc_curve`` and ``precision_recall_curve``; macro average: the mean of the curves of
    all classes at each false positive rate (or recall), and of their areas; micro average: one curve of all pairs of an
    image and a class.
    """
    areas = scores.ranking
    known = [int(label) for label in np.flatnonzero(~np.isnan(areas.roc_auc))]
    by_precision = sorted(known, key=lambda label: float(areas.average_precision[label]))
    drawn = known if len(known) <= MAX_CLASSES else by_precision[:MAX_CLASSES]
    has_averages = len(known) > (2 if scores.task == "single-label" else 1) and scores.probs.size <= MAX_CELLS
    points = {label: _points(*_decisions(scores, label)) for label in (known if has_averages else drawn)}
    roc, recalls = [], []
    if has_averages:
        micro = _points(*_all_decisions(scores))
        micro_areas = float(np.trapezoid(micro.true, micro.false)), _step_area(micro)
        roc = [
            _mean([_recall_at(one) for one in points.values()], areas.roc_auc),
            _curve("micro average", "micro", micro.false, micro.true, area=micro_areas[0]),
        ]
        recalls = [
            _mean([_precision_at(one) for one in points.values()], areas.average_precision),
            _curve("micro average", "micro", *_steps(micro), area=micro_areas[1]),
        ]
    for label in drawn:
        name, one = scores.classes[label], points[label]
        roc.append(_curve(name, "class", one.false, one.true, area=float(areas.roc_auc[label]), label=label))
        recalls.append(_curve(name, "class", *_steps(one), area=float(areas.average_precision[label]), label=label))
    shares = [points[label].share for label in drawn]
    return RankingCurves(roc, recalls, len(known), float(np.mean(shares)) if shares else 0.0)


class _Points(NamedTuple):
    """What each threshold reaches, from the highest probability on; the first point is that of no threshold reached.

    Attributes:
        false: False positive rate, [m + 1].
        true: True positive rate, which is recall, [m + 1].
        precision: Precision, [m + 1]; 1 for the first point.
        share: Share of positives.
    """

    false: NDArray[np.float64]
    true: NDArray[np.float64]
    precision: NDArray[np.float64]
    share: float


def _decisions(scores: Scores, label: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Probabilities of one class, and whether each known image is of it."""
    if isinstance(scores, LabelEvaluation):
        known = scores.is_known[:, label]
        return scores.probs[known, label], scores.targets[known, label] == 1
    return scores.probs[:, label], scores.labels == label


def _all_decisions(scores: Scores) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Probabilities of all known pairs of an image and a class, and whether the image is of it."""
    if isinstance(scores, LabelEvaluation):
        return scores.probs[scores.is_known], scores.targets[scores.is_known] == 1
    is_own = scores.labels[:, None] == np.arange(len(scores.classes))
    return scores.probs.ravel(), is_own.ravel()


def _points(probs: NDArray[Any], is_own: NDArray[np.bool_]) -> _Points:
    order = np.argsort(-probs, kind="stable")
    ranked, is_own = probs[order], is_own[order]
    # Equal probabilities are reached at once.
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.cumsum(is_own)[ends]
    false = ends + 1 - true
    num_true, num_false = max(1, int(true[-1])), max(1, int(false[-1]))
    return _Points(
        np.concatenate([[0.0], false / num_false]),
        np.concatenate([[0.0], true / num_true]),
        np.concatenate([[1.0], true / (ends + 1)]),
        float(true[-1] / len(probs)),
    )


def _step_area(points: _Points) -> float:
    """Average precision: the precision of each threshold times the recall that it adds."""
    return float((np.diff(points.true) * points.precision[1:]).sum())


def _steps(points: _Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision as a line of steps: between two thresholds, the lower one's precision can be reached."""
    added = np.flatnonzero(np.diff(points.true) > 0) + 1
    recall = np.column_stack([points.true[added - 1], points.true[added]]).ravel()
    return recall, np.repeat(points.precision[added], 2)


def _recall_at(points: _Points) -> NDArray[np.float64]:
    """The true positive rate at each false positive rate of the grid."""
    found = np.asarray(np.interp(_GRID, points.false, points.true))
    # Every curve begins where nothing is predicted; the grid has this place a second time, for those that rise there.
    found[0] = 0.0
    return found


def _precision_at(points: _Points) -> NDArray[np.float64]:
    """The precision of the first threshold that reaches each recall of the grid."""
    return np.asarray(points.precision[np.maximum(1, np.searchsorted(points.true, _GRID - 1e-12, side="left"))])


def _mean(curves: Sequence[NDArray[np.float64]], areas: NDArray[np.float64]) -> RankingCurve:
    return _curve("macro average", "macro", _GRID, np.mean(curves, axis=0), area=mean_known(areas) or 0.0)


def _curve(
    name: str,
    kind: CurveKind,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    area: float,
    label: int | None = None,
) -> RankingCurve:
    kept = _thinned(x, y)
    return RankingCurve(name, kind, x[kept], y[kept], area, label)


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of at most ``MAX_POINTS`` points, at about equal distances along the curve, its ends included."""
    if len(x) <= MAX_POINTS:
        return np.arange(len(x))
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    places = np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS - 1), side="left")
    return np.unique(np.append(np.minimum(places, len(x) - 1), len(x) - 1))
