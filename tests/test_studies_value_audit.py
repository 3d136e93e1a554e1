"""The audit of multi-label data finds planted errors, leaves unknown values alone, and its table is a data set."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.html_page import Page, assert_self_contained
from torch import Tensor

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Item
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError
from resnet_cli.reporting.value_sheet import MAX_CLASSES, value_sheet
from resnet_cli.studies.folds import NUM_FOLDS, assign_folds
from resnet_cli.studies.label_audit import MIN_TRAINED
from resnet_cli.studies.value_audit import Suspect, ValueAudit, audit_values, rank_values
from resnet_cli.studies.value_table import value_table
from resnet_cli.task import NO, UNKNOWN, YES

CLASSES = ("cat", "dog;puppy", "fox")


def labeled(num: int, *, spread: float = 0.6, num_classes: int = 3) -> tuple[Tensor, NDArray[np.int8]]:
    """Features of ``num`` images: the sum of a direction for each of their labels, and noise."""
    rng = np.random.default_rng(0)
    targets = (rng.random((num, num_classes)) < 0.35).astype(np.int8)
    directions = rng.normal(0, 1, (num_classes, 24))
    features = targets @ directions + rng.normal(0, spread, (num, 24))
    return torch.from_numpy(features.astype(np.float32)), targets


@pytest.fixture(scope="module")
def planted() -> tuple[ValueAudit, NDArray[np.bool_], NDArray[np.int8]]:
    """An audit of 600 images with 40 labels removed, 40 added and 20 values unknown."""
    features, truth = labeled(600)
    rng, given = np.random.default_rng(1), truth.copy()
    for value in (YES, NO):
        images, labels = np.nonzero(truth == value)
        chosen = rng.choice(len(images), 50, replace=False)
        given[images[chosen[:40]], labels[chosen[:40]]] = 1 - value
        given[images[chosen[40:]], labels[chosen[40:]]] = UNKNOWN
    is_wrong = (given != truth) & (given != UNKNOWN)
    return audit_values(features, given, CLASSES, suggest_unknown=True), is_wrong, truth


def test_planted_errors_come_first_and_their_number_is_estimated(planted: Any) -> None:
    audit, is_wrong, truth = planted
    doubt = np.where(audit.is_checked, np.where(audit.targets == YES, 1 - audit.probs, audit.probs), -1)
    worst = np.argsort(-doubt, axis=None)[:80]
    assert is_wrong.ravel()[worst].sum() >= 72
    found = [(one.image, one.label) for one in audit.suspects]
    assert set(found) <= {divmod(int(at), 3) for at in worst} and len(found) == len(set(found)) > 0
    assert all(truth[one.image, one.label] == one.suggested for one in audit.suspects)
    assert audit.num_missing.low <= 40 <= audit.num_missing.high and audit.num_wrong.low <= 40 <= audit.num_wrong.high
    assert sorted(audit.image_order) == list(range(600))
    assert is_wrong[audit.image_order[:30]].any(axis=1).sum() >= 27
    counted = {label: (missing, wrong) for label, missing, wrong in audit.by_class}
    for label in range(3):
        kinds = [one.kind for one in audit.suspects if one.label == label]
        assert counted[label] == (kinds.count("missing"), kinds.count("wrong"))


def test_unknown_values_are_no_suspects_and_get_suggestions_only_on_request(planted: Any) -> None:
    audit, _, truth = planted
    assert len(audit.unknown) == 20 and not audit.is_checked[audit.targets == UNKNOWN].any()
    assert all(audit.targets[one.image, one.label] != UNKNOWN for one in audit.suspects)
    assert sum(truth[one.image, one.label] == one.suggested for one in audit.unknown) >= 17
    silent = rank_values(audit.probs, audit.targets, CLASSES, np.ones_like(audit.is_checked))
    assert silent.unknown == () and silent.suspects == audit.suspects


def test_clean_labels_are_left_alone_and_give_the_same_audit_again() -> None:
    features, targets = labeled(300, spread=0.3)
    first, second = (audit_values(features, targets, CLASSES) for _ in range(2))
    assert first.num_missing.value + first.num_wrong.value <= 4
    np.testing.assert_array_equal(first.probs, second.probs)
    assert first.suspects == second.suspects


def test_copies_and_groups_do_not_confirm_their_own_errors() -> None:
    features, truth = labeled(300, spread=0.3)
    given = truth.copy()
    copies = np.flatnonzero((truth == [1, 0, 0]).all(axis=1))[:6]
    features[copies] = features[copies[0]].clone()
    given[copies] = [0, 0, 1]
    probs = audit_values(features, given, CLASSES).probs[copies]
    assert (probs[:, 0] > 0.5).all() and (probs[:, 2] < 0.5).all()


def test_folds_balance_every_label_and_the_images_without_any() -> None:
    _, targets = labeled(500)
    blocks = [[0, 1, 2], *([at] for at in range(3, 500))]
    folds = assign_folds(targets, blocks, seed=0)
    assert folds[0] == folds[1] == folds[2]
    columns = np.concatenate([targets == YES, ~(targets == YES).any(axis=1, keepdims=True)], axis=1)
    for column in columns.T:
        counts = np.bincount(folds[column], minlength=NUM_FOLDS)
        assert np.abs(counts - column.sum() / NUM_FOLDS).max() <= 6


def test_a_class_that_few_have_or_lack_is_not_checked() -> None:
    features, targets = labeled(100)
    targets[:, 0], targets[:, 1] = NO, YES
    targets[:MIN_TRAINED, 0] = YES
    audit = audit_values(features, targets, CLASSES)
    assert audit.is_checked[:, 2].all() and not audit.is_checked[:MIN_TRAINED, 0].any()
    assert not audit.is_checked[:, 1].any() and audit.num_checked + audit.num_unchecked == 300
    with pytest.raises(DataError, match="too few to check their labels"):
        audit_values(features, np.zeros_like(targets), CLASSES)


def as_items(folder: Path, targets: NDArray[np.int8]) -> list[Item]:
    """Image files with these values, half of them for training."""
    items = []
    for at, values in enumerate(targets):
        Image.new("RGB", (4, 4), (at, 2 * at, 3 * at)).save(folder / f"{at}.png")
        labels, unknown = (tuple(np.flatnonzero(values == value).tolist()) for value in (YES, UNKNOWN))
        split: Any = ("train", "val")[at % 2]
        items.append(Item(f"{at}.png", folder / f"{at}.png", labels, split, unknown=unknown))
    return items


@pytest.mark.parametrize("has_unknown", [False, True], ids=["all known", "some unknown"])
def test_the_table_is_a_data_set_with_the_same_values(tmp_path: Path, has_unknown: bool) -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((16, 3)) < 0.5).astype(np.int8)
    targets[3], targets[4] = NO, [1, 1, 0]
    if has_unknown:
        targets[5, 1] = UNKNOWN
    probs = np.where(targets == YES, 0.9, 0.1).astype(np.float32)
    probs[4] = [0.2, 0.95, 0.97]
    ranked = rank_values(probs[:14], targets[:14], CLASSES, np.ones((14, 3), dtype=bool))
    items = as_items(tmp_path, targets)
    found = tuple(Suspect(4, label, given, float(probs[4, label])) for label, given in ((2, NO), (0, YES)))
    audit = dataclasses.replace(ranked, suspects=found)
    text = value_table(audit, items[:14], items[14:], tmp_path / "labels.csv")
    first = next(csv.DictReader(io.StringIO(text)))
    assert first["image"] == "4.png"
    if has_unknown:
        assert first["suggestions"] == '["add fox", "remove cat"]'
    else:
        assert (first["rank"], first["suggested"]) == ("1", '["dog;puppy", "fox"]')
        assert (first["missing"], first["wrong"]) == ("fox", "cat")
    (tmp_path / "labels.csv").write_text(text)
    again = open_dataset(str(tmp_path / "labels.csv"), DataConfig(multi_label=has_unknown))
    assert again.task == "multi-label" and set(again.classes) == set(CLASSES)
    names = {
        Path(item.name).name: ({again.classes[at] for at in item.labels}, len(item.unknown), item.split)
        for item in again.items
    }
    for item in items:
        assert names[item.name] == ({CLASSES[at] for at in item.labels}, len(item.unknown), item.split)


def test_a_class_with_the_name_of_another_column_is_refused_where_classes_are_columns() -> None:
    targets = np.array([[UNKNOWN, NO], [YES, NO]], dtype=np.int8)
    probs = np.full((2, 2), 0.5, dtype=np.float32)
    audit = rank_values(probs, targets, ("cat", "group"), np.ones((2, 2), dtype=bool))
    items = [Item("a", b"", (), unknown=(0,)), Item("b", b"", (0,))]
    with pytest.raises(DataError, match="'group'"):
        value_table(audit, items, [], Path("labels.csv"))


def test_the_sheet_is_bounded_and_escapes_names(planted: Any) -> None:
    audit, _, truth = planted
    probs = np.where(truth == YES, 0.95, 0.05).astype(np.float32)
    audit = rank_values(probs, audit.targets, CLASSES, audit.is_checked | (audit.targets == UNKNOWN))
    items = [Item(f"<b>{at}.png", np.zeros((4, 4, 3), dtype=np.uint8)) for at in range(600)]
    page = Page(value_sheet(audit, items, name="</title>", table="labels.csv"))
    assert_self_contained(page)
    assert "Likely missing" in page.text and "Likely wrong" in page.text and "dog;puppy" in page.text
    classes = [f"class {at}" for at in range(MAX_CLASSES + 20)]
    targets = np.zeros((30, len(classes)), dtype=np.int8)
    many = rank_values(np.full(targets.shape, 0.2, np.float32), targets, classes, np.ones(targets.shape, dtype=bool))
    assert "No label stands out" in Page(value_sheet(many, items[:30], name="x", table="x.csv")).text
