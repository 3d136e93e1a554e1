"""Finds and loads weights: ImageNet files from the shared cache or the network, users' files, and trained models."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from resnet_cli.errors import ModelError, NetworkError
from resnet_cli.model.layouts import find_network
from resnet_cli.model.model_file import Model, model_from_tensors, network_tensors
from resnet_cli.model.model_path import WEIGHTS_FILES, resolve_model_path
from resnet_cli.model.network import ResNet50, load_tensors
from resnet_cli.model.tensor_files import read_metadata, read_state, read_tensors
from resnet_cli.network import download, hub, registry
from resnet_cli.network.model_config import CONFIG_FILE, PREPROCESSOR_FILE, read_model_config
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.latest import real_path
from resnet_cli.system.paths import checkpoints_dir, file_version, sha256_of
from resnet_cli.text import counted

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
        reading: How the network was found in a file of another program, and how many tensors matched.
        classes: Names of the classes of its head, if files beside the weights have them.
        version: State of a run's model file, which a training may replace; None for other files.
    """

    name: str
    preprocess: Preprocess | None
    path: Path | None
    why: str
    reading: str = ""
    classes: tuple[str, ...] | None = None
    version: tuple[int, int, int] | None = None

    @property
    def spec(self) -> str:
        """The value of ``--weights`` that names them from any folder."""
        if self.path is None or self.name in registry.WEIGHTS or hub.is_spec(self.name):
            return self.name
        # The file's own name is kept: a cache links it to bytes elsewhere, and what describes it is beside the link.
        return str(self.path.parent.resolve() / self.path.name)

    @property
    def sha256(self) -> str:
        """SHA-256 of a file of the user; empty for names, which always mean the same weights."""
        is_named = self.path is None or self.name in registry.WEIGHTS or hub.is_spec(self.name)
        return "" if is_named or self.path is None else sha256_of(self.path)

    def require_same_file(self) -> None:
        """Checks, after the file was read again, that it is the one that was found: head and backbone fit together.

        Raises:
            ModelError: The file was replaced or removed.
        """
        if self.path is None or self.version is None:
            return
        if not self.path.exists() or file_version(self.path) != self.version:
            raise ModelError(
                f"{self.path}: the file was replaced or removed while a training started from it",
                hint="is its run still being trained? Run the command again when that has finished",
            )


def find_weights(
    spec: str, *, mode: Literal["frozen", "full"], offline: bool = False, on_download: OnProgress | None = None
) -> Weights:
    """Finds the weights that ``--weights`` names, and downloads them if necessary.

    Args:
        spec: ``auto``, ``imagenet-v1``, ``imagenet-v2``, ``none``, weights of the Hub (``timm-a1``,
            ``hf:OWNER/NAME``), a file of ResNet-50 weights from any trainer, a folder of transformers, or a run folder.
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
        reading = find_network(read_state(found.path), found.path).describe()
        preprocess = Preprocess.from_dict(found.preprocess)
        return Weights(found.name, preprocess, found.path, "asked for", reading, found.classes)
    if spec == "auto":
        return _auto_weights(mode, offline=offline, on_download=on_download)
    source = real_path(spec)
    path = resolve_model_path(source, "--weights")
    version = file_version(path)
    about = read_metadata(path)
    if about is not None:
        preprocess = Preprocess.from_dict(about["preprocess"])
        return Weights(str(source), preprocess, path, "the backbone of that model", version=version)
    return _foreign_weights(path, str(source), find_network(read_state(path), path).describe())


def load_backbone(network: ResNet50, weights: Weights) -> None:
    """Loads weights into the backbone of a network; the head is not changed.

    Raises:
        ModelError: The file is damaged or of another architecture.
        UntrustedFileError: The file would run code when loaded.
    """
    if weights.path is None:
        return
    if weights.name in registry.WEIGHTS or read_metadata(weights.path) is not None:
        found = network_tensors(read_tensors(weights.path))
    else:
        found = dict(find_network(read_state(weights.path), weights.path).tensors)
    weights.require_same_file()
    tensors = {name: tensor for name, tensor in found.items() if not name.startswith("fc.")}
    head = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("fc.")}
    load_tensors(network, tensors | head, weights.path)


def load_model(path: str | Path, *, offline: bool = False, on_download: OnProgress | None = None) -> Model:
    """Loads a trained model, or ImageNet weights with their 1,000 classes.

    Args:
        path: A run folder, a ``model.safetensors``, ``imagenet-v1`` or ``imagenet-v2``, weights of the Hub
            (``timm-a1``, ``hf:OWNER/NAME``), or ResNet-50 weights with 1,000 outputs or with names of their classes
            beside them.
        offline: Never download.
        on_download: Called with (bytes downloaded, bytes in all or None).

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged or of another architecture.
        UntrustedFileError: It would run code when loaded.
    """
    if str(path) in registry.WEIGHTS or hub.is_spec(str(path)):
        found = find_weights(str(path), mode="frozen", offline=offline, on_download=on_download)
        return _load_foreign(found)
    file = resolve_model_path(Path(path), "MODEL")
    version, about, state = _read_whole(file)
    if about is not None:
        model = model_from_tensors(state, about, file)
    else:
        model = _foreign_model(state, _foreign_weights(file, str(path), ""))
    return dataclasses.replace(model, version=version)


def _read_whole(file: Path) -> tuple[tuple[int, int, int], dict[str, Any] | None, Any]:
    """Metadata and content of one state of a file, which a training may replace at any moment, and this state.

    Raises:
        ModelError: The file is damaged, or was removed in the meantime.
    """
    try:
        while True:
            version = file_version(file)
            about, state = read_metadata(file), read_state(file)
            if version == file_version(file):
                return version, about, state
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}", hint="was its run removed?") from error


def load_imagenet(*, offline: bool = False, on_download: OnProgress | None = None) -> Model:
    """Loads the ImageNet model with 1,000 classes: a cached V2 or V1 file, else a download of V2 (the more accurate).

    Raises:
        NetworkError: Neither is cached and the download fails.
    """
    return _load_foreign(_auto_weights("full", offline=offline, on_download=on_download))


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """ImageNet-1k's class names in index order. Source: torchvision's weights metadata."""
    from torchvision.models import ResNet50_Weights

    return _made_unique(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


def _made_unique(names: Sequence[str]) -> tuple[str, ...]:
    # "crane" (bird, machine) and "maillot" (two garments) occur twice.
    return tuple(f"{name} ({index})" if names.count(name) > 1 else name for index, name in enumerate(names))


def _foreign_weights(path: Path, name: str, reading: str) -> Weights:
    """Weights of another program, with what files beside them say about preprocessing and classes."""
    config, preprocessor = (path.with_name(name) for name in (CONFIG_FILE, PREPROCESSOR_FILE))
    # Only a file with one of these names is known to be the one that is described.
    is_described = path.name in WEIGHTS_FILES and config.is_file()
    about = (
        read_model_config(config, preprocessor if preprocessor.is_file() else None, str(path)) if is_described else None
    )
    if about is None or about.preprocess is None:
        classes = about.classes if about else None
        return Weights(name, IMAGENET_PREPROCESS["imagenet-v1"], path, "", reading, classes)
    where = PREPROCESSOR_FILE if about.library == "transformers" else CONFIG_FILE
    reading = f"{reading}; preprocessing of its {where}" if reading else ""
    return Weights(name, Preprocess.from_dict(about.preprocess), path, "", reading, about.classes)


def _load_foreign(weights: Weights) -> Model:
    assert weights.path is not None
    return _foreign_model(read_state(weights.path), weights)


def _foreign_model(state: Any, weights: Weights) -> Model:
    """A model of another program's weights: of ImageNet's classes, or those that are named beside them."""
    assert weights.path is not None and weights.preprocess is not None
    found = find_network(state, weights.path)
    classes = weights.classes or (imagenet_classes() if found.num_outputs == 1000 else ())
    if found.num_outputs is None or found.num_outputs != len(classes):
        has = "no head" if found.num_outputs is None else f"{counted(found.num_outputs, 'output')}"
        raise ModelError(
            f"{weights.path}: weights with {has} and no class names; only models of this program, ImageNet weights "
            "with 1,000 outputs and folders of transformers can predict",
            hint=f"fine-tune from it: resnet-cli finetune DATA --weights {shlex.quote(str(weights.path))}",
        )
    with torch.device("meta"):
        network = ResNet50(len(classes))
    load_tensors(network, found.tensors, weights.path)
    return Model(network, _made_unique(classes), weights.preprocess, path=weights.path)


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
