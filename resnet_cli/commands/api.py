"""The Python API: the functions that the commands use, with the choices of a command made for you."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TypeAlias, TypedDict, Unpack, cast

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from resnet_cli.data.inputs.in_memory import to_item
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.evaluation.evaluate import evaluate as evaluate_items
from resnet_cli.evaluation.scores import Evaluation, Tta
from resnet_cli.model.model_file import Model
from resnet_cli.model.weights import load_model
from resnet_cli.prediction import Prediction, abstention_rule
from resnet_cli.prediction import predict as predict_items
from resnet_cli.predictor import TorchPredictor
from resnet_cli.runs import choose_items, open_run_dataset
from resnet_cli.system.device import Precision, choose_compute
from resnet_cli.system.paths import LATEST


class PredictOptions(TypedDict, total=False):
    """The options of :func:`predict`, each with its default there."""

    topk: int
    device: str
    precision: Precision
    batch_size: int | None
    abstain: bool
    threshold: float
    target_error: float | None
    with_features: bool


#: One image: a path, a PIL image, or an array uint8 [h x w x 3] in RGB.
Image: TypeAlias = str | PathLike[str] | PIL.Image.Image | NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class LoadedModel(Model):
    """A model that answers when it is asked: what :func:`load` gives."""

    def predict(self, images: Image | Iterable[Image], **options: Unpack[PredictOptions]) -> list[Prediction]:
        """Answers images; for more than fit into a list there is :func:`resnet_cli.predict`, an iterator.

        Args:
            images: One image or several: paths, PIL images, or arrays uint8 [h x w x 3] in RGB, also mixed.
            **options: As for :func:`resnet_cli.predict`.

        Returns:
            One prediction an image, in order, also for a single one.

        Raises:
            DataError: What is no image at all: an array of another shape or type.
            ModelError: To abstain, and the model has nothing to decide by.
            ConfigError: An option that cannot be.
        """
        # A text is one path, and no list of letters; an array with a fourth dimension is several images.
        is_single = isinstance(images, str | PathLike | PIL.Image.Image) or (
            isinstance(images, np.ndarray) and images.ndim <= 3
        )
        several = [images] if is_single else images
        return list(predict(self, cast("Iterable[Image]", several), **options))


def load(path: str | PathLike[str] = LATEST) -> LoadedModel:
    """Loads a run folder, a model file, or ImageNet weights with 1,000 outputs.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged or of another architecture.
    """
    model = load_model(Path(path))
    return LoadedModel(**{field.name: getattr(model, field.name) for field in dataclasses.fields(model)})


def evaluate(
    model: Model, data: str | None = None, *, split: str | None = None, tta: Tta = "none", device: str = "auto"
) -> Evaluation:
    """Scores a model.

    Args:
        model: From :func:`load`.
        data: A folder or the name of a set; None for the run's own images.
        split: ``train``, ``val``, ``test`` or ``all``; None for test, else val, else all.
        tta: ``flip`` takes the mean of the answers to each image and to its mirror image.
        device: As for ``--device``.

    Raises:
        DataError: Images that cannot be read, or classes that the model does not know.
    """
    if data is None:
        dataset = open_run_dataset(model, split=split)
    else:
        dataset = open_dataset(data)
    _, items = choose_items(dataset, model, split)
    return evaluate_items(model, items, choose_compute(device), tta=tta)


def predict(
    model: Model,
    images: Iterable[Image],
    *,
    topk: int = 5,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int | None = None,
    abstain: bool = False,
    threshold: float = 0.0,
    target_error: float | None = None,
    with_features: bool = False,
) -> Iterator[Prediction]:
    """Answers images one after the other, any number of them, in bounded memory.

    A file that cannot be read gets a prediction with an error, and the rest go on.

    Args:
        model: From :func:`load`.
        images: Paths, PIL images, or arrays uint8 [h x w x 3] in RGB, also mixed; an iterator is read as it goes.
        topk: Classes to name, at most all.
        device: As for ``--device``.
        precision: As for ``--precision``.
        batch_size: Images a forward pass; the answer does not depend on it.
        abstain: Leave images unanswered that are unlike all training images; ``unknown`` of a prediction says so.
        threshold: Likewise those whose most probable class is less probable than this.
        target_error: Likewise all that are not sure enough for this share of wrong answers, as in 0.01; abstains too.
        with_features: Whether predictions carry the backbone's features.

    Raises:
        DataError: What is no image at all: an array of another shape or type.
        ModelError: To abstain, and the model has nothing to decide by.
        ConfigError: A share that is none, or one that the model's validation split cannot promise.
    """
    rule = abstention_rule(
        model.reliability,
        has_novelty=model.reference is not None,
        abstain=abstain,
        threshold=threshold,
        target_error=target_error,
    )
    predictor = TorchPredictor(model, choose_compute(device, precision))
    items = (to_item(image, number) for number, image in enumerate(images))
    found = predict_items(predictor, items, topk=topk, batch_size=batch_size, rule=rule, with_features=with_features)
    return (item.prediction for item in found)
