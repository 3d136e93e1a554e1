"""What ``config.json`` and ``preprocessor_config.json`` beside weights say: architecture, preprocessing, classes.

timm and transformers write such files, on the Hugging Face Hub and into folders. This module does not import torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_cli.errors import ModelError

CONFIG_FILE, PREPROCESSOR_FILE = "config.json", "preprocessor_config.json"
ARCHITECTURE = "resnet50"
#: Source: timm/data/constants.py.
_DEFAULT_CROP_PCT = 0.875
_DEFAULT_INTERPOLATION = "bicubic"
#: Values of transformers' ResNetConfig for torchvision's ResNet-50, all but the first of which are its defaults. Two of
#: them, the strides, do not show in any tensor. Source: transformers/models/resnet/configuration_resnet.py.
_RESNET = {
    "model_type": "resnet",
    "depths": [3, 4, 6, 3],
    "hidden_sizes": [256, 512, 1024, 2048],
    "embedding_size": 64,
    "num_channels": 3,
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
#: Below this size, ConvNextImageProcessor crops. Source: transformers/models/convnext/image_processing_convnext.py.
_CONVNEXT_CROPS_BELOW = 384
#: Pillow's numbers of filters. Source: PIL.Image.Resampling.
_RESAMPLING = {2: "bilinear", 3: "bicubic"}
_MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class ModelConfig:
    """The description of a ResNet-50.

    Attributes:
        library: ``timm`` or ``transformers``.
        preprocess: Argument of ``Preprocess.from_dict``, not validated yet; None if the files do not say.
        classes: Names of the head's classes in index order; None if the file does not say, or has only numbers.
    """

    library: str
    preprocess: dict[str, Any] | None
    classes: tuple[str, ...] | None


def read_model_config(config: Path, preprocessor: Path | None, name: str) -> ModelConfig | None:
    """Reads the description of a ResNet-50.

    Args:
        config: A ``config.json``.
        preprocessor: A ``preprocessor_config.json``, which transformers writes; None if there is none.
        name: The weights, for messages.

    Returns:
        The description; None if it is not a file of timm or transformers.

    Raises:
        ModelError: The architecture is different, or a file cannot be read.
    """
    about = _read_object(config, name)
    if isinstance(about.get("architecture"), str) and isinstance(about.get("pretrained_cfg"), dict):
        return _read_timm(about, name)
    if not isinstance(about.get("model_type"), str):
        return None
    for key, needed in _RESNET.items():
        if about.get(key, needed) != needed:
            raise _other(name, f"its {CONFIG_FILE} says {key} = {str(about[key])[:80]}")
    preprocess = None
    if preprocessor is not None:
        try:
            preprocess = _preprocess_of_transformers(_read_object(preprocessor, name))
        except (ValueError, OverflowError, LookupError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise ModelError(f"{name}: its {PREPROCESSOR_FILE} cannot be used: {error}") from error
    return ModelConfig("transformers", preprocess, _classes_of(about.get("id2label")))


def _read_object(path: Path, name: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{name}: its {path.name} cannot be read: {type(error).__name__}") from error
    return found if isinstance(found, dict) else {}


def _read_timm(about: Mapping[str, Any], name: str) -> ModelConfig:
    """The preprocessing in timm's description of a model, at the size for which its accuracy is stated."""
    if about["architecture"] != ARCHITECTURE:
        raise _other(name, f"it is a {about['architecture'][:80]}")
    if about.get("model_args"):
        raise _other(name, "parts of the network are changed (model_args)")
    try:
        return ModelConfig("timm", _preprocess_of_timm(about["pretrained_cfg"]), _names(about.get("label_names")))
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ModelError(f"{name}: its preprocessing cannot be read: {error}") from error


def _preprocess_of_timm(about: Mapping[str, Any]) -> dict[str, Any]:
    # Source: timm/data/config.py (resolve_data_config with use_test_size) and transforms_factory.py, which floors.
    channels, height, width = about.get("test_input_size") or about["input_size"]
    crop_pct = about.get("test_crop_pct") or about.get("crop_pct") or _DEFAULT_CROP_PCT
    if channels != 3 or height != width or (about.get("crop_mode") or "center") != "center":
        raise ValueError("only square center crops of RGB images are supported")
    preprocess: dict[str, Any] = {
        "resize_size": math.floor(height / crop_pct),
        "crop_size": height,
        "interpolation": about.get("interpolation") or _DEFAULT_INTERPOLATION,
    }
    return preprocess | {key: about[key] for key in ("mean", "std") if about.get(key)}


def _preprocess_of_transformers(about: Mapping[str, Any]) -> dict[str, Any]:
    # Source: transformers/models/convnext/image_processing_convnext.py, and image_processing_utils.py for the others.
    if about.get("do_normalize", True) is not True or about.get("do_resize", True) is not True:
        raise ValueError("it does not resize and normalize")
    if not math.isclose(about.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-3):
        raise ValueError("it does not scale pixels to [0, 1]")
    size, kind = about["size"], str(about.get("image_processor_type", about.get("feature_extractor_type", "")))
    side = size if isinstance(size, int) else size.get("shortest_edge")
    preprocess: dict[str, Any] = {"interpolation": _RESAMPLING[about.get("resample", 3)]}
    preprocess |= {key: about[f"image_{key}"] for key in ("mean", "std")}
    if kind.startswith("ConvNext") and side and side < _CONVNEXT_CROPS_BELOW:
        resized = int(side / about.get("crop_pct", _DEFAULT_CROP_PCT))
        return preprocess | {"resize_size": resized, "crop_size": side}
    if about.get("do_center_crop") and side:
        crop = about["crop_size"]
        sides = {crop} if isinstance(crop, int) else {crop["height"], crop["width"]}
        return preprocess | {"resize_size": side, "crop_size": _only(sides)}
    sides = {side} if side else {size["height"], size["width"]}
    # Both sides become the given ones; the aspect ratio is not kept.
    return preprocess | {"resize_size": _only(sides), "crop_size": _only(sides), "fit": "squash"}


def _only(sides: set[int]) -> int:
    if len(sides) != 1:
        raise ValueError("only square inputs are supported")
    return next(iter(sides))


def _classes_of(id2label: Any) -> tuple[str, ...] | None:
    if not isinstance(id2label, dict):
        return None
    names = [id2label.get(str(index)) for index in range(len(id2label))]
    # LABEL_0 and so on are what transformers writes without names.
    return None if names == [f"LABEL_{index}" for index in range(len(names))] else _names(names)


def _names(names: Any) -> tuple[str, ...] | None:
    is_list = isinstance(names, list) and bool(names) and all(isinstance(name, str) and name for name in names)
    return tuple(names) if is_list else None


def _other(name: str, reason: str) -> ModelError:
    return ModelError(
        f"{name} is not a plain ResNet-50: {reason}",
        hint="choose from: resnet-cli download --list; a variant such as resnet50d or resnet50_gn has other tensors",
    )
