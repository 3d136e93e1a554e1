"""The head of ImageNet weights with a name, kept in the cache folder so that the next prediction needs no torch.

Their own files are pickles, which only torch reads. Everything but the backbone is kept: 8 MB.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import DiskError, ModelError
from resnet_cli.model.facts import METADATA_KEY, SCHEMA_VERSIONS, read_facts
from resnet_cli.model.small_model import SmallModel
from resnet_cli.network import download, registry
from resnet_cli.system.caches import warn_unwritable
from resnet_cli.system.paths import checkpoints_dir, engines_dir, file_version, make_dir, write_bytes
from resnet_cli.version import __version__

if TYPE_CHECKING:
    from resnet_cli.model.model_file import Model

_ARRAYS = ("weight", "bias")


def cached_imagenet() -> str | None:
    """The name of the more accurate ImageNet weights that are on this machine; None if there are none."""
    names = ("imagenet-v2", "imagenet-v1")
    return next((name for name in names if download.find_cached(registry.WEIGHTS[name], checkpoints_dir())), None)


def read_named_head(name: str) -> SmallModel | None:
    """The weights of a name without their backbone; None if their head was not kept, or is damaged.

    Args:
        name: A name of ``registry.WEIGHTS``.
    """
    from safetensors import SafetensorError, safe_open

    try:
        path = download.find_cached(registry.WEIGHTS[name], checkpoints_dir())
        if path is None:
            return None
        version = file_version(path)
        with safe_open(_place(name), framework="np") as file:
            about = json.loads(file.metadata()[METADATA_KEY])
            weight, bias = (file.get_tensor(part) for part in _ARRAYS)
        # The values of a file are known to be right if its bytes are: they were checked when it was written.
        if about["file"] != [str(path), *version] or about["sha256"] != _digest(weight, bias):
            return None
        if about["program"] != __version__:
            # Another version may prepare images in another way.
            return None
        facts = read_facts(about, path)
        return SmallModel(path, version, facts, ((weight, bias),), None, None, about["backbone"])
    except (SafetensorError, ModelError, DiskError, OSError, ValueError, LookupError, TypeError):
        return None


def keep_named_head(name: str, model: Model) -> None:
    """Keeps the head of weights with a name; a cache that cannot be written stays as it is, with a warning.

    Args:
        name: A name of ``registry.WEIGHTS``.
        model: Its model, loaded in torch.
    """
    from safetensors.numpy import save

    from resnet_cli.model.network import backbone_hash

    assert model.path is not None
    weight, bias = (np.ascontiguousarray(model.network.state_dict()[f"fc.{part}"].numpy()) for part in _ARRAYS)
    about = {
        "schema_version": SCHEMA_VERSIONS[model.task],
        "classes": model.classes,
        "preprocess": model.preprocess.to_dict(),
        "hidden": model.hidden,
        "temperature": model.temperature,
        "provenance": dict(model.provenance),
        "backbone": backbone_hash(model.network),
        "program": __version__,
        "file": [str(model.path), *file_version(model.path)],
        "sha256": _digest(weight, bias),
    }
    data = save(dict(zip(_ARRAYS, (weight, bias), strict=True)), metadata={METADATA_KEY: json.dumps(about)})
    try:
        make_dir(engines_dir())
        write_bytes(_place(name), data)
    except DiskError as error:
        warn_unwritable(engines_dir(), error)


def _place(name: str) -> Path:
    return engines_dir() / f"{name}.safetensors"


def _digest(weight: NDArray[Any], bias: NDArray[Any]) -> str:
    return hashlib.sha256(weight.tobytes() + bias.tobytes()).hexdigest()
