"""Finds the weights file that a user names by a file or a folder; without torch."""

from __future__ import annotations

import os
from pathlib import Path

from resnet_cli.config.nearest import did_you_mean
from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.model.foreign_files import describe_folder
from resnet_cli.network import registry
from resnet_cli.system.latest import real_path
from resnet_cli.system.paths import LATEST, user_path

#: How the name of the list of a model's files ends.
INDEX_SUFFIX = ".index.json"
#: Names of the weights in a folder: those of this program and timm, and those of transformers.
WEIGHTS_FILES = (
    MODEL_FILE,
    MODEL_FILE + INDEX_SUFFIX,
    "pytorch_model.bin",
    "pytorch_model.bin" + INDEX_SUFFIX,
)


def resolve_model_path(path: Path, what: str) -> Path:
    """Finds the weights file that a user names by a file or a run folder.

    Args:
        path: A file, a run folder, or ``runs/latest``.
        what: Name of the flag or argument, for messages.

    Raises:
        ConfigError: There is no such file.
        ModelError: The folder holds a model of another kind, or weights under other names.
    """
    typed, path = user_path(path), real_path(path)
    if os.path.isdir(path) or typed.name == LATEST.name:
        folder = path
        path = next((folder / name for name in WEIGHTS_FILES if os.path.isfile(folder / name)), folder / MODEL_FILE)
        if not os.path.isfile(path) and os.path.isdir(folder) and (found := describe_folder(folder)):
            raise ModelError(f"{what} {folder}: {found.name}", hint=found.way_out)
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
            else did_you_mean(str(typed), [*registry.WEIGHTS, *registry.HUB_WEIGHTS])
            + f"give {names}imagenet-v1, imagenet-v2, hf:OWNER/NAME, a .pth or .safetensors file, or a run folder",
        )
    return path
