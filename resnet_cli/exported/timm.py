"""An exported folder in timm's layout, read back into a ResNet-50 in torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from resnet_cli.data.loading import stack
from resnet_cli.engines.features import FrozenBackbone
from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.images import Pixels
from resnet_cli.model.network import ResNet50, load_tensors
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.tensor_files import read_tensors
from resnet_cli.system.device import REFERENCE

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


class TimmModel(ExportedModel):
    """A timm folder: its tensors in a ResNet-50, with timm's mean and std; timm resizes as torchvision does.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        try:
            config = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
            written, num_classes = config["pretrained_cfg"], int(config["num_classes"])
            side = tuple(written["input_size"])[1:]
            normalized = dataclasses.replace(self.preprocess, mean=tuple(written["mean"]), std=tuple(written["std"]))
        except OSError as error:
            raise ModelError(f"{path / CONFIG_FILE}: cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(f"{path / CONFIG_FILE}: damaged: not the configuration of a timm model") from error
        if num_classes != len(self.classes) or side != (self.preprocess.crop_size,) * 2:
            raise ModelError(f"{path}: damaged: {CONFIG_FILE} does not fit its metadata")
        network = ResNet50(num_classes)
        load_tensors(network, read_tensors(path / WEIGHTS_FILE), path / WEIGHTS_FILE)
        self._head = network.fc
        self._backbone = FrozenBackbone(network, normalized, REFERENCE)

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities; timm's layout has no place for exemplars, so novelty is not known."""
        with torch.inference_mode():
            logits = self._head(self._backbone(stack(inputs)))
            probs = OBJECTIVES[self.task].probs(logits)
        return ModelOutput(probs.numpy())
