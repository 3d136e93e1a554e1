"""Heads on features that are read in blocks are those of features in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from resnet_cli.engines.feature_rows import Features
from resnet_cli.engines.feature_shards import MemoryShard
from resnet_cli.errors import DivergedError
from resnet_cli.heads import block_path, block_problem
from resnet_cli.heads.block_path import fit_block_path, fit_label_block_path, judged_rows
from resnet_cli.heads.block_problem import moments
from resnet_cli.heads.label_logistic import fit_label_path
from resnet_cli.heads.logistic import Candidate, Rows, choose, fit_path
from resnet_cli.heads.row_choice import merge_copies, sample_rows
from resnet_cli.heads.standardization import standardization

K, WIDTH = 4, 12


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing fits into memory, and blocks and samples are small."""
    monkeypatch.setattr(block_path, "MAX_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(block_path, "SAMPLE_TRAIN", 120)
    monkeypatch.setattr(block_path, "SAMPLE_VAL", 60)
    monkeypatch.setattr(block_problem, "BLOCK_ROWS", 64)
    yield


def draw(num: int, seed: int) -> Rows:
    """Overlapping classes, with features that are far from standardized."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, num)
    centers = np.random.default_rng(9).normal(size=(K, WIDTH))
    features = (centers[labels] + 1.5 * rng.normal(size=(num, WIDTH))) * np.arange(1, WIDTH + 1) + 50
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


def labels_of(rows: Rows) -> Tensor:
    """Several labels per image, some unknown: the class and a second one that depends on a feature."""
    features, labels = rows
    targets = torch.zeros(len(labels), K, dtype=torch.int8)
    targets[torch.arange(len(labels)), labels] = 1
    noise = torch.from_numpy(np.random.default_rng(len(labels)).normal(size=len(labels)))
    targets[features[:, 0] + 2 * noise > 50, 0] = 1
    targets[::7, 1] = -1
    return targets


def on_disk(features: Tensor, contents: Tensor | None = None) -> Features:
    """The rows as an object that is read in blocks; ``contents`` repeats some of them."""
    numbers = np.arange(len(features), dtype=np.int32) if contents is None else contents.numpy().astype(np.int32)
    shard = MemoryShard(features.numpy())
    places = np.arange(len(features), dtype=np.int64)
    return Features([shard], places, numbers, shape=(len(numbers), features.shape[1]), dtype=features.dtype)


def probs(candidate: Candidate, features: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.softmax(candidate.head(features), dim=1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"label_smoothing": 0.1}, marks=pytest.mark.slow),
        pytest.param({"logit_offsets": torch.tensor([0.0, -1.0, 0.5, 0.0])}, marks=pytest.mark.slow),
        {"weighted": True},
    ],
)
def test_a_head_in_blocks_is_the_one_in_memory_with_the_same_penalty(options: dict[str, Tensor | float]) -> None:
    train, val = draw(400, 0), draw(150, 1)
    if options.pop("weighted", None):
        options["sample_weights"] = torch.tensor([1.0, 3.0, 0.5, 1.0])[train[1]]
    found = list(fit_block_path((on_disk(train[0]), train[1]), (on_disk(val[0]), val[1]), K, device="cpu", **options))  # type: ignore[arg-type]
    for candidate in found:
        (expected,) = fit_path(train, val, K, device="cpu", penalties=[candidate.l2], **options)  # type: ignore[arg-type]
        assert torch.allclose(probs(candidate, val[0]), probs(expected, val[0]), atol=2e-3)
        assert candidate.val_loss == pytest.approx(expected.val_loss, rel=3e-4)
        assert candidate.train_loss == pytest.approx(expected.train_loss, rel=3e-4)
        assert candidate.train_score == pytest.approx(expected.train_score, abs=2 / 400)
        assert candidate.scale == pytest.approx(expected.scale, rel=1e-3)
    best = choose(list(fit_path(train, val, K, device="cpu", **options)))  # type: ignore[arg-type]
    assert choose(found).val_loss <= best.val_loss + 2e-3


def test_two_runs_give_the_same_bits() -> None:
    train, val = draw(300, 0), draw(150, 1)
    first, second = (
        list(fit_block_path((on_disk(train[0]), train[1]), (on_disk(val[0]), val[1]), K, device="cpu"))
        for _ in range(2)
    )
    assert [one.l2 for one in first] == [one.l2 for one in second]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.head.weight, other.head.weight) and torch.equal(one.head.bias, other.head.bias)


def test_copies_of_an_image_count_as_often_as_they_occur_and_are_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, val = draw(300, 0), draw(150, 1)
    repeats = torch.from_numpy(np.random.default_rng(0).integers(0, 300, 900))
    rows = on_disk(train[0], repeats), train[1][repeats]
    read: list[int] = []
    inner = Features.__getitem__

    def counted(self: Features, at: Tensor) -> Tensor:
        found = inner(self, at)
        read.append(len(found))
        return found

    monkeypatch.setattr(Features, "__getitem__", counted)
    moments(rows[0], *merge_copies(rows[0].contents, rows[1]))
    assert sum(read) == 1 + len(set(repeats.tolist()))
    candidate, *_ = fit_block_path(rows, val, K, device="cpu")
    expanded = train[0][repeats], train[1][repeats]
    (expected,) = fit_path(expanded, val, K, device="cpu", penalties=[candidate.l2])
    assert torch.allclose(probs(candidate, val[0]), probs(expected, val[0]), atol=2e-3)
    assert candidate.train_loss == pytest.approx(expected.train_loss, rel=3e-4)


def test_several_labels_in_blocks_are_as_good_as_in_memory() -> None:
    (train, _), (val, _) = first, second = draw(500, 0), draw(300, 1)
    train_targets, val_targets = labels_of(first), labels_of(second)
    weights = torch.tensor([[1.0] * K, [2.0] * K])
    found = list(
        fit_label_block_path(
            (on_disk(train), train_targets), (on_disk(val), val_targets), K, device="cpu", value_weights=weights
        )
    )
    best = found[-1]
    *_, expected = fit_label_path((train, train_targets), (val, val_targets), K, device="cpu", value_weights=weights)
    assert best.val_loss <= expected.val_loss + 2e-3
    *_, same = fit_label_path(
        (train, train_targets), (val, val_targets), K, device="cpu", value_weights=weights, penalties=[best.penalties]
    )
    with torch.inference_mode():
        ours, theirs = torch.sigmoid(best.head(val)), torch.sigmoid(same.head(val))
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_moments_are_those_of_all_rows_and_reject_what_is_not_finite() -> None:
    features, _ = draw(300, 0)
    features += 1e4
    mean, std = moments(on_disk(features), np.arange(300))
    exact_mean, exact_std = standardization(features.double())
    assert torch.allclose(mean, exact_mean, rtol=1e-10) and torch.allclose(std, exact_std, rtol=1e-8)
    features[7, 3] = torch.nan
    with pytest.raises(DivergedError, match="not finite"):
        moments(on_disk(features), np.arange(300))


def test_a_sample_has_the_shares_of_the_classes_and_a_few_rows_of_the_smallest() -> None:
    labels = torch.tensor([0] * 900 + [1] * 95 + [2] * 5)
    rows = sample_rows(labels, 100)
    assert np.array_equal(rows, np.unique(rows)) and np.array_equal(rows, sample_rows(labels, 100))
    counts = labels[rows].bincount().tolist()
    assert sum(counts) == 100 and counts[2] >= 4 and 85 <= counts[0] <= 90
    assert np.array_equal(sample_rows(labels, 1000), np.arange(1000))
    targets = torch.zeros(1000, 3, dtype=torch.int8)
    targets[:, 0] = 1
    targets[:6, 2] = 1
    assert (targets[sample_rows(targets, 50)][:, 2] == 1).sum() >= 4


def test_rows_with_the_same_image_and_targets_are_one_row() -> None:
    contents = np.array([0, 1, 0, 2, 0, 1], dtype=np.int32)
    rows, copies = merge_copies(contents, torch.tensor([5, 6, 5, 7, 4, 6]))
    assert rows.tolist() == [4, 0, 1, 3] and copies.tolist() == [1, 2, 2, 1]
    targets = torch.tensor([[1, 0], [0, 1], [1, 0], [1, 1], [1, 0], [0, -1]], dtype=torch.int8)
    rows, copies = merge_copies(contents, targets)
    assert rows.tolist() == [0, 1, 5, 3] and copies.tolist() == [3, 1, 1, 1]


def test_of_very_many_validation_logits_a_sample_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    val = draw(200, 1)
    monkeypatch.setattr(block_path, "MAX_VAL_LOGITS", 50 * K)
    features, labels = judged_rows((on_disk(val[0]), val[1]), K)
    assert len(features) == len(labels) == 50
    assert judged_rows(val, K) is val
