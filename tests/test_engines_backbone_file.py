"""The backbone as a file: valid ONNX, written once, whole or not there, and the least recently used one goes first."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import onnx
import pytest
from support.narrow_network import narrow_model

from resnet_cli.engines import backbone_writer
from resnet_cli.engines.backbone_file import ABOUT, CHECKSUM, describe, is_whole, path_of
from resnet_cli.engines.backbone_writer import keep_backbone
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50, backbone_hash
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import engines_dir

pytest_plugins = ["support.narrow_network"]


@pytest.fixture
def model(narrow: None) -> Model:
    return narrow_model(("a", "b"), Preprocess(resize_size=36, crop_size=32))


def test_it_is_a_valid_onnx_file_that_says_what_it_depends_on(model: Model) -> None:
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    path = keep_backbone(model.network, model.preprocess)
    assert path is not None
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert about.keys() == {ABOUT, CHECKSUM}
    assert about[ABOUT] == describe(backbone_hash(model.network), model.preprocess)
    assert path == path_of(about[ABOUT])
    assert "If" not in {node.op_type for node in proto.graph.node}
    assert all(tensor.equal(before[name]) for name, tensor in model.network.state_dict().items())


def test_any_damage_is_noticed(model: Model) -> None:
    path = keep_backbone(model.network, model.preprocess)
    assert path is not None and is_whole(path)
    data = path.read_bytes()
    for damaged in (b"", data[:50], data[:-1], data[1:], data[:1000] + bytes([data[1000] ^ 4]) + data[1001:]):
        path.write_bytes(damaged)
        assert not is_whole(path)
    assert keep_backbone(model.network, model.preprocess) == path
    assert path.read_bytes() == data


def test_several_that_want_it_at_once_make_it_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write = backbone_writer.write_backbone

    def counted(network: ResNet50, preprocess: Preprocess, about: str, path: Path) -> None:
        written.append(path)
        write(network, preprocess, about, path)

    monkeypatch.setattr(backbone_writer, "write_backbone", counted)
    # What a process that was killed has left.
    path = path_of(describe(backbone_hash(model.network), model.preprocess))
    path.parent.mkdir(parents=True)
    left = path.with_name(f".{path.name}.abc.tmp")
    left.touch()
    threads = [threading.Thread(target=keep_backbone, args=(model.network, model.preprocess)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [path] and is_whole(path) and not left.exists()


def test_the_least_recently_used_files_are_deleted(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [keep_backbone(model.network, model.preprocess.with_size(side)) for side in (32, 48)]
    paths = [path for path in made if path is not None]
    for age, path in zip((50, 100), paths, strict=True):
        os.utime(path, (age, age))
    monkeypatch.setattr(backbone_writer, "MAX_ENGINES_BYTES", 2.5 * paths[0].stat().st_size)
    new = keep_backbone(model.network, model.preprocess.with_size(64))
    assert set(engines_dir().glob("*.onnx")) == {paths[1], new}
