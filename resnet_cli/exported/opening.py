"""Opens an exported file of any format by its path. A runtime is imported only where its format is opened."""

from __future__ import annotations

import os
import pkgutil
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from resnet_cli.errors import ConfigError, ModelError, UntrustedFileError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import EXPORT_AGAIN, METADATA_FILE, ExportMetadata
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

#: Formats of folders whose main file has a name that no run folder has. The weights of a timm folder are read as
#: weights, and the network of a web folder as an ONNX file.
_UNMISTAKABLE = tuple(kind for kind in _FOLDERS if kind not in {"timm", "web"})
#: Names of files that name the folder that they are in.
_INSIDE = frozenset(
    {*(_FOLDERS[kind][0] for kind in _UNMISTAKABLE), "model.bin", "model.ncnn.bin", "labels.txt", METADATA_FILE}
)
#: The names of exported files end so; what they contain is the format of this name.
FILE_SUFFIXES = (".onnx", ".pt2")


def exported_kind(spec: str | os.PathLike[str]) -> str | None:
    """The kind of exported model that a path names; None if it names something else.

    Returns:
        ``onnx``, ``pt2``, or the format of a folder, which a file in it names as well.
    """
    path = Path(spec)
    if os.path.isfile(path / METADATA_FILE):
        return next((kind for kind, (file, _) in _FOLDERS.items() if os.path.exists(path / file)), "timm")
    if path.suffix.lower() in FILE_SUFFIXES:
        return path.suffix.lower()[1:]
    if os.path.isdir(path) and path.name not in _INSIDE:
        # Without its metadata it cannot be opened, and the error says so.
        return next((kind for kind in _UNMISTAKABLE if os.path.exists(path / _FOLDERS[kind][0])), None)
    if os.path.isfile(path.parent / METADATA_FILE) and path.name in _INSIDE:
        return exported_kind(path.parent)
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


def open_exported(path: Path, *, trusted: bool = False, without_preprocessing: bool = False) -> ExportedModel:
    """Opens what ``resnet-cli export`` wrote.

    Args:
        path: A path whose kind :func:`exported_kind` knows.
        trusted: Whether code in the file may run; only a ``.pt2`` file holds any.
        without_preprocessing: For an ``.onnx`` file; see :meth:`~resnet_cli.exported.onnx.OnnxModel.load`.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged, was changed after the export, or another program wrote it.
        UntrustedFileError: It may run code, and is not trusted.
        SetupError: Its runtime is not installed.
    """
    if not path.exists():
        raise ConfigError(
            f"{path}: no such file", hint=f"make one: resnet-cli export RUN --out {shlex.quote(str(path))}"
        )
    kind = exported_kind(path)
    if kind is None:
        raise ModelError(f"{path}: not an exported model")
    if kind == "pt2" and not trusted:
        raise UntrustedFileError(
            f"{path}: loading a .pt2 file may run any code that is in it",
            hint="add --trust if you made it yourself; an .onnx file needs no trust",
        )
    folder = path.parent if path.name in _INSIDE else path
    is_whole = os.path.isfile(folder / METADATA_FILE)
    try:
        if path.is_dir() and not is_whole:
            raise ModelError(f"{path}: a folder without {METADATA_FILE}, which says how to use what is in it")
        if kind == "onnx":
            from resnet_cli.exported.onnx import OnnxModel

            return OnnxModel.load(path, without_preprocessing=without_preprocessing)
        if kind == "pt2":
            from resnet_cli.exported.pt2 import Pt2Model

            return Pt2Model(path)
        metadata = ExportMetadata.read(folder)
        # The file that tells the format may be what is missing.
        kind = next((name for name, (file, _) in _FOLDERS.items() if file in metadata.files), kind)
        metadata.check_files(folder)
        opened: ExportedModel = pkgutil.resolve_name(f"{__package__}.{_FOLDERS[kind][1]}")(folder)
        return opened
    except ModelError as error:
        if error.hint is not None:
            raise
        raise ModelError(error.message, hint=_again(kind, folder if is_whole else None)) from error


def _again(kind: str, folder: Path | None) -> str:
    """What to do about a damaged file, or a damaged folder, which the command then replaces."""
    command = EXPORT_AGAIN
    if kind != "onnx":
        command += f" --format {'safetensors' if kind == 'timm' else kind}"
    if folder is not None:
        command += f" --out {shlex.quote(str(folder))} --overwrite"
    return f"copy it again from where it was written, or, with the options of that time, {command}"
