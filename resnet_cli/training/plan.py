"""Everything decided before the first step, each value with who set it and why.

The values come from the user, else from ``defaults.py``.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from pathlib import Path
from typing import Any

from resnet_cli.config import FinetuneConfig, Resolved, parse_head
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources import OnWork
from resnet_cli.device import Compute, choose_compute
from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.paths import refuse_existing
from resnet_cli.preprocess import Preprocess
from resnet_cli.training.defaults import (
    MIN_BATCH_FOR_BATCHNORM,
    Augment,
    Mode,
    Optimizer,
    choose_preprocess,
    default_augment,
    default_batch_size,
    default_head_lr,
    default_image_size,
    default_lr,
    default_mode,
    default_optimizer,
    enlarged_note,
)
from resnet_cli.training.prepare import prepare_data
from resnet_cli.weights import IMAGENET_PREPROCESS, Weights, find_weights

#: Pictures looked at to learn the source's size.
SIZE_SAMPLE = 32


@dataclasses.dataclass(frozen=True)
class Choice:
    """One row of the plan.

    Attributes:
        name: As the flag is called.
        value: As it is shown.
        origin: ``flag``, ``config`` (the YAML file), ``default`` or ``auto``.
        why: Where the value comes from; may be empty.
    """

    name: str
    value: str
    origin: str
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a finetune will do.

    Attributes:
        config: As the user gave it, with defaults.
        dataset: With its splits, train already limited.
        weights: Where the backbone starts.
        compute: Device and precision.
        mode: ``frozen`` (linear probe on cached features) or ``full``.
        preprocess: Stored in the model.
        hidden: Widths of the head's hidden layers.
        batch_size: Images an optimizer step.
        optimizer: SGD with Nesterov momentum from trained weights, AdamW from random ones.
        lr: Peak rate of the backbone; None when it is frozen.
        head_lr: Peak rate of the head.
        augment: None when the backbone is frozen (features are computed once).
        train_batchnorm: Whether BatchNorm uses and updates batch statistics.
        choices: The rows to show.
        warnings: What the user should know before it starts.
        skipped: Why the pictures that are left out cannot be read.
    """

    config: FinetuneConfig
    dataset: Dataset
    weights: Weights
    compute: Compute
    mode: Mode
    preprocess: Preprocess
    hidden: tuple[int, ...]
    batch_size: int
    optimizer: Optimizer
    lr: float | None
    head_lr: float
    augment: Augment | None
    train_batchnorm: bool
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]
    skipped: tuple[ImageError, ...]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; pictures are spread over them evenly."""
        num_train = len(self.dataset.split("train"))
        # One picture has no batch statistics.
        most = num_train // 2 if self.train_batchnorm else num_train
        return max(1, min(math.ceil(num_train / self.batch_size), most))

    def resolved_config(self) -> FinetuneConfig:
        """The config with every automatic choice filled in: running it again makes the same plan."""
        values: dict[str, Any] = {
            "data": self.dataset.spec,
            "weights": self.weights.spec,
            "mode": self.mode,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "head_lr": self.head_lr,
            "image_size": self.preprocess.crop_size,
            "augment": self.augment,
            "precision": self.compute.precision,
            "out": None,
        }
        return self.config.model_copy(update=values)


def make_plan(resolved: Resolved[FinetuneConfig], *, on_work: OnWork = lambda *_: None) -> Plan:
    """Looks at the data, the weights and the machine, and decides everything.

    Args:
        resolved: The config and who set each value.
        on_work: Told of downloads and of the pictures looked at.

    Raises:
        ConfigError: A flag that has no effect in the chosen mode, or cannot be.
        DataError: Data that cannot be used.
        NetworkError: Data or weights are not here and cannot be downloaded.
        SetupError: The device is not here.
    """
    config, origins = resolved.config, resolved.origins
    refuse_existing(config.out)
    if config.limit and config.fraction:
        raise ConfigError(f"--limit {config.limit} and --fraction {config.fraction:g}: choose one")
    compute = choose_compute(config.device, config.precision)
    prepared = prepare_data(resolved, on_work)
    dataset = prepared.dataset
    num_train = len(dataset.split("train"))
    hidden = parse_head(config.head)
    source_px = source_size(dataset)

    def on_download(done: int, total: int | None) -> None:
        on_work("download", done, total)

    weights = None
    if config.weights != "auto":
        weights = find_weights(config.weights, mode="frozen", offline=config.offline, on_download=on_download)
    made_for = weights.preprocess if weights else IMAGENET_PREPROCESS["imagenet-v1"]
    image_size, size_why = config.image_size, ""
    if image_size is None:
        image_size, size_why = default_image_size(made_for, source_px, compute.type)
    mode, mode_why = config.mode, ""
    if mode == "auto":
        mode, mode_why = default_mode(
            config.weights,
            compute.type,
            # A validation pass is a third of a training pass.
            num_images=config.epochs * (num_train + len(dataset.split("val")) // 3),
            image_size=image_size,
        )
    if weights is None:
        weights = find_weights("auto", mode=mode, offline=config.offline, on_download=on_download)
        made_for = weights.preprocess
    preprocess = choose_preprocess(made_for, image_size, source_px)

    _refuse_ineffective(config, mode, mode_why)
    random_start = weights.path is None
    batch_size = config.batch_size or default_batch_size(mode, num_train)
    optimizer = default_optimizer(mode, random_start=random_start)
    lr = None if mode == "frozen" else config.lr or default_lr(random_start=random_start)
    head_lr = config.head_lr or default_head_lr(mode, hidden, random_start=random_start)
    augment = None if mode == "frozen" else config.augment or default_augment(source_px)
    train_batchnorm = mode == "full" and (random_start or min(batch_size, num_train) >= MIN_BATCH_FOR_BATCHNORM)

    def row(name: str, value: object, why: str = "") -> Choice:
        field = name.replace("-", "_")
        origin = origins.get(field, "auto")
        is_auto = origin == "default" and getattr(config, field, None) in {None, "auto"}
        if is_auto or origin in {"auto", "default", "flag"}:
            return Choice(name, str(value), "auto" if is_auto else origin, why)
        return Choice(name, str(value), "config", why)

    counts = dataset.counts()
    sizes = ", ".join(f"{sum(per_class):,} {split}" for split, per_class in counts.items() if sum(per_class))
    choices = [
        row("data", dataset.name, f"{sizes}; {len(dataset.classes)} classes"),
        row("split", dataset.split_note or "as the source says"),
        row("check", prepared.checked, "every picture was decoded; resnet-cli inspect tells more"),
        *([row("limit", config.limit, "of the train split, spread over the classes")] if config.limit else []),
        *([row("fraction", config.fraction, "of each class of the train split")] if config.fraction else []),
        row("weights", Path(weights.name).name, weights.why),
        row("mode", mode, mode_why),
        row("head", config.head),
        row("image-size", image_size, size_why or enlarged_note(source_px, image_size)),
        row("device", compute.device),
        row("precision", compute.precision, compute.reason),
        row("epochs", config.epochs),
        row("batch-size", batch_size, f"steps an epoch: {math.ceil(num_train / batch_size)}"),
    ]
    if lr is not None:
        choices += [
            row("optimizer", optimizer, "random weights need it" if random_start else ""),
            row("lr", f"{lr:g}", "backbone; peak of warm-up and cosine"),
            row("augment", augment, "light: small shifts; standard: random crops; mirrored where that is safe"),
            row("batchnorm", "train" if train_batchnorm else "eval", "" if train_batchnorm else "batches are small"),
        ]
    choices += [row("head-lr", f"{head_lr:g}", "peak of warm-up and cosine"), row("seed", config.seed)]
    return Plan(
        config=config,
        dataset=dataset,
        weights=weights,
        compute=compute,
        mode=mode,
        preprocess=preprocess,
        hidden=hidden,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        head_lr=head_lr,
        augment=augment,
        train_batchnorm=train_batchnorm,
        choices=tuple(choices),
        warnings=(*prepared.warnings, *_weights_warnings(weights, mode)),
        skipped=prepared.skipped,
    )


def source_size(dataset: Dataset) -> int:
    """Median shorter side of a sample of the train pictures, in pixels; 224 if none can be read."""
    items = dataset.split("train")
    sizes = []
    for item in items[:: max(1, len(items) // SIZE_SAMPLE)][:SIZE_SAMPLE]:
        try:
            sizes.append(min(item.open().size))
        except ImageError:
            continue  # Named with all the others by the check before training.
    return int(statistics.median(sizes)) if sizes else 224


def _refuse_ineffective(config: FinetuneConfig, mode: Mode, why: str) -> None:
    if mode != "frozen":
        return
    for field, instead in (("lr", "--head-lr"), ("augment", "--mode full")):
        if getattr(config, field) is not None:
            raise ConfigError(
                f"--{field} has no effect while the backbone is frozen" + (f" (mode auto: {why})" if why else ""),
                hint=f"use {instead}, or train the backbone with --mode full",
            )


def _weights_warnings(weights: Weights, mode: Mode) -> tuple[str, ...]:
    if weights.path is None and mode == "frozen":
        return ("the frozen backbone has random weights: this is a baseline, not a classifier",)
    return ()
