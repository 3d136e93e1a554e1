from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError
from resnet_cli.studies.folds import NUM_FOLDS, assign_folds
from resnet_cli.studies.label_audit import (
    MIN_TRAINED,
    audit_labels,
    audit_table,
    estimate_wrong,
    rank,
)

CLASSES = ["a", "b", "c"]


def blobs(num: int, *, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, NDArray[np.int64]]:
    """Features of ``num`` images of three classes, each around a centre of its own, and their labels."""
    centres = np.random.default_rng(42).normal(0, 1, (3, 32))
    labels = np.arange(num) % 3
    noise = np.random.default_rng(seed).normal(0, spread, (num, 32))
    return torch.from_numpy((centres[labels] + noise).astype(np.float32)), labels


def plant(labels: NDArray[np.int64], num: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The labels with ``num`` of them wrong, and which."""
    rng = np.random.default_rng(1)
    wrong = rng.choice(len(labels), num, replace=False)
    planted = labels.copy()
    planted[wrong] = (labels[wrong] + rng.integers(1, 3, num)) % 3
    return planted, wrong


def test_planted_wrong_labels_come_first_with_the_right_one_suggested() -> None:
    features, truth = blobs(600)
    labels, wrong = plant(truth, 30)
    seen: list[tuple[int, int]] = []
    audit = audit_labels(features, labels, CLASSES, on_progress=lambda *done: seen.append(done))
    assert seen[-1] == (600, 600) and len(seen) == NUM_FOLDS
    found = set(audit.order[:30].tolist())
    assert len(found & set(wrong.tolist())) >= 27
    both = sorted(found & set(wrong.tolist()))
    assert (audit.suggested[both] == truth[both]).mean() > 0.95
    assert audit.num_wrong.low <= 30 <= audit.num_wrong.high
    assert audit.likely() == audit.order[: round(audit.num_wrong.value)].tolist()
    assert sorted(audit.order) == list(range(600)) and audit.num_unchecked == 0


def test_clean_labels_are_left_alone_and_the_same_labels_give_the_same_audit() -> None:
    features, labels = blobs(300, spread=0.5)
    first, second = (audit_labels(features, labels, CLASSES) for _ in range(2))
    assert first.num_wrong.value <= 3
    assert np.array_equal(first.probs, second.probs) and np.array_equal(first.order, second.order)


def test_a_copy_does_not_vouch_for_its_own_wrong_label() -> None:
    features, truth = blobs(300, spread=0.5)
    labels = truth.copy()
    # One image six times, wrong each time.
    copies = np.flatnonzero(truth == 0)[:6]
    features[copies] = features[copies[0]].clone()
    labels[copies] = 1
    audit = audit_labels(features, labels, CLASSES)
    assert set(audit.order[:6].tolist()) == set(copies.tolist())
    assert (audit.suggested[copies] == 0).all()


def test_folds_are_stratified_and_keep_blocks_together() -> None:
    labels = np.repeat([0, 1], [100, 40])
    blocks = [[0, 1, 2], [100, 3], *([at] for at in range(140) if at not in {0, 1, 2, 3, 100})]
    folds = assign_folds(labels, blocks, seed=0)
    assert folds[0] == folds[1] == folds[2] and folds[3] == folds[100]
    for label, count in ((0, 20), (1, 8)):
        assert np.abs(np.bincount(folds[labels == label], minlength=NUM_FOLDS) - count).max() <= 2
    assert np.array_equal(folds, assign_folds(labels, blocks, seed=0))


def test_a_class_of_few_is_not_judged_and_says_so() -> None:
    features, labels = blobs(120)
    labels[labels == 2] = 0
    labels[:MIN_TRAINED] = 2
    audit = audit_labels(features, labels, CLASSES)
    assert audit.num_unchecked == MIN_TRAINED and not set(range(MIN_TRAINED)) & set(audit.order.tolist())
    assert np.isfinite(audit.probs).all()


def test_a_class_of_one_group_is_not_judged() -> None:
    features, labels = blobs(120)
    groups = ["one patient" if label == 1 else "" for label in labels]
    audit = audit_labels(features, labels, CLASSES, groups=groups)
    assert audit.num_unchecked == 40 and not (labels[audit.order] == 1).any()


@pytest.mark.parametrize("num", [3, 6])
def test_one_or_two_images_a_class_are_too_few(num: int) -> None:
    features, labels = blobs(num)
    with pytest.raises(DataError, match=f"{num} images of 3 classes are too few"):
        audit_labels(features, labels, CLASSES)


def test_one_class_alone_cannot_be_judged() -> None:
    features, _ = blobs(60)
    with pytest.raises(DataError, match="1 classes are too few"):
        audit_labels(features, np.zeros(60, dtype=np.int64), CLASSES)


def test_the_estimate_is_the_share_of_contradictions_where_the_heads_are_surest() -> None:
    probs = np.full((2000, 2), 0.5, dtype=np.float32)
    probs[:200] = (0.99, 0.01)
    labels = np.zeros(2000, dtype=np.int64)
    labels[:20] = 1
    estimate = estimate_wrong(probs, labels)
    assert estimate.value == pytest.approx(200) and estimate.low < 200 < estimate.high
    assert estimate_wrong(probs[20:40], labels[20:40]).value == 0


def test_the_table_holds_all_images_and_finetune_reads_it(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"train": {"ants": 6, "b,es": 6}, "val": {"ants": 2, "b,es": 2}})
    dataset = read_folder(folder)
    items, others = dataset.split("train"), dataset.split("val")
    labels = np.array([item.label for item in items])
    probs = np.tile(np.array([0.9, 0.1], dtype=np.float32), (12, 1))
    probs[labels == 1] = (0.1, 0.9)
    probs[3] = (0.05, 0.95)
    audit = rank(probs, labels, dataset.classes, np.arange(12) != 7)
    path = folder / "labels.csv"
    text = audit_table(audit, items, others, path)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 16
    worst = rows[0]
    assert worst["image"] == "train/ants/003.jpg" and (worst["label"], worst["suggested"]) == ("ants", "b,es")
    assert (worst["label_prob"], worst["suggested_prob"], worst["rank"]) == ("0.0500", "0.9500", "1")
    assert [row["suggested"] for row in rows[11:]] == [""] * 5, "those not judged come last"
    # As a person would correct it.
    path.write_text(text.replace("train/ants/003.jpg,ants,", 'train/ants/003.jpg,"b,es",'))
    again = open_dataset(str(path))
    assert again.counts() == {"train": [5, 7], "val": [2, 2], "test": [0, 0]}


def test_images_that_are_no_files_stand_in_the_table_by_name() -> None:
    items = [Item(f"row{at}", b"", (at % 2,)) for at in range(4)]
    probs = np.tile(np.array([0.6, 0.4], dtype=np.float32), (4, 1))
    audit = rank(probs, np.array([0, 1, 0, 1]), ("a", "b"), np.ones(4, dtype=bool))
    rows = list(csv.DictReader(io.StringIO(audit_table(audit, items, [], Path("x.csv")))))
    assert {row["image"] for row in rows} == {"row0", "row1", "row2", "row3"}
    assert {row["split"] for row in rows} == {""}
