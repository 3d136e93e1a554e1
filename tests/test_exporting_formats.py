"""The formats of export: each is registered once, has its options, and is opened by its own loader."""

from __future__ import annotations

import pkgutil
from typing import get_args

import pytest

from resnet_cli.config.export import FORMAT_OPTIONS, ExportConfig
from resnet_cli.errors import ConfigError
from resnet_cli.exported import opening
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exporting.formats import FORMATS, open_format
from resnet_cli.exporting.formats.base import labels_text


def test_every_value_of_format_has_a_module_and_a_row_of_options() -> None:
    names = get_args(ExportConfig.model_fields["format"].annotation)
    assert set(names) == set(FORMATS) == set(FORMAT_OPTIONS)
    for name in names:
        assert open_format(name).name == name


def test_every_folder_is_opened_by_a_class_that_can_be_imported_without_its_runtime() -> None:
    for kind, (_, where) in opening._FOLDERS.items():
        opened = pkgutil.resolve_name(f"resnet_cli.exported.{where}")
        assert issubclass(opened, ExportedModel), kind


@pytest.mark.parametrize("name", FORMATS)
def test_an_option_without_effect_on_a_format_is_an_error(name: str) -> None:
    given = {"input": "tensor", "int8": True, "fp16": True, "novelty": False, "outputs": "probs"}
    for field, value in given.items():
        if field in FORMAT_OPTIONS[name]:
            ExportConfig.model_validate({"format": name, field: value})
        else:
            with pytest.raises(ConfigError, match=f"has no effect on --format {name}"):
                ExportConfig.model_validate({"format": name, field: value})


def test_a_file_of_labels_has_one_line_per_class() -> None:
    assert labels_text(["ant", "honey\nbee", "Käfer"]) == "ant\nhoney bee\nKäfer\n"


def test_each_file_computes_all_that_it_can_but_tensors_get_no_heat() -> None:
    wanted = {
        "onnx": {"probs", "novelty", "heat"},
        "onnx --input tensor": {"probs", "novelty"},
        "onnx --no-novelty": {"probs", "heat"},
        "pt2": {"probs", "novelty"},
    }
    given: dict[str, dict[str, object]] = {
        "onnx": {},
        "onnx --input tensor": {"input": "tensor"},
        "onnx --no-novelty": {"novelty": False},
        "pt2": {"format": "pt2"},
    }
    assert {name: set(ExportConfig.model_validate(one).wanted_outputs) for name, one in given.items()} == wanted


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [("probs", {"probs"}), ("novelty", {"probs", "novelty"}), ("heat, probs", {"probs", "heat"})],
)
def test_probabilities_are_always_among_the_outputs(outputs: str, wanted: set[str]) -> None:
    for kind in ("image", "tensor"):
        config = ExportConfig.model_validate({"outputs": outputs, "input": kind})
        assert config.wanted_outputs == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"outputs": "probs,novelty", "novelty": False}, "and --no-novelty: choose one"),
        ({"outputs": "heat", "format": "pt2"}, "needs --format onnx"),
        ({"outputs": "probs", "benchmark": True}, "has no effect with --benchmark"),
        ({"outputs": "logits"}, "outputs"),
        ({"outputs": ""}, "outputs"),
    ],
)
def test_outputs_that_contradict_another_option_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        ExportConfig.model_validate(given)
