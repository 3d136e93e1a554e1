"""Opens the inputs and the model of ``predict``, for both engines."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from resnet_cli.config.predict import PredictConfig
from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.opening import InputOptions, Inputs, find_images, listed_images
from resnet_cli.errors import ConfigError, DataError, NetworkError
from resnet_cli.exported.opening import check_trust, exported_kind
from resnet_cli.images import MAX_PIXELS
from resnet_cli.prediction import PredictedItem, Predictor, abstention_rule
from resnet_cli.predictor import TorchPredictor, open_predictor
from resnet_cli.system.events import Loading, Noted, Warned, WorkDone
from resnet_cli.system.paths import LATEST, user_path

if TYPE_CHECKING:
    from resnet_cli.model.reliability import Abstention


@dataclasses.dataclass(frozen=True)
class Started:
    """Everything is checked and open, and the first image is next.

    Attributes:
        total: Number of images; None if it is not known.
    """

    total: int | None


Event: TypeAlias = Loading | WorkDone | Noted | Warned | Started | PredictedItem[Any]
OnEvent: TypeAlias = Callable[[Event], None]


def is_exported(model: str | None) -> bool:
    """Whether ``--model`` names an exported file or folder."""
    return model is not None and exported_kind(user_path(model)) is not None


def check_exported(config: PredictConfig) -> None:
    """Refuses what an exported model cannot do.

    Raises:
        ConfigError: A flag has no effect on an exported model.
    """
    config.refuse(("device", "precision"), "has no effect: an exported model runs in its own runtime, on the CPU")
    config.refuse(
        ("embeddings", "similar"),
        "is not available: an exported model gives no features",
        hint="use the run that it came from",
    )


def open_inputs(config: PredictConfig, stdin: BinaryIO, on_event: OnEvent) -> Inputs:
    """Opens every input but a watched folder; the first image of each is looked for.

    Args:
        config: Names the inputs.
        stdin: Read once for ``-``.
        on_event: Told of downloads and unpacking.

    Raises:
        DataError: An input without images.
        ConfigError: A flag has no effect on these inputs.
    """
    found = find_inputs(config.images, config, stdin, on_event)
    if config.files_from is None:
        return found
    listed = _at_least_one(listed_images(_paths(config, stdin), options=input_options(config)), config.files_from)
    return Inputs(itertools.chain(found.items, listed), None)


def open_model(config: PredictConfig, on_event: OnEvent) -> Predictor[Any]:
    """Opens what ``--model`` names; without it ``runs/latest``, else a model of ImageNet's 1,000 classes.

    Args:
        config: Names the model and where it computes.
        on_event: Told of loading and downloads.

    Raises:
        ConfigError: There is no such model.
        ModelError: It is damaged.
        UntrustedFileError: It may run code.
    """
    check_trust([config.model or ""], trusted=config.trust)
    if not is_exported(config.model):
        on_event(Loading("torch"))

    def on_download(done: int, total: int | None) -> None:
        on_event(WorkDone("download", done, total))

    if config.model is None and not os.path.lexists(LATEST):
        return _open_imagenet(config, on_event, on_download)
    return open_predictor(
        config.model or LATEST,
        device=config.device,
        precision=config.precision,
        offline=config.offline,
        trusted=config.trust,
        on_download=on_download,
    )


def rule_of(predictor: Predictor[Any], config: PredictConfig) -> Abstention | None:
    """Which images are labeled "unknown"; see :func:`resnet_cli.prediction.abstention_rule`."""
    return abstention_rule(
        predictor.reliability,
        has_novelty=predictor.has_novelty,
        abstain=config.abstain,
        threshold=config.threshold or 0.0,
        target_error=config.target_error,
    )


def _open_imagenet(
    config: PredictConfig, on_event: OnEvent, on_download: Callable[[int, int | None], None]
) -> Predictor[Any]:
    from resnet_cli.model.weights import load_imagenet
    from resnet_cli.system.device import choose_compute

    compute = choose_compute(config.device, config.precision)
    try:
        model = load_imagenet(offline=config.offline, on_download=on_download)
    except NetworkError as error:
        raise ConfigError(
            f"there is no run in {LATEST.parent} to predict with, and no ImageNet weights either",
            hint="train one: resnet-cli finetune DATA; or name one: --model RUN",
        ) from error
    assert model.path is not None
    on_event(Noted(f"no run in {LATEST.parent}: using a model of ImageNet's 1,000 classes ({model.path.name})"))
    return TorchPredictor(model, compute, name=model.path.name)


def input_options(config: PredictConfig) -> InputOptions:
    """How the inputs are read."""
    return InputOptions(
        recursive=config.recursive is not False,
        image_column=config.image_column,
        max_pixels=config.max_pixels or MAX_PIXELS,
        offline=config.offline,
    )


def find_inputs(specs: Sequence[str], config: PredictConfig, stdin: BinaryIO, on_event: OnEvent) -> Inputs:
    """Opens what is named on the command line.

    Args:
        specs: As typed.
        config: How they are read.
        stdin: Read once for ``-``.
        on_event: Told of downloads and unpacking.

    Raises:
        DataError: An input without images.
        ConfigError: A flag has no effect on these inputs.
    """
    found = find_images(
        specs, stdin=stdin, options=input_options(config), on_work=lambda *work: on_event(WorkDone(*work))
    )
    if config.recursive is not None and not found.has_folder and config.watch is None:
        flag = "--recursive" if config.recursive else "--no-recursive"
        raise ConfigError(f"{flag} has no effect: no folder is among the inputs", hint="remove it")
    return found


def _paths(config: PredictConfig, stdin: BinaryIO) -> Iterator[str]:
    from resnet_cli.data.inputs.path_lists import read_paths

    assert config.files_from is not None
    if config.files_from == "-":
        yield from read_paths(stdin, "stdin", null=config.null)
        return
    path = user_path(config.files_from)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"--files-from {path}: {error.strerror or error}") from error
    with file:
        yield from read_paths(file, str(path), null=config.null)


def _at_least_one(items: Iterator[Item], name: str) -> Iterator[Item]:
    first = next(items, None)
    if first is None:
        raise DataError(f"--files-from {name}: no paths there", hint="one path per line")
    yield first
    yield from items
