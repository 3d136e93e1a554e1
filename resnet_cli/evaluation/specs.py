"""Which of the words on a command line name models, and which name the data."""

from __future__ import annotations

import os
from collections.abc import Sequence

from resnet_cli.config.eval import ABOUT_DATA, ABOUT_ONE_MODEL, EvalConfig
from resnet_cli.config.nearest import did_you_mean
from resnet_cli.data.sources.fetching.remote import is_remote
from resnet_cli.errors import ConfigError
from resnet_cli.exported.opening import check_trust, exported_kind, resolve_model
from resnet_cli.model.model_path import WEIGHTS_FILES
from resnet_cli.network.known_sets import DATASETS
from resnet_cli.network.registry import HUB_WEIGHTS, WEIGHTS
from resnet_cli.system.paths import LATEST, user_path

MODEL_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".pth.tar", "pytorch_model.bin", ".safetensors.index.json")


def resolve_specs(
    specs: Sequence[str], config: EvalConfig, *, latest: str = str(LATEST)
) -> tuple[list[str], str | None]:
    """The models and the data that an evaluation is about, and whether its flags have an effect on them.

    Args:
        specs: What the user typed, in any order.
        config: Everything else.
        latest: The latest run, which is evaluated if no model is named.

    Returns:
        The models, at least one (the latest run by default), each as the path of a real file or folder, and the data;
        None for the images of the first model's run.

    Raises:
        ConfigError: A model or the data do not exist, or a flag has no effect.
    """
    models, data = sort_specs(specs)
    check_trust(models, trusted=config.trust)
    if data is None:
        config.refuse(ABOUT_DATA, "has no effect on the run's own images: name DATA")
    if len(models) > 1:
        config.refuse(ABOUT_ONE_MODEL, "has no effect when models are compared: give it one model")
    return [resolve_model(spec) for spec in models or [latest]], data


def sort_specs(specs: Sequence[str]) -> tuple[list[str], str | None]:
    """Separates models from data, in any order.

    A model is a run folder, a .safetensors or .pth file, an exported file, or the name of weights. ``hf:OWNER/NAME``
    can be either: it is the data if it comes last and there is a model before it.

    Args:
        specs: What the user typed.

    Returns:
        The models, possibly none, and the data, if any.

    Raises:
        ConfigError: Something does not exist, or there are two data sets.
    """
    models: list[str] = []
    data: list[str] = []
    for position, spec in enumerate(specs):
        is_last = position == len(specs) - 1
        (models if _is_model(spec, may_be_data=bool(models) and is_last and not data) else data).append(spec)
    if len(data) > 1:
        raise ConfigError(
            f"{' and '.join(data)}: neither is a model, and only one can be DATA",
            hint="a model is a run folder, a .safetensors, .pth, .onnx or .pt2 file, or the name of weights",
        )
    return models, next(iter(data), None)


def _is_model(spec: str, *, may_be_data: bool) -> bool:
    if spec in WEIGHTS or spec in HUB_WEIGHTS:
        return True
    if spec.startswith("hf:"):
        return not may_be_data
    path = user_path(spec)
    if path.name.lower().endswith(MODEL_SUFFIXES) or path.name == "latest" or exported_kind(path):
        return True
    if os.path.isdir(path):
        # A run that was stopped early has a config and no model yet.
        return any(os.path.isfile(path / name) for name in (*WEIGHTS_FILES, "split.csv"))
    if spec in DATASETS or is_remote(spec) or os.path.exists(path):
        return False
    raise ConfigError(
        f"{spec}: no such model and no such data",
        hint=did_you_mean(spec, [*DATASETS, *WEIGHTS, *HUB_WEIGHTS])
        + "a model is a run folder, a .safetensors, .pth, .onnx or .pt2 file, or the name of weights; DATA is a "
        "folder, a table, an archive, a URL or a name",
    )
