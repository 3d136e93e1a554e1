"""A predictor without a network: the share of each color in an image. Tests of everything around a model use it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.commands import predict
from resnet_cli.data.dataset import Item
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import Reliability
from resnet_cli.prediction import PredictedItem, Prediction, Predictor
from resnet_cli.preprocess import Preprocess

CLASSES = ("red", "green", "blue")
COLOURS = {"red": (200, 30, 20), "green": (30, 200, 20), "blue": (20, 30, 200)}


class MeanColours(Predictor[NDArray[np.float32]]):
    """Predicts how red, green and blue an image is; grey is novel."""

    classes = CLASSES
    batch_size = 4
    has_novelty = True
    has_features = True
    preprocess = Preprocess(resize_size=8, crop_size=8)

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        means: NDArray[np.float32] = np.asarray(image, dtype=np.float32).mean(axis=(0, 1))
        return means

    def predict(self, inputs: Sequence[NDArray[np.float32]]) -> ModelOutput:
        means = np.stack(inputs)
        probs = means / means.sum(axis=1, keepdims=True).clip(1e-6)
        return ModelOutput(probs, 1 - np.ptp(probs, axis=1), np.repeat(means, 4, axis=1))

    def square(self, prepared: NDArray[np.float32]) -> Pixels:
        return np.full((8, 8, 3), prepared, dtype=np.uint8)

    def heatmap(
        self, prepared: NDArray[np.float32], output: ModelOutput, target: int | None = None
    ) -> NDArray[np.float32]:
        return np.ones((1, 1), dtype=np.float32)


class ManyColours(MeanColours):
    """Predicts each of red, green and blue where an image has much of it; white has all of them, black has none."""

    task = "multi-label"
    thresholds = (0.5, 0.5, 0.25)
    has_heatmap = True
    explains_any_class = True

    def predict(self, inputs: Sequence[NDArray[np.float32]]) -> ModelOutput:
        means = np.stack(inputs)
        return ModelOutput(means / np.float32(255), np.zeros(len(means), np.float32), np.repeat(means, 4, axis=1))


def reliability() -> Reliability:
    """The reliability of a model that classified 100 validation images correctly."""
    confidence = np.linspace(0.5, 0.9, 100, dtype=np.float32)
    return Reliability(confidence, np.ones(100, dtype=bool), np.linspace(0, 0.5, 100, dtype=np.float32))


def paint(path: Path, colour: tuple[int, int, int], *, size: tuple[int, int] = (12, 10)) -> Path:
    """An image of one colour; PNG keeps it exactly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def predicted(
    name: str, topk: tuple[tuple[str, float], ...] = (("red", 0.8), ("green", 0.2)), **fields: object
) -> PredictedItem[NDArray[np.float32]]:
    """One predicted image that was never opened."""
    return PredictedItem(Item(name, Path(name)), Prediction(name, topk, **fields))  # type: ignore[arg-type]


def main() -> None:
    """Runs the command in a process of its own with :class:`MeanColours` as its model: no torch, no waiting."""
    predictor = MeanColours()
    predictor.path, predictor.reliability = Path(sys.argv[1]), reliability()
    setattr(predict, "open_model", lambda *_, **__: predictor)  # noqa: B010
    from resnet_cli.cli import main as command

    sys.argv = ["resnet-cli", *sys.argv[2:]]
    command()


if __name__ == "__main__":
    main()
