"""The model that a user keeps, as one ``.safetensors`` file.

Tensor names are torchvision's, so a model with a linear head also loads into ``torchvision.models.resnet50`` and into
timm. Exemplars and validation results are stored in the same file, under names with a prefix.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.errors import ModelError
from resnet_cli.model.label_reliability import RESULTS, LabelScaling, label_metadata
from resnet_cli.model.network import NUM_FEATURES, ResNet50, load_tensors
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.model.thresholds import DEFAULT_THRESHOLD
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import atomic_path, file_version, sha256_of
from resnet_cli.task import UNKNOWN, YES, TaskName
from resnet_cli.text import Summarized

#: Name of the model file in a run folder.
MODEL_FILE = "model.safetensors"
#: Task -> version of the metadata inside a model file; a new one where an old reader would misread it. Version 0.1.0
#: reads only 1: it would apply softmax to the logits of a multi-label model.
SCHEMA_VERSIONS: Mapping[TaskName, int] = {"single-label": 1, "multi-label": 2}
METADATA_KEY = "resnet_cli"
#: Prefixes of the names of tensors that are not part of the network.
EXEMPLARS_PREFIX, RELIABILITY_PREFIX = "memory.", "reliability."


@dataclasses.dataclass(frozen=True, eq=False)
class Exemplars:
    """Features of a few images per class, computed by this model's backbone.

    They allow classes to be added without the old images, and are the reference for novelty.

    Attributes:
        features: Features [m x 2048], float16 or float32.
        labels: Class indices, int64 [m]; of a multi-label model 1 yes, 0 no, -1 unknown, int8 [m x k].
        held_out: Whether a row is from the validation split, which the head was not trained on; bool [m].
    """

    features: Tensor
    labels: Tensor
    held_out: Tensor


@dataclasses.dataclass(frozen=True, repr=False)
class Model(Summarized):
    """A trained model with everything that prediction needs.

    Attributes:
        network: Backbone and head.
        classes: Class names in index order.
        preprocess: How an image becomes the network's input.
        hidden: Widths of the head's hidden layers.
        temperature: Logits are divided by it before softmax.
        provenance: Plain JSON values: version, data, weights, recipe, scores.
        path: The file that it was loaded from, if any.
        exemplars: Features of a few images per class; None for weights of other programs.
        reliability: Results on the validation split; None for weights of other programs.
        version: State of the file when it was loaded, from :func:`~resnet_cli.system.paths.file_version`.
        task: Whether an image has one label or any number.
        thresholds: The least probability at which each class is predicted, [k]; multi-label only, and
            ``DEFAULT_THRESHOLD`` for all classes before the model was calibrated.
        scaling: The scale and shift of each class's logits that its head contains; None if it was not calibrated.
    """

    network: ResNet50
    classes: tuple[str, ...]
    preprocess: Preprocess
    hidden: tuple[int, ...] = ()
    temperature: float = 1.0
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: Path | None = None
    exemplars: Exemplars | None = None
    reliability: ValidationResults | None = None
    version: tuple[int, int, int] | None = dataclasses.field(default=None, compare=False)
    task: TaskName = "single-label"
    thresholds: tuple[float, ...] = ()
    scaling: LabelScaling | None = None

    def __post_init__(self) -> None:
        if self.task == "multi-label" and not self.thresholds:
            object.__setattr__(self, "thresholds", (DEFAULT_THRESHOLD,) * len(self.classes))

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that it was loaded from; empty if there is none.

        Raises:
            ModelError: The file is no longer the one that was loaded.
        """
        if self.path is None:
            return ""
        try:
            found = sha256_of(self.path)
            is_same = self.version in {None, file_version(self.path)}
        except OSError:
            is_same = False
        if not is_same:
            raise ModelError(
                f"{self.path}: the file was replaced or removed while it was in use",
                hint="run the command again when nothing else writes to this run",
            )
        return found

    def summary(self) -> dict[str, str]:
        """The file, the classes and the input."""
        names = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return {
            "file": "none" if self.path is None else str(self.path),
            "classes": f"{len(self.classes):,} ({names})",
            "input": f"{self.preprocess.crop_size} px",
        }

    @property
    def reference(self) -> NDArray[Any] | None:
        """Features of training images that new images are compared with, [m x 2048]; None if there are no exemplars."""
        if self.exemplars is None or bool(self.exemplars.held_out.all()):
            return None
        return np.asarray(self.exemplars.features[~self.exemplars.held_out].numpy())

    def save(self, path: Path) -> None:
        """Writes the model file atomically.

        Raises:
            DiskError: The file cannot be written.
        """
        from safetensors.torch import save

        about = {
            "schema_version": SCHEMA_VERSIONS[self.task],
            "classes": self.classes,
            "preprocess": self.preprocess.to_dict(),
            "hidden": self.hidden,
            "temperature": self.temperature,
            "provenance": dict(self.provenance),
        }
        if self.task == "multi-label":
            scaling = None if self.scaling is None else self.scaling._asdict()
            about |= {"task": self.task, "thresholds": self.thresholds, "scaling": scaling}
        state = self.network.state_dict()
        if self.exemplars is not None:
            state |= {EXEMPLARS_PREFIX + name: tensor for name, tensor in vars(self.exemplars).items()}
        if self.reliability is not None:
            state |= {RELIABILITY_PREFIX + name: torch.from_numpy(x) for name, x in self.reliability.arrays().items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        # save_file would write with mode 0600 and without flushing, so the bytes are written here. One metadata key,
        # since safetensors writes several in random order: the same model gives the same bytes.
        data = save(tensors, metadata={METADATA_KEY: json.dumps(about)})
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)


#: Checks of the metadata values; Preprocess checks its own.
_METADATA: dict[str, Callable[[Any], bool]] = {
    "classes": lambda x: isinstance(x, list) and all(isinstance(c, str) for c in x) and 0 < len(set(x)) == len(x),
    "hidden": lambda x: isinstance(x, list) and all(type(width) is int and 1 <= width <= 65_536 for width in x),
    "temperature": lambda x: isinstance(x, int | float) and 0 < x < 1e6,
    "preprocess": lambda x: isinstance(x, dict),
    "provenance": lambda x: isinstance(x, dict),
}


#: Task -> (number of classes -> dtype, shape of a row, least and greatest value of targets).
_TARGETS: Mapping[TaskName, Callable[[int], tuple[torch.dtype, tuple[int, ...], int, int]]] = {
    "single-label": lambda num_classes: (torch.int64, (), 0, num_classes - 1),
    "multi-label": lambda num_classes: (torch.int8, (num_classes,), UNKNOWN, YES),
}


def model_from_tensors(tensors: Mapping[str, Tensor], about: dict[str, Any], path: Path) -> Model:
    """Builds a model from the content of a model file.

    Args:
        tensors: All tensors of the file.
        about: The parsed metadata.
        path: The file, for error messages.

    Raises:
        ModelError: Something is missing, unknown, of the wrong shape, or not finite.
    """
    version = about.get("schema_version")
    task = next((task for task, known in SCHEMA_VERSIONS.items() if known == version), None)
    if task is None:
        known = " and ".join(map(str, SCHEMA_VERSIONS.values()))
        raise ModelError(f"{path}: schema version {version}, this program reads {known}", hint="update one")
    num_classes = len(about["classes"]) if isinstance(about.get("classes"), list) else 0
    checks = _METADATA if task == "single-label" else _METADATA | label_metadata(num_classes)
    for name, is_sound in checks.items():
        if name not in about or not is_sound(about[name]):
            raise ModelError(f"{path}: damaged metadata: {name} {str(about.get(name, 'is missing'))[:80]}")
    preprocess = Preprocess.from_dict(about["preprocess"])
    classes, hidden = tuple(about["classes"]), tuple(about["hidden"])
    scaling = about.get("scaling")
    with torch.device("meta"):
        network = ResNet50(len(classes), hidden)
    load_tensors(network, network_tensors(tensors), path)
    return Model(
        network,
        classes,
        preprocess,
        hidden,
        float(about["temperature"]),
        about["provenance"],
        path,
        _read_exemplars(tensors, task, len(classes), path),
        _read_reliability(tensors, task, len(classes), path),
        task=task,
        thresholds=tuple(about.get("thresholds", ())),
        scaling=None if scaling is None else LabelScaling(tuple(scaling["scale"]), tuple(scaling["shift"])),
    )


def network_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the network among those of a model file."""
    others = (EXEMPLARS_PREFIX, RELIABILITY_PREFIX)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}


def _read_part(tensors: Mapping[str, Tensor], prefix: str, kind: type[Any], path: Path) -> dict[str, Tensor] | None:
    """The tensors of a dataclass; None if there are none."""
    # Copied, since nothing may keep the file mapped.
    found = {name.removeprefix(prefix): tensors[name].clone() for name in tensors if name.startswith(prefix)}
    wanted = [field.name for field in dataclasses.fields(kind)]
    if found and sorted(found) != sorted(wanted):
        raise ModelError(f"{path}: damaged {kind.__name__.lower()}: must be {', '.join(wanted)}")
    return found or None


def _read_reliability(
    tensors: Mapping[str, Tensor], task: TaskName, num_classes: int, path: Path
) -> ValidationResults | None:
    kind = RESULTS[task]
    found = _read_part(tensors, RELIABILITY_PREFIX, kind, path)
    if found is None:
        return None
    reliability = kind(**{name: tensor.numpy() for name, tensor in found.items()})
    if not reliability.is_sound(num_classes):
        raise ModelError(f"{path}: damaged reliability: impossible values")
    return reliability


def _read_exemplars(tensors: Mapping[str, Tensor], task: TaskName, num_classes: int, path: Path) -> Exemplars | None:
    found = _read_part(tensors, EXEMPLARS_PREFIX, Exemplars, path)
    if found is None:
        return None
    exemplars = Exemplars(**found)
    features, labels, held_out = exemplars.features, exemplars.labels, exemplars.held_out
    dtype, of_row, least, most = _TARGETS[task](num_classes)
    fits = (
        features.ndim == 2
        and features.shape[1] == NUM_FEATURES
        and held_out.shape == features.shape[:1]
        and labels.shape == (len(features), *of_row)
        and features.dtype in {torch.float16, torch.float32}
        and (labels.dtype, held_out.dtype) == (dtype, torch.bool)
        and bool(torch.isfinite(features).all())
        and bool(((labels >= least) & (labels <= most)).all())
    )
    if not fits:
        shapes = ", ".join(f"{name} {tuple(x.shape)} {x.dtype}" for name, x in found.items())
        raise ModelError(f"{path}: damaged exemplars: {shapes}, or impossible values")
    return exemplars
