from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from resnet_cli.errors import DataError
from resnet_cli.heads.logistic import Rows
from resnet_cli.studies import learning_curve as curves
from resnet_cli.studies.head_errors import MapErrors
from resnet_cli.studies.learning_curve import TWICE, learning_curve
from resnet_cli.studies.power_law import EXPONENTS, fit_power_law
from resnet_cli.studies.subsets import MAX_IMAGES, nested_order, part_sizes
from resnet_cli.task import UNKNOWN

SIZES = [50, 100, 200, 400, 800, 1600]


def blobs(num: int, *, num_classes: int = 3, spread: float = 3.0, seed: int = 0, width: int = 64) -> Rows:
    """Features of ``num`` images, each class around a centre of its own."""
    centres = np.random.default_rng(42).normal(0, 1, (num_classes, 24))
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    features = np.zeros((num, width), dtype=np.float32)
    features[:, :24] = centres[labels] + rng.normal(0, spread, (num, 24))
    return torch.from_numpy(features), torch.from_numpy(labels)


@given(st.floats(0, 0.3), st.floats(0.05, 0.6), st.sampled_from(list(EXPONENTS[5:-5])))
def test_an_exact_power_law_is_recovered(asymptote: float, at_end: float, exponent: float) -> None:
    errors = asymptote + at_end * (np.array(SIZES) / SIZES[-1]) ** -exponent
    law = fit_power_law(SIZES, errors)
    assert law.exponent == pytest.approx(exponent)
    np.testing.assert_allclose(law.error(SIZES[0]), errors[0], rtol=1e-6)
    np.testing.assert_allclose(law.error(4000), asymptote + at_end * (4000 / SIZES[-1]) ** -exponent, rtol=1e-6)


def test_many_curves_are_fitted_at_once_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    errors = np.sort(rng.random((7, len(SIZES))), axis=1)[:, ::-1]
    together = fit_power_law(SIZES, errors)
    for row, single in enumerate(errors):
        alone = fit_power_law(SIZES, single)
        np.testing.assert_allclose([part[row] for part in together], alone)


@given(st.lists(st.floats(0, 1), min_size=len(SIZES), max_size=len(SIZES)))
def test_no_law_promises_an_error_below_zero_or_a_rising_one(errors: list[float]) -> None:
    law = fit_power_law(SIZES, np.array(errors))
    assert min(law.asymptote, law.scale) >= 0
    later = law.error(10 * SIZES[-1])
    assert 0 <= later <= law.error(SIZES[-1]) + 1e-12


def test_the_beginnings_of_an_order_are_stratified_and_start_with_every_class() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    order = nested_order(labels, (), seed=1)
    assert sorted(order) == list(range(1000))
    assert set(labels[order[:3]]) == {0, 1, 2}
    for size in (10, 100, 333, 700):
        counts = np.bincount(labels[order[:size]])
        assert np.abs(counts - size * np.array([0.6, 0.3, 0.1])).max() <= 2
    assert not np.array_equal(order, nested_order(labels, (), seed=2))


def test_groups_are_taken_as_a_whole() -> None:
    labels = np.tile([0, 1], 300)
    groups = [f"patient {at // 20}" if at < 400 else "" for at in range(600)]
    order = nested_order(labels, groups, seed=0)
    taken = {groups[at] for at in order[:150]} - {""}
    cut = [name for name in taken if {at for at in range(600) if groups[at] == name} - set(order[:150].tolist())]
    assert len(cut) <= 2, "at most one of each class is cut"


def test_sizes_double_up_to_all_images() -> None:
    assert part_sizes(3200, 10) == [100, 200, 400, 800, 1600, 3200]
    assert part_sizes(10**6, 10)[-1] == MAX_IMAGES
    few = part_sizes(80, 10)
    assert few[0] == 20 and few[-1] == 80


@pytest.mark.parametrize(("num_images", "num_classes"), [(2, 2), (10, 10), (20, 10), (79, 10), (0, 0)])
def test_too_few_images_are_refused_in_words(num_images: int, num_classes: int) -> None:
    with pytest.raises(DataError, match="too few for a learning curve"):
        part_sizes(num_images, num_classes)


def test_the_forecast_holds_what_comes_true() -> None:
    test = blobs(1500, seed=9)
    val = blobs(150, seed=8)
    train = blobs(480, seed=1)
    half = train[0][:240], train[1][:240]
    seen: list[tuple[int, int]] = []
    curve = learning_curve(half, val, test, 3, on_progress=lambda *done: seen.append(done))
    assert seen[-1][0] == seen[-1][1] and [step.num_images for step in curve.steps][-1] == 240
    errors = [step.error.value for step in curve.steps]
    assert errors[0] > errors[-1] + 0.05, "more images help"
    twice = curve.twice
    assert twice.name == TWICE and twice.num_images == 480 and not twice.is_guess
    true = learning_curve(train, val, test, 3).top1
    assert twice.top1.low - 0.01 <= true <= twice.top1.high + 0.01
    assert twice.gain.low - 0.01 <= true - curve.top1 <= twice.gain.high + 0.01


def test_the_same_features_give_the_same_curve() -> None:
    rows = blobs(48), blobs(30, seed=5), blobs(60, seed=6)
    first, second = (learning_curve(*rows, 3) for _ in range(2))
    assert first == second


def test_where_there_is_nothing_to_learn_no_gain_is_promised() -> None:
    rng = np.random.default_rng(0)

    def noise(num: int) -> Rows:
        return torch.from_numpy(rng.normal(size=(num, 64)).astype(np.float32)), torch.arange(num) % 2

    curve = learning_curve(noise(64), noise(40), noise(400), 2)
    assert curve.twice.gain.low <= 0.02


def test_a_forecast_far_ahead_is_called_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "NUM_DRAWS", 2)
    curve = learning_curve(blobs(60), blobs(30, seed=5), blobs(60, seed=6), 3)
    assert [(found.name, found.is_guess) for found in curve.forecasts] == [
        (TWICE, False),
        ("100 more of each class", True),
    ]


def test_subsets_of_multi_label_data_keep_the_share_of_each_label() -> None:
    targets = (np.random.default_rng(0).random((400, 5)) < [0.6, 0.3, 0.2, 0.1, 0.05]).astype(np.int8)
    order = nested_order(targets, (), seed=1)
    assert sorted(order.tolist()) == list(range(400))
    for size in (50, 100, 200):
        assert np.allclose(targets[order[:size]].mean(axis=0), targets.mean(axis=0), atol=1.5 / size + 0.01)
    assert targets[order[:6]].any(axis=0).all()


def label_blobs(num: int, *, spread: float = 1.5, seed: int = 0) -> Rows:
    """Features of ``num`` images with any of three labels: a direction for each label, and noise."""
    directions = np.random.default_rng(42).normal(0, 1, (3, 16))
    rng = np.random.default_rng(seed)
    targets = (rng.random((num, 3)) < 0.4).astype(np.int8)
    features = (targets @ directions + rng.normal(0, spread, (num, 16))).astype(np.float32)
    targets[rng.random(targets.shape) < 0.05] = UNKNOWN
    return torch.from_numpy(features), torch.from_numpy(targets)


def test_a_curve_of_several_labels_is_that_of_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "NUM_DRAWS", 2)
    train, val, test = label_blobs(200), label_blobs(60, seed=1), label_blobs(150, seed=2)
    curve = learning_curve(train, val, test, 3, task="multi-label")
    assert [step.num_images for step in curve.steps][-1] == 200 and curve.score_name == "mAP"
    assert curve.steps[0].error.value > curve.steps[-1].error.value
    assert curve.twice.score.low <= curve.twice.score.value <= curve.twice.score.high <= 1
    found = curve.to_dict()
    assert "map" in found["steps"][0] and "map" in found["forecasts"][0] and "top1" not in str(found)
    assert "300 more images" in {one["name"] for one in found["forecasts"]}


def test_resampled_errors_of_several_labels_are_scikit_learns() -> None:
    targets = label_blobs(40)[1]
    probs = torch.from_numpy(np.random.default_rng(3).random((40, 3)).astype(np.float32).round(1))
    errors = MapErrors(targets)
    errors.add(probs)
    counts = np.random.default_rng(4).multinomial(40, np.full(40, 1 / 40), size=5)
    found = errors.resample(np.concatenate([np.ones((1, 40), dtype=np.int64), counts]))
    assert found[0, 0] == pytest.approx(errors.mean) and errors.each[0] == errors.mean
    for row, count in zip(found[1:, 0], counts, strict=True):
        again = np.repeat(np.arange(40), count)
        values, scores = targets.numpy()[again], probs.numpy()[again]
        known = [values[:, label] != UNKNOWN for label in range(3)]
        areas = [
            average_precision_score(values[is_known, at], scores[is_known, at]) for at, is_known in enumerate(known)
        ]
        assert row == pytest.approx(1 - np.mean(areas), abs=1e-6)
    with pytest.raises(DataError, match="mAP is not defined on 40 images"):
        MapErrors(torch.ones_like(targets)).add(probs)
