"""A folder in timm's layout, read back into our network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from resnet_cli.data.loading import stack
from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel, read_about
from resnet_cli.images import Pixels
from resnet_cli.model.features import FrozenBackbone
from resnet_cli.model.network import ResNet50, load_tensors
from resnet_cli.model.weights import read_tensors
from resnet_cli.prediction import Answers
from resnet_cli.system.device import REFERENCE

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


class TimmModel(ExportedModel):
    """The folder read back: its tensors in a ResNet-50, timm's mean and std; resized as timm does, as torchvision does.

    Args:
        path: A folder with all files.

    Raises:
        ModelError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(read_about(path), path)
        try:
            config = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
            written, num_classes = config["pretrained_cfg"], int(config["num_classes"])
            normalised = dataclasses.replace(self._preprocess, mean=tuple(written["mean"]), std=tuple(written["std"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path / CONFIG_FILE}: cannot be read: {type(error).__name__}") from error
        network = ResNet50(num_classes)
        load_tensors(network, read_tensors(path / WEIGHTS_FILE), path / WEIGHTS_FILE)
        self._head = network.fc
        self._backbone = FrozenBackbone(network, normalised, REFERENCE)

    def answer(self, seen: list[Pixels]) -> Answers:
        """Probabilities; timm's layout has no place for what the model remembers."""
        with torch.inference_mode():
            logits = self._head(self._backbone(stack(seen)))
        return Answers(torch.softmax(logits, dim=1).numpy())
