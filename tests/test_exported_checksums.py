"""What was swapped, cut or edited after the export gives no answers, and the error says how to export it again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from support.changed_metadata import change_texts
from support.synthetic_models import images, labels_model, telling_model
from support.web_folder import export_narrow, stand_in

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ModelError
from resnet_cli.exported.checksums import DIGEST, FILES
from resnet_cli.exported.metadata import METADATA_FILE, ExportMetadata
from resnet_cli.exported.opening import exported_kind, open_exported
from resnet_cli.exporting.export import Job

pytest_plugins = ["support.exported_model", "support.narrow_network"]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of different models; those for browsers need no other runtime than the tests have."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        package = stand_in(folder, patch)
        return tuple(  # type: ignore[return-value]
            export_narrow(make, folder / name, package, int8=False, outputs="probs").path
            for make, name in ((telling_model, "one"), (labels_model, "my other"))
        )


@pytest.fixture
def folder(exports: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first one."""
    return Path(shutil.copytree(exports[0], tmp_path / "my model"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "not the file that the export wrote"),
        (lambda path: path.write_bytes(b""), "not the file that the export wrote"),
        (_flip, "not the file that the export wrote"),
        (Path.unlink, "network.onnx, which the export wrote, is missing"),
    ],
    ids=["cut", "emptied", "one bit", "removed"],
)
def test_a_file_that_is_not_the_one_of_the_export_is_refused(
    folder: Path, change: Callable[[Path], Any], message: str
) -> None:
    assert open_exported(folder).predict_images(images()[:1]).probs.shape == (1, 3)
    change(folder / "network.onnx")
    with pytest.raises(ModelError, match=message) as caught:
        open_exported(folder)
    hint = str(caught.value.hint)
    assert hint.endswith(f"resnet-cli export RUN --format web --out '{folder}' --overwrite")


@pytest.mark.parametrize("name", ["network.onnx", METADATA_FILE])
def test_a_file_of_another_export_is_refused(exports: tuple[Path, Path], folder: Path, name: str) -> None:
    shutil.copy(exports[1] / name, folder / name)
    with pytest.raises(ModelError, match="not the file that the export wrote"):
        open_exported(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": '["ant", "bee", "moth"]'},
        {"temperature": "3.0"},
        {"preprocess": None},
        {FILES: '{"preprocess.onnx": "00"}'},
        {DIGEST: None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_edited_metadata_are_refused(folder: Path, change: dict[str, str | None]) -> None:
    path = folder / METADATA_FILE
    texts = json.loads(path.read_text())
    if "preprocess" in change:
        smaller = json.loads(texts["preprocess"])
        smaller["crop_size"] -= 1
        change = {"preprocess": json.dumps(smaller)}
    path.write_text(json.dumps({name: text for name, text in (texts | change).items() if text is not None}))
    with pytest.raises(ModelError, match="its metadata were changed after the export"):
        open_exported(folder)


def test_what_changes_no_answer_may_be_corrected(folder: Path) -> None:
    path = folder / METADATA_FILE
    texts = json.loads(path.read_text()) | {"licence": "CC0", "owner": "me"}
    path.write_text(json.dumps(texts), encoding="utf-8")
    (folder / "README.md").touch()
    assert open_exported(folder).metadata.licence == "CC0"


def test_a_folder_of_version_0_1_0_has_no_checksums_and_opens(folder: Path) -> None:
    change_texts(folder)
    assert not ExportMetadata.read(folder).files
    assert open_exported(folder).predict_images(images()[:1]).probs.shape == (1, 3)
    for change in ({"classes": '["ant", "bee"]'}, {"crop_size": 64}):
        changed = Path(shutil.copytree(folder, folder.with_name(str(next(iter(change))))))
        change_texts(changed, **change)
        with pytest.raises(ModelError, match="does not fit its metadata"):
            open_exported(changed)


@pytest.mark.parametrize("name", ["../one/network.onnx", "/dev/zero"])
def test_only_files_of_the_folder_are_read(folder: Path, name: str) -> None:
    metadata = ExportMetadata.read(folder)
    with pytest.raises(ModelError, match="is missing"):
        dataclasses.replace(metadata, files={name: "ab"}).check_files(folder)


def test_a_folder_may_be_called_like_a_file(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("best.onnx"))
    assert exported_kind(renamed) == exported_kind(f"{renamed}/") == "web"


def _change_onnx(path: Path, **change: Any) -> None:
    proto = onnx.load(path)
    texts = {text.key: text.value for text in proto.metadata_props}
    onnx.helper.set_model_props(proto, change_texts(texts, **change))
    onnx.save(proto, path)


@pytest.mark.parametrize("without_preprocessing", [False, True])
def test_an_onnx_file_with_edited_metadata_is_refused(
    made_onnx: Path, tmp_path: Path, without_preprocessing: bool
) -> None:
    path = Path(shutil.copy(made_onnx, tmp_path / "m.onnx"))
    open_exported(path, without_preprocessing=without_preprocessing)
    proto = onnx.load(path)
    (text,) = (text for text in proto.metadata_props if text.key == "classes")
    text.value = json.dumps(json.loads(text.value)[::-1])
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="its metadata were changed after the export") as caught:
        open_exported(path, without_preprocessing=without_preprocessing)
    assert str(caught.value.hint).endswith(": resnet-cli export RUN")


@pytest.mark.parametrize("change", [{"classes": '["ant"]'}, {"crop_size": 64}], ids=["classes", "crop_size"])
@pytest.mark.parametrize("name", ["onnx", "tensor.onnx", pytest.param("pt2", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("narrow")
def test_a_file_of_version_0_1_0_is_refused_if_its_graph_has_other_sizes(
    name: str, change: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / f"m.{name}"
    options = {"format": path.suffix[1:], "input": "tensor" if "tensor" in name else "image"}
    Job(telling_model(), ExportConfig.model_validate(options)).write(path)
    open_exported(path, trusted=True)
    if path.suffix == ".onnx":
        _change_onnx(path)
        open_exported(path)
        _change_onnx(path, **change)
    else:
        extra = {METADATA_FILE: ""}
        program = torch.export.load(path, extra_files=extra)
        texts = change_texts(json.loads(extra[METADATA_FILE]), **change)
        torch.export.save(program, path, extra_files={METADATA_FILE: json.dumps(texts)})
    with pytest.raises(ModelError, match="does not fit its metadata"):
        open_exported(path, trusted=True)
