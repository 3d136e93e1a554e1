"""What answers images, whatever it is made of: the model in torch, and exported files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.loading import stack
from resnet_cli.model.network import Model
from resnet_cli.predictor import ModelAnswerer
from resnet_cli.system.device import REFERENCE

#: Probabilities float32 [b x k] and novelty float32 [b], or None where nothing is remembered.
Answers: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32] | None]


class Runtime(Protocol):
    """Answers decoded images (mode RGB, upright) of any sizes."""

    def answers(self, images: Sequence[Image.Image]) -> Answers:
        """The answers, in order."""


class TorchRuntime:
    """The model itself, as ``predict`` runs it.

    Args:
        model: Is copied, not changed.
    """

    def __init__(self, model: Model) -> None:
        self._answerer = ModelAnswerer(model, REFERENCE)

    def answers(self, images: Sequence[Image.Image]) -> Answers:
        """The answers, in order."""
        found = self._answerer.answer([self._answerer.see(image) for image in images])
        return found.probs, found.novelty


def squares(model: Model, images: Sequence[Image.Image]) -> torch.Tensor:
    """What the network sees of each image: uint8 [b x 3 x s x s]."""
    return stack([model.preprocess(image) for image in images])
