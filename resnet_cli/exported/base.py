"""What the exported files of all formats have in common, whatever runs them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import ModelError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import precision_conflict
from resnet_cli.prediction import Predictor
from resnet_cli.preprocess import Preprocess


class ExportedModel(Predictor[Any], abc.ABC):
    """An exported file or folder, opened.

    Args:
        metadata: What the file says about itself.
        path: The file or folder.
    """

    path: Path

    def __init__(self, metadata: ExportMetadata, path: Path) -> None:
        self.metadata = metadata
        self.name = str(path)
        self.path = path
        self.classes = metadata.classes
        self.preprocess = Preprocess.from_dict(dict(metadata.preprocess))
        self.temperature = metadata.temperature
        self.task = metadata.task
        self.thresholds = metadata.thresholds
        self.scaling = metadata.scaling
        self.provenance = metadata.provenance
        self.reliability = metadata.reliability
        self.precision = metadata.precision
        if metadata.precision == "fp32":
            # The thresholds of files in another precision were measured again when they were written.
            self.precision_conflict = precision_conflict(metadata.provenance, "fp32")

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file that this was made from; empty if that was in no file."""
        return self.metadata.source_sha256

    def prepare(self, image: Image.Image) -> Any:
        """The square that the network sees, uint8 [s x s x 3]; the whole image if the file resizes it itself."""
        return self.preprocess(image)

    def square(self, prepared: Any) -> Pixels:
        """The square that the network sees of what :meth:`prepare` returned, uint8 [s x s x 3]."""
        return self.preprocess(prepared) if isinstance(prepared, Image.Image) else prepared

    def heatmap(self, prepared: Any, output: ModelOutput, target: int | None = None) -> NDArray[np.float32]:
        """The heat map that the file computed with the probabilities.

        Raises:
            ModelError: The file computes none.
        """
        if output.heatmap is None:
            raise ModelError(f"{self.path}: this file gives no heat maps")
        heatmap: NDArray[np.float32] = output.heatmap[0]
        return heatmap


def channels_first(squares: Sequence[Pixels]) -> Pixels:
    """Squares uint8 [s x s x 3] as a batch, uint8 [b x 3 x s x s]."""
    return np.ascontiguousarray(np.stack(squares).transpose(0, 3, 1, 2))
