"""A decision is recorded once: its value, who made it and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.training.decisions import ORDER, Choice, Decisions


def decisions(file: Path | None = None, **flags: Any) -> Decisions:
    return Decisions(resolve(FinetuneConfig, flags, file))


@pytest.mark.parametrize("flags", [{}, {"batch_size": "auto"}], ids=str)
def test_what_the_user_left_open_gets_the_default_with_its_reason(flags: dict[str, Any]) -> None:
    found = decisions(**flags)
    assert found.decide("batch-size", 32, "few images") == 32
    assert found.values == {"batch_size": 32}
    (row,) = (choice for choice in found.choices() if choice.name == "batch-size")
    assert (row.value, row.why) == ("32", "few images")
    assert row.origin == ("flag" if flags else "auto")


def test_a_value_of_the_user_wins_and_the_reason_of_the_default_goes(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 3")
    found = decisions(file, optimizer="adamw")
    assert (found.decide("epochs", 10, "the usual"), found.decide("optimizer", "sgd", "stable")) == (3, "adamw")
    rows = found.choices()
    assert Choice("epochs", "3", "config") in rows and Choice("optimizer", "adamw", "flag") in rows


def test_a_default_without_a_row_is_decided_all_the_same_and_a_users_value_has_one() -> None:
    silent, asked = decisions(), decisions(loss="focal")
    assert (silent.decide("loss", "ce", row=False), asked.decide("loss", "ce", row=False)) == ("ce", "focal")
    assert silent.values == {"loss": "ce"} and "loss" not in {choice.name for choice in silent.choices()}
    assert Choice("loss", "focal", "flag") in asked.choices()


def test_a_note_is_added_only_where_there_is_a_row_without_a_reason() -> None:
    found = decisions()
    found.decide("mode", "full", "there is a GPU")
    found.decide("epochs", 10)
    for name in ("mode", "epochs", "mixup"):
        found.note(name, "a note")
    assert (found.why("mode"), found.why("epochs")) == ("there is a GPU", "a note")
    assert "mixup" not in {choice.name for choice in found.choices()}


def test_rows_have_one_order_whatever_the_order_of_the_decisions() -> None:
    found = decisions(out=Path("run"), patience=3, ema=0.9)
    for name in reversed(ORDER):
        if name not in {"patience", "ema"}:
            found.record(name, "x")
    names = [choice.name for choice in found.choices()]
    assert names[: len(ORDER)] == list(ORDER) and names[len(ORDER) :] == ["out"]
