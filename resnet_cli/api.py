"""The Python API: the functions that the commands use, with the choices of a command made for you."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item
from resnet_cli.data.sources import open_dataset
from resnet_cli.device import choose_compute
from resnet_cli.evaluation.answers import evaluate as evaluate_items
from resnet_cli.evaluation.scores import Evaluation, Tta
from resnet_cli.features import extract_features
from resnet_cli.inference import Prediction
from resnet_cli.inference import predict as predict_items
from resnet_cli.model import Model
from resnet_cli.training.run import LATEST, choose_items, open_run_dataset
from resnet_cli.weights import load_imagenet, load_model

OnProgress = Callable[[int, int], None]


def load(path: str | PathLike[str] = LATEST) -> Model:
    """Loads a run folder, a model file, or ImageNet weights with 1,000 outputs.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged or of another architecture.
    """
    return load_model(Path(path))


def evaluate(
    model: Model, data: str | None = None, *, split: str | None = None, tta: Tta = "none", device: str = "auto"
) -> Evaluation:
    """Scores a model.

    Args:
        model: From :func:`load`.
        data: A folder or the name of a set; None for the run's own pictures.
        split: ``train``, ``val``, ``test`` or ``all``; None for test, else val, else all.
        tta: ``flip`` takes the mean of the answers to each picture and to its mirror image.
        device: As for ``--device``.

    Raises:
        DataError: Pictures that cannot be read, or classes that the model does not know.
    """
    if data is None:
        dataset = open_run_dataset(model, split=split)
    else:
        dataset = open_dataset(data)
    _, items = choose_items(dataset, model, split)
    return evaluate_items(model, items, choose_compute(device), tta=tta)


def imagenet_features(
    items: Sequence[Item], *, device: str | None = None, offline: bool = False, on_progress: OnProgress | None = None
) -> NDArray[np.floating[Any]]:
    """What an ImageNet backbone sees in pictures, computed once and cached: [n x 2048].

    Args:
        items: The pictures.
        device: As for ``--device``; None for auto.
        offline: Never download the weights.
        on_progress: Called with (pictures done, pictures in all).

    Raises:
        NetworkError: No ImageNet weights are here, and they cannot be downloaded.
    """
    model = load_imagenet(offline=offline)
    features = extract_features(
        model.network, items, model.preprocess, choose_compute(device or "auto"), on_progress=on_progress
    )
    return features.float().numpy()


def predict(
    model: Model, images: Sequence[str | PathLike[str]], *, topk: int = 5, device: str = "auto"
) -> Iterator[Prediction]:
    """Answers pictures in order; an unreadable one gets a prediction with an error.

    Args:
        model: From :func:`load`.
        images: Paths of files.
        topk: Classes to name.
        device: As for ``--device``.
    """
    items = (Item(str(image), Path(image)) for image in images)
    return predict_items(model, items, choose_compute(device), topk=topk)
