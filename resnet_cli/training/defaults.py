"""The defaults of training: pure functions of the data and the device, here and nowhere else."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from resnet_cli.preprocess import Preprocess
from resnet_cli.weights import IMAGENET_PREPROCESS

Mode = Literal["frozen", "full"]
Augment = Literal["none", "light", "standard"]
Optimizer = Literal["sgd", "adamw"]

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


def default_image_size(made_for: Preprocess | None, source_px: int, device_type: str) -> tuple[int, str]:
    """The network's input size and why: the weights' own, smaller for tiny sources where that saves hours."""
    if made_for is None:
        size = min(224, max(32, 32 * math.ceil(source_px / 32)))
        return size, f"the {source_px} px source, in steps of 32"
    is_imagenet_size = made_for.crop_size >= 224
    if source_px <= TINY_SOURCE_PX and device_type == "cpu" and is_imagenet_size:
        return TINY_SOURCE_CPU_SIZE, f"{source_px} px sources enlarged; 224 would take 3 times as long on a CPU"
    return made_for.crop_size, enlarged_note(source_px, made_for.crop_size) or "what the weights were trained for"


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


def default_optimizer(mode: Mode, *, random_start: bool) -> Optimizer:
    """SGD with momentum; AdamW for a whole network from random weights, which needs steps of even size."""
    return "adamw" if mode == "full" and random_start else "sgd"


def default_lr(*, random_start: bool) -> float:
    """Peak rate of the backbone at the default batch sizes: AdamW's from random weights, else SGD's."""
    return 0.001 if random_start else 0.005


def default_head_lr(mode: Mode, hidden: tuple[int, ...], *, random_start: bool) -> float:
    """Peak rate of the head; ten times a pretrained backbone's.

    Source: ten times: TLlib's finetuning recipe. Frozen: tests/benchmarks/head.py; an MLP: measured on ants/bees.
    """
    if mode == "frozen":
        return 0.003 if not hidden else 0.03
    return 0.001 if random_start else 0.05


def default_augment(source_px: int) -> Augment:
    """Random crops of photos; tiny pictures only shift (a third of a 32 px picture says little)."""
    return "light" if source_px <= TINY_SOURCE_PX else "standard"


def enlarged_note(source_px: int, image_size: int) -> str:
    """Says that small sources are enlarged; empty if they are not."""
    return f"{source_px} px sources enlarged to {image_size}" if source_px < image_size else ""


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"
