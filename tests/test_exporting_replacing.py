"""--overwrite replaces what an earlier export wrote, and nothing else."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_cli.errors import ConfigError
from resnet_cli.exported.metadata import METADATA_FILE
from resnet_cli.exporting.formats import open_format
from resnet_cli.exporting.replacing import check_replaceable

OURS = {METADATA_FILE: json.dumps({"resnet_cli_version": "0.1.0"}), "model.mnn": "", "labels.txt": ""}


def _folder(path: Path, files: dict[str, str]) -> None:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)


def _pt2(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"archive/extra/{METADATA_FILE}", "{}")


def _link(path: Path) -> None:
    (path.parent / "other.onnx").write_bytes(b"\x08\x08\x12\x0aresnet-cli")
    path.symlink_to("other.onnx")


def _check(
    out: Path, name: str, *, may_replace: bool = True, source: Path | None = None, option: str = "--out"
) -> None:
    check_replaceable(out, open_format(name), source=source, may_replace=may_replace, option=option)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("onnx", lambda path: path.write_bytes(b"\x08\x08\x12\x0aresnet-cli:cut")),
        ("pt2", _pt2),
        ("mnn", lambda path: _folder(path, OURS)),
        ("mnn", lambda path: _folder(path, {METADATA_FILE: ""})),
        ("mnn", lambda path: _folder(path, OURS | {".DS_Store": ""})),
    ],
)
def test_an_older_or_a_damaged_export_is_replaced_where_that_is_asked_for(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    out = tmp_path / "made"
    _check(out, name)
    make(out)
    _check(out, name)
    with pytest.raises(ConfigError, match="exists already") as caught:
        _check(out, name, may_replace=False)
    assert caught.value.hint == "choose another name, or add --overwrite"


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("onnx", lambda path: path.write_text("my notes"), "not a .onnx file that export wrote"),
        ("onnx", lambda path: path.touch(), "not a .onnx file that export wrote"),
        ("onnx", lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch"), "not a .onnx file that export wrote"),
        ("onnx", lambda path: path.mkdir(), "it is a folder"),
        ("onnx", _link, "it is a link"),
        ("pt2", lambda path: zipfile.ZipFile(path, "w").close(), "not a .pt2 file that export wrote"),
        ("pt2", lambda path: path.touch(), "not a .pt2 file that export wrote"),
        ("mnn", lambda path: path.touch(), "it is a file"),
        ("mnn", lambda path: path.mkdir(), "it has no resnet_cli.json"),
        ("mnn", lambda path: _folder(path, {"model.mnn": "", "labels.txt": ""}), "it has no resnet_cli.json"),
        ("mnn", lambda path: _folder(path, OURS | {"thesis.tex": ""}), "contains thesis.tex"),
        ("ncnn", lambda path: _folder(path, OURS), "contains model.mnn, which --format ncnn does not write"),
        ("mnn", lambda path: path.symlink_to("nowhere"), "it is a link"),
    ],
)
def test_nothing_else_is_replaced_whatever_is_asked_for(
    tmp_path: Path, name: str, make: Callable[[Path], None], why: str
) -> None:
    out = tmp_path / "made"
    make(out)
    with pytest.raises(ConfigError, match=why) as caught:
        _check(out, name)
    assert caught.value.hint == "choose another name"
    with pytest.raises(ConfigError, match="exists already"):
        _check(out, name, may_replace=False)
    with pytest.raises(ConfigError, match=why) as caught:
        _check(out, name, option="")
    assert caught.value.hint == "choose another name with --out"


def test_the_model_that_is_exported_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "timm"
    _folder(out, {METADATA_FILE: OURS[METADATA_FILE], "model.safetensors": "", "config.json": ""})
    _check(out, "safetensors", source=tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"the model that is exported, .* is there"):
        _check(out, "safetensors", source=out / "model.safetensors")


@pytest.mark.parametrize("name", [".", ".."])
def test_the_current_folder_and_those_above_it_are_not_replaced(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _folder(tmp_path / "made", OURS)
    monkeypatch.chdir(tmp_path / "made")
    with pytest.raises(ConfigError, match="it is the current folder or one above it"):
        _check(Path(name), "mnn")
