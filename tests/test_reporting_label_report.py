"""The report of a multi-label model: what the page, the plots and the model card say, and what they do without data."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_curve
from support.html_page import Page, assert_self_contained
from support.synthetic_label_reports import make_label_content, make_label_evaluation

from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.model import label_reliability
from resnet_cli.model.label_reliability import LabelReliability
from resnet_cli.reporting.card_format import Card
from resnet_cli.reporting.label_charts import (
    MAX_CURVES,
    drawn_classes,
    label_calibration_charts,
    precision_recall,
    precision_recall_charts,
)
from resnet_cli.reporting.label_gallery import MAX_SHOWN, Mistake, heat_map_key, shown_mistakes
from resnet_cli.reporting.label_metrics import label_metrics, label_notes
from resnet_cli.reporting.label_targets import precision_targets
from resnet_cli.reporting.model_card import model_card
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_files import write_report_files
from resnet_cli.reporting.report_kinds import REPORTS
from resnet_cli.reporting.report_page import report_page
from resnet_cli.task import UNKNOWN, YES
from resnet_cli.text import percent

LEAVES = ("healthy", "rust", "scab")


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return make_label_content(LEAVES, 80)


def evaluation_of(content: ReportContent) -> LabelEvaluation:
    assert isinstance(content.evaluation, LabelEvaluation)
    return content.evaluation


def test_the_page_has_every_section_and_asks_for_nothing(content: ReportContent) -> None:
    text = report_page(content)
    page = Page(text)
    assert_self_contained(page)
    assert "top-1" not in page.text.lower() and "confusion" not in page.text.lower()
    evaluation = evaluation_of(content)
    for metric in label_metrics(evaluation):
        assert metric.name in page.text and metric.text.replace("\N{NO-BREAK SPACE}", " ") in page.text
    for row in evaluation.per_class:
        for value in (row.average_precision, row.precision, row.recall, row.f1, row.threshold):
            assert value is not None and percent(value) in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Each threshold has the highest F1." in page.text and "beside 80 validation images" in page.text
    assert f"Images without labels {evaluation.num_negatives} of 80" in page.text
    assert "kept epoch 2" in page.text and "Most unlike the training images" in page.text
    assert page.values("table", "id") == ["classes-table"]


def test_names_of_unknown_origin_are_escaped() -> None:
    hostile = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "gnp.\u202eexe")
    page = Page(report_page(make_label_content(hostile, 40, title=hostile[0])))
    assert_self_contained(page)
    assert page.tags["script"] == 2 and "\u202e" not in page.text


@pytest.mark.parametrize("num_classes", [1, 40])
def test_one_class_and_many_classes_have_a_page(num_classes: int) -> None:
    content = make_label_content([f"label {at}" for at in range(num_classes)], 50)
    page = Page(report_page(content))
    assert_self_contained(page)
    assert len(precision_recall_charts(evaluation_of(content))) == min(num_classes, MAX_CURVES)
    assert page.values("input", "id") == (["search"] if num_classes == 40 else [])


def test_without_heat_maps_validation_and_novelty_the_page_says_less(content: ReportContent) -> None:
    plain = dataclasses.replace(evaluation_of(content), novelty=None, is_unfamiliar=None, scaling=None)
    bare = dataclasses.replace(content, evaluation=plain, overlays={}, history=(), thresholds=(), other=None)
    page = Page(report_page(bare))
    assert_self_contained(page)
    assert "Grad-CAM" not in page.text and "in validation" not in page.text and "unlike" not in page.text
    assert len(label_calibration_charts(plain)) == 1


def test_where_no_class_has_both_values_exact_match_takes_the_place_of_map(content: ReportContent) -> None:
    evaluation = evaluation_of(content)
    targets = np.where(evaluation.targets == YES, YES, UNKNOWN).astype(np.int8)
    found = dataclasses.replace(content, evaluation=dataclasses.replace(evaluation, targets=targets), overlays={})
    page = Page(report_page(found))
    assert "mAP is" not in page.text and "nan" not in page.text.lower()
    assert "3 classes have no negatives" in " ".join(label_notes(evaluation_of(found)))
    assert "mean_average_precision" not in model_card(found)


def test_curves_are_scikit_learns_and_the_worst_classes_come_first(content: ReportContent) -> None:
    evaluation = evaluation_of(content)
    known = evaluation.is_known[:, 0]
    probs, is_positive = evaluation.probs[known, 0], evaluation.targets[known, 0] == YES
    recall, precision, thresholds = precision_recall(probs, is_positive)
    expected = precision_recall_curve(is_positive, probs, drop_intermediate=False)
    np.testing.assert_allclose(precision, expected[0][:-1][::-1])
    np.testing.assert_allclose(recall, expected[1][:-1][::-1])
    np.testing.assert_allclose(thresholds, expected[2][::-1])
    areas = evaluation.ranking.average_precision[drawn_classes(evaluation)]
    assert (np.diff(areas) >= 0).all()


def test_galleries_show_mistakes_of_every_class_and_are_bounded() -> None:
    evaluation = make_label_evaluation([f"label {at}" for at in range(30)], 300, strength=0.5)
    found = shown_mistakes(evaluation)
    assert len(found) <= MAX_SHOWN and len({heat_map_key(one, 30) for one in found}) == len(found)
    for one in found:
        assert evaluation.is_wrong[one.position, one.label]
        assert one.is_missed == (evaluation.targets[one.position, one.label] == YES)


def test_a_heat_map_explains_the_class_of_its_mistake(content: ReportContent, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = evaluation_of(content)
    asked: list[tuple[str, int]] = []

    def overlays(
        _model: object, items: Sequence[Any], positions: Sequence[int], _compute: object, *, targets: Sequence[int]
    ) -> dict[int, Image.Image]:
        asked.extend((items[at].name, target) for at, target in zip(positions, targets, strict=True))
        return {at: Image.new("RGB", (8, 8)) for at in positions}

    monkeypatch.setattr("resnet_cli.reporting.multi_label_report.overlays", overlays)
    nothing: Any = None
    made = REPORTS["multi-label"].heat_maps(nothing, content.items, evaluation, nothing)
    expected = shown_mistakes(evaluation)
    assert asked == [(evaluation.names[one.position], one.label) for one in expected]
    assert set(made) == {heat_map_key(one, 3) for one in expected}
    assert heat_map_key(Mistake(5, 2, True), 3) != heat_map_key(Mistake(5, 1, True), 3)


def test_the_files_are_complete_and_the_counts_are_those_of_the_evaluation(
    content: ReportContent, tmp_path: Path
) -> None:
    write_report_files(tmp_path, content)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    plots = {
        "cooccurrence",
        "curves",
        "precision_recall",
        "predictions",
        "reliability",
        "results",
        "roc_precision_recall",
    }
    assert names == {"cooccurrence.csv", "model_card.md", "report.html", *(f"plots/{name}.png" for name in plots)}
    with (tmp_path / "cooccurrence.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert tuple(head[1:]) == LEAVES and [row[0] for row in rows] == list(LEAVES)
    np.testing.assert_array_equal([list(map(int, row[1:])) for row in rows], evaluation_of(content).cooccurrence)
    card = Card.parse((tmp_path / "model_card.md").read_text())
    assert card.front["metrics"] == ["mean_average_precision", "f1"] and "multi-label" in card.front["tags"]
    for row in evaluation_of(content).per_class:
        assert f"| {row.threshold:.4f} |" in card.body
    assert "1 / (1 + exp(-logit))" in card.body and "prob >= least" in card.body


def test_precision_targets_are_checked_on_these_images(content: ReportContent) -> None:
    num = 2000
    evaluation = make_label_evaluation(LEAVES, num, strength=4.0, unknown=0.0)
    targets = np.where(np.arange(3) == 2, evaluation.targets * (np.arange(num) < 5)[:, None], evaluation.targets)
    evaluation = dataclasses.replace(evaluation, targets=targets.astype(np.int8))
    reliability = LabelReliability(evaluation.probs, evaluation.targets, np.zeros(num, dtype=np.float32))
    easiest, *harder = precision_targets(reliability, evaluation)
    # Nearly no image has the third label: no threshold can guarantee a precision.
    assert easiest.num_classes == 2 and easiest.precision is not None and easiest.precision >= easiest.target
    assert harder and all(one.recall <= easiest.recall for one in harder if one.recall and easiest.recall)
    page = Page(report_page(dataclasses.replace(content, precision_targets=[easiest])))
    assert "2 of 3" in page.text and "guarantee a precision" in page.text
    assert precision_targets(reliability, dataclasses.replace(evaluation, tta="flip")) == []


def test_thresholds_are_compared_with_their_results_on_validation(
    content: ReportContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = evaluation_of(content)
    kind = REPORTS["multi-label"]
    reliability = LabelReliability(evaluation.probs, evaluation.targets, np.zeros(80, dtype=np.float32))
    found = kind.decisions(reliability, evaluation)
    for one, row in zip(found.thresholds, evaluation.per_class, strict=True):
        assert one.precision == pytest.approx(row.precision) and one.recall == pytest.approx(row.recall)
    other = dataclasses.replace(evaluation, thresholds=np.array([0.5, 0.5, np.inf]))
    changed = kind.decisions(reliability, other)
    assert changed.threshold_note != found.threshold_note and changed.thresholds[2].threshold is None
    with monkeypatch.context() as patched:
        patched.setattr(label_reliability, "MAX_CELLS", reliability.probs.size)
        assert not kind.decisions(reliability, other).threshold_note
    assert "no validation results" in kind.decisions(None, evaluation).threshold_note
    page = Page(report_page(dataclasses.replace(content, evaluation=other, overlays={})))
    assert "never" in page.text
