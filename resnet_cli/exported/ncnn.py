"""A folder for ncnn, run by ncnn on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import PIXELS, PROBS, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.installation import install_command
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.extras import optional_import
from resnet_cli.system.muting import muted
from resnet_cli.system.threads import engine_threads

#: The names that pnnx gives to ncnn's two files.
PARAM_FILE, BIN_FILE = "model.ncnn.param", "model.ncnn.bin"
#: By default, ncnn computes in float16 on processors that can. Winograd's convolutions are as precise as the others.
#: Source: https://github.com/Tencent/ncnn/blob/master/src/option.h.
_OPTIONS = {
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
    "use_bf16_storage": False,
    "use_winograd_convolution": True,
    "use_vulkan_compute": False,
}


class NcnnModel(ExportedModel):
    """A folder for ncnn, computed in float32 on the CPU, one image at a time; the resizing is not part of the graph.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
        SetupError: ncnn is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        self._ncnn = load_ncnn("an ncnn folder")
        self._net = self._ncnn.Net()
        for name, value in _OPTIONS.items():
            setattr(self._net.opt, name, value)
        self._net.opt.num_threads = engine_threads()
        # ncnn prints why it cannot read a file, and returns only a number.
        with muted():
            is_read = self._net.load_param(str(path / PARAM_FILE)) == 0 == self._net.load_model(str(path / BIN_FILE))
        if not is_read or self._net.input_names() != [PIXELS] or self._net.output_names() != [PROBS]:
            raise ModelError(f"{path}: ncnn {self._ncnn.__version__} cannot read it")
        if not self.metadata.files:
            # Only an answer tells how many classes it has.
            self._run(np.zeros((*[self.preprocess.crop_size] * 2, 3), np.uint8))

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities; ncnn has no operator that finds the nearest training images."""
        return ModelOutput(np.stack([self._run(np.ascontiguousarray(square)) for square in inputs]))

    def _run(self, square: Pixels) -> NDArray[np.float32]:
        height, width = square.shape[:2]
        mat = self._ncnn.Mat
        extractor = self._net.create_extractor()
        extractor.input(PIXELS, mat.from_pixels(square, mat.PixelType.PIXEL_RGB, width, height))
        code, found = extractor.extract(PROBS)
        # The result's memory is ncnn's.
        probs = np.array(found, dtype=np.float32)
        if code or probs.shape != (len(self.classes),):
            raise ModelError(f"{self.path}: damaged: ncnn cannot run it, or it has other classes than its metadata")
        return probs


def load_ncnn(purpose: str) -> Any:
    """Imports ncnn.

    Args:
        purpose: What needs it.

    Raises:
        SetupError: It is not installed, or cannot be loaded.
    """
    with optional_import("ncnn", name="ncnn", purpose=purpose, hint=install_command("ncnn")):
        import ncnn
    return ncnn
