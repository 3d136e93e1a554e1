"""The defaults of training: pure functions of the data and the device, here and nowhere else."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from resnet_cli.data.views.augment import TINY_SOURCE_PX, Strength
from resnet_cli.heads.block_path import SAMPLE_TRAIN, fits_in_memory
from resnet_cli.model.network import NUM_FEATURES
from resnet_cli.model.weights import IMAGENET_PREPROCESS
from resnet_cli.preprocess import Fit, Preprocess
from resnet_cli.task import TaskName
from resnet_cli.text import duration
from resnet_cli.training.label_losses import LabelLossName
from resnet_cli.training.losses import LossName
from resnet_cli.training.optimizers import OptimizerName

AnyLossName = LossName | LabelLossName
#: Task -> its losses; the first is the default, and the one that L-BFGS minimizes.
LOSSES: Mapping[TaskName, tuple[AnyLossName, ...]] = {
    "single-label": get_args(LossName),
    "multi-label": get_args(LabelLossName),
}
Mode = Literal["frozen", "full", "lp-ft", "gradual"]
#: ``lbfgs-sgd``: steps that start from the head of L-BFGS.
Solver = Literal["lbfgs", "lbfgs-sgd", "sgd"]

EPOCHS = 10
#: Share of all steps until the learning rate peaks.
WARMUP = 0.1
#: Longer over shorter side up to which the center crop represents the image: 4:3 and 3:2 photos, and just 16:9.
MAX_CROP_ASPECT = 1.8

#: Size to which tiny sources are enlarged on a CPU: a third of the work of 224, and still four times CIFAR's size.
TINY_SOURCE_CPU_SIZE = 128
#: On a CPU, `auto` trains the whole network only if that takes at most about two minutes.
AUTO_FULL_CPU_S = 120
#: Seconds per training image of 224 px on two CPU cores (forward and backward pass; measured, fp32).
CPU_TRAIN_S_PER_IMAGE = 0.25
#: Number of training images from which there are enough steps for large batches and enough images for new
#: BatchNorm statistics.
MANY_IMAGES = 20_000
#: Batch size below which BatchNorm's batch statistics are too noisy to train with; the stored ones are kept.
MIN_BATCH_FOR_BATCHNORM = 16

#: Peak learning rate of steps that start from the head of L-BFGS, a tenth of that of steps from a fresh head: there is
#: little left to gain, and larger steps only scatter around that head. Over ten epochs the validation loss (at its best
#: temperature) stays within -0.0008 and +0.0023 of that of L-BFGS, with 0.003 within -0.0075 and +0.0142 (ants/bees at
#: 224 and 128 px, 2,000 images of CIFAR-10 at 64 px, seeds 0 to 2).
HEAD_LR_AFTER_LBFGS = 0.0003


def default_image_size(made_for: Preprocess | None, source_px: int, device_type: str) -> tuple[int, str]:
    """The input size and its reason: the size of the weights, or a smaller one for tiny sources on a CPU."""
    if made_for is None:
        size = min(224, max(32, 32 * math.ceil(source_px / 32)))
        return size, f"the {source_px} px source, rounded up to a multiple of 32"
    is_imagenet_size = made_for.crop_size >= 224
    if source_px <= TINY_SOURCE_PX and device_type == "cpu" and is_imagenet_size:
        return TINY_SOURCE_CPU_SIZE, f"{source_px} px sources enlarged; 224 would take 3 times as long on a CPU"
    return made_for.crop_size, enlarged_note(source_px, made_for.crop_size) or "what the weights were trained for"


def choose_preprocess(made_for: Preprocess | None, image_size: int, source_px: int, fit: Fit = "crop") -> Preprocess:
    """The preprocessing of the weights, scaled; small sources are enlarged as a whole, with the sharper filter."""
    native = made_for or IMAGENET_PREPROCESS["imagenet-v1"]
    if source_px < image_size:
        native = dataclasses.replace(native, resize_size=native.crop_size, interpolation="bicubic")
    return native.with_size(image_size).with_fit(fit)


def default_mode(
    weights: str, device_type: str, *, num_images: int, image_size: int, max_time_s: float | None
) -> tuple[Mode, str]:
    """On a GPU lp-ft; on a CPU frozen, unless training all layers fits the time.

    Args:
        weights: Value of ``--weights``.
        device_type: ``cpu``, ``cuda``, ...
        num_images: Number of training images in all epochs together.
        image_size: Side of the network's input in pixels.
        max_time_s: Time limit of the user; None for two minutes on a CPU.
    """
    if weights == "none":
        return "full", "a frozen backbone with random weights has learned nothing"
    if device_type != "cpu":
        return "lp-ft", "there is a GPU"
    seconds = num_images * CPU_TRAIN_S_PER_IMAGE * (image_size / 224) ** 2
    if seconds <= (max_time_s or AUTO_FULL_CPU_S):
        return "lp-ft", f"training it all takes about {duration(seconds)} on two cores"
    return "frozen", f"no GPU: training the backbone would take about {duration(seconds)} on two cores"


def default_batch_size(mode: Mode, num_train: int) -> int:
    """64 feature vectors, or 32 images; 128 images if that leaves enough steps.

    Source: frozen: benchmarks/head.py.
    """
    if mode == "frozen":
        return 64
    return 32 if num_train < MANY_IMAGES else 128


def default_optimizer(mode: Mode, *, random_start: bool) -> OptimizerName:
    """SGD with momentum; AdamW for a whole network from random weights, which needs steps of uniform size."""
    return "adamw" if mode != "frozen" and random_start else "sgd"


def default_lr(mode: Mode, optimizer: OptimizerName, *, random_start: bool) -> float:
    """Peak learning rate of the backbone at the default batch sizes.

    Source: lp-ft: on 5,000 CIFAR-10 images at 128 px three epochs of 0.003 with BatchNorm in eval mode take the
    probe from 79.2 to 82.4 % (n = 2,000); at 64 px 0.01 with batch statistics falls from 70.6 to 63 in its first
    epoch and only gets back to 70.8 in its third, 0.002 in eval mode is at 72.5 after one.
    """
    if random_start:
        return 0.001 if optimizer == "adamw" else 0.05
    if optimizer == "adamw":
        return 1e-4
    return 0.003 if mode in {"lp-ft", "gradual"} else 0.005


def default_head_lr(mode: Mode, optimizer: OptimizerName, hidden: tuple[int, ...], *, random_start: bool) -> float:
    """Peak learning rate of the head: higher than the backbone's for a new head, the same for one from a probe.

    Source: ten times: TLlib's finetuning recipe. Frozen: benchmarks/head.py; an MLP: measured on ants/bees.
    """
    if mode == "frozen":
        return 0.003 if not hidden else 0.03
    lr = default_lr(mode, optimizer, random_start=random_start)
    return lr if mode in {"lp-ft", "gradual"} or random_start else 10 * lr


def default_weight_decay(mode: Mode, optimizer: OptimizerName) -> float:
    """A head on features needs far more than a network: there are often fewer images than its 2,048 features.

    Source: frozen: benchmarks/head.py (ten epochs of 0.1 reach what L-BFGS reaches with its best penalty);
    SGD: He et al. 2016, section 3.4; AdamW: torch's default.
    """
    if mode == "frozen":
        return 0.1
    return 1e-4 if optimizer == "sgd" else 1e-2


def batchnorm_momentum(steps_per_epoch: int) -> float:
    """Share of each batch in the running statistics: by its end, an epoch has forgotten the statistics before it.

    Source: SimCLR, Chen et al. 2020, https://arxiv.org/abs/2002.05709, appendix B.8.
    """
    return min(10 / steps_per_epoch, 0.1)


def default_solver(
    head_is_linear: bool, given: list[str], *, loss: str, balance: str, task: TaskName = "single-label"
) -> tuple[Solver, str]:
    """L-BFGS for a linear head, unless the user asks for something that L-BFGS cannot do.

    Steps that the user asks for start from its head: they alone, from a fresh head, would end below it.

    Args:
        head_is_linear: Whether the problem is convex.
        given: Flags about steps and epochs that the user gave.
        loss: Name of the loss.
        balance: How imbalanced classes are balanced.
        task: Whether an image has one label or any number.
    """
    if not head_is_linear:
        return "sgd", "the head has hidden layers"
    is_convex = loss == LOSSES[task][0]
    if not is_convex or balance == "sampler":
        return "sgd", f"--{'balance ' + balance if is_convex else 'loss ' + loss} needs steps"
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        return (
            "lbfgs-sgd",
            f"{flag} asks for steps; they start from the L-BFGS head, which is kept if no epoch is better",
        )
    chosen = {
        "single-label": "validation chooses its penalty",
        "multi-label": "validation chooses each class's penalty",
    }
    return "lbfgs", f"finds the best linear head; {chosen[task]}"


def blocks_note(num_images: int, solver: Solver) -> str:
    """How a head is fitted to more images than fit into memory; empty for fewer.

    Args:
        num_images: Number of training and validation images.
        solver: Solver of the head.
    """
    if fits_in_memory(num_images, NUM_FEATURES):
        return ""
    if solver == "sgd":
        return "features are read from disk, a batch at a time"
    return f"first on {SAMPLE_TRAIN:,} images, then on all of them, whose features are read from disk in blocks"


def default_batchnorm(mode: Mode, num_images: int, *, num_train: int, random_start: bool) -> Literal["train", "eval"]:
    """Batch statistics if the batches are large enough and the head can adapt; else those of the weights.

    A head from a probe was fitted to features with the stored statistics: a few images are not enough to adapt it to
    others (see :func:`default_lr`).

    Args:
        mode: Mode of the training.
        num_images: Number of images that go through the network at once.
        num_train: Number of training images.
        random_start: Whether the weights are random, so that there are no stored statistics.
    """
    if random_start:
        return "train"
    has_probe = mode in {"lp-ft", "gradual"}
    return "eval" if num_images < MIN_BATCH_FOR_BATCHNORM or (has_probe and num_train < MANY_IMAGES) else "train"


def choose_fit(aspects: Sequence[float]) -> tuple[Fit, str]:
    """Crop, unless that loses much of the typical image.

    Args:
        aspects: Longer over shorter side of some of the images.
    """
    typical = statistics.median(aspects) if aspects else 1.0
    if typical <= MAX_CROP_ASPECT:
        return "crop", ""
    return (
        "pad",
        f"the images are {typical:.1f} times as long as wide: a square crop would lose {100 * (1 - 1 / typical):.0f} %",
    )


def default_augment(source_px: int) -> Strength:
    """Random crops for photos, small shifts for tiny images (a third of a 32 px image shows little)."""
    return "light" if source_px <= TINY_SOURCE_PX else "standard"


def enlarged_note(source_px: int, image_size: int) -> str:
    """A note that small sources are enlarged; empty if they are not."""
    return f"{source_px} px sources enlarged to {image_size}" if source_px < image_size else ""
