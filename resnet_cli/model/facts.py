"""What a model file contains besides the weights of its backbone, read and checked without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ModelError
from resnet_cli.model.label_reliability import RESULTS, LabelScaling, label_metadata
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import file_version, sha256_of
from resnet_cli.task import UNKNOWN, YES, TaskName

#: Name of the model file in a run folder.
MODEL_FILE = "model.safetensors"
#: Task -> version of the metadata inside a model file; a new one where an old reader would misread it. Version 0.1.0
#: reads only 1: it would apply softmax to the logits of a multi-label model.
SCHEMA_VERSIONS: Mapping[TaskName, int] = {"single-label": 1, "multi-label": 2}
METADATA_KEY = "resnet_cli"
#: Prefixes of the names of tensors that are not part of the network, and of those of its head.
EXEMPLARS_PREFIX, RELIABILITY_PREFIX, HEAD_PREFIX = "memory.", "reliability.", "fc."
#: Names of the tensors of exemplars, without their prefix.
_EXEMPLARS = ("features", "labels", "held_out")

#: Checks of the metadata values; Preprocess checks its own.
_METADATA: dict[str, Callable[[Any], bool]] = {
    "classes": lambda x: isinstance(x, list) and all(isinstance(c, str) for c in x) and 0 < len(set(x)) == len(x),
    "hidden": lambda x: isinstance(x, list) and all(type(width) is int and 1 <= width <= 65_536 for width in x),
    "temperature": lambda x: isinstance(x, int | float) and 0 < x < 1e6,
    "preprocess": lambda x: isinstance(x, dict),
    "provenance": lambda x: isinstance(x, dict),
}
#: Task -> (number of classes -> dtype, shape of a row, least and greatest value of targets).
_TARGETS: Mapping[TaskName, Callable[[int], tuple[type[np.generic], tuple[int, ...], int, int]]] = {
    "single-label": lambda num_classes: (np.int64, (), 0, num_classes - 1),
    "multi-label": lambda num_classes: (np.int8, (num_classes,), UNKNOWN, YES),
}


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """The metadata of a model file.

    Attributes:
        classes: Class names in index order.
        preprocess: How an image becomes the network's input.
        hidden: Widths of the head's hidden layers.
        temperature: Logits are divided by it before softmax.
        provenance: Plain JSON values: version, data, weights, recipe, scores.
        task: Whether an image has one label or any number.
        thresholds: The least probability at which each class is predicted, [k]; multi-label only.
        scaling: The scale and shift of each class's logits that its head contains; None if it was not calibrated.
    """

    classes: tuple[str, ...]
    preprocess: Preprocess
    hidden: tuple[int, ...]
    temperature: float
    provenance: Mapping[str, Any]
    task: TaskName
    thresholds: tuple[float, ...]
    scaling: LabelScaling | None


def read_facts(about: Mapping[str, Any], path: Path) -> ModelFacts:
    """Checks the metadata of a model file.

    Args:
        about: The parsed metadata.
        path: The file, for error messages.

    Raises:
        ModelError: Something is missing, unknown or impossible.
    """
    version = about.get("schema_version")
    task = next((task for task, known in SCHEMA_VERSIONS.items() if known == version), None)
    if task is None:
        known = " and ".join(map(str, SCHEMA_VERSIONS.values()))
        raise ModelError(
            f"{path}: its schema version is {str(version)[:20]}, and this program reads {known}",
            hint="update resnet-cli, or train the model again: resnet-cli finetune DATA",
        )
    num_classes = len(about["classes"]) if isinstance(about.get("classes"), list) else 0
    checks = _METADATA if task == "single-label" else _METADATA | label_metadata(num_classes)
    for name, is_sound in checks.items():
        if name not in about or not is_sound(about[name]):
            raise ModelError(f"{path}: damaged metadata: {name} {str(about.get(name, 'is missing'))[:80]}")
    scaling = about.get("scaling")
    return ModelFacts(
        tuple(about["classes"]),
        Preprocess.from_dict(about["preprocess"]),
        tuple(about["hidden"]),
        float(about["temperature"]),
        about["provenance"],
        task,
        tuple(about.get("thresholds", ())),
        None if scaling is None else LabelScaling(tuple(scaling["scale"]), tuple(scaling["shift"])),
    )


def read_reliability(arrays: Mapping[str, NDArray[Any]], facts: ModelFacts, path: Path) -> ValidationResults | None:
    """The validation results of a model file; None if it has none.

    Args:
        arrays: The file's arrays by name; others than those of the results are ignored.
        facts: Its metadata.
        path: The file, for error messages.

    Raises:
        ModelError: They are damaged.
    """
    kind = RESULTS[facts.task]
    fields = tuple(field.name for field in dataclasses.fields(kind))
    found = _read_part(arrays, RELIABILITY_PREFIX, fields, kind.__name__, path)
    if found is None:
        return None
    reliability = kind(**found)
    if not reliability.is_sound(len(facts.classes)):
        raise ModelError(f"{path}: damaged reliability: impossible values")
    return reliability


def read_exemplars(arrays: Mapping[str, NDArray[Any]], facts: ModelFacts, path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a model file's exemplars, by the names of the fields of ``Exemplars``; None if it has none.

    Raises:
        ModelError: They are damaged.
    """
    found = _read_part(arrays, EXEMPLARS_PREFIX, _EXEMPLARS, "Exemplars", path)
    if found is None:
        return None
    features, labels, held_out = (found[name] for name in _EXEMPLARS)
    dtype, of_row, least, most = _TARGETS[facts.task](len(facts.classes))
    fits = (
        features.ndim == 2
        and features.shape[1] == NUM_FEATURES
        and held_out.shape == features.shape[:1]
        and labels.shape == (len(features), *of_row)
        and features.dtype in {np.dtype(np.float16), np.dtype(np.float32)}
        and (labels.dtype, held_out.dtype) == (np.dtype(dtype), np.dtype(np.bool_))
        and bool(np.isfinite(features).all())
        and bool(((labels >= least) & (labels <= most)).all())
    )
    if not fits:
        shapes = ", ".join(f"{name} {tuple(x.shape)} {x.dtype}" for name, x in found.items())
        raise ModelError(f"{path}: damaged exemplars: {shapes}, or impossible values")
    return found


def reference_of(exemplars: Mapping[str, NDArray[Any]] | None) -> NDArray[Any] | None:
    """Features of training images that new images are compared with, [m x 2048]; None if there are none."""
    if exemplars is None or bool(exemplars["held_out"].all()):
        return None
    return np.asarray(exemplars["features"][~exemplars["held_out"]])


def sha256_of_same(path: Path, version: tuple[int, int, int] | None) -> str:
    """SHA-256 of a file that was read before.

    Args:
        path: The file.
        version: Its state when it was read, from :func:`~resnet_cli.system.paths.file_version`; None if unknown.

    Raises:
        ModelError: The file is no longer the one that was read.
    """
    try:
        found = sha256_of(path)
        is_same = version in {None, file_version(path)}
    except OSError:
        is_same = False
    if not is_same:
        raise ModelError(
            f"{path}: the file was replaced or removed while it was in use",
            hint="run the command again when nothing else writes to this run",
        )
    return found


def _read_part(
    arrays: Mapping[str, NDArray[Any]], prefix: str, fields: tuple[str, ...], what: str, path: Path
) -> dict[str, NDArray[Any]] | None:
    """The arrays of a dataclass; None if the file has none."""
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if found and sorted(found) != sorted(fields):
        raise ModelError(f"{path}: damaged {what.lower()}: must be {', '.join(fields)}")
    return found or None
