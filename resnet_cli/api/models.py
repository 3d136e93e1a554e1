"""Models in Python: what is accepted as one, how it is loaded, and predictions."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Iterator, Sized
from os import PathLike
from typing import TypeAlias, TypedDict, Unpack, cast

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from resnet_cli.api.progress import is_shown, shown_events
from resnet_cli.commands.export import ExportResult
from resnet_cli.commands.int8 import open_quantized
from resnet_cli.data.inputs.in_memory import to_item
from resnet_cli.model.model_file import Model
from resnet_cli.model.rules import abstention_rule, caveat_of
from resnet_cli.model.weights import load_model
from resnet_cli.prediction import Prediction
from resnet_cli.prediction import predict as predict_items
from resnet_cli.predictor import TorchPredictor, open_predictor
from resnet_cli.runs import RunFolder
from resnet_cli.system.device import Precision, choose_compute
from resnet_cli.system.events import WorkDone
from resnet_cli.system.paths import LATEST
from resnet_cli.training.report import FinetuneResult

#: One image: a path, a PIL image, or an array uint8 [h x w x 3] in RGB.
Image: TypeAlias = str | PathLike[str] | PIL.Image.Image | NDArray[np.uint8]
#: A model: a run folder, a model file, an exported file, a name of weights, or what a call of this module returned.
AnyModel: TypeAlias = str | PathLike[str] | RunFolder | FinetuneResult | ExportResult | Model


class PredictOptions(TypedDict, total=False):
    """The options of :func:`predict`, each with its default there."""

    topk: int
    device: str
    precision: Precision
    batch_size: int | None
    abstain: bool
    threshold: float | None
    target_error: float | None
    target_precision: float | None
    target_recall: float | None
    all_probs: bool
    with_features: bool
    progress: bool | None


@dataclasses.dataclass(frozen=True, repr=False)
class LoadedModel(Model):
    """A loaded model that is ready to predict: the result of :func:`load`."""

    def predict(self, images: Image | Iterable[Image], **options: Unpack[PredictOptions]) -> list[Prediction]:
        """Classifies images; :func:`resnet_cli.predict` is an iterator for more of them than fit into a list.

        Args:
            images: One image or several: paths, PIL images, arrays uint8 [h x w x 3] in RGB, or a mix of them.
            **options: Options of :func:`resnet_cli.predict`.

        Returns:
            One prediction per image, in order; a list also for a single image.

        Raises:
            DataError: Something that is not an image, such as an array of another shape or type.
            ModelError: The model cannot abstain.
            ConfigError: An invalid option.
        """
        # A string is one path, not a list of letters; an array with a fourth dimension is several images.
        is_single = isinstance(images, str | PathLike | PIL.Image.Image) or (
            isinstance(images, np.ndarray) and images.ndim <= 3
        )
        several = [images] if is_single else images
        return list(predict(self, cast("Iterable[Image]", several), **options))


def load(path: AnyModel = LATEST) -> LoadedModel:
    """Loads a run folder, a model file, or named ImageNet weights with 1,000 classes.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged or has another architecture.
    """
    source = source_of(path)
    found = source if isinstance(source, Model) else load_model(source)
    return LoadedModel(**{field.name: getattr(found, field.name) for field in dataclasses.fields(found)})


def predict(
    model: AnyModel,
    images: Iterable[Image],
    *,
    topk: int = 5,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int | None = None,
    abstain: bool = False,
    threshold: float | None = None,
    target_error: float | None = None,
    target_precision: float | None = None,
    target_recall: float | None = None,
    all_probs: bool = False,
    with_features: bool = False,
    trust: bool = False,
    progress: bool | None = None,
) -> Iterator[Prediction]:
    """Classifies images one after the other, any number of them, in bounded memory.

    A file that cannot be read gets a prediction with an error; the rest are predicted.

    Args:
        model: The model.
        images: Paths, PIL images, arrays uint8 [h x w x 3] in RGB, or a mix of them; an iterator is consumed lazily.
        topk: Number of classes per image, at most all.
        device: The value of ``--device``.
        precision: The value of ``--precision``.
        batch_size: Images per forward pass; predictions do not depend on it.
        abstain: Whether to label images "unknown" that are unlike all training images; ``unknown`` says why.
        threshold: Smallest probability; images whose most probable class has less are labeled "unknown". Multi-label:
            the classes with at least this probability are predicted, instead of those at the model's own thresholds.
        target_error: Share of wrong predictions to stay below, such as 0.01; uncertain images are labeled "unknown".
            Implies ``abstain``.
        target_precision: Multi-label: the threshold of each class is chosen so that at least this share of its
            predictions is correct, such as 0.9. A class for which no threshold can guarantee this is never predicted.
        target_recall: Multi-label: the same for the share of the images of a class that are found. A class for which
            no threshold can guarantee this is predicted for every image.
        all_probs: Whether predictions include the probability of every class, in the order of the model's classes.
        with_features: Whether predictions include the backbone's features.
        trust: Whether a ``.pt2`` file, which can run code, may be loaded.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.

    Raises:
        DataError: Something that is not an image, such as an array of another shape or type.
        ModelError: The model cannot abstain.
        ConfigError: An invalid share, or one that the model's validation split cannot support.
    """
    source = source_of(model)
    predictor = (
        TorchPredictor(source, choose_compute(device, precision))
        if isinstance(source, Model)
        else open_quantized(
            functools.partial(open_predictor, source, device=device, precision=precision, trusted=trust)
        )
    )
    rule = abstention_rule(
        predictor,
        abstain=abstain,
        threshold=threshold,
        target_error=target_error,
        target_precision=target_precision,
        target_recall=target_recall,
    )
    if caveat := caveat_of(rule):
        warnings.warn(caveat, stacklevel=2)
    items = (to_item(image, number) for number, image in enumerate(images))
    found = predict_items(
        predictor,
        items,
        topk=topk,
        batch_size=batch_size,
        rule=rule,
        with_features=with_features,
        all_probs=all_probs,
    )
    predictions = (item.prediction for item in found)
    return (
        _counted(predictions, len(images) if isinstance(images, Sized) else None) if is_shown(progress) else predictions
    )


def source_of(model: AnyModel) -> str | Model:
    """What to open: a path or a name, or a model in memory itself."""
    if isinstance(model, Model):
        return model
    if isinstance(model, FinetuneResult):
        model = model.run
    return str(model.path) if isinstance(model, RunFolder | ExportResult) else str(model)


def _counted(predictions: Iterator[Prediction], total: int | None) -> Iterator[Prediction]:
    with shown_events(True) as show:
        for done, prediction in enumerate(predictions, 1):
            show(WorkDone("predict", done, total))
            yield prediction
