"""Inference has one precision everywhere; training steps have the precision that the hardware is fast with."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from resnet_cli.model.reliability import precision_conflict, validation_precision
from resnet_cli.system import device
from resnet_cli.system.device import (
    Precision,
    SlowPrecisionWarning,
    StepPrecision,
    choose_compute,
    choose_step_compute,
    native_bf16,
)
from resnet_cli.system.processor import this_processor


@pytest.fixture(params=[False, True], ids=["without bf16", "with bf16"])
def has_bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(device, "_bf16_is_native", lambda name: (request.param, "as the test wants it"))
    return bool(request.param)


def test_answers_are_computed_in_float32_whatever_the_processor_has(has_bf16: bool) -> None:
    assert choose_compute("cpu").precision == "fp32"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert choose_compute("cpu", "bf16").precision == "bf16"
    # Emulated, it is slower than float32.
    assert [warning.category for warning in caught] == [SlowPrecisionWarning] * (not has_bf16)


def test_bfloat16_is_not_native_where_onednn_may_not_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not native_bf16("cpu") or not this_processor().instructions


def test_steps_take_bfloat16_only_where_it_is_native_and_nothing_else_was_asked_for(has_bf16: bool) -> None:
    answers = choose_compute("cpu")
    assert choose_step_compute(answers, "auto", None).precision == ("bf16" if has_bf16 else "fp32")
    cases: list[tuple[Precision, StepPrecision | None, str]] = [
        ("fp32", None, "fp32"),
        ("bf16", None, "bf16"),
        ("auto", "fp32", "fp32"),
        ("fp32", "bf16", "bf16"),
    ]
    for asked, step_precision, expected in cases:
        found = choose_step_compute(choose_compute("cpu", asked), asked, step_precision)
        assert (found.precision, found.device) == (expected, "cpu")


def test_float32_on_a_gpu_is_float32_also_in_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    cudnn: Any = torch.backends.cudnn
    before = cudnn.conv.fp32_precision
    try:
        assert choose_compute("cuda").precision == "fp32"
        assert cudnn.conv.fp32_precision == "ieee"
    finally:
        cudnn.conv.fp32_precision = before


def test_a_model_knows_in_which_precision_it_got_to_know_its_limits() -> None:
    assert (
        validation_precision({})
        is validation_precision({"recipe": "damaged"})
        is validation_precision({"recipe": {"precision": 3}})
        is None
    )
    made = {"recipe": {"precision": "bf16"}}
    assert validation_precision(made) == "bf16"
    assert precision_conflict(made, "bf16") is None is precision_conflict({}, "fp32")
    assert "computed in bf16, these predictions in fp32" in str(precision_conflict(made, "fp32"))
