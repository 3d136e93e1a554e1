"""Images of predictions: each with its labels drawn on it, or with a heat map over it."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.model.heatmap import explanation
from resnet_cli.model.reliability import UNLIKE
from resnet_cli.outputs.prediction_files import Write
from resnet_cli.outputs.safe_files import folder_names, new_file, place, safe_name
from resnet_cli.outputs.sorting import file_name
from resnet_cli.prediction import NONE, PredictedItem, Prediction, Predictor
from resnet_cli.reporting.annotate import annotate
from resnet_cli.task import TaskName
from resnet_cli.text import percent

#: JPEG quality at which letters have no visible artifacts.
_QUALITY = 92
#: Maximum number of lines for the labels of one image.
MAX_LINES = 4


def annotate_into(folder: Path, *, bit_depth: int = 16) -> Write:
    """Writes each image with its labels and their probabilities drawn on it to ``folder/<its name>.jpg``.

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

    For a multi-label model, one heat map is written for each label of the image, to ``folder/<its name>.<label>.jpg``,
    and the label is drawn on it; without a label, one is written for the most probable class. Exported files give only
    the heat map of the most probable class.

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
            hint="resnet-cli export RUN writes a file that gives them; or use the run",
        )
    explain = _EXPLAIN[predictor.task]
    names = folder_names(predictor.classes, reserved=[NONE])

    def write(predicted: PredictedItem[Any]) -> None:
        if predicted.output is not None:
            for image, lines, part in explain(predictor, predicted):
                suffix = "" if part is None else f".{names.get(part, part)}"
                save_jpeg(folder, predicted, annotate(image, *lines) if lines else image, suffix=suffix)

    return write


#: An explained image, lines to draw on it, and the label whose name is part of the file's name.
_Explained: TypeAlias = tuple[Image.Image, tuple[str, ...], str | None]


def _explain_prediction(predictor: Predictor[Any], predicted: PredictedItem[Any]) -> Iterator[_Explained]:
    """One heat map of the most probable class."""
    assert predicted.output is not None
    heatmap = predictor.heatmap(predicted.prepared, predicted.output)
    image = explanation(predictor.square(predicted.prepared), heatmap)
    yield image, (UNLIKE,) if predicted.prediction.is_unfamiliar else (), None


def _explain_labels(predictor: Predictor[Any], predicted: PredictedItem[Any]) -> Iterator[_Explained]:
    """One heat map for each label, or of the most probable class if there is no label."""
    prediction, output = predicted.prediction, predicted.output
    assert output is not None
    unlike = (UNLIKE,) if prediction.is_unfamiliar else ()
    probs, labels = dict(prediction.topk) | dict(prediction.chosen), [label for label, _ in prediction.chosen]
    for label, target in explained_classes(predictor, prediction):
        image = explanation(predictor.square(predicted.prepared), predictor.heatmap(predicted.prepared, output, target))
        text = _named((label, probs[label]))
        if label in labels:
            yield image, (text, *unlike), label
        elif labels:
            yield image, (f"{text}, below its threshold", *unlike), label
        else:
            yield image, (f"{NONE} ({text})", *unlike), NONE


def explained_classes(predictor: Predictor[Any], prediction: Prediction) -> list[tuple[str, int | None]]:
    """The classes whose heat maps explain a prediction, each with its index as :meth:`Predictor.heatmap` takes it.

    They are the labels, and the most probable class where there is no label, or where the model explains no other one.
    """
    if not predictor.explains_any_class or not prediction.chosen:
        return [(prediction.topk[0][0], None)]
    return [(label, predictor.classes.index(label)) for label, _ in prediction.chosen]


_EXPLAIN: Mapping[TaskName, Callable[[Predictor[Any], PredictedItem[Any]], Iterator[_Explained]]] = {
    "single-label": _explain_prediction,
    "multi-label": _explain_labels,
}


def caption_lines(prediction: Prediction) -> tuple[str, ...]:
    """The caption in few lines, and below it whether the image is unlike the training images."""
    lines = tuple(_lines(prediction))
    if not prediction.is_unfamiliar:
        return lines
    return (*((prediction.label,) if prediction.unknown == UNLIKE else lines), UNLIKE)


def caption(prediction: Prediction) -> str:
    """``cat 98.2 %``, ``cat 98.2 %, dog 71.0 %``, ``none (cat 12.0 %)`` or ``unknown (only 43.1 % sure)``."""
    return ", ".join(_captions(prediction))


def _lines(prediction: Prediction) -> Iterator[str]:
    parts = _captions(prediction)
    per_line = math.ceil(len(parts) / MAX_LINES)
    for start in range(0, len(parts), per_line):
        yield ", ".join(parts[start : start + per_line])


def _captions(prediction: Prediction) -> list[str]:
    """One text per label, and one text if there is no label."""
    if prediction.unknown is not None:
        return [f"{prediction.label} ({prediction.unknown})"]
    if not prediction.chosen:
        return [f"{NONE} ({_named(prediction.topk[0])})"]
    return [_named(one) for one in prediction.chosen]


def _named(answer: tuple[str, float]) -> str:
    label, prob = answer
    return f"{label} {percent(prob)}"


def save_jpeg(folder: Path, predicted: PredictedItem[Any], image: Image.Image, *, suffix: str = "") -> Path:
    """Writes an image under the name of the image that it was made from, and a suffix."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    stem = os.path.splitext(file_name(predicted.item))[0]
    name = safe_name(f"{stem}{suffix}.jpg") if suffix else f"{stem}.jpg"
    return place(folder, name, predicted.item.location, new_file(data.getvalue()))
