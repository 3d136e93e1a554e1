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
    given = {"input": "tensor", "int8": True, "fp16": True, "novelty": False}
    for field, value in given.items():
        if field in FORMAT_OPTIONS[name]:
            ExportConfig.model_validate({"format": name, field: value})
        else:
            with pytest.raises(ConfigError, match=f"has no effect on --format {name}"):
                ExportConfig.model_validate({"format": name, field: value})


def test_a_file_of_labels_has_one_line_per_class() -> None:
    assert labels_text(["ant", "honey\nbee", "Käfer"]) == "ant\nhoney bee\nKäfer\n"
