"""Who answers ``resnet-cli predict``: a model in torch, or an exported one without it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import output
from resnet_cli.errors import ConfigError
from resnet_cli.model.reliability import precision_conflict

if TYPE_CHECKING:
    from PIL import Image

    from resnet_cli.config.predict import PredictConfig
    from resnet_cli.exported.base import ExportedModel
    from resnet_cli.model.network import Model
    from resnet_cli.model.reliability import Abstention, Reliability
    from resnet_cli.prediction import Answered, Answerer
    from resnet_cli.predictor import ModelAnswerer


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A model that is ready to answer.

    Attributes:
        answerer: For :func:`resnet_cli.prediction.answer`.
        path: The file that it came from.
        reliability: What it knows about its own limits.
        has_novelty: Whether it tells how unlike the training images an image is.
        torch: The same answerer where torch computes it; None for an exported model.
        exported: The same answerer where it is one.
        precision: In which it answers.
        precision_conflict: What to say where the model got to know its limits in another precision.
    """

    answerer: Answerer[Any]
    path: Path
    reliability: Reliability | None
    has_novelty: bool
    torch: ModelAnswerer | None = None
    exported: ExportedModel | None = None
    precision: str = "fp32"
    precision_conflict: str | None = None

    def rule(self, config: PredictConfig) -> Abstention | None:
        """When images are not answered; see :func:`resnet_cli.prediction.answer_rule`."""
        from resnet_cli.prediction import answer_rule

        return answer_rule(
            self.reliability,
            has_novelty=self.has_novelty,
            abstain=config.abstain,
            threshold=config.threshold or 0.0,
            target_error=config.target_error,
        )


def is_exported(model: str | None) -> bool:
    """Whether ``--model`` names an exported file or folder."""
    from resnet_cli.exported.opening import exported_kind
    from resnet_cli.system.paths import user_path

    return model is not None and exported_kind(user_path(model)) is not None


def check_exported(config: PredictConfig, *, needs_torch: Mapping[str, object], origins: Mapping[str, str]) -> None:
    """Refuses what an exported model cannot do.

    Raises:
        ConfigError: A flag that it has no use for.
    """
    for field in ("device", "precision"):
        if origins[field] == "flag":
            raise ConfigError(f"--{field} has no effect: an exported model runs in its own runtime, on the CPU")
    for flag, value in needs_torch.items():
        if value:
            raise ConfigError(
                f"{flag}: an exported model gives answers and no features", hint="use the run that it came from"
            )


def choose_model(model: str | None, config: PredictConfig, *, quiet: bool) -> Chosen:
    """Loads what ``--model`` names; without it ``runs/latest``, else ImageNet.

    Raises:
        ConfigError: There is none.
        ModelError: It is damaged.
        UntrustedFileError: It may run code.
    """
    from resnet_cli.exported.opening import check_trust, open_exported

    check_trust([model or ""], trusted=config.trust)
    if model is not None and is_exported(model):
        from resnet_cli.system.paths import user_path

        exported = open_exported(user_path(model), trusted=config.trust)
        return Chosen(
            exported,
            exported.path,
            exported.reliability,
            exported.has_novelty,
            exported=exported,
            precision=exported.about.number,
            precision_conflict=exported.precision_conflict,
        )
    with output.status("loading torch", quiet=quiet):
        from resnet_cli.predictor import ModelAnswerer
        from resnet_cli.system.device import choose_compute

    compute = choose_compute(config.device, config.precision)
    loaded = _load(model, offline=config.offline, quiet=quiet)
    assert loaded.path is not None
    answerer = ModelAnswerer(loaded, compute)
    return Chosen(
        answerer,
        loaded.path,
        loaded.reliability,
        loaded.exemplars is not None,
        answerer,
        precision=compute.precision,
        precision_conflict=precision_conflict(loaded.provenance, compute.precision),
    )


def explainer(chosen: Chosen) -> Callable[[Answered[Any]], Image.Image]:
    """Draws what spoke for the most probable class of an image.

    Raises:
        ConfigError: An exported model does not tell.
    """
    return _explainer(chosen.torch) if chosen.torch is not None else _exported_explainer(chosen.exported)


def _explainer(answerer: ModelAnswerer) -> Callable[[Answered[Any]], Image.Image]:
    import torch

    from resnet_cli.data.loading import stack
    from resnet_cli.model.explain import GradCam
    from resnet_cli.model.heatmap import explanation

    model = answerer.model
    cam = GradCam(model.network, model.preprocess, answerer.compute)

    def explain(answered: Answered[Any]) -> Image.Image:
        assert answered.seen is not None
        target = torch.tensor([model.classes.index(answered.prediction.topk[0][0])])
        return explanation(answered.seen, cam.heat(stack([answered.seen]), target)[0])

    return explain


def _exported_explainer(exported: ExportedModel | None) -> Callable[[Answered[Any]], Image.Image]:
    from resnet_cli.model.heatmap import explanation

    if exported is None or not exported.has_heat:
        raise ConfigError(
            "--explain: this file does not tell where it looked",
            hint="export it anew, to --format onnx, or use the run",
        )

    def explain(answered: Answered[Any]) -> Image.Image:
        assert answered.heat is not None
        return explanation(exported.square(answered.seen), answered.heat)

    return explain


def _load(model: str | None, *, offline: bool, quiet: bool) -> Model:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.errors import NetworkError
    from resnet_cli.model.weights import load_imagenet, load_model
    from resnet_cli.system.events import WorkDone
    from resnet_cli.system.paths import LATEST

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
