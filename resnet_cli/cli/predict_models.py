"""The model of ``resnet-cli predict``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import output
from resnet_cli.errors import ConfigError

if TYPE_CHECKING:
    from resnet_cli.config.predict import PredictConfig
    from resnet_cli.model.reliability import Abstention
    from resnet_cli.prediction import Predictor


def rule_of(predictor: Predictor[Any], config: PredictConfig) -> Abstention | None:
    """Which images are labeled "unknown"; see :func:`resnet_cli.prediction.abstention_rule`."""
    from resnet_cli.prediction import abstention_rule

    return abstention_rule(
        predictor.reliability,
        has_novelty=predictor.has_novelty,
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


def choose_model(model: str | None, config: PredictConfig, *, quiet: bool) -> Predictor[Any]:
    """Opens what ``--model`` names; without it ``runs/latest``, else ImageNet.

    Raises:
        ConfigError: There is none.
        ModelError: It is damaged.
        UntrustedFileError: It may run code.
    """
    from resnet_cli.exported.opening import check_trust
    from resnet_cli.predictor import open_predictor
    from resnet_cli.system.paths import LATEST

    check_trust([model or ""], trusted=config.trust)
    if is_exported(model):
        return open_predictor(str(model), trusted=config.trust)
    with output.status("loading torch", quiet=quiet):
        import torch  # noqa: F401

    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.system.events import WorkDone

    with ProgressView(quiet=quiet) as view:

        def on_download(done: int, total: int | None) -> None:
            view(WorkDone("download", done, total))

        if model is not None or os.path.lexists(LATEST):
            return open_predictor(
                model or LATEST,
                device=config.device,
                precision=config.precision,
                offline=config.offline,
                on_download=on_download,
            )
        opened = _open_imagenet(config, on_download)
    if not quiet:
        assert opened.path is not None
        output.note(f"no run in {LATEST.parent}: answering with ImageNet's 1,000 classes ({opened.path.name})")
    return opened


def _open_imagenet(config: PredictConfig, on_download: Any) -> Predictor[Any]:
    from resnet_cli.errors import NetworkError
    from resnet_cli.model.weights import load_imagenet
    from resnet_cli.predictor import TorchPredictor
    from resnet_cli.system.device import choose_compute
    from resnet_cli.system.paths import LATEST

    compute = choose_compute(config.device, config.precision)
    try:
        return TorchPredictor(load_imagenet(offline=config.offline, on_download=on_download), compute)
    except NetworkError as error:
        raise ConfigError(
            f"there is no run in {LATEST.parent} to predict with, and no ImageNet weights either",
            hint="train one: resnet-cli finetune DATA; or name one: --model RUN",
        ) from error
