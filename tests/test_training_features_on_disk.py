"""A training whose features stay on disk is the training in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.running import TINY

from resnet_cli import finetune
from resnet_cli.engines.feature_rows import Features
from resnet_cli.heads import block_path
from resnet_cli.training import task_head
from resnet_cli.training.report import FinetuneResult

pytest_plugins = ["support.small_runs", "support.narrow_network"]


@pytest.fixture
def train(
    narrow: None, no_plots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FinetuneResult]:
    """Trains a head on digits, in memory or on disk."""

    def run(where: str, name: str = "", **values: Any) -> FinetuneResult:
        options: dict[str, Any] = {"classes": "0,1,2", "limit": 90, "threads": 1} | TINY | values
        with monkeypatch.context() as patch:
            if where == "disk":
                patch.setattr(block_path, "MAX_IN_MEMORY_BYTES", 0)
                patch.setattr(block_path, "SAMPLE_TRAIN", 60)
            return finetune("digits", mode="frozen", out=tmp_path / (name or where), **options)

    return run


def test_steps_of_a_hidden_head_are_the_same_from_disk(train: Callable[..., FinetuneResult]) -> None:
    memory, disk = (train(where, head="16", epochs=3, batch_size=16) for where in ("memory", "disk"))
    for one, other in zip(memory.history, disk.history, strict=True):
        assert other.val_loss == pytest.approx(one.val_loss, rel=1e-3)
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
    assert disk.model.temperature == pytest.approx(memory.model.temperature, rel=1e-2)
    (solver,) = [choice for choice in disk.plan.choices if choice.name == "solver"]
    assert "a batch at a time" in solver.why
    assert not any("disk" in choice.why for choice in memory.plan.choices)


def test_a_linear_head_from_disk_is_as_good_and_the_plan_says_how_it_was_fitted(
    train: Callable[..., FinetuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    inner = task_head.fit_candidates

    def watched(plan: Any, train: Any, *rest: Any, **options: Any) -> Any:
        seen.append(train[0])
        return inner(plan, train, *rest, **options)

    monkeypatch.setattr(task_head, "fit_candidates", watched)
    memory, disk = (train(where) for where in ("memory", "disk"))
    assert isinstance(seen[0], torch.Tensor) and isinstance(seen[1], Features)
    assert disk.best.val_loss <= memory.best.val_loss + 0.05
    assert disk.best.val_loss == min(record.val_loss for record in disk.history)
    assert disk.val.num_images == memory.val.num_images
    (solver,) = [choice for choice in disk.plan.choices if choice.name == "solver"]
    assert "then on all of them" in solver.why
    # Steps start from that head, and it is measured as they are.
    steps = train("disk", "steps", epochs=1)
    assert steps.history[0].epoch == 0 and steps.history[0].l2 == disk.best.l2
    assert steps.history[0].val_fitted_loss == pytest.approx(disk.best.val_loss, rel=1e-3)
