"""ROC and precision-recall curves against scikit-learn's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from support.synthetic_label_reports import make_label_evaluation
from support.synthetic_reports import make_evaluation

from resnet_cli.evaluation.curves import MAX_CLASSES, MAX_POINTS, RankingCurve, ranking_curves


def distance(curve: RankingCurve, x: np.ndarray, y: np.ndarray) -> float:
    """Largest distance of the curve's points from a line through other points, along both axes together."""
    starts, ends = np.column_stack([x, y])[:-1], np.column_stack([x, y])[1:]
    worst = 0.0
    for point in np.column_stack([curve.x, curve.y]):
        steps = ends - starts
        length = np.maximum((steps**2).sum(axis=1), 1e-30)
        places = np.clip(((point - starts) * steps).sum(axis=1) / length, 0, 1)[:, None]
        worst = max(worst, float(np.abs(point - starts - places * steps).sum(axis=1).min()))
    return worst


@pytest.mark.parametrize(("num", "tied"), [(60, False), (60, True), (900, False)])
def test_the_curves_of_classes_are_scikit_learns(num: int, tied: bool) -> None:
    scores = make_evaluation(("a", "b", "c"), num)
    if tied:
        scores.probs[:] = scores.probs.round(1)
    found = ranking_curves(scores)
    classes = [
        (one, other) for one, other in zip(found.roc, found.precision_recall, strict=True) if one.kind == "class"
    ]
    assert [one.name for one, _ in classes] == ["a", "b", "c"] and found.num_classes == 3
    for roc, recall in classes:
        is_own, probs = scores.labels == roc.label, scores.probs[:, roc.label]
        assert roc.area == pytest.approx(roc_auc_score(is_own, probs))
        assert recall.area == pytest.approx(average_precision_score(is_own, probs))
        x, y, _ = roc_curve(is_own, probs)
        assert distance(roc, x, y) < 1e-9 and len(roc.x) <= MAX_POINTS
        assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc.area, abs=0.005)
        precision, wanted, _ = precision_recall_curve(is_own, probs)
        # Between two thresholds a step: the precision of the lower one.
        steps = np.repeat(wanted[::-1], 2)[:-1], np.repeat(precision[::-1], 2)[1:]
        assert distance(recall, *steps) < 1e-9
        assert (np.diff(roc.x) >= 0).all() and (np.diff(recall.x) >= 0).all() and recall.x[-1] == roc.y[-1] == 1.0


def test_averages_are_named_and_are_those_of_scikit_learn() -> None:
    scores = make_evaluation(("a", "b", "c", "d"), 200)
    found = ranking_curves(scores)
    truth = scores.labels[:, None] == np.arange(4)
    for curves, area in ((found.roc, roc_auc_score), (found.precision_recall, average_precision_score)):
        macro, micro = curves[:2]
        assert (macro.name, micro.name) == ("macro average", "micro average")
        assert macro.area == pytest.approx(area(truth, scores.probs, average="macro"))
        assert micro.area == pytest.approx(area(truth, scores.probs, average="micro"))
        # The drawn line has the area that is written beside it.
        for one in (macro, micro):
            assert np.trapezoid(one.y, one.x) == pytest.approx(one.area, abs=0.01)


def test_two_classes_that_exclude_each_other_have_no_averages() -> None:
    found = ranking_curves(make_evaluation(("ants", "bees"), 50))
    assert [one.kind for one in found.roc] == ["class", "class"] and found.positives == pytest.approx(0.5)


def test_of_many_classes_those_of_the_lowest_average_precision_are_drawn() -> None:
    scores = make_evaluation(tuple(f"class {n}" for n in range(40)), 400)
    found = ranking_curves(scores)
    drawn = [one.label for one in found.precision_recall if one.kind == "class"]
    values = scores.ranking.average_precision
    assert drawn == np.argsort(values, kind="stable")[:MAX_CLASSES].tolist() and found.num_classes == 40


def test_unknown_values_are_in_no_curve() -> None:
    scores = make_label_evaluation(("a", "b", "c"), 120)
    scores.targets[::3, 1] = -1
    found = ranking_curves(scores)
    known = scores.targets[:, 1] >= 0
    roc = next(one for one in found.roc if one.label == 1)
    x, y, _ = roc_curve(scores.targets[known, 1], scores.probs[known, 1])
    assert distance(roc, x, y) < 1e-9
    assert found.roc[1].area == pytest.approx(
        roc_auc_score(scores.targets[scores.targets >= 0], scores.probs[scores.targets >= 0])
    )


def test_a_class_without_images_has_no_curve_and_a_single_one_leaves_none() -> None:
    scores = make_evaluation(("a", "b", "c"), 60)
    scores.labels[scores.labels == 2] = 1
    assert {one.label for one in ranking_curves(scores).roc if one.kind == "class"} == {0, 1}
    found = ranking_curves(dataclasses.replace(scores, labels=np.zeros(60, dtype=np.int64)))
    assert not found.roc and not found.precision_recall and found.num_classes == 0
