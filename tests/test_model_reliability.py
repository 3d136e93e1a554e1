"""Which images count as unfamiliar, and why an image is labeled "unknown"."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from resnet_cli.errors import ModelError
from resnet_cli.model.reliability import (
    KNOWN_SHARE,
    NUM_NEAREST,
    VARIANCE_FLOOR,
    Abstention,
    Reliability,
    abstention,
    is_unfamiliar,
    novelty,
)


def reliability(num: int) -> Reliability:
    rng = np.random.default_rng(0)
    confidence = rng.beta(6, 1, num).astype(np.float32)
    return Reliability(confidence, np.ones(num, dtype=bool), rng.random(num).astype(np.float32))


def test_nearly_all_known_images_count_as_known() -> None:
    known = reliability(1000)
    assert np.mean(known.novelty <= known.most_novel) == pytest.approx(KNOWN_SHARE, abs=0.002)
    # Of so few there is no rank beyond the last.
    assert reliability(3).most_novel == reliability(3).novelty.max()


@pytest.mark.parametrize("num", [1, 4, 18, 19, 40, 1000])
def test_the_share_of_false_alarms_is_as_stated(num: int) -> None:
    rng = np.random.default_rng(0)
    stated = reliability(num).false_alarms
    assert (stated <= 1 - KNOWN_SHARE + 1e-9) == (num >= 19)
    drawn = rng.random((4000, num + 1)).astype(np.float32)
    known = [dataclasses.replace(reliability(num), novelty=row[1:]) for row in drawn]
    num_marked = sum(is_unfamiliar(row[:1], one) == [True] for row, one in zip(drawn, known, strict=True))
    assert num_marked / 4000 == pytest.approx(stated, abs=0.02)


def test_without_novelty_or_results_no_image_is_judged() -> None:
    assert is_unfamiliar(None, reliability(9)) is is_unfamiliar(np.ones(1, np.float32), None) is None


def test_a_rule_names_its_reason() -> None:
    rule = abstention(reliability(1000), threshold=0.9, target_error=None)
    assert rule.reason(0.95, False) is rule.reason(0.95, None) is None
    assert rule.reason(0.5, False) == "only 50.0 % sure"
    assert rule.reason(1.0, True) == "unlike the training images"
    assert Abstention(0.5).reason(1.0, True) is None
    assert abstention(reliability(1000), target_error=0.05).min_prob <= 0.9
    with pytest.raises(ModelError):
        abstention(None, target_error=None)


def test_novelty_is_one_minus_the_mean_cosine_of_scaled_features_to_the_nearest() -> None:
    rng = np.random.default_rng(0)
    reference, features = rng.normal(size=(30, 8)) * np.arange(1, 9), rng.normal(size=(5, 8))
    variance = reference.var(axis=0)
    scales = np.sqrt(variance + VARIANCE_FLOOR * variance.mean())
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (features / scales, reference / scales)]
    expected = 1 - np.sort(units[0] @ units[1].T, axis=1)[:, -NUM_NEAREST:].mean(axis=1)
    assert novelty(features, reference) == pytest.approx(expected, abs=1e-6)
    assert novelty(reference[:1], reference[:1]) == pytest.approx([0], abs=1e-6)
