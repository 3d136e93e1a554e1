"""A folder for Core ML, run by Core ML on macOS."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from resnet_cli.errors import ModelError, SetupError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import NOVELTY, PROBS, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.installation import install_command
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.extras import optional_import, require_version
from resnet_cli.system.muting import quiet

MODEL_FILE = "model.mlpackage"
#: Names of the input, and of the output that Core ML adds to a classifier: the most probable class.
IMAGE, LABEL = "image", "classLabel"
WHERE_IT_RUNS = "Core ML runs on macOS only"


class CoreMlModel(ExportedModel):
    """A Core ML folder, opened on macOS; it is computed on the CPU, one image at a time.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
        SetupError: This is no Mac, or coremltools is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        if not runs_here():
            raise SetupError(
                f"{path}: {WHERE_IT_RUNS}",
                hint="use the model that it was made from, or an .onnx file, on this machine",
            )
        tools = load_tools("a Core ML folder")
        # Anything else than the CPU rounds differently from one Mac to the next.
        package = open_package(path, compute_units=tools.ComputeUnit.CPU_ONLY)
        self.has_novelty = NOVELTY in check_description(package.get_spec(), self)
        self._package = package
        self._lock = threading.Lock()

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, and novelty if the program has it."""
        with self._lock:
            rows = [self._package.predict({IMAGE: Image.fromarray(square)}) for square in inputs]
        probs = [row[PROBS] for row in rows]
        if self.task == "single-label":
            # A classifier names the classes.
            probs = [[row[name] for name in self.classes] for row in probs]
        novelty = np.array([np.ravel(row[NOVELTY])[0] for row in rows], np.float32) if self.has_novelty else None
        return ModelOutput(np.array(probs, np.float32).reshape(len(rows), len(self.classes)), novelty)


def runs_here() -> bool:
    """Whether this machine has Core ML."""
    return sys.platform == "darwin"


@functools.cache
def load_tools(purpose: str) -> Any:
    """Imports coremltools, which says much about other packages.

    Args:
        purpose: What needs it, in words.

    Raises:
        SetupError: It is not installed, or in a version that was not tested.
    """
    hint = install_command("coreml")
    with optional_import("coremltools", name="coremltools", purpose=purpose, hint=hint):
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            import coremltools
    require_version("coremltools", "9.0", "10.0", purpose=purpose, extra="coreml")
    return coremltools


def open_package(path: Path, **options: Any) -> Any:
    """Opens the package of a folder with coremltools.

    Args:
        path: The folder.
        options: Those of ``coremltools.models.MLModel``.

    Raises:
        ModelError: It is damaged.
    """
    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            return load_tools("a Core ML folder").models.MLModel(str(path / MODEL_FILE), **options)
    except Exception as error:
        # Its errors have no common base class: those of protobuf, of the file system, and RuntimeError.
        raise ModelError(f"{path}: coremltools cannot read it: {str(error).strip()[:100]}") from error


def check_description(spec: Any, model: ExportedModel) -> set[str]:
    """Compares what a package says about its input and outputs with the metadata beside it.

    Args:
        spec: Its specification, ``Model`` in Core ML's protocol.
        model: The folder, of which the metadata have been read.

    Returns:
        Names of the outputs.

    Raises:
        ModelError: They do not fit each other.

    Source: https://apple.github.io/coremltools/mlmodel/Format/Model.html
    """
    side, found = model.preprocess.crop_size, spec.description
    inputs = [
        (one.name, one.type.imageType.width, one.type.imageType.height, one.type.imageType.colorSpace)
        for one in found.input
    ]
    rgb = found.input[0].type.imageType.RGB if found.input else None
    kinds = {one.name: one.type.WhichOneof("Type") for one in found.output}
    expected = {PROBS: "multiArrayType"}
    if model.task == "single-label":
        expected = {LABEL: "stringType", PROBS: "dictionaryType"}
    if NOVELTY in model.metadata.outputs:
        expected[NOVELTY] = "multiArrayType"
    classes = _classes(found.metadata.userDefined)
    if inputs != [(IMAGE, side, side, rgb)] or kinds != expected or classes != list(model.classes):
        raise ModelError(f"{model.path}: damaged: its program does not fit its metadata")
    return set(kinds)


def _classes(texts: Mapping[str, str]) -> Any:
    """The classes in the metadata of a package; its program names them only if it is a classifier."""
    try:
        return json.loads(json.loads(texts.get("resnet_cli", ""))["classes"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
