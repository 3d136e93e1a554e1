"""Finds and loads weights: ImageNet files from the shared cache or the network, users' files, and trained models."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from resnet_cli.errors import ConfigError, ModelError, NetworkError
from resnet_cli.model.model_file import MODEL_FILE, Model, model_from_tensors, network_tensors
from resnet_cli.model.network import ResNet50, load_tensors
from resnet_cli.model.tensor_files import read_metadata, read_tensors
from resnet_cli.network import download, hub, registry
from resnet_cli.network.transfer import OnProgress
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.latest import real_path
from resnet_cli.system.paths import LATEST, checkpoints_dir, file_version, user_path

#: The preprocessing of torchvision's two weight files. Source: ``torchvision.models.ResNet50_Weights`` (crop 224; V2
#: resizes to 232).
IMAGENET_PREPROCESS = {
    "imagenet-v1": Preprocess(resize_size=256, crop_size=224),
    "imagenet-v2": Preprocess(resize_size=232, crop_size=224),
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights that a training starts from.

    Attributes:
        name: Name for messages: ``imagenet-v1``, ``hf:OWNER/NAME@COMMIT``, a file name, ``none``.
        preprocess: The preprocessing that these weights were trained with; None for random weights.
        path: The file; None for random weights.
        why: The reason for this choice, for the plan.
    """

    name: str
    preprocess: Preprocess | None
    path: Path | None
    why: str

    @property
    def spec(self) -> str:
        """The value of ``--weights`` that names them from any folder."""
        if self.path is None or self.name in registry.WEIGHTS or hub.is_spec(self.name):
            return self.name
        return str(self.path.resolve())


def find_weights(
    spec: str, *, mode: Literal["frozen", "full"], offline: bool = False, on_download: OnProgress | None = None
) -> Weights:
    """Finds the weights that ``--weights`` names, and downloads them if necessary.

    Args:
        spec: ``auto``, ``imagenet-v1``, ``imagenet-v2``, ``none``, weights of the Hub (``timm-a1``,
            ``hf:OWNER/NAME``), a ``.pth`` or ``.safetensors`` file, or a run folder.
        mode: How the backbone is trained: ``auto`` takes V1 for a frozen backbone, and V2 otherwise.
        offline: Never download.
        on_download: Called with (bytes downloaded, bytes in all or None).

    Raises:
        ConfigError: There is no such file or name.
        NetworkError: The download fails.
        ModelError: The weights are of another architecture.
        SetupError: They are on the Hub, and huggingface_hub is not installed.
    """
    if spec == "none":
        return Weights("none", None, None, "random initialization, as requested")
    if spec in registry.WEIGHTS:
        path = download.fetch(registry.WEIGHTS[spec], checkpoints_dir(), on_progress=on_download, offline=offline)
        return Weights(spec, IMAGENET_PREPROCESS[spec], path, "asked for")
    if hub.is_spec(spec):
        found = hub.fetch_weights(hub.parse(spec), offline=offline, on_progress=on_download)
        return Weights(found.name, Preprocess.from_dict(found.preprocess), found.path, "asked for")
    if spec == "auto":
        return _auto_weights(mode, offline=offline, on_download=on_download)
    source = real_path(spec)
    path = resolve_model_path(source, "--weights")
    about = read_metadata(path)
    preprocess = Preprocess.from_dict(about["preprocess"]) if about else IMAGENET_PREPROCESS["imagenet-v1"]
    return Weights(str(source), preprocess, path, "the backbone of that model" if about else "that file")


def load_backbone(network: ResNet50, weights: Weights) -> None:
    """Loads weights into the backbone of a network; the head is not changed.

    Raises:
        ModelError: The file is damaged or of another architecture.
        UntrustedFileError: The file would run code when loaded.
    """
    if weights.path is None:
        return
    found = network_tensors(read_tensors(weights.path))
    tensors = {name: tensor for name, tensor in found.items() if not name.startswith("fc.")}
    head = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("fc.")}
    load_tensors(network, tensors | head, weights.path)


def load_model(path: str | Path, *, offline: bool = False, on_download: OnProgress | None = None) -> Model:
    """Loads a trained model, or ImageNet weights with their 1,000 classes.

    Args:
        path: A run folder, a ``model.safetensors``, ``imagenet-v1`` or ``imagenet-v2``, weights of the Hub
            (``timm-a1``, ``hf:OWNER/NAME``), or a ResNet-50 weights file with 1,000 outputs.
        offline: Never download.
        on_download: Called with (bytes downloaded, bytes in all or None).

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged or of another architecture.
        UntrustedFileError: It would run code when loaded.
    """
    if str(path) in registry.WEIGHTS or hub.is_spec(str(path)):
        found = find_weights(str(path), mode="frozen", offline=offline, on_download=on_download)
        return _load_imagenet(found)
    file = resolve_model_path(Path(path), "MODEL")
    version, about, tensors = _read_whole(file)
    if about is not None:
        model = model_from_tensors(tensors, about, file)
    else:
        model = _imagenet_model(tensors, IMAGENET_PREPROCESS["imagenet-v1"], file)
    return dataclasses.replace(model, version=version)


def _read_whole(file: Path) -> tuple[tuple[int, int, int], dict[str, Any] | None, Mapping[str, Tensor]]:
    """Metadata and tensors of one state of a file, which a training may replace at any moment, and this state.

    Raises:
        ModelError: The file is damaged, or was removed meanwhile.
    """
    try:
        while True:
            version = file_version(file)
            about, tensors = read_metadata(file), read_tensors(file)
            if version == file_version(file):
                return version, about, tensors
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}", hint="was its run removed?") from error


def load_imagenet(*, offline: bool = False, on_download: OnProgress | None = None) -> Model:
    """Loads the ImageNet model with 1,000 classes: a cached V2 or V1 file, else a download of V2 (the more accurate).

    Raises:
        NetworkError: Neither is cached and the download fails.
    """
    return _load_imagenet(_auto_weights("full", offline=offline, on_download=on_download))


def resolve_model_path(path: Path, what: str) -> Path:
    """Finds the weights file that a user names by a file or a run folder.

    Args:
        path: A file, a run folder, or ``runs/latest``.
        what: Name of the flag or argument, for messages.

    Raises:
        ConfigError: There is no such file.
    """
    typed, path = user_path(path), real_path(path)
    if os.path.isdir(path) or typed.name == LATEST.name:
        path = path / MODEL_FILE
    if not os.path.isfile(path):
        if path.parent != typed and typed.name == LATEST.name:
            raise ConfigError(
                f"{what} {typed}: it points to {path.parent}, which has no model",
                hint="name another run, or make one with: resnet-cli finetune DATA",
            )
        names = "auto, none, " if what == "--weights" else ""
        raise ConfigError(
            f"{what} {path}: no such file",
            hint="make one with: resnet-cli finetune DATA"
            if path.name == MODEL_FILE
            else f"give {names}imagenet-v1, imagenet-v2, hf:OWNER/NAME, a .pth or .safetensors file, or a run folder",
        )
    return path


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """ImageNet-1k's class names in index order. Source: torchvision's weights metadata."""
    from torchvision.models import ResNet50_Weights

    return _made_unique(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


def _made_unique(names: list[str]) -> tuple[str, ...]:
    # "crane" (bird, machine) and "maillot" (two garments) occur twice.
    return tuple(f"{name} ({index})" if names.count(name) > 1 else name for index, name in enumerate(names))


def _load_imagenet(weights: Weights) -> Model:
    assert weights.path is not None and weights.preprocess is not None
    return _imagenet_model(read_tensors(weights.path), weights.preprocess, weights.path)


def _imagenet_model(tensors: Mapping[str, Tensor], preprocess: Preprocess, path: Path) -> Model:
    num_classes = tensors["fc.bias"].numel() if "fc.bias" in tensors else 0
    if num_classes != 1000:
        raise ModelError(
            f"{path}: weights with {num_classes} outputs and no class names; only models of this program and "
            "ImageNet weights with 1,000 outputs can predict",
            hint=f"fine-tune from it: resnet-cli finetune DATA --weights {shlex.quote(str(path))}",
        )
    with torch.device("meta"):
        network = ResNet50(1000)
    load_tensors(network, tensors, path)
    return Model(network, imagenet_classes(), preprocess, path=path)


def _auto_weights(mode: Literal["frozen", "full"], *, offline: bool, on_download: OnProgress | None) -> Weights:
    # V1 gives better frozen features, V2 is often better for fine-tuning: pytorch/vision#8382.
    names = ["imagenet-v1", "imagenet-v2"] if mode == "frozen" else ["imagenet-v2", "imagenet-v1"]
    better = "better frozen features" if mode == "frozen" else "more accurate weights to start from"
    for name in names:
        path = download.find_cached(registry.WEIGHTS[name], checkpoints_dir())
        if path:
            why = f"{better}, found in {path.parent}" if name == names[0] else f"found in {path.parent}"
            return Weights(name, IMAGENET_PREPROCESS[name], path, why)
    remote = registry.WEIGHTS[names[0]]
    try:
        path = download.fetch(remote, checkpoints_dir(), on_progress=on_download, offline=offline)
    except NetworkError as error:
        raise NetworkError(
            f"no ImageNet weights on this machine, and they cannot be downloaded: {error.message}",
            hint=f"three ways to continue: (1) put {remote.name} into {checkpoints_dir()}; "
            "(2) name a ResNet-50 file: --weights FILE.pth or FILE.safetensors; "
            "(3) start from random weights, which takes far more data: --weights none",
        ) from error
    return Weights(names[0], IMAGENET_PREPROCESS[names[0]], path, f"{better}, downloaded")
