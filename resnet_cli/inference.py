"""Answers to new pictures, one after the other, in the order they came."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from resnet_cli.data.dataset import Item
from resnet_cli.data.loading import load_batches
from resnet_cli.device import Compute
from resnet_cli.errors import ImageError
from resnet_cli.evaluation.answers import head_probs
from resnet_cli.features import FrozenBackbone, inference_batch_size
from resnet_cli.model import Model


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer to one picture, or why there is none.

    Attributes:
        path: As it was given.
        topk: (class, probability), most probable first; empty if the picture cannot be read.
        error: Why there is no answer.
    """

    path: str
    topk: tuple[tuple[str, float], ...] = ()
    error: ImageError | None = None

    @property
    def label(self) -> str:
        """The most probable class.

        Raises:
            ImageError: The picture could not be read.
        """
        return self._first[0]

    @property
    def prob(self) -> float:
        """Its probability.

        Raises:
            ImageError: The picture could not be read.
        """
        return self._first[1]

    @property
    def _first(self) -> tuple[str, float]:
        if self.error is not None:
            raise self.error
        return self.topk[0]


def predict(
    model: Model, items: Iterable[Item], compute: Compute, *, topk: int = 5, batch_size: int | None = None
) -> Iterator[Prediction]:
    """Answers any number of pictures in bounded memory; unreadable ones get a prediction with an error.

    Args:
        model: Network, classes and preprocessing.
        items: Labels are not looked at.
        compute: Device and precision.
        topk: Classes to name, at most all.
        batch_size: Pictures a forward pass; the answer does not depend on it.
    """
    backbone = FrozenBackbone(model.network, model.preprocess, compute)
    batch_size = batch_size or inference_batch_size(model.preprocess.crop_size, compute)
    count = min(topk, len(model.classes))
    for batch in load_batches(items, lambda item: model.preprocess(item.open()), batch_size=batch_size):
        answers: Iterator[tuple[list[float], list[int]]] = iter(())
        if len(batch.pixels):
            probs, indices = head_probs(model.network.fc, backbone(batch.pixels), model.temperature).topk(
                count, dim=1
            )  # [b x count]
            answers = zip(probs.tolist(), indices.tolist(), strict=True)
        for position, item in enumerate(batch.items):
            if position in batch.errors:
                yield Prediction(item.name, error=batch.errors[position])
            else:
                row_probs, row_indices = next(answers)
                names = (model.classes[index] for index in row_indices)
                yield Prediction(item.name, tuple(zip(names, row_probs, strict=True)))
