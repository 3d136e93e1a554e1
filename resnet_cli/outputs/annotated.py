"""Images of predictions: each with its label drawn on it, or with a heat map over it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from PIL import Image

from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.model.heatmap import explanation
from resnet_cli.model.reliability import UNLIKE
from resnet_cli.outputs.prediction_files import Write
from resnet_cli.outputs.safe_files import new_file, place
from resnet_cli.outputs.sorting import file_name
from resnet_cli.prediction import PredictedItem, Prediction, Predictor
from resnet_cli.reporting.annotate import annotate
from resnet_cli.text import percent

#: JPEG quality at which letters have no visible artifacts.
_QUALITY = 92


def annotate_into(folder: Path, *, bit_depth: int = 16) -> Write:
    """Writes each image with its label and probability drawn on it to ``folder/<its name>.jpg``.

    Args:
        folder: Created if needed; names are chosen by :func:`~resnet_cli.outputs.safe_files.place`.
        bit_depth: Bits of the values of 16-bit images.

    Returns:
        Writes one predicted image; raises DiskError if a file cannot be written.
    """

    def write(predicted: PredictedItem[Any]) -> None:
        if predicted.prediction.error is None:
            try:
                image = predicted.item.open(bit_depth)
            except ImageError:
                # It was readable a moment ago, and its prediction remains.
                return
            save_jpeg(folder, predicted, annotate(image, *caption_lines(predicted.prediction)))

    return write


def explain_into(folder: Path, predictor: Predictor[Any]) -> Write:
    """Writes a heat map of what supports each image's most probable class to ``folder/<its name>.jpg``.

    Where the image is unlike the training images, the file says so: the class that it explains is only the nearest one.

    Args:
        folder: Created if needed.
        predictor: The model that makes the predictions.

    Raises:
        ConfigError: The model gives no heat maps.
    """
    if not predictor.has_heatmap:
        raise ConfigError(
            "--explain: this file gives no heat maps",
            hint="export it again with --format onnx, or use the run",
        )

    def write(predicted: PredictedItem[Any]) -> None:
        if predicted.output is not None:
            heatmap = predictor.heatmap(predicted.prepared, predicted.output)
            image = explanation(predictor.square(predicted.prepared), heatmap)
            save_jpeg(folder, predicted, annotate(image, UNLIKE) if predicted.prediction.is_unfamiliar else image)

    return write


def caption_lines(prediction: Prediction) -> tuple[str, ...]:
    """The caption, and below it whether the image is unlike the training images."""
    if not prediction.is_unfamiliar:
        return (caption(prediction),)
    return (prediction.label if prediction.unknown == UNLIKE else caption(prediction), UNLIKE)


def caption(prediction: Prediction) -> str:
    """``cat 98.2 %``, or ``unknown (only 43.1 % sure)``."""
    if prediction.unknown is not None:
        return f"{prediction.label} ({prediction.unknown})"
    return f"{prediction.label} {percent(prediction.prob)}"


def save_jpeg(folder: Path, predicted: PredictedItem[Any], image: Image.Image) -> Path:
    """Writes an image under the name of the image that it was made from."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    name = os.path.splitext(file_name(predicted.item))[0] + ".jpg"
    return place(folder, name, predicted.item.location, new_file(data.getvalue()))
