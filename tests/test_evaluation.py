"""Every figure is scikit-learn's, finite, and there for every class."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    classification_report,
    cohen_kappa_score,
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    mean_squared_error,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)
from support.running import COMPUTE
from torch import nn

from resnet_cli.data.dataset import Item
from resnet_cli.evaluation.coverage import coverage_from, risk_coverage
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import score
from resnet_cli.heads.objectives import loss_and_top1
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import NUM_FEATURES, ResNet50, make_head
from resnet_cli.preprocess import Preprocess

Answers = tuple[NDArray[np.float32], NDArray[np.int64]]


@st.composite
def answers(draw: st.DrawFn, min_classes: int = 2) -> Answers:
    """Probabilities [n x k] without ties, and labels; some classes may not occur."""
    num_classes = draw(st.integers(min_classes, 12))
    num_images = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(size=(num_images, num_classes)) * draw(st.floats(0.1, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    used = rng.choice(num_classes, size=draw(st.integers(1, num_classes)), replace=False)
    return probs.astype(np.float32), rng.choice(used, size=num_images).astype(np.int64)


def scored(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> Evaluation:
    classes = [f"class {index}" for index in range(probs.shape[1])]
    return score(probs, labels, classes, [str(index) for index in range(len(labels))])


@given(answers())
def test_accuracy_loss_and_confusion_are_scikit_learns(drawn: Answers) -> None:
    probs, labels = drawn
    found = scored(probs, labels)
    every = np.arange(probs.shape[1])
    assert found.num_images == len(labels)
    assert found.top1 == pytest.approx(accuracy_score(labels, probs.argmax(axis=1)))
    wide = probs.astype(np.float64) / probs.astype(np.float64).sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(log_loss(labels, wide, labels=every), rel=1e-4, abs=1e-6)
    assert np.array_equal(found.confusion, confusion_matrix(labels, probs.argmax(axis=1), labels=every))


@given(answers(min_classes=6))
def test_top5_is_scikit_learns(drawn: Answers) -> None:
    probs, labels = drawn
    expected = top_k_accuracy_score(labels, probs, k=5, labels=np.arange(probs.shape[1]))
    assert scored(probs, labels).top5 == pytest.approx(expected)


@given(answers())
def test_per_class_figures_and_averages_are_scikit_learns(drawn: Answers) -> None:
    probs, labels = drawn
    found = scored(probs, labels)
    names = list(found.classes)
    every = np.arange(len(names))
    report = classification_report(
        labels, probs.argmax(axis=1), labels=every, target_names=names, output_dict=True, zero_division=0.0
    )
    for name, scores in zip(names, found.per_class, strict=True):
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(
            tuple(report[name][key] for key in ("precision", "recall", "f1-score", "support"))
        )
    # By default, scikit-learn averages over the classes that have images or are predicted.
    report = classification_report(labels, probs.argmax(axis=1), output_dict=True, zero_division=0.0)
    for average, key in ((found.macro, "macro avg"), (found.weighted, "weighted avg")):
        assert (average.precision, average.recall, average.f1, average.support) == pytest.approx(
            tuple(report[key][name] for name in ("precision", "recall", "f1-score", "support"))
        )


@given(answers())
def test_figures_of_agreement_ranking_and_calibration_are_scikit_learns(drawn: Answers) -> None:
    probs, labels = drawn
    found = scored(probs, labels)
    predicted, occurs = probs.argmax(axis=1), np.unique(labels)
    if len(np.unique(np.concatenate([labels, predicted]))) > 1:
        assert found.kappa == pytest.approx(cohen_kappa_score(labels, predicted), abs=1e-9)
        assert found.mcc == pytest.approx(matthews_corrcoef(labels, predicted), abs=1e-9)
    recalls = recall_score(labels, predicted, labels=occurs, average=None, zero_division=0.0)
    assert found.balanced_accuracy == pytest.approx(recalls.mean())
    certain = np.eye(probs.shape[1])[labels]
    assert found.brier == pytest.approx(mean_squared_error(certain, probs) * probs.shape[1], rel=1e-5, abs=1e-6)
    if len(occurs) == 1:
        assert found.roc_auc is None and found.average_precision is None
        return
    ranked = [(labels == label, probs[:, label]) for label in occurs]
    assert found.roc_auc == pytest.approx(np.mean([roc_auc_score(*pair) for pair in ranked]))
    assert found.average_precision == pytest.approx(np.mean([average_precision_score(*pair) for pair in ranked]))


@given(answers())
def test_every_interval_holds_its_figure_and_stays_where_the_figure_can_be(drawn: Answers) -> None:
    found = scored(*drawn)
    values = found.to_dict() | {"macro_f1": found.macro.f1}
    for name, (value, low, high) in found.intervals.items():
        assert value == pytest.approx(values[name])
        assert low <= value <= high
        assert -1 <= low and (high <= 1 or name in {"loss", "brier"})


@given(answers())
def test_the_quick_figures_of_training_agree(drawn: Answers) -> None:
    probs, labels = drawn
    loss, top1 = loss_and_top1(torch.from_numpy(probs), torch.from_numpy(labels))
    found = scored(probs, labels)
    assert (loss, top1) == pytest.approx((found.loss, found.top1), rel=1e-5, abs=1e-6)


def test_absent_classes_and_certain_mistakes_are_finite_and_silent() -> None:
    probs = np.zeros((2, 6), dtype=np.float32)
    probs[:, 0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scored(probs, np.array([0, 5]))
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["top1"] == 0.5
    assert 0 < values["loss"] < 100
    nothing: dict[str, float | None] = {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    nothing |= {"recall_interval": None, "roc_auc": None, "average_precision": None}
    assert values["per_class"]["class 3"] == nothing
    assert values["macro"]["recall"] == 0.5


def test_of_equally_probable_classes_the_first_come_first_in_top1_and_in_top5() -> None:
    found = scored(np.full((6, 6), 1 / 6, dtype=np.float32), np.arange(6))
    assert found.top5 == pytest.approx(5 / 6)
    assert found.top1 == pytest.approx(1 / 6)


def test_of_five_classes_there_is_no_top5_since_all_are_among_them() -> None:
    assert scored(np.full((2, 5), 0.2, dtype=np.float32), np.array([0, 1])).top5 is None
    assert scored(np.full((2, 6), 1 / 6, dtype=np.float32), np.array([0, 1])).top5 == 1


def test_json_has_the_promised_keys() -> None:
    values = scored(np.full((2, 6), 1 / 6, dtype=np.float32), np.array([0, 1])).to_dict()
    figures = {"top1", "top5", "loss", "macro", "weighted", "per_class", "confusion"}
    more = {"balanced_accuracy", "kappa", "mcc", "roc_auc", "average_precision", "brier", "ece", "intervals"}
    trust = {"calibration", "risk_coverage", "unfamiliar", "slices"}
    assert set(values) == figures | more | trust | {"num_images", "tta"}
    named = {"top1", "top5", "balanced_accuracy", "macro_f1", "loss", "kappa", "mcc", "roc_auc", "brier"}
    assert set(values["intervals"]) == named
    assert set(values["calibration"]) == {"temperature", "chance_ece", "before", "after"}
    assert len(values["calibration"]["after"]["bins"]) == 15
    assert list(values["per_class"]) == [f"class {index}" for index in range(6)]
    assert set(values["macro"]) == {"precision", "recall", "f1", "support"}
    ranks = {"recall_interval", "roc_auc", "average_precision"}
    assert set(values["per_class"]["class 0"]) == set(values["macro"]) | ranks
    assert [len(row) for row in values["confusion"]] == [6] * 6


def test_head_probs_add_up_to_one_whatever_the_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = make_head(3, (8,))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(4097, NUM_FEATURES)
    probs = head_probs(head, features.half())
    assert probs.shape == (4097, 3)
    assert torch.allclose(probs.sum(dim=1), torch.ones(4097), atol=1e-5)
    # Dropout is off, and the head that was given stays in train mode.
    assert torch.equal(head_probs(head, features.half()), probs)
    assert head.training and all(parameter.requires_grad for parameter in head.parameters())
    expected = torch.softmax(head.eval()(features.half().float()), dim=1)
    assert torch.allclose(probs, expected, atol=1e-5)


def test_flip_takes_the_mean_of_both_sides() -> None:
    torch.manual_seed(0)
    network = ResNet50(3).eval()
    nn.init.normal_(network.fc.weight)  # type: ignore[arg-type]
    model = Model(network, ("a", "b", "c"), Preprocess(resize_size=32, crop_size=32))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    items = [Item(f"{index}.png", one, labels=(index % 3,)) for index, one in enumerate(pixels)]
    turned = [dataclasses.replace(item, source=one[:, ::-1].copy()) for item, one in zip(items, pixels, strict=True)]
    plain, other = evaluate(model, items, COMPUTE), evaluate(model, turned, COMPUTE)
    seen: list[tuple[int, int]] = []
    both = evaluate(model, items, COMPUTE, tta="flip", on_progress=lambda *done: seen.append(done))
    assert np.array_equal(both.probs, (plain.probs + other.probs) / 2)
    assert both.probs == pytest.approx(evaluate(model, turned, COMPUTE, tta="flip").probs)
    assert (plain.tta, both.tta, both.to_dict()["tta"]) == ("none", "flip", "flip")
    assert [total for _, total in seen] == [10] * len(seen)
    assert seen == sorted(seen) and seen[-1] == (10, 10)


def test_temperature_softens() -> None:
    head = make_head(2, ())
    torch.nn.init.constant_(head.bias, 1.0)  # type: ignore[arg-type]
    with torch.no_grad():
        head.bias[1] = 0.0  # type: ignore[operator]
    probs = head_probs(head, torch.zeros(1, NUM_FEATURES), temperature=2.0)
    assert float(probs[0, 0]) == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_slices_are_the_figures_of_each_group_alone_worst_first() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), size=60).astype(np.float32)
    labels, groups = rng.integers(3, size=60), [("", "north", "south")[index % 3] for index in range(60)]
    found = dataclasses.replace(scored(probs, labels), groups=tuple(groups)).slices
    assert [one.top1.value for one in found] == sorted(one.top1.value for one in found)
    for one in found:
        inside = [group == one.group for group in groups]
        alone = scored(probs[inside], labels[inside])
        assert (one.num_images, one.top1) == (alone.num_images, alone.top1_interval)
        assert one.loss == pytest.approx(alone.loss)
    assert scored(probs, labels).slices == ()


def test_risk_falls_with_coverage_where_confidence_says_something() -> None:
    confidence = np.linspace(0.5, 1, 200)
    is_right = np.arange(200) >= 20
    rows = risk_coverage(confidence, is_right)
    assert [round(row.coverage, 3) for row in rows] == [1, 0.95, 0.9, 0.8, 0.7, 0.5]
    assert [row.error.value if row.error else None for row in rows] == pytest.approx([0.1, 10 / 190, 0, 0, 0, 0])
    # What is equally probable is answered together, and no row occurs twice.
    (only,) = risk_coverage(np.full(10, 0.8), np.ones(10, dtype=bool))
    assert (only.coverage, only.num_answered) == (1, 10)
    assert coverage_from(0.9, np.full(10, 0.8), np.ones(10, dtype=bool)).error is None
