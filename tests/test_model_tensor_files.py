"""Files that people give as weights: what is read, what is refused by its name, and that nothing in them runs."""

from __future__ import annotations

import argparse
import collections
import datetime
import gzip
import io
import json
import os
import pathlib
import pickle
import struct
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import nn

from resnet_cli.errors import ModelError, UntrustedFileError
from resnet_cli.model.foreign_files import describe_folder
from resnet_cli.model.inert import ALLOWED
from resnet_cli.model.tensor_files import read_metadata, read_state, read_tensors

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 102469840\n"


def saved(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def zipped(*names: str, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


#: File name -> (content, what the refusal calls it, what its hint says).
FOREIGN: dict[str, tuple[bytes, str, str]] = {
    "pointer.pth": (LFS_POINTER, "Git LFS pointer", "git lfs pull"),
    "pointer.safetensors": (LFS_POINTER, "Git LFS pointer", "git lfs pull"),
    "page.pth": (b"<!DOCTYPE html><html>404</html>", "web page", "download it again"),
    "empty.pth": (b"", "an empty file", "download it again"),
    "empty.safetensors": (b"", "it is empty", "download it again"),
    "script.pt": (zipped("script/data.pkl", "script/code/__torch__.py", "script/constants.pkl"), "TorchScript",
                  "torch.jit.load('script.pt').state_dict()"),
    "program.pth": (zipped("ep/models/model.json", "ep/archive_format"), "torch.export", "torch.export.load"),
    "model.keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "Keras", "convert"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras", "convert"),
    "renamed.pth": (b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras", "convert"),
    "graph.pb": (b"\x0a\x0b\x0c\x0d", "TensorFlow", "convert"),
    "net.onnx": (b"\x08\x08\x12\x07pytorch", "ONNX", "the checkpoint that it was made from"),
    "net.bin": (b"\x08\x08\x12\x07pytorch", "ONNX", "the checkpoint that it was made from"),
    "net.xml": (b'<?xml version="1.0"?>\n<net name="x" version="11">', "OpenVINO", "checkpoint"),
    "net.tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite", "checkpoint"),
    "arrays.npz": (zipped("a.npy", "b.npy"), "NumPy", "convert"),
    "array.npy": (b"\x93NUMPY\x01\0" + bytes(99), "NumPy", "convert"),
    "weights.zip": (zipped("folder/model.pth"), "archive", "unpack"),
    "weights.pth.tar.gz": (gzip.compress(b"x" * 99), "archive", "unpack"),
    "hparams.yaml": (b"lr: 0.1\n", "text file", "the weights file"),
    "photo.pth": (photo(), "image (PNG)", "weights file"),
    "packed.pth": (zipped("archive/data.pkl", compression=zipfile.ZIP_DEFLATED), "compressed", "unpack"),
    "noise.pth": (bytes(range(200, 256)), "despite its name", ".safetensors"),
    "plain.pth": (pickle.dumps({"a": 1}, 2), "that torch.save did not write", ".safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_kind_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    content, called, way_out = FOREIGN[name]
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_state, read_metadata) if name != "plain.pth" else (read_state,):
        with pytest.raises(ModelError) as caught:
            read(path)
        assert called in caught.value.message and str(path) in caught.value.message
        assert way_out in str(caught.value.hint) and caught.value.exit_code == 3


def test_real_torchscript_and_export_files_are_recognized(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    trace: Callable[..., Any] = torch.jit.trace
    with warnings.catch_warnings(action="ignore"):
        trace(network, torch.zeros(1, 2)).save(str(tmp_path / "script.pt"))
        torch.export.save(torch.export.export(network, (torch.zeros(2, 2),)), str(tmp_path / "program.pt2"))
    for name, called in (("script.pt", "TorchScript"), ("program.pt2", "torch.export")):
        with pytest.raises(ModelError, match=called):
            read_state(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["saved_model.pb"], "SavedModel"),
        (["checkpoint", "model.ckpt-1.index"], "TensorFlow checkpoint"),
        (["__0_0.distcp", ".metadata"], "in parts"),
        (["checkpoint_best.pth"], "without a model"),
    ],
)
def test_a_folder_of_another_kind_is_called_by_its_name(tmp_path: Path, names: list[str], called: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    found = describe_folder(tmp_path)
    assert found is not None and called in found.name and found.way_out
    assert describe_folder(tmp_path / "gone") is None


class Unknown:
    """A class of a training script, which a checkpoint may name."""


#: What training scripts write beside tensors, by the library that does.
BESIDE: dict[str, Any] = {
    "argparse": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("runs")),
    "NumPy's numbers": {"best": np.float64(0.76), "small": np.float32(1), "count": np.int64(3), "flag": np.bool_(True)},
    "NumPy's arrays": {"curve": np.arange(5), "names": np.array(["a", "b"])},
    "NumPy's random state": np.random.RandomState(0).get_state(),
    "paths": [pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("b")],
    "a defaultdict": collections.defaultdict(list, {"loss": [0.1, 0.2]}),
    "dates": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "torch's version": torch.__version__,
    "builtins": {"a": frozenset({1}), "b": range(3), "c": slice(1), "d": {1, 2}, "e": 1j, "f": b"x"},
    "a namespace": types.SimpleNamespace(lr=0.1),
}


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", BESIDE)
def test_plain_data_beside_the_tensors_is_ignored(tmp_path: Path, name: str, zip_format: bool) -> None:
    path = tmp_path / "checkpoint.pth"
    state = {"conv.weight": torch.arange(3.0)}
    path.write_bytes(saved({"state_dict": state, "x": BESIDE[name]}, _use_new_zipfile_serialization=zip_format))
    before = set(torch.serialization.get_safe_globals())
    loaded = read_state(path)
    assert set(torch.serialization.get_safe_globals()) == before
    assert torch.equal(loaded["state_dict"]["conv.weight"], state["conv.weight"])
    # What a script was called with is kept, since it tells the architecture.
    assert name != "argparse" or loaded["x"].lr == 0.1


def test_configs_of_omegaconf_are_ignored(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="omegaconf is not installed")
    path = tmp_path / "checkpoint.pth"
    config = omegaconf.OmegaConf.create({"lr": 0.1, "sizes": [1, 2], "name": "a", "on": True, "nothing": None})
    path.write_bytes(saved({"state_dict": {"a": torch.zeros(1)}, "hyper_parameters": config}))
    assert set(read_state(path)) == {"state_dict", "hyper_parameters"}


def test_no_name_of_a_file_stands_for_anything_that_runs() -> None:
    """Each name but Namespace's stands for a class of this program that keeps nothing."""
    real = [entry for entry in ALLOWED if not isinstance(entry, tuple)]
    assert real == [argparse.Namespace]
    for stand_in, _ in ALLOWED[1:]:
        assert stand_in.__module__ == "resnet_cli.model.inert"
        made = stand_in("x", x=1)
        assert made == {} or vars(made) == {}


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_other_types_are_refused_by_their_names(tmp_path: Path, zip_format: bool) -> None:
    path = tmp_path / "checkpoint.pth"
    value = {"state_dict": {"a": torch.zeros(1)}, "config": Unknown(), "best": np.float64(1)}
    path.write_bytes(saved(value, _use_new_zipfile_serialization=zip_format))
    with pytest.raises(UntrustedFileError, match=r"test_model_tensor_files\.Unknown.*not loaded") as caught:
        read_state(path)
    assert "state_dict()" in str(caught.value.hint) and "numpy" not in caught.value.message


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(nn.Sequential(nn.Linear(2, 2))))
    with pytest.raises(UntrustedFileError, match="a whole pickled model") as caught:
        read_state(path)
    assert "torch.load('model.pt', weights_only=False)" in str(caught.value.hint)


class Calls:
    """Unpickling it calls a function with arguments."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def test_a_name_that_stands_for_nothing_leads_to_no_function(tmp_path: Path) -> None:
    """``getattr`` is on the list, and what it returns here cannot be called."""
    path, folder = tmp_path / "checkpoint.pth", tmp_path / "it ran"
    path.write_bytes(saved({"a": torch.zeros(1), "x": Calls(getattr, Unknown(), "__class__")}))
    with pytest.raises(UntrustedFileError, match="Unknown"):
        read_state(path)
    path.write_bytes(saved({"a": torch.zeros(1), "x": Calls(getattr, "text", "upper")}))
    assert not callable(read_state(path)["x"])
    path.write_bytes(saved({"a": torch.zeros(1), "x": Calls(os.mkdir, str(folder))}))
    with pytest.raises(UntrustedFileError, match=r"\.mkdir"):
        read_state(path)
    assert not folder.exists()


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0)}
    for name, content in (("x.pth", save(state)), ("x.bin", save(state)), ("x.safetensors", saved(state)),
                          ("x.ckpt", saved(state)), ("x", saved(state))):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert torch.equal(read_tensors(tmp_path / name)["a"], state["a"])


@pytest.mark.parametrize("letters", [b"PK", b"\x80\x02", b"\x1f\x8b", b"BZh"])
def test_safetensors_are_known_whatever_the_length_of_their_header_looks_like(tmp_path: Path, letters: bytes) -> None:
    length = int.from_bytes(letters, "little")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    if length > 10_000_000:
        pytest.skip("a header of this length is larger than any model's")
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + header.ljust(length) + struct.pack("<f", 2))
    assert read_tensors(path)["a"].tolist() == [2]


def test_a_model_in_several_files_is_read_as_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"model-{name}.safetensors").write_bytes(save({name: torch.zeros(2)}))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: f"model-{name}.safetensors" for name in "ab"}}))
    assert set(read_tensors(index)) == {"a", "b"} and read_metadata(index) is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"weight_map": 1}', '{"weight_map": {"a": "gone.safetensors"}}', "[" * 100_000,
     '{"weight_map": {"a": "../model.safetensors"}}', '{"weight_map": {"a": 3}}'],
)  # fmt: skip
def test_an_index_that_names_nothing_beside_it_is_a_model_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(save({"a": torch.zeros(2)}))
    index = tmp_path / "inner" / "model.safetensors.index.json"
    index.parent.mkdir()
    index.write_text(content)
    with pytest.raises(ModelError):
        read_state(index)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_only_errors_of_this_program(tmp_path: Path, data: st.DataObject) -> None:
    value = {"state_dict": {"a": torch.arange(4.0)}, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5)}
    kinds = [saved(value), saved(value, _use_new_zipfile_serialization=False), save({"a": torch.zeros(4)})]
    content = bytearray(data.draw(st.sampled_from(kinds)))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path / data.draw(st.sampled_from(["x.pth", "x.safetensors", "x.bin"]))
    path.write_bytes(content)
    for read in (read_metadata, read_state):
        try:
            read(path)
        except (ModelError, UntrustedFileError) as error:
            assert str(path) in error.message and len(error.message) < 1000
