"""A model as timm knows it: a folder with ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import torch

from resnet_cli.data.loading import stack
from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.exporting.about import About
from resnet_cli.exporting.exported import ExportedModel, read_about, write_about
from resnet_cli.exporting.runtimes import REFERENCE
from resnet_cli.features import FrozenBackbone
from resnet_cli.images import Pixels
from resnet_cli.model import NUM_FEATURES, Model, ResNet50, load_tensors
from resnet_cli.prediction import Answers
from resnet_cli.preprocess import Preprocess
from resnet_cli.weights import read_tensors

#: Our fit -> timm's. Source: timm/data/transforms_factory.py, transforms_imagenet_eval.
_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}
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


def write_timm(model: Model, folder: Path, about: About) -> TimmModel:
    """Writes the files and reads them back; the temperature is part of the last layer.

    Load with ``timm.create_model("local-dir:FOLDER", pretrained=True)``.

    Raises:
        ConfigError: The head has hidden layers, which timm's ResNet-50 has not.
    """
    from safetensors.torch import save

    if model.hidden:
        raise ConfigError(
            f"--format safetensors: the head has hidden layers ({', '.join(map(str, model.hidden))}), timm's ResNet-50 "
            "has none",
            hint="export to --format onnx, or train with --head linear",
        )
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    state |= {name: state[name] / model.temperature for name in ("fc.weight", "fc.bias")}
    metadata = {"format": "pt", "licence": about.licence, "source_sha256": about.source_sha256}
    (folder / WEIGHTS_FILE).write_bytes(save(state, metadata=metadata))
    config = json.dumps(timm_config(model, about), indent=2, ensure_ascii=False)
    (folder / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
    write_about(folder, about)
    return TimmModel(folder)


def timm_config(model: Model, about: About) -> dict[str, Any]:
    """The content of ``config.json``. Source: timm/models/_hub.py, save_config_for_hf."""
    preprocess = model.preprocess
    side = preprocess.crop_size
    return {
        "architecture": "resnet50",
        "num_classes": len(model.classes),
        "num_features": NUM_FEATURES,
        "global_pool": "avg",
        "label_names": list(model.classes),
        "pretrained_cfg": {
            "tag": "resnet_cli",
            "custom_load": False,
            "input_size": [3, side, side],
            "fixed_input_size": False,
            "interpolation": preprocess.interpolation,
            "crop_pct": _crop_share(preprocess),
            "crop_mode": _CROP_MODES[preprocess.fit],
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "num_classes": len(model.classes),
            "pool_size": [math.ceil(side / 32)] * 2,
            "first_conv": "conv1",
            "classifier": "fc",
            "license": about.licence,
        },
    }


def _crop_share(preprocess: Preprocess) -> float:
    """What timm divides the crop by: ``floor(crop / share)`` is our resize size, whatever the last digit does."""
    share = preprocess.crop_size / preprocess.resize_size
    if math.floor(preprocess.crop_size / share) == preprocess.resize_size:
        return share
    return preprocess.crop_size / (preprocess.resize_size + 0.5)
