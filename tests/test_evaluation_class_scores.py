"""Averages over classes are scikit-learn's, whichever classes have images or are predicted."""

from __future__ import annotations

import dataclasses
import json
import warnings
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_recall_fscore_support
from support.running import run_cli
from support.synthetic_reports import make_content

from resnet_cli.cli.evaluation_tables import evaluation_tables
from resnet_cli.evaluation.agreement import confusion_intervals
from resnet_cli.evaluation.class_scores import ClassScores, score_classes
from resnet_cli.evaluation.predictions_writing import write_predictions
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import score
from resnet_cli.reporting.metrics import class_metrics, metrics
from resnet_cli.reporting.report_files import write_report_files
from resnet_cli.text import percent

Labels = NDArray[np.int64]


@st.composite
def answers(draw: st.DrawFn) -> tuple[Labels, Labels, int]:
    """Labels and predictions [n] and k: some classes have no images, some are not predicted, some neither."""
    num_classes, num = draw(st.integers(1, 9)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    true, predicted = (
        rng.choice(rng.choice(num_classes, draw(st.integers(1, num_classes)), replace=False), num) for _ in range(2)
    )
    is_right = rng.random(num) < draw(st.floats(0, 1))
    return true, np.where(is_right, true, predicted), num_classes


def evaluation_of(true: Labels, predicted: Labels, num_classes: int) -> Evaluation:
    probs = np.eye(num_classes, dtype=np.float32)[predicted]
    return score(probs, true, [f"class {n}" for n in range(num_classes)], [f"{n}.png" for n in range(len(true))])


def numbers(scores: ClassScores) -> tuple[float, float, float]:
    return scores.precision, scores.recall, scores.f1


@given(answers())
def test_every_average_is_scikit_learns_with_its_defaults(drawn: tuple[Labels, Labels, int]) -> None:
    true, predicted, num_classes = drawn
    table = score_classes(true, predicted, num_classes)
    for found, average in ((table.macro, "macro"), (table.weighted, "weighted")):
        expected = precision_recall_fscore_support(true, predicted, average=average, zero_division=0.0)[:3]
        assert numbers(found) == pytest.approx(expected)
        assert found.support == len(true)
    rows = precision_recall_fscore_support(true, predicted, labels=range(num_classes), zero_division=0.0)
    assert [numbers(one) for one in table.per_class] == [pytest.approx(row) for row in zip(*rows[:3], strict=True)]
    assert [one.support for one in table.per_class] == rows[3].tolist()
    evaluation = evaluation_of(*drawn)
    with warnings.catch_warnings():
        # scikit-learn warns of classes that are predicted but have no images.
        warnings.simplefilter("ignore")
        assert evaluation.balanced_accuracy == pytest.approx(balanced_accuracy_score(true, predicted))
    intervals = confusion_intervals(table.confusion)
    assert intervals["balanced_accuracy"].value == pytest.approx(evaluation.balanced_accuracy)
    assert intervals["macro_f1"].value == pytest.approx(table.macro.f1)
    assert all(one.low <= one.value <= one.high for one in intervals.values())


def test_a_predicted_class_without_images_lowers_macro_f1_but_not_balanced_accuracy() -> None:
    true, predicted = np.array([0] * 10 + [1] * 10), np.array([0] * 8 + [2] * 2 + [1] * 9 + [0])
    with_absent, without = (evaluation_of(true, answer, 4) for answer in (predicted, np.minimum(predicted, 1)))
    assert with_absent.macro.f1 == pytest.approx(f1_score(true, predicted, average="macro"))
    assert with_absent.macro.f1 < 0.7 < without.macro.f1
    assert with_absent.balanced_accuracy == pytest.approx(0.85) == without.balanced_accuracy
    assert with_absent.macro.recall == pytest.approx(0.85 * 2 / 3)
    # Resamples do not invent further classes: the interval is about the figure.
    low, high = with_absent.macro_f1_interval[1:]
    assert 0.3 < low < with_absent.macro.f1 < high < 0.97


def test_an_absent_class_changes_no_figure() -> None:
    true, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 2, 2])
    few, many = evaluation_of(true, predicted, 3), evaluation_of(true, predicted, 20)
    for name in ("macro", "weighted", "balanced_accuracy", "kappa", "mcc", "roc_auc", "average_precision", "brier"):
        assert getattr(many, name) == getattr(few, name), name
    assert many.macro_f1_interval == few.macro_f1_interval


def test_all_outputs_show_the_same_averages(tmp_path: Path) -> None:
    true, predicted = np.repeat([0, 1], 10), np.array([0] * 8 + [2] * 2 + [1] * 9 + [0])
    classes = ("ant", "bee", "wasp", "fly")
    probs = np.full((20, 4), 0.1, dtype=np.float32)
    probs[np.arange(20), predicted] = 0.7
    evaluation = score(probs, true, classes, [f"{n}.png" for n in range(20)])
    expected = f1_score(true, predicted, average="macro")
    shown = {metric.key: metric.text for metric in metrics(evaluation)}
    assert (shown["macro_f1"], shown["balanced_accuracy"]) == (percent(expected), "85.0 %")
    rows = {row.name: row for row in class_metrics(evaluation)}
    assert (rows["wasp"].recall, rows["wasp"].precision, rows["wasp"].f1) == (None, 0, 0)
    assert (rows["fly"].recall, rows["fly"].precision, rows["fly"].f1) == (None, None, None)
    # Who averages the rows of the table has the average.
    assert np.mean([row.f1 for row in rows.values() if row.f1 is not None]) == pytest.approx(expected)
    path = tmp_path / "answers.csv"
    write_predictions(path, evaluation)
    told = run_cli("eval", "--from-predictions", path, "--json")
    assert told.exit_code == 0, told.stderr
    values = json.loads(told.stdout)
    assert values["macro"]["f1"] == pytest.approx(expected)
    assert values["balanced_accuracy"] == pytest.approx(0.85)
    assert values["per_class"]["wasp"]["support"] == 0
    content = dataclasses.replace(make_content(classes, 20), evaluation=evaluation, overlays={}, other=None)
    write_report_files(tmp_path, content)
    for name in ("report.html", "model_card.md"):
        assert percent(expected) in (tmp_path / name).read_text("utf-8").replace("\N{NO-BREAK SPACE}", " "), name
    assert f"value: {round(expected, 4)}" in (tmp_path / "model_card.md").read_text("utf-8")
    console = Console(width=100, file=StringIO())
    console.print(*evaluation_tables(evaluation, width=100))
    assert isinstance(console.file, StringIO)
    assert "has no images counts as 0 in the macro average" in " ".join(console.file.getvalue().split())
