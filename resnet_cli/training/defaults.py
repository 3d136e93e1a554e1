"""The defaults of training: pure functions of the data and the device, here and nowhere else."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Literal

from resnet_cli.data.views.augment import TINY_SOURCE_PX, Strength
from resnet_cli.model.weights import IMAGENET_PREPROCESS
from resnet_cli.preprocess import Fit, Preprocess
from resnet_cli.text import duration
from resnet_cli.training.optimizers import OptimizerName

Mode = Literal["frozen", "full", "lp-ft", "gradual"]
Solver = Literal["lbfgs", "sgd"]

EPOCHS = 10
#: Share of all steps until the rate peaks.
WARMUP = 0.1
#: Longer side over shorter up to which the centre crop stands for the image: 3:2 and 4:3 photos, and 16:9 just.
MAX_CROP_ASPECT = 1.8

#: What a CPU enlarges tiny sources to: a third of the work of 224, and still four times CIFAR's own size.
TINY_SOURCE_CPU_SIZE = 128
#: On a CPU `auto` trains the whole network only where that takes about two minutes at the most.
AUTO_FULL_CPU_S = 120
#: Seconds a training image of 224 px takes on two CPU cores (forward and backward; measured, fp32).
CPU_TRAIN_S_PER_IMAGE = 0.25
#: From here on there are enough steps for large batches, and enough images for new statistics.
MANY_IMAGES = 20_000
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


def choose_preprocess(made_for: Preprocess | None, image_size: int, source_px: int, fit: Fit = "crop") -> Preprocess:
    """The weights' own geometry, scaled; small sources are enlarged whole, with the sharper filter."""
    native = made_for or IMAGENET_PREPROCESS["imagenet-v1"]
    if source_px < image_size:
        native = dataclasses.replace(native, resize_size=native.crop_size, interpolation="bicubic")
    return native.with_size(image_size).with_fit(fit)


def default_mode(
    weights: str, device_type: str, *, num_images: int, image_size: int, max_time_s: float | None
) -> tuple[Mode, str]:
    """GPU: lp-ft. CPU: frozen, unless training everything fits the time.

    Args:
        weights: As ``--weights`` names them.
        device_type: ``cpu``, ``cuda``, ...
        num_images: Training images of all epochs together.
        image_size: Pixels of the network's input.
        max_time_s: What the user allows; None: two minutes on a CPU.
    """
    if weights == "none":
        return "full", "a frozen backbone with random weights has learnt nothing"
    if device_type != "cpu":
        return "lp-ft", "there is a GPU"
    seconds = num_images * CPU_TRAIN_S_PER_IMAGE * (image_size / 224) ** 2
    if seconds <= (max_time_s or AUTO_FULL_CPU_S):
        return "lp-ft", f"training it all takes about {duration(seconds)} on two cores"
    return "frozen", f"no GPU: training the backbone would take about {duration(seconds)} on two cores"


def default_batch_size(mode: Mode, num_train: int) -> int:
    """64 features a step; 32 images, or 128 where that leaves enough steps.

    Source: frozen: benchmarks/head.py.
    """
    if mode == "frozen":
        return 64
    return 32 if num_train < MANY_IMAGES else 128


def default_optimizer(mode: Mode, *, random_start: bool) -> OptimizerName:
    """SGD with momentum; AdamW for a whole network from random weights, which needs steps of even size."""
    return "adamw" if mode != "frozen" and random_start else "sgd"


def default_lr(mode: Mode, optimizer: OptimizerName, *, random_start: bool) -> float:
    """Peak rate of the backbone at the default batch sizes.

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
    """Peak rate of the head: a fresh one is faster than a trained backbone, one from a probe is not.

    Source: ten times: TLlib's finetuning recipe. Frozen: benchmarks/head.py; an MLP: measured on ants/bees.
    """
    if mode == "frozen":
        return 0.003 if not hidden else 0.03
    lr = default_lr(mode, optimizer, random_start=random_start)
    return lr if mode in {"lp-ft", "gradual"} or random_start else 10 * lr


def default_weight_decay(mode: Mode, optimizer: OptimizerName) -> float:
    """A head on features needs far more than a network: 2,048 features are often more than there are images.

    Source: frozen: benchmarks/head.py (ten epochs of 0.1 reach what L-BFGS reaches with its best penalty);
    SGD: He et al. 2016, section 3.4; AdamW: torch's default.
    """
    if mode == "frozen":
        return 0.1
    return 1e-4 if optimizer == "sgd" else 1e-2


def batchnorm_momentum(steps_per_epoch: int) -> float:
    """Share of each batch in the running statistics: an epoch's end forgets what was before its start.

    Source: SimCLR, Chen et al. 2020, https://arxiv.org/abs/2002.05709, appendix B.8.
    """
    return min(10 / steps_per_epoch, 0.1)


def default_solver(head_is_linear: bool, given: list[str], *, loss: str, balance: str) -> tuple[Solver, str]:
    """L-BFGS for a linear head, unless something was asked for that only steps can do.

    Args:
        head_is_linear: Only then is the optimum one.
        given: Flags about steps and epochs that the user gave.
        loss: Of the training.
        balance: Of the classes.
    """
    if not head_is_linear:
        return "sgd", "the head has hidden layers"
    if given:
        return "sgd", f"--{given[0].replace('_', '-')} is about steps"
    if loss != "ce" or balance == "sampler":
        return "sgd", f"--{'loss ' + loss if loss != 'ce' else 'balance ' + balance} needs steps"
    return "lbfgs", "the best head there is; its penalty is chosen on validation"


def default_batchnorm(mode: Mode, num_images: int, *, num_train: int, random_start: bool) -> Literal["train", "eval"]:
    """Batch statistics where a batch gives good ones and the head can follow; else those of the trained weights.

    A head from a probe knows the features as the stored statistics make them: few images are not enough to learn
    others (see :func:`default_lr`).

    Args:
        mode: Of the training.
        num_images: That go through the network at once.
        num_train: Training images.
        random_start: There are no stored ones.
    """
    if random_start:
        return "train"
    has_probe = mode in {"lp-ft", "gradual"}
    return "eval" if num_images < MIN_BATCH_FOR_BATCHNORM or (has_probe and num_train < MANY_IMAGES) else "train"


def choose_fit(aspects: Sequence[float]) -> tuple[Fit, str]:
    """Crop, unless that loses much of the typical image.

    Args:
        aspects: Longer side over shorter, of some of the images.
    """
    typical = statistics.median(aspects) if aspects else 1.0
    if typical <= MAX_CROP_ASPECT:
        return "crop", ""
    return (
        "pad",
        f"the images are {typical:.1f} times as long as wide: a square crop would lose {1 - 1 / typical:.0%}",
    )


def default_augment(source_px: int) -> Strength:
    """Random crops of photos; tiny images only shift (a third of a 32 px image says little)."""
    return "light" if source_px <= TINY_SOURCE_PX else "standard"


def enlarged_note(source_px: int, image_size: int) -> str:
    """Says that small sources are enlarged; empty if they are not."""
    return f"{source_px} px sources enlarged to {image_size}" if source_px < image_size else ""
