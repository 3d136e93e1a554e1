"""History: the row that is kept, and how people are told what chose it."""

from __future__ import annotations

import pytest

from resnet_cli.history import EpochRecord, kept_record, kept_text


def rows(*losses: float, first: int = 1, l2: bool = False, score: str = "top1") -> list[EpochRecord]:
    return [
        EpochRecord.of(
            "map" if score == "map" else "top1",
            0.5,
            0.5,
            epoch=epoch,
            train_loss=1.0,
            # Grows: the loss that validation chooses by is another one.
            val_loss=1.0 + epoch,
            val_fitted_loss=loss,
            lr=0.0,
            seconds=1.0,
            l2=4.0**epoch if l2 else None,
        )
        for epoch, loss in enumerate(losses, start=first)
    ]


@pytest.mark.parametrize(
    ("history", "text"),
    [
        (rows(0.3, 0.0512, 0.2), "kept epoch 2: lowest calibrated loss 0.051"),
        (rows(0.3, 0.2, 0.2), "kept epoch 2: lowest calibrated loss 0.200"),
        (rows(0.1, 0.2, first=0), "kept epoch 0, the head before the first epoch: lowest calibrated loss 0.100"),
        (rows(0.3, 0.1, 0.2, l2=True), "kept penalty 16: lowest calibrated loss 0.100"),
        (rows(0.3, 0.1, l2=True, score="map"), "kept the penalty of each class: lowest calibrated loss 0.100"),
    ],
)
def test_what_is_kept_is_told_with_the_quantity_that_chose_it(history: list[EpochRecord], text: str) -> None:
    assert kept_text(history) == text
    assert kept_record(history).val_fitted_loss == min(record.val_fitted_loss for record in history)
