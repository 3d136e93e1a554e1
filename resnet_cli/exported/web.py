"""A folder for web browsers, run by ONNX Runtime: the same two graphs that the browser runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.engines.onnx_backbone import load_session
from resnet_cli.errors import ModelError, ResnetCliError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import HEATMAP, IMAGES, NOVELTY, PROBS, RAW_IMAGES, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput

#: From a decoded image to the network's input, and from there to the outputs.
PREPROCESS_FILE, NETWORK_FILE = "preprocess.onnx", "network.onnx"


class WebModel(ExportedModel):
    """A folder of ``export --format web``; its page is not used here.

    Args:
        path: The folder.

    Raises:
        ModelError: It is damaged.
        SetupError: ONNX Runtime cannot be imported.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        try:
            self._preprocess = load_session(path / PREPROCESS_FILE)
            self._network = load_session(path / NETWORK_FILE)
        except ResnetCliError:
            raise
        except Exception as error:
            # The files are not trusted, and the runtime's errors have no other common base class.
            raise ModelError(f"{path}: damaged: {str(error).strip().partition(chr(10))[0][:200]}") from error
        outputs = {output.name: output.shape for output in self._network.get_outputs()}
        self._names = list(outputs)
        side = self.preprocess.crop_size
        shapes = [one.shape[1:] for one in self._network.get_inputs()]
        if shapes != [[3, side, side]] or outputs.get(PROBS, [])[1:] != [len(self.classes)]:
            raise ModelError(f"{path}: damaged: {NETWORK_FILE} does not fit its metadata")
        self.has_novelty = NOVELTY in self._names
        self.has_heatmap = HEATMAP in self._names

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """The network's input, float32 [3 x s x s]."""
        (images,) = self._preprocess.run([IMAGES], {RAW_IMAGES: np.asarray(image)[None]})
        (only,) = np.asarray(images)
        return np.asarray(only)

    def square(self, prepared: NDArray[np.float32]) -> Pixels:
        """The square that the network sees, uint8 [s x s x 3]."""
        mean, std = (np.array(x, dtype=np.float32) * 255 for x in (self.preprocess.mean, self.preprocess.std))
        levels: Pixels = np.rint(prepared.transpose(1, 2, 0) * std + mean).astype(np.uint8)
        return levels

    def predict(self, inputs: Sequence[NDArray[np.float32]]) -> ModelOutput:
        """Probabilities; novelty and heat maps if the network has them."""
        found = dict(zip(self._names, self._network.run(self._names, {IMAGES: np.stack(inputs)}), strict=True))
        return ModelOutput(found[PROBS], found.get(NOVELTY), heatmap=found.get(HEATMAP))
