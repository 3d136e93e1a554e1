"""A model file without the weights of its backbone, read without torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ModelError
from resnet_cli.model.facts import (
    EXEMPLARS_PREFIX,
    HEAD_PREFIX,
    METADATA_KEY,
    RELIABILITY_PREFIX,
    ModelFacts,
    read_exemplars,
    read_facts,
    read_reliability,
    reference_of,
)
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.system.paths import file_version

#: Name of BatchNorm's counter of steps, which no feature depends on.
_COUNTER = "num_batches_tracked"


@dataclasses.dataclass(frozen=True, eq=False)
class SmallModel:
    """A model file without the weights of its backbone.

    Attributes:
        path: The file.
        version: State of the file when it was read, from :func:`~resnet_cli.system.paths.file_version`.
        facts: Its metadata.
        head: Weight [n x m] and bias [n] of each linear layer of the head, float32; a ReLU is between two layers.
        reference: Features of training images that new images are compared with, [m x 2048]; None if there are none.
        reliability: Results on the validation split; None if there are none.
        backbone_hash: What :func:`resnet_cli.model.network.backbone_hash` returns for its network. The values of the
            backbone are not checked here: a file with this hash in the cache is of a network that was.
    """

    path: Path
    version: tuple[int, int, int]
    facts: ModelFacts
    head: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    reference: NDArray[Any] | None
    reliability: ValidationResults | None
    backbone_hash: str


def read_small_model(path: Path) -> SmallModel | None:
    """Reads a model file of this program.

    Returns:
        None if it is another file, or anything about it is unusual or damaged: ``load_model`` reads it then, or says
        what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        version = file_version(path)
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {}).get(METADATA_KEY) or "null")
            if not (isinstance(about, dict) and isinstance(about.get("preprocess"), dict)):
                return None
            facts = read_facts(about, path)
            own = (EXEMPLARS_PREFIX, RELIABILITY_PREFIX, HEAD_PREFIX)
            arrays = {name: file.get_tensor(name) for name in file.keys() if name.startswith(own)}
        exemplars, reliability = read_exemplars(arrays, facts, path), read_reliability(arrays, facts, path)
        head, hashed = _read_head(arrays, facts), _hash_backbone(path)
        if head is None or hashed is None or file_version(path) != version:
            return None
    except (SafetensorError, ModelError, OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    return SmallModel(path, version, facts, head, reference_of(exemplars), reliability, hashed)


def _read_head(
    arrays: Mapping[str, NDArray[Any]], facts: ModelFacts
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] | None:
    """The layers of ``make_head``, which numbers a layer, its ReLU and its dropout; None if anything differs."""
    sizes = (NUM_FEATURES, *facts.hidden, len(facts.classes))
    names = [f"{HEAD_PREFIX}{3 * index}." for index in range(len(sizes) - 1)] if facts.hidden else [HEAD_PREFIX]
    found = {name: array for name, array in arrays.items() if name.startswith(HEAD_PREFIX)}
    expected: dict[str, tuple[int, ...]] = {}
    for name, num_in, num_out in zip(names, sizes[:-1], sizes[1:], strict=True):
        expected |= {f"{name}weight": (num_out, num_in), f"{name}bias": (num_out,)}
    is_sound = {name: array.shape for name, array in found.items()} == expected and all(
        array.dtype == np.float32 and bool(np.isfinite(array).all()) for array in found.values()
    )
    return tuple((found[f"{name}weight"], found[f"{name}bias"]) for name in names) if is_sound else None


def _hash_backbone(path: Path) -> str | None:
    """``backbone_hash`` of the file's tensors, without a copy of them; None if one is not float32 or a counter is odd.

    Source: the format of https://huggingface.co/docs/safetensors, "Format".
    """
    digest = hashlib.sha256()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 8 + int.from_bytes(data[:8], "little")
        tensors = json.loads(data[8:start])
        with memoryview(data) as view:
            for name in sorted(tensors.keys() - {"__metadata__"}):
                if name.startswith((EXEMPLARS_PREFIX, RELIABILITY_PREFIX, HEAD_PREFIX)):
                    continue
                if name.endswith(_COUNTER):
                    if name.removesuffix(_COUNTER) + "running_mean" not in tensors or tensors[name]["shape"]:
                        return None
                    continue
                if tensors[name]["dtype"] != "F32":
                    return None
                begin, end = tensors[name]["data_offsets"]
                digest.update(f"{name}{tuple(tensors[name]['shape'])}".encode())
                digest.update(view[start + begin : start + end])
    return digest.hexdigest()
