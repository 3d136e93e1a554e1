"""``--format safetensors``: a model in timm's format, a folder with ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ConfigError
from resnet_cli.exported.metadata import METADATA_FILE, ExportMetadata
from resnet_cli.exported.timm import CONFIG_FILE, WEIGHTS_FILE, TimmModel
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.model.model_file import Model
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.preprocess import Preprocess

#: ``Preprocess.fit`` -> timm's crop mode. Source: timm/data/transforms_factory.py, transforms_imagenet_eval.
_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}


class TimmFormat(Format):
    """A folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads."""

    name = "safetensors"
    folder = "timm"
    files = (WEIGHTS_FILE, CONFIG_FILE)
    texts = (METADATA_FILE,)
    input_kind = "pixels"
    has_novelty = False

    def require(self, model: Model, config: ExportConfig) -> None:
        """Refuses a head with hidden layers.

        Raises:
            ConfigError: timm's ResNet-50 does not support it.
        """
        if model.hidden:
            raise ConfigError(
                f"--format safetensors: the head has hidden layers ({', '.join(map(str, model.hidden))}), which timm's "
                "ResNet-50 does not support",
                hint="use --format onnx, or train with --head linear",
            )

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> TimmModel:
        """Writes the files and reads them back; the last layer includes the temperature. See :meth:`Format.write`."""
        from safetensors.torch import save

        self.require(model, config)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
        state |= {name: state[name] / model.temperature for name in ("fc.weight", "fc.bias")}
        header = {"format": "pt", "licence": metadata.licence, "source_sha256": metadata.source_sha256}
        (path / WEIGHTS_FILE).write_bytes(save(state, metadata=header))
        text = json.dumps(timm_config(model, metadata), indent=2, ensure_ascii=False)
        (path / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        metadata.write(path, self.files)
        return TimmModel(path)


def timm_config(model: Model, metadata: ExportMetadata) -> dict[str, Any]:
    """The content of ``config.json``. Source: timm/models/_hub.py, save_config_for_hf."""
    preprocess = model.preprocess
    side = preprocess.crop_size
    return {
        "architecture": "resnet50",
        "num_classes": len(model.classes),
        "num_features": NUM_FEATURES,
        "global_pool": "avg",
        "label_names": list(model.classes),
        **({"task": model.task, "thresholds": list(model.thresholds)} if model.task == "multi-label" else {}),
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
            "license": metadata.licence,
        },
    }


def _crop_share(preprocess: Preprocess) -> float:
    """The share that timm divides the crop by, such that ``floor(crop / share)`` is exactly the resize size."""
    share = preprocess.crop_size / preprocess.resize_size
    if math.floor(preprocess.crop_size / share) == preprocess.resize_size:
        return share
    return preprocess.crop_size / (preprocess.resize_size + 0.5)
