"""Images in, answers out: any number, in their order, in bounded memory. No torch: the network is whoever answers.

``inference.py`` answers with torch, an exported model with ONNX Runtime; batching, decoding ahead, errors, top-k and
"unknown" are the same for both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.prefetch import decode_ahead
from resnet_cli.errors import ConfigError, ImageError, ModelError
from resnet_cli.model.reliability import Abstention, Reliability, abstention

#: The answer to an image that is not answered. A class may have the same name: only ``Prediction.unknown`` tells.
UNKNOWN = "unknown"

Seen = TypeVar("Seen")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer to one image, or why there is none.

    Attributes:
        path: As it was given.
        topk: (class, probability), most probable first; empty if the image cannot be read.
        error: Why there is no answer.
        unknown: Why the image is not answered although it was looked at, in words; None if it is.
        novelty: How unlike all training images it is, in [0, 2]; None where the model remembers none.
        features: What the backbone made of it, [2048]; None unless asked for.
    """

    path: str
    topk: tuple[tuple[str, float], ...] = ()
    error: ImageError | None = None
    unknown: str | None = None
    novelty: float | None = None
    features: NDArray[np.floating[Any]] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The most probable class, or ``unknown``; what it would have been is in ``topk`` all the same.

        Raises:
            ImageError: The image could not be read.
        """
        best, _ = self._first
        return best if self.unknown is None else UNKNOWN

    @property
    def prob(self) -> float:
        """The probability of the most probable class, be it answered or not.

        Raises:
            ImageError: The image could not be read.
        """
        return self._first[1]

    @property
    def _first(self) -> tuple[str, float]:
        if self.error is not None:
            raise self.error
        return self.topk[0]


class Answers(NamedTuple):
    """What is known about a batch.

    Attributes:
        probs: At the model's temperature, float32 [b x k].
        novelty: float32 [b]; None where the model remembers no images.
        features: [b x 2048]; None where they cannot be had.
        heat: Where each image speaks for its most probable class, [b x rows x columns] of the last stage, not scaled;
            None where that is not known without another pass.
    """

    probs: NDArray[np.float32]
    novelty: NDArray[np.float32] | None = None
    features: NDArray[np.floating[Any]] | None = None
    heat: NDArray[np.float32] | None = None

    def row(self, index: int) -> Answers:
        """What is known about one image, as a batch of one."""
        return Answers(self.probs[index : index + 1], *(x if x is None else x[index : index + 1] for x in self[1:]))


class Answerer(Protocol[Seen]):
    """A network ready to answer."""

    @property
    def classes(self) -> tuple[str, ...]:
        """In index order."""

    @property
    def batch_size(self) -> int:
        """Images a forward pass, unless the user wants another number."""

    def see(self, image: Image.Image) -> Seen:
        """What the network needs of one upright RGB image; called on threads."""

    def answer(self, seen: list[Seen]) -> Answers:
        """Answers at least one image."""


@dataclasses.dataclass(frozen=True, eq=False)
class Answered(Generic[Seen]):
    """One image with its answer, for whoever copies, draws or explains it.

    Attributes:
        item: The image.
        prediction: The answer.
        seen: What the network saw; None if the image cannot be read.
        heat: Where the image speaks for its most probable class, [rows x columns]; None where that is not known.
    """

    item: Item
    prediction: Prediction
    seen: Seen | None = None
    heat: NDArray[np.float32] | None = None


def answer(
    answerer: Answerer[Seen],
    items: Iterable[Item],
    *,
    topk: int = 5,
    batch_size: int | None = None,
    rule: Abstention | None = None,
    with_features: bool = False,
) -> Iterator[Answered[Seen]]:
    """Answers any number of images in order; unreadable ones get a prediction with an error.

    Args:
        answerer: The network.
        items: Taken a few batches ahead; labels are not looked at.
        topk: Classes to name, at most all.
        batch_size: Images a forward pass; the answer does not depend on it.
        rule: When an image is not answered; None: all are.
        with_features: Whether predictions carry features.
    """
    groups = decode_ahead(items, lambda item: answerer.see(item.open()), batch_size=batch_size or answerer.batch_size)
    try:
        for group in groups:
            good = [item for position, item in enumerate(group.items) if position not in group.errors]
            answers = (
                answerer.answer(group.decoded) if good else Answers(np.empty((0, len(answerer.classes)), np.float32))
            )
            paths = [item.name for item in good]
            predictions = read_answers(
                answerer.classes, paths, answers, topk=topk, rule=rule, with_features=with_features
            )
            heats = [None] * len(good) if answers.heat is None else list(answers.heat)
            rows = zip(good, predictions, group.decoded, heats, strict=True)
            for position, item in enumerate(group.items):
                error = group.errors.get(position)
                if error is not None:
                    yield Answered(item, Prediction(item.name, error=error))
                else:
                    yield Answered(*next(rows))
    finally:
        groups.close()


def answer_rule(
    reliability: Reliability | None,
    *,
    has_novelty: bool,
    abstain: bool = False,
    threshold: float = 0.0,
    target_error: float | None = None,
) -> Abstention | None:
    """When images are not answered; None where nothing of it is asked for.

    Args:
        reliability: The model's; a threshold alone needs none.
        has_novelty: Whether its answers tell how unlike the training images an image is.
        abstain: Not what is unlike all training images.
        threshold: Nor what is less probable than this, in [0, 1].
        target_error: Nor what would be wrong more often than this, in (0, 1); abstains too.

    Raises:
        ModelError: To abstain, and the model has nothing to decide by.
        ConfigError: A share that is none, or one that the model's validation split cannot promise.
    """
    if not 0 <= threshold <= 1 or not (target_error is None or 0 < target_error < 1):
        shown = f"threshold {threshold}" if not 0 <= threshold <= 1 else f"target_error {target_error}"
        raise ConfigError(f"{shown}: must be a share between 0 and 1")
    if abstain and reliability is not None and not has_novelty:
        raise ModelError(
            "the model cannot tell what is unlike its training images: it remembers none of them",
            hint="ask for --threshold or --target-error alone, or use the run that it came from",
        )
    if abstain or target_error is not None:
        return abstention(reliability, threshold=threshold, target_error=target_error)
    return Abstention(threshold) if threshold > 0 else None


def read_answers(
    classes: tuple[str, ...],
    paths: Sequence[str],
    answers: Answers,
    *,
    topk: int,
    rule: Abstention | None = None,
    with_features: bool = False,
) -> list[Prediction]:
    """What a network knows about a batch, as predictions.

    Args:
        classes: In index order.
        paths: Of the images.
        answers: Of the network.
        topk: Classes to name, at most all.
        rule: When an image is not answered; None: all are.
        with_features: Whether predictions carry features.
    """
    # Of equal probabilities the first class wins, on every machine.
    order = np.argsort(-answers.probs, axis=1, kind="stable")[:, :topk]  # [b x topk]
    predictions = []
    for row, best in enumerate(order):
        names = [classes[index] for index in best.tolist()]
        probs = answers.probs[row, best].tolist()
        novelty = None if answers.novelty is None else float(answers.novelty[row])
        features = answers.features[row] if with_features and answers.features is not None else None
        predictions.append(
            Prediction(
                paths[row],
                tuple(zip(names, probs, strict=True)),
                unknown=None if rule is None else rule.reason(probs[0], novelty),
                novelty=novelty,
                features=features,
            )
        )
    return predictions
