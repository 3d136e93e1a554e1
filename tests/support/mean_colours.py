"""Answers without a network: the share of each colour in an image. What is around a network is proved on it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.cli import predict_run
from resnet_cli.cli.predict_models import Chosen
from resnet_cli.data.dataset import Item
from resnet_cli.model.reliability import Reliability
from resnet_cli.prediction import Answered, Answers, Prediction

CLASSES = ("red", "green", "blue")
COLOURS = {"red": (200, 30, 20), "green": (30, 200, 20), "blue": (20, 30, 200)}


class MeanColours:
    """Says how red, green and blue an image is; grey is novel."""

    classes = CLASSES
    batch_size = 4

    def see(self, image: Image.Image) -> NDArray[np.float32]:
        means: NDArray[np.float32] = np.asarray(image, dtype=np.float32).mean(axis=(0, 1))
        return means

    def answer(self, seen: list[NDArray[np.float32]]) -> Answers:
        means = np.stack(seen)
        probs = means / means.sum(axis=1, keepdims=True).clip(1e-6)
        return Answers(probs, 1 - np.ptp(probs, axis=1), np.repeat(means, 4, axis=1))


def reliability() -> Reliability:
    """Of 100 validation images, all answered right."""
    confidence = np.linspace(0.5, 0.9, 100, dtype=np.float32)
    return Reliability(confidence, np.ones(100, dtype=bool), np.linspace(0, 0.5, 100, dtype=np.float32))


def paint(path: Path, colour: tuple[int, int, int], *, size: tuple[int, int] = (12, 10)) -> Path:
    """An image of one colour; PNG keeps it exactly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def answered(
    name: str, topk: tuple[tuple[str, float], ...] = (("red", 0.8), ("green", 0.2)), **fields: object
) -> Answered[NDArray[np.float32]]:
    """One answer, as if an image had been looked at."""
    return Answered(Item(name, Path(name)), Prediction(name, topk, **fields))  # type: ignore[arg-type]


def main() -> None:
    """The command as a process of its own, which answers with :class:`MeanColours`: no torch, no waiting."""
    model = Path(sys.argv[1])
    chosen = Chosen(MeanColours(), model, reliability(), has_novelty=True)
    setattr(predict_run, "choose_model", lambda *_, **__: chosen)  # noqa: B010
    from resnet_cli.cli import main as command

    sys.argv = ["resnet-cli", *sys.argv[2:]]
    command()


if __name__ == "__main__":
    main()
