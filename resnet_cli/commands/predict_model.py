"""Opens the model of ``predict``, for all its use cases, and the events that they report."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, TypeAlias

from resnet_cli.commands.int8 import open_quantized
from resnet_cli.config.predict import PredictConfig
from resnet_cli.errors import ConfigError, NetworkError
from resnet_cli.exported.opening import check_trust, exported_kind, resolve_model
from resnet_cli.model.named_head import cached_imagenet
from resnet_cli.model.rules import Rule, abstention_rule, caveat_of
from resnet_cli.outputs.schema import ROWS, Layout
from resnet_cli.prediction import PredictedItem, Predictor
from resnet_cli.predictor import open_predictor
from resnet_cli.system.events import Noted, Status, Warned, WorkDone
from resnet_cli.system.paths import LATEST, user_path
from resnet_cli.task import TaskName


@dataclasses.dataclass(frozen=True)
class Started:
    """Everything is checked and open, and the first image is next.

    Attributes:
        total: Number of images; None if it is not known.
        layout: The columns of rows on stdout.
        task: The task of the model.
        model: The model as the user named it.
        classes: Its classes; empty if other processes open it.
        tells_unfamiliar: Whether it can tell that an image is unlike the training images.
    """

    total: int | None
    layout: Layout = ROWS
    task: TaskName = "single-label"
    model: str = ""
    classes: tuple[str, ...] = ()
    tells_unfamiliar: bool = False


Event: TypeAlias = Status | WorkDone | Noted | Warned | Started | PredictedItem[Any]
OnEvent: TypeAlias = Callable[[Event], None]


def name_model(config: PredictConfig) -> PredictConfig:
    """The config with the model that ``--model`` means at this moment; without it that of ``runs/latest``, if any."""
    if config.model == "":
        # The newest run in its place would be a silent surprise.
        raise ConfigError("--model is empty", hint="give a model, or leave it out; is a shell variable unset?")
    if config.model is None and not os.path.lexists(LATEST):
        return config
    return config.model_copy(update={"model": resolve_model(config.model or LATEST)})


def is_exported(model: str | None) -> bool:
    """Whether ``--model`` names an exported file or folder."""
    return model is not None and exported_kind(user_path(model)) is not None


def check_model_flags(config: PredictConfig) -> None:
    """Refuses what an exported model cannot do, before anything is opened.

    Raises:
        ConfigError: The model is exported, and a flag has no effect on it.
    """
    if is_exported(config.model):
        own = ("device", "precision") if config.engine == "ray" else ("device", "precision", "engine")
        config.refuse(own, "has no effect: an exported model runs in its own runtime, on the CPU")
        reason = "is not available: an exported model gives no features"
        config.refuse(("embeddings", "similar"), reason, hint="use the run that it came from")


def open_model(
    config: PredictConfig, on_event: OnEvent, *, in_torch: bool = False, num_images: int | None = None
) -> Predictor[Any]:
    """Opens the model, or one of ImageNet's 1,000 classes if none is named.

    Args:
        config: Names the model, see :func:`name_model`, and where it computes.
        on_event: Called with the progress of loading and downloads.
        in_torch: Whether torch must compute a model that is not exported.
        num_images: How many images will be predicted; None if it is not known.

    Raises:
        ConfigError: There is no such model.
        ModelError: It is damaged.
        UntrustedFileError: It may run code.
    """
    check_trust([config.model or ""], trusted=config.trust)

    def on_download(done: int, total: int | None) -> None:
        on_event(WorkDone("download", done, total))

    def on_torch() -> None:
        on_event(Status("loading torch"))

    def on_measure() -> None:
        on_event(Noted("measuring which engine is the fastest on this machine, which is remembered"))

    in_int8 = config.precision == "int8"
    opening = functools.partial(
        open_predictor,
        config.model or cached_imagenet() or "imagenet-v2",
        device=config.device,
        precision=config.precision,
        engine="torch" if (in_torch and not in_int8) or config.engine == "ray" else config.engine,
        offline=config.offline,
        trusted=config.trust,
        on_download=on_download,
        on_torch=on_torch,
        num_images=num_images,
        on_measure=on_measure,
        in_torch=in_torch and in_int8,
    )
    try:
        predictor = open_quantized(
            opening,
            offline=config.offline,
            on_work=lambda *work: on_event(WorkDone(*work)),
            on_note=lambda text: on_event(Noted(text)),
        )
    except NetworkError as error:
        if config.model is not None:
            raise
        raise ConfigError(
            f"there is no run in {LATEST.parent} to predict with, and no ImageNet weights either",
            hint="train one: resnet-cli finetune DATA; or name one: --model RUN",
        ) from error
    if config.model is None:
        assert predictor.path is not None
        name = predictor.name = predictor.path.name
        on_event(Noted(f"no run in {LATEST.parent}: using a model of ImageNet's 1,000 classes ({name})"))
    return predictor


def open_rule(config: PredictConfig, predictor: Predictor[Any], on_event: OnEvent) -> Rule | None:
    """The rule that the flags ask for; what it cannot guarantee for some classes is an event.

    Raises:
        ModelError: The model has nothing to decide by.
        ConfigError: A flag is for models of the other task, or the validation split cannot guarantee its value.
    """
    rule = abstention_rule(
        predictor,
        abstain=config.abstain,
        threshold=config.threshold,
        target_error=config.target_error,
        target_precision=config.target_precision,
        target_recall=config.target_recall,
    )
    if caveat := caveat_of(rule):
        on_event(Warned([caveat]))
    return rule
