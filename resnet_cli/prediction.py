"""One way to use an opened model, and batched prediction with it: in order, in bounded memory. No torch.

A model in torch (``predictor.py``) and every exported file (``exported/``) are a :class:`Predictor`. Batching, decoding
ahead, unreadable images, top-k and "unknown" are here, once for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.prefetch import decode_ahead
from resnet_cli.errors import ImageError
from resnet_cli.images import BIT_DEPTH, Pixels
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.model.lane_cost import LaneCost
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import ValidationResults, is_unfamiliar
from resnet_cli.model.rules import Rule, choose_labels
from resnet_cli.task import TaskName

if TYPE_CHECKING:
    from resnet_cli.model.facts import ModelFacts
    from resnet_cli.model.model_file import Model
    from resnet_cli.preprocess import Preprocess

#: The label of an image that is not classified. A class may have the same name: only ``Prediction.unknown`` tells.
UNKNOWN = "unknown"
#: What is shown for an image for which a multi-label model chooses no label; only empty ``Prediction.labels`` tell.
NONE = "none"

Prepared = TypeVar("Prepared")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The classes of one image, or the reason why there are none.

    Attributes:
        path: The path or name of the image, as it was given.
        topk: (class, probability), most probable first; empty if the image cannot be read.
        error: Why the image cannot be read; None if it can.
        unknown: Why the image is labeled "unknown" although it was read, in words; None if it is classified.
        novelty: How unlike all training images it is, in [0, 2]; None if the model holds no training images.
        is_unfamiliar: Whether it is unlike the training images, regardless of its label; None if the model cannot tell.
        labels: The classes that a multi-label model predicts, most probable first; None for a single-label model.
        label_probs: The probability of each of ``labels``.
        features: The backbone's output, [2048]; None unless requested.
        all_probs: Probability of every class in the model's order, float32 [k]; None unless requested.
    """

    path: str
    topk: tuple[tuple[str, float], ...] = ()
    error: ImageError | None = None
    unknown: str | None = None
    novelty: float | None = None
    is_unfamiliar: bool | None = None
    labels: tuple[str, ...] | None = None
    label_probs: tuple[float, ...] = ()
    features: NDArray[np.floating[Any]] | None = dataclasses.field(default=None, compare=False, repr=False)
    all_probs: NDArray[np.float32] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The most probable class, or ``unknown``; the classes of an unknown image are still in ``topk``.

        Of a multi-label model: its labels, joined by ``; ``, or ``none``.

        Raises:
            ImageError: The image could not be read.
        """
        best, _ = self._first
        if self.unknown is not None:
            return UNKNOWN
        return best if self.labels is None else "; ".join(self.labels) or NONE

    @property
    def chosen(self) -> tuple[tuple[str, float], ...]:
        """The labels with their probabilities, also if the image is labeled "unknown".

        A single-label model has one of them, a multi-label model any number; empty if the image cannot be read.
        """
        return self.topk[:1] if self.labels is None else tuple(zip(self.labels, self.label_probs, strict=True))

    @property
    def prob(self) -> float:
        """The probability of the most probable class, also if the image is labeled "unknown".

        Raises:
            ImageError: The image could not be read.
        """
        return self._first[1]

    @property
    def _first(self) -> tuple[str, float]:
        if self.error is not None:
            raise self.error
        return self.topk[0]


class Predictor(Protocol[Prepared]):
    """An opened model, in torch or exported: everything that a command may ask of it.

    Implementations derive from it; :func:`resnet_cli.predictor.open_predictor` opens any of them.

    Attributes:
        name: The model as the user named it.
        path: The file or folder that it was opened from; None for a model that is in no file.
        classes: Class names in index order.
        preprocess: How an image becomes the network's input.
        temperature: What logits are divided by before softmax.
        provenance: Where the model comes from: version, data, weights, recipe, scores.
        reliability: Its results on its validation split; None for weights of other programs.
        task: Whether an image has one label or any number.
        thresholds: The least probability at which each class is predicted, [k]; multi-label only.
        scaling: The scale and shift of each class's logits that its head contains; None if it was not calibrated.
        has_novelty: Whether outputs tell how unlike the training images an image is.
        has_features: Whether outputs include the backbone's features.
        has_heatmap: Whether :meth:`heatmap` is available.
        explains_any_class: Whether :meth:`heatmap` explains any class, not only the most probable one.
        batch_size: Images per forward pass, unless the user chooses another number.
        precision: The precision in which it computes: fp32, bf16, fp16 or int8.
        precision_conflict: A sentence for the user if its validation metrics were computed in another precision.
        cost: What this precision costs, if it was measured.
    """

    name: str = ""
    path: Path | None = None
    classes: tuple[str, ...]
    preprocess: Preprocess
    temperature: float = 1.0
    provenance: Mapping[str, Any] = MappingProxyType({})
    reliability: ValidationResults | None = None
    task: TaskName = "single-label"
    thresholds: tuple[float, ...] = ()
    scaling: LabelScaling | None = None
    has_novelty: bool = False
    has_features: bool = False
    has_heatmap: bool = False
    explains_any_class: bool = False
    batch_size: int = 16
    precision: str = "fp32"
    precision_conflict: str | None = None
    cost: LaneCost | None = None

    def take_description(self, described: Model | ModelFacts) -> None:
        """Takes classes, preprocessing, task and calibration from a model in another form."""
        self.classes = described.classes
        self.preprocess = described.preprocess
        self.temperature = described.temperature
        self.task = described.task
        self.thresholds = described.thresholds
        self.scaling = described.scaling
        self.provenance = described.provenance

    @property
    def tells_unfamiliar(self) -> bool:
        """Whether the model can tell that an image is unlike the training images."""
        return self.has_novelty and self.reliability is not None

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file (of an exported model: of its source), in hex; empty if there is none."""
        return ""

    def prepare(self, image: Image.Image) -> Prepared:
        """Turns one upright RGB image into the network's input; called on several threads."""

    def predict(self, inputs: Sequence[Prepared]) -> ModelOutput:
        """Computes the output for at least one prepared image."""

    def predict_images(self, images: Iterable[Image.Image]) -> ModelOutput:
        """Prepares upright RGB images of any sizes and computes their output, in order."""
        return self.predict([self.prepare(image) for image in images])

    def square(self, prepared: Prepared) -> Pixels:
        """The square that the network sees of a prepared image, uint8 [s x s x 3]."""

    def heatmap(self, prepared: Prepared, output: ModelOutput, target: int | None = None) -> NDArray[np.float32]:
        """How much each place supports a class, [rows x columns], not scaled.

        Args:
            prepared: One prepared image.
            output: Its output, a batch of one.
            target: Index of the class; None for the most probable one. Only if ``explains_any_class``.

        Raises:
            ModelError: The model gives no heat maps.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class PredictedItem(Generic[Prepared]):
    """One image with its prediction, for what copies, draws or explains it.

    Attributes:
        item: The image.
        prediction: Its prediction.
        prepared: The network's input; None if the image cannot be read.
        output: The model's output for it, a batch of one; None if the image cannot be read.
        bit_depth: Bits that the values of a 16-bit file need; 0 for all other images.
    """

    item: Item
    prediction: Prediction
    prepared: Prepared | None = None
    output: ModelOutput | None = None
    bit_depth: int = 0


def predict(
    predictor: Predictor[Prepared],
    items: Iterable[Item],
    *,
    topk: int = 5,
    batch_size: int | None = None,
    rule: Rule | None = None,
    with_features: bool = False,
    all_probs: bool = False,
) -> Iterator[PredictedItem[Prepared]]:
    """Predicts any number of images in order; unreadable ones get a prediction with an error.

    Args:
        predictor: The model.
        items: Images, read a few batches ahead; their labels are not used.
        topk: Number of classes per image, at most all.
        batch_size: Images per forward pass; predictions do not depend on it. None: the predictor's own.
        rule: Which labels are chosen, and which images are labeled "unknown"; None: the model's own labels for all.
        with_features: Whether predictions include features.
        all_probs: Whether predictions include the probability of every class.
    """

    def prepare(item: Item) -> tuple[Prepared, int]:
        image = item.open(predictor.preprocess.bit_depth)
        return predictor.prepare(image), image.info.get(BIT_DEPTH, 0)

    groups = decode_ahead(items, prepare, batch_size=batch_size or predictor.batch_size)
    try:
        for group in groups:
            good = [item for position, item in enumerate(group.items) if position not in group.errors]
            output = (
                predictor.predict([prepared for prepared, _ in group.decoded])
                if good
                else ModelOutput(np.empty((0, len(predictor.classes)), np.float32))
            )
            names = [item.name for item in good]
            predictions = to_predictions(
                predictor,
                names,
                output,
                topk=topk,
                rule=rule,
                with_features=with_features,
                all_probs=all_probs,
            )
            rows = (
                PredictedItem(item, prediction, prepared, output.row(row), bits)
                for row, (item, prediction, (prepared, bits)) in enumerate(
                    zip(good, predictions, group.decoded, strict=True)
                )
            )
            for position, item in enumerate(group.items):
                error = group.errors.get(position)
                yield next(rows) if error is None else PredictedItem(item, Prediction(item.name, error=error))
    finally:
        groups.close()


def to_predictions(
    predictor: Predictor[Any],
    names: Sequence[str],
    output: ModelOutput,
    *,
    topk: int,
    rule: Rule | None = None,
    with_features: bool = False,
    all_probs: bool = False,
) -> list[Prediction]:
    """The output for a batch, as one prediction per image.

    Args:
        predictor: The model.
        names: Paths or names of the images.
        output: The model's output for them.
        topk: Number of classes per image, at most all.
        rule: Which labels are chosen, and which images are labeled "unknown"; None: the model's own labels for all.
        with_features: Whether predictions include features.
        all_probs: Whether predictions include the probability of every class.
    """
    # Of equal probabilities the first class wins, on every machine.
    order = np.argsort(-output.probs, axis=1, kind="stable")  # [b x k]
    chosen = choose_labels(predictor, output.probs, rule)
    unfamiliar = is_unfamiliar(output.novelty, predictor.reliability)
    predictions = []
    for row, ranked in enumerate(order):
        top, top_probs = _named(predictor.classes, output.probs[row], ranked[:topk])
        labels, label_probs = (
            (None, ()) if chosen is None else _named(predictor.classes, output.probs[row], ranked[chosen[row, ranked]])
        )
        is_unlike = None if unfamiliar is None else bool(unfamiliar[row])
        features = output.features[row] if with_features and output.features is not None else None
        predictions.append(
            Prediction(
                names[row],
                tuple(zip(top, top_probs, strict=True)),
                unknown=None if rule is None else rule.reason(top_probs[0], is_unlike),
                novelty=None if output.novelty is None else float(output.novelty[row]),
                is_unfamiliar=is_unlike,
                labels=labels,
                label_probs=label_probs,
                features=features,
                all_probs=output.probs[row] if all_probs else None,
            )
        )
    return predictions


def _named(
    classes: Sequence[str], probs: NDArray[np.float32], indices: NDArray[np.intp]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return tuple(classes[index] for index in indices.tolist()), tuple(probs[indices].tolist())
