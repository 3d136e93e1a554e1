"""Images about answers: the label drawn on each, or what spoke for it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from resnet_cli.errors import ImageError
from resnet_cli.outputs.prediction_files import Write
from resnet_cli.outputs.safe_files import new_file, place
from resnet_cli.outputs.sorting import file_name
from resnet_cli.prediction import Answered, Prediction
from resnet_cli.reporting.annotate import annotate
from resnet_cli.text import percent

#: High enough that letters have no fringes.
_QUALITY = 92


def annotate_into(folder: Path) -> Write:
    """Writes each image with its label and probability drawn on it to ``folder/<its name>.jpg``.

    Args:
        folder: Is made; names are given as :func:`~resnet_cli.outputs.safe_files.place` gives them.

    Returns:
        Takes one answered image; raises DiskError where a file cannot be written.
    """

    def write(answered: Answered[Any]) -> None:
        if answered.prediction.error is None:
            try:
                image = answered.item.open()
            except ImageError:
                # Readable a moment ago; its answer stands.
                return
            save_jpeg(folder, answered, annotate(image, caption(answered.prediction)))

    return write


def explain_into(folder: Path, explain: Callable[[Answered[Any]], Image.Image]) -> Write:
    """Writes what spoke for each answer to ``folder/<its name>.jpg``.

    Args:
        folder: Is made.
        explain: Draws one image; never asked for one that cannot be read.
    """

    def write(answered: Answered[Any]) -> None:
        if answered.prediction.error is None:
            save_jpeg(folder, answered, explain(answered))

    return write


def caption(prediction: Prediction) -> str:
    """``cat 98.2 %``, or ``unknown (only 43.1 % sure)``."""
    if prediction.unknown is not None:
        return f"{prediction.label} ({prediction.unknown})"
    return f"{prediction.label} {percent(prediction.prob)}"


def save_jpeg(folder: Path, answered: Answered[Any], image: Image.Image) -> Path:
    """Writes an image under the name of the one that it is about."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    name = os.path.splitext(file_name(answered.item))[0] + ".jpg"
    return place(folder, name, answered.item.location, new_file(data.getvalue()))
