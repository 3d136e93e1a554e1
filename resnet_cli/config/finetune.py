"""The options of ``finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from resnet_cli.config.base import DATA, MACHINE, Flag, Rule
from resnet_cli.config.data import ComputeConfig, DataConfig
from resnet_cli.config.units import (
    Alpha,
    AnyShare,
    BitDepth,
    Duration,
    Head,
    ImageSize,
    Names,
    Positive,
    Rate,
    Seed,
    Share,
    Tracker,
    Trackers,
)

TRAINING, RECIPE, STOPPING, RUN = "Training", "Recipe", "Stopping", "Run"
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


class FinetuneConfig(ComputeConfig, DataConfig):
    """The options of ``finetune``; field names are the flags' names."""

    data: str = "cifar10"
    limit: Annotated[
        Positive | None, Flag("Use at most N training images, balanced across the classes.", DATA, "all")
    ] = None
    fraction: Annotated[
        Annotated[AnyShare, Field(gt=0, le=1)] | None,
        Flag("Use this share of the training images: 25% or 0.25.", DATA, "all"),
    ] = None
    val_fraction: Annotated[
        AnyShare,
        Field(gt=0, lt=0.5),
        Flag(
            "Share of each class that is set aside for validation; if the data have no splits, the same share is also "
            "set aside for testing.",
            DATA,
        ),
    ] = 0.1
    bit_depth: Annotated[
        BitDepth | None,
        Flag(
            "Bits that the values of 16-bit images use: 8, 10, 12, 14 or 16. Cameras and microscopes often store 12 "
            "bits in 16, which would be nearly black.",
            DATA,
            "from the largest value of all images",
        ),
    ] = None
    split_seed: Annotated[Seed, Flag("Random seed for drawing splits and subsets.", DATA)] = 0

    weights: Annotated[
        str,
        Flag(
            "Weights to start from: a name, a file, a run folder, or none. The names are imagenet-v1, imagenet-v2, "
            "timm-a1 and hf:OWNER/NAME; a file has ResNet-50 weights of any trainer (.pth, .ckpt, .safetensors); auto "
            "chooses ImageNet weights that suit the mode.",
            TRAINING,
            metavar="WEIGHTS",
            completes="model",
        ),
    ] = "auto"
    add: Annotated[
        bool, Flag("Add classes to the model that --weights names, without its training images.", TRAINING)
    ] = False
    mode: Annotated[
        Literal["auto", "frozen", "full", "lp-ft", "gradual"],
        Flag(
            "What is trained: the head alone, all layers, or the head and then all layers. frozen trains the head on "
            "cached features; full trains all layers; lp-ft trains first the head, then all layers; gradual unfreezes "
            "stage by stage; auto decides by the data.",
            TRAINING,
        ),
    ] = "auto"
    unfreeze: Annotated[
        Names | None,
        Flag("Stages of the backbone to train: layer3,layer4.", TRAINING, "all of them"),
    ] = None
    head: Annotated[Head, Flag("linear, or the hidden widths of an MLP: 1024,512.", TRAINING)] = "linear"
    solver: Annotated[
        Literal["auto", "lbfgs", "lbfgs-sgd", "sgd"],
        Flag(
            "Solver for a head on features: L-BFGS, steps of the optimizer that start from its head, or steps alone.",
            TRAINING,
        ),
    ] = "auto"
    epochs: Annotated[
        Annotated[int, Field(ge=1, le=10_000)] | None,
        Flag("Passes over the training split.", TRAINING, "10"),
    ] = None
    batch_size: Annotated[
        Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] | None,
        Flag("Images per optimizer step. auto finds out how many fit into memory.", TRAINING, "from the data"),
    ] = None
    lr: Annotated[
        Rate | Literal["auto"] | None,
        Flag("Peak learning rate of the backbone. auto runs a short range test.", TRAINING, "from the weights"),
    ] = None
    head_lr: Annotated[Rate | None, Flag("Peak learning rate of the head.", TRAINING, "from the mode")] = None
    image_size: Annotated[ImageSize | None, Flag("Input size in pixels.", TRAINING, "from the weights")] = None
    fit: Annotated[
        Literal["crop", "pad", "squash"] | None,
        Flag("How an image is fitted into the square input.", TRAINING, "from the images' shapes"),
    ] = None
    augment: Annotated[
        Literal["none", "light", "standard", "strong"] | None,
        Flag("Strength of the augmentation.", TRAINING, "from the images' size"),
    ] = None
    balance: Annotated[
        Literal["none", "weights", "sampler", "logit-adjust"] | None,
        Flag("How to handle class imbalance.", TRAINING, "none"),
    ] = None
    seed: Annotated[Seed, Flag("Random seed for the head, shuffling and augmentation.", TRAINING)] = 0
    seeds: Annotated[
        int,
        Field(ge=1, le=100),
        Flag(
            "Repeat with N seeds, starting at --seed; report mean and spread. Where L-BFGS alone fits the head, each "
            "seed draws another split.",
            TRAINING,
        ),
    ] = 1

    optimizer: Annotated[
        Literal["sgd", "adamw"] | None,
        Flag("sgd uses Nesterov momentum.", RECIPE, "from the weights"),
    ] = None
    schedule: Annotated[
        Literal["cosine", "linear", "constant", "one-cycle"] | None,
        Flag("Learning-rate schedule after the warmup.", RECIPE, "cosine"),
    ] = None
    warmup: Annotated[
        Annotated[AnyShare, Field(ge=0, lt=1)] | None,
        Flag("Share of all steps until the learning rate peaks.", RECIPE, "0.1"),
    ] = None
    layer_decay: Annotated[
        Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None,
        Flag("Learning rate of each stage relative to the stage after it.", RECIPE, "1"),
    ] = None
    weight_decay: Annotated[
        Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None,
        Flag("Weight decay; not applied to BatchNorm and biases.", RECIPE, "from the mode"),
    ] = None
    clip_grad: Annotated[Rate | None, Flag("Maximum gradient norm.", RECIPE, "not clipped")] = None
    accumulate: Annotated[
        Annotated[int, Field(ge=1, le=4096)] | None,
        Flag("Gradient accumulation: split each batch into N micro-batches.", RECIPE, "1"),
    ] = None
    batchnorm: Annotated[
        Literal["auto", "train", "eval"],
        Flag("train uses batch statistics, eval the running statistics of the weights.", RECIPE),
    ] = "auto"
    loss: Annotated[
        Literal["ce", "focal", "bce", "asl"] | None,
        Flag(
            "ce is cross-entropy, bce binary cross-entropy, focal the focal loss, and asl the asymmetric loss. "
            "Multi-label data needs bce, focal or asl.",
            RECIPE,
            "ce, or bce for multi-label data",
        ),
    ] = None
    label_smoothing: Annotated[
        Annotated[AnyShare, Field(ge=0, lt=1)] | None,
        Flag("Share of each label that is spread over all classes.", RECIPE, "0"),
    ] = None
    policy: Annotated[
        Literal["none", "randaugment", "trivialaugment"] | None,
        Flag("Augmentation policy; replaces the one of --augment.", RECIPE, "from --augment"),
    ] = None
    erasing: Annotated[
        Share | None,
        Flag("Probability that a part of the image is erased.", RECIPE, "from --augment"),
    ] = None
    mixup: Annotated[Alpha | None, Flag("Alpha of mixup.", RECIPE, "0: off")] = None
    cutmix: Annotated[Alpha | None, Flag("Alpha of CutMix.", RECIPE, "0: off")] = None
    mix_off_epochs: Annotated[
        Annotated[int, Field(ge=0, le=10_000)] | None,
        Flag("Turn off mixup and CutMix for the last N epochs.", RECIPE, "0"),
    ] = None
    progressive: Annotated[
        ImageSize | None,
        Flag("Image size of the first epoch; it grows to the full size.", RECIPE, "off"),
    ] = None
    ema: Annotated[
        Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None,
        Flag(
            "Decay of an exponential moving average of the weights, which becomes the model: 0.999.",
            RECIPE,
            "off",
        ),
    ] = None
    average: Annotated[
        Annotated[int, Field(ge=2, le=10_000)] | None,
        Flag("Average the weights of the last N epochs.", RECIPE, "off"),
    ] = None

    max_time: Annotated[
        Duration | None,
        Flag("Time limit: 90s, 20m, 1.5h. The schedule follows the clock.", STOPPING),
    ] = None
    patience: Annotated[
        Positive | None,
        Flag("Stop after N epochs without an improvement.", STOPPING, "never"),
    ] = None
    target: Annotated[
        Share | None,
        Flag("Stop when validation top-1 (multi-label: mAP) reaches this: 97%.", STOPPING, "never"),
    ] = None
    fail_under: Annotated[
        Share | None,
        Flag(
            "Exit with code 10 if top-1 (multi-label: mAP) on the test split (else validation) is below this: 90%.",
            STOPPING,
            "never",
        ),
    ] = None

    checkpoint_every: Annotated[
        Duration | None,
        Flag(
            "Time between checkpoints within an epoch: 10m. 0.001s: after each step.",
            RUN,
            "10m; and after each epoch",
        ),
    ] = None
    log_to: Annotated[
        Trackers,
        Flag(
            "Also log the run to tensorboard, wandb or mlflow, or to several of them: wandb,mlflow.",
            RUN,
            "none: nothing is sent anywhere",
        ),
    ] = ()
    tensorboard: Annotated[bool, Flag("The same as --log-to tensorboard.", RUN)] = False
    deterministic: Annotated[bool, Flag("Make repeated runs bit-identical, also on a GPU.", RUN)] = False
    out: Annotated[Path | None, Flag("The run folder.", RUN, "runs/DATA-TIME")] = None

    step_precision: Annotated[
        Literal["fp32", "bf16", "fp16"] | None,
        Flag(
            "Precision of the training steps alone.",
            MACHINE,
            "that of --precision; else bf16 where the hardware is faster with it",
        ),
    ] = None
    threads: Annotated[
        Annotated[int, Field(ge=1, le=4096)] | Literal["auto"],
        Flag(
            "CPU threads that share each operation. auto measures, and measures again when other processes take or "
            "free the cores; the run records it.",
            MACHINE,
        ),
    ] = "auto"
    devices: Annotated[
        Annotated[int, Field(ge=1, le=4096)] | None,
        Flag(
            "Share each step between N GPUs, one process each (on a CPU: N processes). For several machines: torchrun "
            "... -m resnet_cli finetune DATA --out RUN.",
            MACHINE,
            "1",
        ),
    ] = None

    # What depends on the data, or on a mode that the data decide, is checked in the plan.
    rules = (
        Rule(
            ("limit",),
            lambda config: config.fraction is None,
            "and --fraction: choose one",
            "--limit is a number of images, --fraction a share of each class",
        ),
        Rule(
            ("seeds",), lambda config: (config.devices or 1) == 1, "and --devices: choose one", "start one run per seed"
        ),
        Rule(
            ("ema",),
            lambda config: config.average is None,
            "and --average: choose one",
            "--ema averages steps, --average epochs",
        ),
        Rule(
            ("warmup",),
            lambda config: config.schedule != "one-cycle",
            "has no effect with --schedule one-cycle, which has its own warmup",
            "remove one of the two",
        ),
        Rule(
            ("max_time",),
            lambda config: config.mode != "frozen",
            "has no effect in mode frozen: nearly all of its time is one pass over the images",
            "remove it, or remove --mode and let the time decide",
        ),
    )

    @property
    def trackers(self) -> tuple[Tracker, ...]:
        """The trackers of ``log_to`` and ``tensorboard``, each once."""
        old: tuple[Tracker, ...] = ("tensorboard",) if self.tensorboard else ()
        return tuple(dict.fromkeys(self.log_to + old))

    @pydantic.field_validator("unfreeze")
    @classmethod
    def _check_unfreeze(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [name for name in value or () if name not in STAGES]
        if unknown or value == ():
            raise ValueError(f"must be stages from {', '.join(STAGES)}")
        return value and tuple(name for name in STAGES if name in value)
