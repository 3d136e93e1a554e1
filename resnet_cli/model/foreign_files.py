"""Recognizes files and folders that people give as weights but that hold none, so that errors say what they are.

Only first bytes, names of archive members and names in folders are looked at: nothing is unpacked or loaded.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

from resnet_cli.errors import ModelError
from resnet_cli.images.formats import GIT_LFS, WEB_PAGE, recognize, recognize_image

#: How many bytes of a file decide what it is.
_HEAD_BYTES = 4096
_EXPORT_AGAIN = "give the checkpoint that it was made from: a .pth or .safetensors file with PyTorch's tensors"
_CONVERT = "give PyTorch weights of the same network, or convert its tensors to a PyTorch state dict first"
_UNPACK = "unpack it, and give the weights file in it"
_DOWNLOAD_AGAIN = "download it again"


class Foreign(NamedTuple):
    """What a file is instead of weights.

    Attributes:
        name: Its name, with an article.
        way_out: What to do instead.
    """

    name: str
    way_out: str


_CUT = Foreign("a zip archive whose end is missing", _DOWNLOAD_AGAIN)
_TORCHSCRIPT = Foreign(
    "a TorchScript archive, which contains a program besides its tensors",
    "if you trust it, save its tensors: python -c \"import torch; torch.save(torch.jit.load('FILE').state_dict(), "
    "'weights.pth')\"",
)
_TORCH_EXPORT = Foreign(
    "a program of torch.export (.pt2), which contains more than tensors",
    'if you trust it, save its tensors: python -c "import torch; '
    "torch.save(dict(torch.export.load('FILE').state_dict), 'weights.pth')\"",
)
_KERAS = Foreign("a Keras model", _CONVERT)
_ARCHIVE = Foreign("an archive", _UNPACK)
_ONNX = Foreign("an ONNX model", _EXPORT_AGAIN)
_TFLITE = Foreign("a TensorFlow Lite model", _EXPORT_AGAIN)
_OPENVINO = Foreign("an OpenVINO model", _EXPORT_AGAIN)
_NUMPY = Foreign("a file of NumPy arrays", _CONVERT)
_TEXT = Foreign("a text file, which contains no weights", "give the weights file that it belongs to")

#: (Position, bytes) -> what it is. Source: the formats' specifications, as in file(1).
_SIGNATURES: tuple[tuple[int, bytes, Foreign], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", Foreign("an HDF5 file, as Keras writes them (.h5)", _CONVERT)),
    (4, b"TFL3", _TFLITE),
    (0, b"\x93NUMPY", _NUMPY),
    (0, b"GGUF", Foreign("a GGUF file, which holds language models", _CONVERT)),
    (0, b"\x1f\x8b", _ARCHIVE),
    (0, b"BZh", _ARCHIVE),
    (0, b"\xfd7zXZ\0", _ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (0, b"Rar!", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
)
#: What files with these extensions are, if their content is neither safetensors nor what torch.save writes.
_EXTENSIONS: dict[str, Foreign] = {
    ".onnx": _ONNX,
    ".tflite": _TFLITE,
    ".keras": _KERAS,
    ".h5": _KERAS,
    ".pb": Foreign("a TensorFlow graph", _CONVERT),
    ".index": Foreign("a part of a TensorFlow checkpoint", _CONVERT),
    ".mlmodel": Foreign("a Core ML model", _EXPORT_AGAIN),
    ".msgpack": Foreign("a file of Flax weights", _CONVERT),
    ".params": Foreign("a file of MXNet weights", _CONVERT),
    ".caffemodel": Foreign("a Caffe model", _CONVERT),
    ".weights": Foreign("a file of Darknet weights", _CONVERT),
    ".engine": Foreign("a TensorRT engine", _EXPORT_AGAIN),
    ".plan": Foreign("a TensorRT engine", _EXPORT_AGAIN),
}
_WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")


def refuse_foreign(path: Path) -> None:
    """Raises an error that says what a file is if it is known not to hold weights.

    Raises:
        ModelError: It is something else, it is empty, or it cannot be read.
    """
    found = recognize_foreign(path)
    if found is not None:
        suffix = path.suffix if path.suffix in _WEIGHTS_SUFFIXES else "weights"
        word = "a complete" if found is _CUT else "a"
        hint = found.way_out.replace("FILE", path.name)
        raise ModelError(f"{path}: not {word} {suffix} file but {found.name}", hint=hint)


def recognize_foreign(path: Path) -> Foreign | None:
    """Says what a file without weights is; None for weights and for unknown content.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    if not head:
        return Foreign("an empty file", _DOWNLOAD_AGAIN)
    # First, since the length of its header may look like another format's signature.
    if is_safetensors(head):
        return None
    if (image := recognize(head)) in {GIT_LFS, WEB_PAGE}:
        return _DISGUISES[image.name] if image else None
    for position, start, foreign in _SIGNATURES:
        if head[position : position + len(start)] == start:
            return foreign
    if head[:2] == b"PK":
        return _zip_kind(path)
    if head[:1] == b"\x80":
        return None
    if path.suffix.lower() in _EXTENSIONS:
        return _EXTENSIONS[path.suffix.lower()]
    # A protobuf whose first fields are the IR version and the producer's name. Source: onnx.proto, ModelProto.
    if head[0] == 8 and head[1:2] < b"\x20" and head[2:3] == b"\x12":
        return _ONNX
    if (known := recognize_image(head)) is not None:
        return Foreign(f"an image ({known.name})", "give a weights file")
    return _text_kind(head)


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and a JSON object.

    Source: https://github.com/huggingface/safetensors, "Format".
    """
    return head[8:9] == b"{" and head[6:8] == b"\0\0"


def describe_folder(folder: Path) -> Foreign | None:
    """Says what a folder is that has no weights file with a known name; None if it is not known.

    Args:
        folder: An existing folder.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return None
    if "saved_model.pb" in names:
        return Foreign("a SavedModel of TensorFlow", _CONVERT)
    if folder.suffix == ".mlpackage":
        return Foreign("a Core ML model", _EXPORT_AGAIN)
    if any(name.endswith(".distcp") for name in names):
        return Foreign(
            "a checkpoint of torch.distributed.checkpoint, in parts",
            f"join it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pth",
        )
    if any(name.endswith(".index") for name in names) and "checkpoint" in names:
        return Foreign("a TensorFlow checkpoint", _CONVERT)
    weights = [name for name in names if name.endswith(_WEIGHTS_SUFFIXES)]
    return Foreign("a folder without a model", f"name the file: {folder / weights[0]}") if weights else None


_DISGUISES = {
    GIT_LFS.name: Foreign("a Git LFS pointer, which only names the real file", "in its repository, run: git lfs pull"),
    WEB_PAGE.name: Foreign("a web page that was saved under this name", _DOWNLOAD_AGAIN),
}


def _zip_kind(path: Path) -> Foreign | None:
    """What a zip archive is; None if torch.save wrote it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return _CUT
    names = [member.filename for member in members]
    # torch puts everything into one folder, which can have any name.
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return _TORCHSCRIPT
    if inner & {"archive_format", "models/model.json"} or "serialized_exported_program.json" in names:
        return _TORCH_EXPORT
    if "model.weights.h5" in names:
        return _KERAS
    if "data.pkl" in inner:
        # torch.save stores its members as they are; compressed ones could fill any memory.
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        return Foreign("a compressed copy of one, which torch.save does not write", _UNPACK) if packed else None
    return _NUMPY if names and all(name.endswith(".npy") for name in names) else _ARCHIVE


def _text_kind(head: bytes) -> Foreign | None:
    try:
        # The last character may be cut.
        text = head.decode("utf-8", "strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    if any(char < " " and char not in "\t\n\r\f" for char in text):
        return None
    return _OPENVINO if text.lstrip().startswith("<?xml") and "<net " in text else _TEXT
