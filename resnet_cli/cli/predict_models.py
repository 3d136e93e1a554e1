"""Who answers ``resnet-cli predict``: a model in torch, or an exported one without it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import output
from resnet_cli.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from resnet_cli.config import PredictConfig
    from resnet_cli.inference import ModelAnswerer
    from resnet_cli.model import Model
    from resnet_cli.prediction import Answered, Answerer, Answers
    from resnet_cli.reliability import Reliability

#: An exported model takes whole pictures, which may be 150 MB each.
ONNX_BATCH_SIZE = 4


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A model that is ready to answer.

    Attributes:
        answerer: For :func:`resnet_cli.prediction.answer`.
        path: The file that it came from.
        reliability: What it knows about its own limits.
        has_novelty: Whether it tells how unlike the training pictures a picture is.
        torch: The same answerer where torch computes it; None for an exported model.
    """

    answerer: Answerer[Any]
    path: Path
    reliability: Reliability | None
    has_novelty: bool
    torch: ModelAnswerer | None = None


def is_onnx(model: str | None) -> bool:
    """Whether the name of a model says that it is exported."""
    return model is not None and model.lower().endswith(".onnx")


def check_onnx(config: PredictConfig, *, needs_torch: Mapping[str, object], origins: Mapping[str, str]) -> None:
    """Refuses what an exported model cannot do.

    Raises:
        ConfigError: A flag that it has no use for.
    """
    for field in ("device", "precision"):
        if origins[field] == "flag":
            raise ConfigError(f"--{field} has no effect: an .onnx file runs in ONNX Runtime, on the CPU")
    for flag, value in needs_torch.items():
        if value:
            raise ConfigError(
                f"{flag}: an .onnx file gives answers and nothing from inside", hint="use the run that it came from"
            )


class OnnxAnswerer:
    """An exported model as an answerer; torch is not imported."""

    batch_size = ONNX_BATCH_SIZE

    def __init__(self, model: Any) -> None:
        self._model = model
        self.classes: tuple[str, ...] = tuple(model.classes)

    def see(self, image: Image.Image) -> Image.Image:
        """The whole picture: resizing is part of the file."""
        return image

    def answer(self, seen: list[Image.Image]) -> Answers:
        """Probabilities and novelty."""
        from resnet_cli.prediction import Answers

        probs, novelty = self._model.answers(seen)
        return Answers(probs, novelty)


def choose_model(model: str | None, config: PredictConfig, *, quiet: bool) -> Chosen:
    """Loads what ``--model`` names; without it ``runs/latest``, else ImageNet.

    Raises:
        ConfigError: There is none.
        ModelError: It is damaged.
    """
    if is_onnx(model):
        from resnet_cli.exporting.onnx_model import OnnxModel
        from resnet_cli.paths import user_path

        assert model is not None
        path = user_path(model)
        if not path.is_file():
            raise ConfigError(f"--model {path}: no such file", hint="make one: resnet-cli export RUN")
        exported = OnnxModel.load(path)
        return Chosen(OnnxAnswerer(exported), path, exported.reliability, exported.has_novelty)
    with output.status("loading torch", quiet=quiet):
        from resnet_cli.device import choose_compute
        from resnet_cli.inference import ModelAnswerer

    compute = choose_compute(config.device, config.precision)
    loaded = _load(model, offline=config.offline, quiet=quiet)
    assert loaded.path is not None
    answerer = ModelAnswerer(loaded, compute)
    return Chosen(answerer, loaded.path, loaded.reliability, loaded.memory is not None, answerer)


def explainer(answerer: ModelAnswerer) -> Callable[[Answered[Any]], Image.Image]:
    """Draws what spoke for the most probable class of a picture."""
    import torch
    from PIL import Image as PillowImage

    from resnet_cli.data.loading import stack
    from resnet_cli.explain import GradCam, overlay

    model = answerer.model
    cam = GradCam(model.network, model.preprocess, answerer.compute)

    def explain(answered: Answered[Any]) -> Image.Image:
        assert answered.seen is not None
        target = torch.tensor([model.classes.index(answered.prediction.topk[0][0])])
        (heat,) = cam.maps(stack([answered.seen]), target)
        return overlay(PillowImage.fromarray(answered.seen), heat)

    return explain


def _load(model: str | None, *, offline: bool, quiet: bool) -> Model:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.errors import NetworkError
    from resnet_cli.training.events import WorkDone
    from resnet_cli.training.run import LATEST
    from resnet_cli.weights import load_imagenet, load_model

    with ProgressView(quiet=quiet) as view:

        def on_download(done: int, total: int | None) -> None:
            view(WorkDone("download", done, total))

        if model is not None or os.path.lexists(LATEST):
            return load_model(model or LATEST, offline=offline, on_download=on_download)
        try:
            loaded = load_imagenet(offline=offline, on_download=on_download)
        except NetworkError as error:
            raise ConfigError(
                f"there is no run in {LATEST.parent} to predict with, and no ImageNet weights either",
                hint="train one: resnet-cli finetune DATA; or name one: --model RUN",
            ) from error
    if not quiet:
        assert loaded.path is not None
        output.note(f"no run in {LATEST.parent}: answering with ImageNet's 1,000 classes ({loaded.path.name})")
    return loaded
