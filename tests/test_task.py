"""Labels as numbers, and logits as probabilities, of both tasks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_cli.data.dataset import Item, targets_of
from resnet_cli.task import TASKS

LOGITS = np.array([[-800.0, 0.0, 2.0], [1e-3, 500.0, -500.0]], dtype=np.float32)


def test_a_single_label_image_has_exactly_one_label() -> None:
    items = [Item("a", b"", (2,)), Item("b", b"", (0,))]
    targets = targets_of(items, "single-label", 3)
    assert targets.dtype == np.int64 and targets.tolist() == [2, 0]
    for labels in ((), (0, 1)):
        with pytest.raises(ValueError):
            targets_of([Item("a", b"", labels)], "single-label", 3)
        with pytest.raises(ValueError):
            _ = Item("a", b"", labels).label


def test_multi_label_targets_are_yes_no_and_unknown() -> None:
    items = [Item("a", b"", (0, 2)), Item("b", b""), Item("c", b"", (1,), unknown=(0,))]
    targets = targets_of(items, "multi-label", 3)
    assert targets.dtype == np.int8 and targets.tolist() == [[1, 0, 1], [0, 0, 0], [-1, 1, 0]]
    assert targets_of([], "multi-label", 3).shape == (0, 3)


def test_probabilities_are_those_of_torch() -> None:
    logits = torch.from_numpy(LOGITS)
    for name, expected in (("single-label", logits.softmax(dim=1)), ("multi-label", logits.sigmoid())):
        probs = TASKS[name].probs(LOGITS)  # type: ignore[index]
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs, expected.numpy(), rtol=1e-6, atol=1e-30)
