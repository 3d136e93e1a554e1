"""Everything decided before the first step, each value with who set it and why.

The defaults are pure functions of the data and the device; they stand here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from resnet_cli.config import FinetuneConfig, Resolved, parse_head
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources import open_dataset
from resnet_cli.data.splits import complete_splits, limit_train
from resnet_cli.device import Compute, choose_compute
from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.preprocess import Preprocess
from resnet_cli.weights import IMAGENET_PREPROCESS, Weights, find_weights

Mode = Literal["frozen", "full"]
Augment = Literal["none", "light", "standard"]
Optimizer = Literal["sgd", "adamw"]
Progress = Callable[[int, int | None], None]

#: Sources up to this size (CIFAR, icons, scans of digits) are enlarged, and augmented gently.
TINY_SOURCE_PX = 64
#: What a CPU enlarges tiny sources to: a third of the work of 224, and still four times CIFAR's own size.
TINY_SOURCE_CPU_SIZE = 128
#: On a CPU `auto` trains the whole network only where that takes about two minutes at the most.
AUTO_FULL_CPU_S = 120
#: Seconds a training picture of 224 px takes on two CPU cores (forward and backward; measured, fp32).
CPU_TRAIN_S_PER_IMAGE = 0.25
#: Below this BatchNorm's batch statistics are too noisy to train with; the stored ones are kept.
MIN_BATCH_FOR_BATCHNORM = 16
#: Pictures looked at to learn the source's size.
SIZE_SAMPLE = 32


@dataclasses.dataclass(frozen=True)
class Choice:
    """One row of the plan.

    Attributes:
        name: As the flag is called.
        value: As it is shown.
        origin: ``flag``, a YAML file's name, ``default`` or ``auto``.
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


def make_plan(resolved: Resolved[FinetuneConfig], *, on_download: Progress | None = None) -> Plan:
    """Looks at the data, the weights and the machine, and decides everything.

    Args:
        resolved: The config and who set each value.
        on_download: Called with (bytes done, bytes in all).

    Raises:
        ConfigError: A flag that has no effect in the chosen mode, or cannot be.
        DataError: Data that cannot be used.
        NetworkError: Data or weights are not here and cannot be downloaded.
        SetupError: The device is not here.
    """
    config, origins = resolved.config, resolved.origins
    compute = choose_compute(config.device, config.precision)
    dataset = open_dataset(config.data, classes=config.classes, offline=config.offline, on_download=on_download)
    dataset = complete_splits(dataset, val_fraction=config.val_fraction, seed=config.split_seed)
    if config.limit:
        dataset = limit_train(dataset, config.limit, seed=config.split_seed)
    num_train = len(dataset.split("train"))
    hidden = parse_head(config.head)
    source_px = source_size(dataset)

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
            config.weights, compute.type, num_images=num_train * config.epochs, image_size=image_size
        )
    if weights is None:
        weights = find_weights("auto", mode=mode, offline=config.offline, on_download=on_download)
        made_for = weights.preprocess
    preprocess = choose_preprocess(made_for, image_size, source_px)

    _refuse_ineffective(config, origins, mode, mode_why)
    random_start = weights.path is None
    batch_size = config.batch_size or default_batch_size(mode, num_train)
    optimizer: Optimizer = "adamw" if mode == "full" and random_start else "sgd"
    lr = None if mode == "frozen" else config.lr or default_lr(random_start=random_start)
    head_lr = config.head_lr or default_head_lr(mode, hidden, random_start=random_start)
    augment = None if mode == "frozen" else config.augment or default_augment(source_px)
    train_batchnorm = mode == "full" and (random_start or min(batch_size, num_train) >= MIN_BATCH_FOR_BATCHNORM)

    def row(name: str, value: object, why: str = "") -> Choice:
        field = name.replace("-", "_")
        origin = origins.get(field, "auto")
        is_auto = origin == "default" and getattr(config, field, None) in {None, "auto"}
        return Choice(name, str(value), "auto" if is_auto else origin, why)

    counts = dataset.counts()
    sizes = ", ".join(f"{sum(per_class):,} {split}" for split, per_class in counts.items() if sum(per_class))
    choices = [
        row("data", dataset.name, f"{sizes}; {len(dataset.classes)} classes"),
        row("split", dataset.split_note or "as the source says"),
        row("weights", Path(weights.name).name, weights.why),
        row("mode", mode, mode_why),
        row("head", config.head),
        row("image-size", image_size, size_why or _enlarged_note(source_px, image_size)),
        row("device", compute.device),
        row("precision", compute.precision, compute.reason),
        row("epochs", config.epochs),
        row("batch-size", batch_size, f"{math.ceil(num_train / batch_size)} steps an epoch"),
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
        warnings=_warnings(dataset, weights, mode),
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


def default_image_size(made_for: Preprocess | None, source_px: int, device_type: str) -> tuple[int, str]:
    """The network's input size and why: the weights' own, smaller for tiny sources where that saves hours."""
    if made_for is None:
        size = min(224, max(32, 32 * math.ceil(source_px / 32)))
        return size, f"the {source_px} px source, in steps of 32"
    is_imagenet_size = made_for.crop_size == 224
    if source_px <= TINY_SOURCE_PX and device_type == "cpu" and is_imagenet_size:
        return TINY_SOURCE_CPU_SIZE, f"{source_px} px sources enlarged; 224 would take 3 times as long on a CPU"
    return made_for.crop_size, _enlarged_note(source_px, made_for.crop_size) or "what the weights were trained for"


def choose_preprocess(made_for: Preprocess | None, image_size: int, source_px: int) -> Preprocess:
    """The weights' own geometry, scaled; small sources are enlarged whole, with the sharper filter."""
    native = made_for or IMAGENET_PREPROCESS["imagenet-v1"]
    if native.crop_size == image_size and source_px >= image_size:
        return native
    if source_px < image_size:
        return dataclasses.replace(native, resize_size=image_size, crop_size=image_size, interpolation="bicubic")
    resize_size = round(image_size * native.resize_size / native.crop_size)
    return dataclasses.replace(native, resize_size=resize_size, crop_size=image_size)


def default_mode(weights: str, device_type: str, *, num_images: int, image_size: int) -> tuple[Mode, str]:
    """GPU: full. CPU: frozen, unless training everything takes two minutes at the most."""
    if weights == "none":
        return "full", "a frozen backbone with random weights has learnt nothing"
    if device_type != "cpu":
        return "full", "there is a GPU"
    seconds = num_images * CPU_TRAIN_S_PER_IMAGE * (image_size / 224) ** 2
    if seconds <= AUTO_FULL_CPU_S:
        return "full", f"little data: about {max(1, round(seconds)):,} s on two cores"
    return "frozen", f"no GPU: training the backbone would take about {_duration(seconds)} on two cores"


def default_batch_size(mode: Mode, num_train: int) -> int:
    """64 features a step; 32 pictures, or 128 where that leaves enough steps.

    Source: frozen: tests/benchmarks/head.py.
    """
    if mode == "frozen":
        return 64
    return 32 if num_train < 20_000 else 128


def default_lr(*, random_start: bool) -> float:
    """Peak rate of the backbone at the default batch sizes: AdamW's from random weights, else SGD's."""
    return 0.001 if random_start else 0.005


def default_head_lr(mode: Mode, hidden: tuple[int, ...], *, random_start: bool) -> float:
    """Peak rate of the head; ten times a pretrained backbone's.

    Source: ten times: TLlib's finetuning recipe. Frozen: tests/benchmarks/head.py.
    """
    if mode == "frozen":
        return 0.003 if not hidden else 0.01
    return 0.001 if random_start else 0.05


def default_augment(source_px: int) -> Augment:
    """Random crops of photos; tiny pictures only shift (a third of a 32 px picture says little)."""
    return "light" if source_px <= TINY_SOURCE_PX else "standard"


def _refuse_ineffective(config: FinetuneConfig, origins: dict[str, str], mode: Mode, why: str) -> None:
    if mode != "frozen":
        return
    for field, instead in (("lr", "--head-lr"), ("augment", "--mode full")):
        if getattr(config, field) is not None:
            raise ConfigError(
                f"--{field} has no effect while the backbone is frozen" + (f" (mode auto: {why})" if why else ""),
                hint=f"use {instead}, or train the backbone with --mode full",
            )


def _enlarged_note(source_px: int, image_size: int) -> str:
    return f"{source_px} px sources enlarged to {image_size}" if source_px < image_size else ""


def _warnings(dataset: Dataset, weights: Weights, mode: Mode) -> tuple[str, ...]:
    found = list(dataset.notes)
    train = dataset.counts()["train"]
    smallest, largest = min(train), max(train)
    if largest > 5 * smallest:
        found.append(
            f"classes are uneven: {smallest} train pictures of '{dataset.classes[train.index(smallest)]}', "
            f"{largest} of '{dataset.classes[train.index(largest)]}'"
        )
    if weights.path is None and mode == "frozen":
        found.append("the frozen backbone has random weights: this is a baseline, not a classifier")
    return tuple(found)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"
