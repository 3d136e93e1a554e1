"""The formats of export: each is registered once, has its options, and is opened by its own loader."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path
from typing import get_args

import pytest

from resnet_cli.config.export import FORMAT_OPTIONS, ExportConfig
from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.evaluation.intervals import wilson
from resnet_cli.exported import opening
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import METADATA_FILE, ExportMetadata
from resnet_cli.exporting.decisions import DECISIONS
from resnet_cli.exporting.formats import FORMATS, open_format
from resnet_cli.exporting.formats.base import labels_text
from resnet_cli.exporting.hub.card import hub_card
from resnet_cli.exporting.hub.exported_file import Exported
from resnet_cli.exporting.parity_result import Check, EngineCheck, Parity
from resnet_cli.preprocess import Preprocess


def test_every_value_of_format_has_a_module_and_a_row_of_options() -> None:
    names = get_args(ExportConfig.model_fields["format"].annotation)
    assert set(names) == set(FORMATS) == set(FORMAT_OPTIONS)
    for name in names:
        assert open_format(name).name == name


def test_every_folder_is_opened_by_a_class_that_can_be_imported_without_its_runtime() -> None:
    for kind, (_, where) in opening._FOLDERS.items():
        opened = pkgutil.resolve_name(f"resnet_cli.exported.{where}")
        assert issubclass(opened, ExportedModel), kind


def test_the_main_file_of_a_folder_names_the_folder(tmp_path: Path) -> None:
    for kind, (file, _) in opening._FOLDERS.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / file).touch()
        assert opening.exported_kind(folder / file) != kind
        (folder / METADATA_FILE).touch()
        assert opening.exported_kind(folder) == kind
        if not file.endswith((".onnx", ".safetensors")):
            for name in (file, "labels.txt", METADATA_FILE):
                assert opening.exported_kind(folder / name) == kind


@pytest.mark.parametrize("file", ["model.xml", "model.mlpackage"])
def test_a_folder_without_its_metadata_is_refused_with_what_it_lacks(tmp_path: Path, file: str) -> None:
    (tmp_path / "made" / file).mkdir(parents=True)
    with pytest.raises(ModelError, match=f"a folder without {METADATA_FILE}") as caught:
        opening.open_exported(tmp_path / "made")
    assert "resnet-cli export RUN --format" in str(caught.value.hint) and "--out" not in str(caught.value.hint)


@pytest.mark.parametrize("name", FORMATS)
def test_the_card_on_the_hub_says_how_to_use_every_format(name: str) -> None:
    found = open_format(name)
    metadata = ExportMetadata(
        classes=("ant", "bee"),
        preprocess=Preprocess(resize_size=36, crop_size=32).to_dict(),
        temperature=1.0,
        input_kind=found.input_kind,
        precision="fp32",
        provenance={},
        licence="CC0",
        source_sha256="ab" * 32,
        version="0.1.0",
    )
    share = wilson(1, 2)
    parity = Parity(
        "2 images",
        (Check("all images, one by one", 2, 0.0, 1.0, True),),
        DECISIONS["single-label"](("ant", "bee"), ()),
        share,
        share,
        {"accuracy": 0.0},
        max_drop=0.0,
        mean_difference=0.0,
        max_shift=1.0,
        max_novelty_difference=None,
        is_novelty_close=True,
        differences=(),
        model_ms={},
        file_ms={},
        engines=(EngineCheck("OpenVINO", "1.2", 2, 0.6, 0.5, False, advice="compile it in float32"),),
    )
    exported = Exported(
        repo="me/insects",
        files=("labels.txt", "model.bin"),
        format=name,
        num_bytes=1,
        sha256="ab" * 32,
        metadata=metadata,
        parity=parity,
        license=None,
    )
    body = hub_card(None, exported).body
    assert "```" in body and "me/insects" in body and not re.search(r"INSTALL|REPO|\bFORMAT\b|<\w+>", body)
    assert "| In OpenVINO 1.2 | **other answers**: largest difference 6.0e-01; compile it in float32 |" in body


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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read: it is not JSON"),
        ("[]", "not the metadata of an exported model"),
        ('{"schema_version": "1"}', "damaged metadata: 'classes' is missing"),
        ('{"schema_version": "9"}', "its schema version is 9, and this program reads 1 and 2"),
    ],
)
def test_a_damaged_folder_is_named_with_the_command_that_makes_another(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / METADATA_FILE).write_text(text)
    with pytest.raises(ModelError) as caught:
        opening.open_exported(tmp_path)
    assert caught.value.message.startswith(str(tmp_path)) and reason in caught.value.message
    assert "export the model again: resnet-cli export RUN" in str(caught.value.hint)
