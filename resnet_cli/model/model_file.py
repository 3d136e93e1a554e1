"""The model that a user keeps, as one ``.safetensors`` file.

Tensor names are torchvision's, so a model with a linear head also loads into ``torchvision.models.resnet50`` and into
timm. Exemplars and validation results are stored in the same file, under names with a prefix.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.model.facts import (
    EXEMPLARS_PREFIX,
    METADATA_KEY,
    RELIABILITY_PREFIX,
    SCHEMA_VERSIONS,
    read_exemplars,
    read_facts,
    read_reliability,
    reference_of,
    sha256_of_same,
)
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.model.network import ResNet50, load_tensors
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.model.thresholds import DEFAULT_THRESHOLD
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import atomic_path
from resnet_cli.task import TaskName
from resnet_cli.text import Summarized

#: Prefixes of the names of tensors that are not part of the network.
_OTHERS = (EXEMPLARS_PREFIX, RELIABILITY_PREFIX)


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
        return sha256_of_same(self.path, self.version)

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
        exemplars = self.exemplars
        return None if exemplars is None else reference_of({name: x.numpy() for name, x in vars(exemplars).items()})

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


def model_from_tensors(tensors: Mapping[str, Tensor], about: dict[str, Any], path: Path) -> Model:
    """Builds a model from the content of a model file.

    Args:
        tensors: All tensors of the file.
        about: The parsed metadata.
        path: The file, for error messages.

    Raises:
        ModelError: Something is missing, unknown, of the wrong shape, or not finite.
    """
    facts = read_facts(about, path)
    with torch.device("meta"):
        network = ResNet50(len(facts.classes), facts.hidden)
    load_tensors(network, network_tensors(tensors), path)
    arrays = {name: _array(tensor) for name, tensor in tensors.items() if name.startswith(_OTHERS)}
    exemplars = read_exemplars(arrays, facts, path)
    return Model(
        network,
        facts.classes,
        facts.preprocess,
        facts.hidden,
        facts.temperature,
        facts.provenance,
        path,
        None
        if exemplars is None
        else Exemplars(**{name: torch.from_numpy(array) for name, array in exemplars.items()}),
        read_reliability(arrays, facts, path),
        task=facts.task,
        thresholds=facts.thresholds,
        scaling=facts.scaling,
    )


def network_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the network among those of a model file."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_OTHERS)}


def _array(tensor: Tensor) -> NDArray[Any]:
    """A copy, since nothing may keep the file mapped; of a type that numpy lacks, an array that no check accepts."""
    try:
        return np.array(tensor.numpy())
    except TypeError:
        return np.empty(tuple(tensor.shape), dtype="V1")
