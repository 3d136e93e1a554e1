"""A web folder without a browser: its graphs answer as the model does, and its files fit together."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.synthetic_models import CLASSES, images, labels_model, telling_model
from support.web_folder import export_narrow, stand_in

from resnet_cli.errors import ConfigError, ModelError, NetworkError
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exported.opening import open_exported
from resnet_cli.exported.web import NETWORK_FILE, WebModel
from resnet_cli.exporting.formats.web import WebFormat, _engines
from resnet_cli.exporting.web.folder import POLICY
from resnet_cli.exporting.web.graphs import store_halves
from resnet_cli.network import web_runtime

pytest_plugins = ["support.exported_model"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        export_narrow(telling_model, here / "web", stand_in(here, patch))
    return here / "web"


def test_its_two_graphs_answer_as_the_one_of_an_onnx_file(folder: Path, made_onnx: Path) -> None:
    web, whole = open_exported(folder), open_exported(made_onnx)
    for image in images():
        found, expected = web.predict_images([image]), whole.predict_images([image])
        np.testing.assert_allclose(found.probs, expected.probs, atol=1e-6)
        assert found.novelty is not None and expected.novelty is not None
        np.testing.assert_allclose(found.novelty, expected.novelty, atol=1e-6)
        assert np.array_equal(web.square(web.prepare(image)), whole.preprocess(image))
        np.testing.assert_allclose(web.heatmap(image, found), whole.heatmap(image, expected), atol=1e-4)


def test_half_of_the_bytes_answer_nearly_alike(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halved = export_narrow(telling_model, tmp_path / "web.fp16", stand_in(tmp_path, monkeypatch), fp16=True)
    sizes = [(one / NETWORK_FILE).stat().st_size for one in (folder, halved.path)]
    assert sizes[1] < 0.7 * sizes[0]
    found, expected = (model.predict_images(images()).probs for model in (halved, open_exported(folder)))
    assert 0 < np.abs(found - expected).max() < 5e-3


def test_small_constants_stay_whole(made_onnx: Path) -> None:
    before = onnx.load(made_onnx)
    after = {one.name: one for one in store_halves(before).graph.initializer}
    small = [one for one in before.graph.initializer if np.prod(one.dims) < 100]
    assert small and all(after[one.name] == one for one in small)


def test_the_document_runs_no_script_and_no_style_of_its_own(folder: Path) -> None:
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert f'content="{POLICY}"' in html
    assert "unsafe-inline" not in POLICY and "'unsafe-eval'" not in POLICY and "http" not in POLICY
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)|https?://", html)
    assert not re.search(r"READABLE|NO_SCRIPT|HEAD\b|BEFORE\b", html)


def test_an_export_knows_all_of_its_own_files(folder: Path) -> None:
    # By them it recognizes a folder that it may replace.
    assert {path.name for path in folder.iterdir()} <= {*WebFormat.files, *WebFormat.texts}


def test_every_file_that_another_one_names_is_there(folder: Path) -> None:
    named = set(re.findall(r'(?:src|href)="([\w.]+)"', (folder / "index.html").read_text(encoding="utf-8")))
    for script in folder.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        named |= {
            name for pair in re.findall(r'from "\./([\w.]+)"|\("([\w]+\.(?:json|onnx|js))"', text) for name in pair
        }
    named.discard("")
    assert {"page.js", "page.css", "drop.js", "sw.js", NETWORK_FILE, "resnet_cli.json"} <= named
    assert not {name for name in named if not (folder / name).is_file()}
    page = json.loads((folder / "page.json").read_text(encoding="utf-8"))
    for engine in page["engines"]:
        assert all((folder / name).is_file() for name in web_runtime.ENGINES[engine])
    assert page["networkBytes"] == (folder / NETWORK_FILE).stat().st_size
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    assert "MIT" in (folder / "onnxruntime-LICENSE.txt").read_text(encoding="utf-8")


def test_the_service_worker_changes_whenever_a_file_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = export_narrow(telling_model, tmp_path / "other", stand_in(tmp_path, monkeypatch), novelty=False).path
    scripts = [(one / "sw.js").read_text(encoding="utf-8") for one in (folder, other)]
    assert scripts[0] != scripts[1] and "THE_" not in scripts[0]
    (early,) = re.findall(r"const FILES = (\[.*\]);", scripts[0])
    assert "page.js" in early and not re.search(r"\.onnx|\.wasm|sw\.js", early)


def test_int8_needs_no_runtime_for_graphics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = export_narrow(labels_model, tmp_path / "web", stand_in(tmp_path, monkeypatch))
    assert _engines(model.metadata) == ("webgpu", "wasm")
    assert _engines(dataclasses.replace(model.metadata, precision="int8")) == ("wasm",)


def test_a_damaged_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("resnet_cli.json", NETWORK_FILE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "preprocess.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged"):
        WebModel(tmp_path)


def test_the_network_alone_is_a_file_that_takes_tensors(folder: Path) -> None:
    alone = OnnxModel.load(folder / NETWORK_FILE)
    expected = open_exported(folder).predict_images(images()).probs
    np.testing.assert_allclose(alone.predict_images(images()).probs, expected, atol=1e-5)


def test_another_file_is_not_taken_for_the_runtime(tmp_path: Path) -> None:
    (tmp_path / "other.tgz").write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"other\.tgz: not onnxruntime-web-1.* expected sha512"):
        web_runtime.find_package(tmp_path / "other.tgz")


def test_without_a_network_the_runtime_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_runtime, "packaged_folder", lambda: None)
    with pytest.raises(NetworkError, match="offline") as caught:
        web_runtime.find_package(offline=True)
    assert caught.value.hint is not None and "onnxruntime-web" in caught.value.hint


def test_a_wheel_that_carries_the_runtime_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = stand_in(tmp_path, monkeypatch)
    monkeypatch.setattr(web_runtime, "find_package", lambda: package)
    web_runtime.unpack(tmp_path / "runtime")
    monkeypatch.undo()
    monkeypatch.setattr(web_runtime, "_PACKAGED", tmp_path / "runtime")
    assert web_runtime.find_package(offline=True) is None
    carried = dict(web_runtime.read_files(None, ("wasm",)))
    assert carried == {name: member.encode() for name, member in web_runtime.ENGINES["wasm"].items()}
    (tmp_path / "runtime" / "ort.wasm.js").unlink()
    assert web_runtime.packaged_folder() is None
