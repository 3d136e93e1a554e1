"""What the last digits of a training depend on is described, and compared when it is resumed."""

from __future__ import annotations

import pytest
import torch
from support.running import FP32

from resnet_cli.training.environment import bits_warning, changes_since, describe_environment


def test_the_same_environment_has_no_changes() -> None:
    found = describe_environment(FP32)
    assert changes_since(found, describe_environment(FP32)) == []
    assert found["torch"] == str(torch.__version__) and found["device"] == "cpu"


def test_every_change_is_named_with_both_values() -> None:
    now = describe_environment(FP32, num_processes=2)
    before = now | {"torch": "2.11.0", "processes": "1"}
    assert changes_since(before, now) == [f"torch 2.11.0 -> {now['torch']}", "processes 1 -> 2"]
    del before["Pillow"]
    assert changes_since(before, now)[1] == f"Pillow unknown -> {now['Pillow']}"


def test_what_an_earlier_version_did_not_record_is_not_taken_for_the_same() -> None:
    text = bits_warning(changes_since(None, describe_environment(FP32)))
    assert text.startswith("resumed under other conditions (the earlier ones were not recorded)")


def test_the_limit_of_onednn_is_a_part_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    free = describe_environment(FP32)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    (change,) = changes_since(free, describe_environment(FP32))
    assert change.startswith("processor ") and change.endswith("oneDNN up to AVX2")
