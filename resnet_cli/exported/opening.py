"""Opens an exported file of any format by its path. A runtime is imported only where its format is opened."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from resnet_cli.errors import ConfigError, ModelError, UntrustedFileError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import EXPORT_AGAIN, METADATA_FILE
from resnet_cli.network import hub, registry
from resnet_cli.system.latest import real_path

#: Format of a folder -> the file in it by which it is recognized, and the class that opens the folder.
_FOLDERS: Mapping[str, tuple[str, str]] = {
    "openvino": ("model.xml", "openvino:OpenVinoModel"),
    "ncnn": ("model.ncnn.param", "ncnn:NcnnModel"),
    "mnn": ("model.mnn", "mnn:MnnModel"),
    "executorch": ("model.pte", "executorch:ExecuTorchModel"),
    "coreml": ("model.mlpackage", "coreml:CoreMlModel"),
    "litert": ("model.tflite", "litert:LiteRtModel"),
    "web": ("network.onnx", "web:WebModel"),
    "timm": ("model.safetensors", "timm:TimmModel"),
}


def exported_kind(spec: str | os.PathLike[str]) -> str | None:
    """The kind of exported model that a path names; None if it names something else.

    Returns:
        ``onnx``, ``pt2``, or the format of a folder, which the main file in it names as well.
    """
    path = Path(spec)
    if path.suffix.lower() in {".onnx", ".pt2"}:
        return "onnx" if path.suffix.lower() == ".onnx" else "pt2"
    if os.path.isfile(path / METADATA_FILE):
        return next((kind for kind, (file, _) in _FOLDERS.items() if os.path.exists(path / file)), "timm")
    if os.path.isfile(path.parent / METADATA_FILE):
        # The weights of a timm folder are read as weights.
        return next((kind for kind, (file, _) in _FOLDERS.items() if path.name == file and kind != "timm"), None)
    return None


def resolve_model(spec: str | os.PathLike[str]) -> str:
    """What MODEL means at this moment: the name of weights as it is, otherwise the path of a real file or folder.

    A command calls this once, when it starts; see :func:`~resnet_cli.system.latest.real_path`.
    """
    text = os.fspath(spec)
    if text in registry.WEIGHTS or hub.is_spec(text):
        return text
    path = str(real_path(text))
    # What does not exist keeps its name, for a message that says what the link points to.
    return path if os.path.exists(path) else text


def check_trust(specs: Sequence[str], *, trusted: bool) -> None:
    """Refuses ``--trust`` if no model needs it.

    Raises:
        ConfigError: None of the models is a ``.pt2`` file.
    """
    if trusted and "pt2" not in map(exported_kind, specs):
        raise ConfigError("--trust has no effect: no model is a .pt2 file", hint="remove it")


def open_exported(path: Path, *, trusted: bool = False) -> ExportedModel:
    """Opens what ``resnet-cli export`` wrote.

    Args:
        path: A path whose kind :func:`exported_kind` knows.
        trusted: Whether code in the file may run; only a ``.pt2`` file holds any.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged, or another program wrote it.
        UntrustedFileError: It may run code, and is not trusted.
        SetupError: Its runtime is not installed.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file", hint="make one: resnet-cli export RUN")
    try:
        return _open(path, exported_kind(path), trusted=trusted)
    except ModelError as error:
        error.hint = error.hint or EXPORT_AGAIN
        raise


def _open(path: Path, kind: str | None, *, trusted: bool) -> ExportedModel:
    if kind == "onnx":
        from resnet_cli.exported.onnx import OnnxModel

        return OnnxModel.load(path)
    if kind == "pt2":
        if not trusted:
            raise UntrustedFileError(
                f"{path}: loading a .pt2 file may run any code that is in it",
                hint="add --trust if you made it yourself; an .onnx file needs no trust",
            )
        from resnet_cli.exported.pt2 import Pt2Model

        return Pt2Model(path)
    if kind is not None:
        folder = path if os.path.isfile(path / METADATA_FILE) else path.parent
        opened: ExportedModel = pkgutil.resolve_name(f"{__package__}.{_FOLDERS[kind][1]}")(folder)
        return opened
    raise ModelError(f"{path}: not an exported model")
