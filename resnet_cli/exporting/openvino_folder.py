"""A model for OpenVINO: a folder with ``model.xml`` and ``model.bin``, made from our ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from resnet_cli.errors import missing_extra
from resnet_cli.exporting.about import NOVELTY, PIXELS, PROBS, About
from resnet_cli.exporting.runtimes import Answers, squares
from resnet_cli.model import Model

MODEL_FILE, ABOUT_FILE = "model.xml", "resnet_cli.json"


class OpenVinoRuntime:
    """The folder, answered by OpenVINO on the CPU in float32.

    Args:
        folder: With all files.
        model: What it was made from, for the resizing, which is not inside.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        openvino = _openvino()
        core = openvino.Core()
        self._model = model
        # Where a CPU has bfloat16, OpenVINO would otherwise compute in it.
        self._compiled = core.compile_model(folder / MODEL_FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._names = [next(iter(output.get_names())) for output in self._compiled.outputs]

    def answers(self, images: Sequence[Image.Image]) -> Answers:
        """The answers, in order."""
        found = self._compiled({PIXELS: squares(self._model, images).numpy()})
        named = {name: np.array(found[index]) for index, name in enumerate(self._names)}
        return named[PROBS], named.get(NOVELTY)


def write_openvino(onnx: bytes, folder: Path, about: About, model: Model) -> OpenVinoRuntime:
    """Converts a graph of ours that takes ``pixels``, in float32.

    The resizing stays outside: OpenVINO 2026.4 answered the first picture of a graph that resizes otherwise than the
    same picture a second time.

    Raises:
        SetupError: OpenVINO is not installed.
    """
    openvino = _openvino()
    source = folder / "source.onnx"
    source.write_bytes(onnx)
    openvino.save_model(openvino.convert_model(source), folder / MODEL_FILE, compress_to_fp16=False)
    source.unlink()
    text = json.dumps(about.to_texts(), indent=2, ensure_ascii=False)
    (folder / ABOUT_FILE).write_text(text + "\n", encoding="utf-8")
    return OpenVinoRuntime(folder, model)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise missing_extra("--format openvino needs OpenVINO, which is not installed", "openvino") from error
    return openvino
