"""Whether what the frozen stages make of a few views of each picture is kept, or computed anew in every epoch.

Stages that do not train give the same answer to the same view each time. With kept answers an epoch costs only the
stages that train; the price is that epochs share views, and disk.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from resnet_cli.data import augment
from resnet_cli.errors import ConfigError
from resnet_cli.training.optimizers import STAGES
from resnet_cli.training.recipe import Recipe

#: Of the work of a forward pass: 4.09 billion products, of which the stem has 0.12 (counted, 224 px).
STAGE_SHARES = {"stem": 0.03, "layer1": 0.16, "layer2": 0.25, "layer3": 0.36, "layer4": 0.20}
#: What comes out of a stage: channels, and by how much its sides are smaller than the picture's.
STAGE_OUTPUTS = {"stem": (64, 4), "layer1": (256, 4), "layer2": (512, 8), "layer3": (1024, 16), "layer4": (2048, 32)}
#: A training step is a forward pass and a backward pass of twice its work.
TRAIN_OVER_FORWARD = 3
#: Kept in float16.
BYTES_PER_VALUE = 2
#: Views of a picture where it varies. Source: tests/benchmarks/boundary.py.
VIEWS = 3
#: It must save this share of the time: less is within the error of the estimate.
MIN_SAVING = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What the decision depends on besides the recipe.

    Attributes:
        num_train: Training pictures.
        num_val: Validation pictures.
        image_size: Pixels of the network's input.
        device_type: ``cpu``, ``cuda``, ...
        num_processes: That share a step.
        has_clock: Whether the time ends the training, so that nobody knows the number of epochs.
        room_bytes: That the kept answers may take.
    """

    num_train: int
    num_val: int
    image_size: int
    device_type: str
    num_processes: int
    has_clock: bool
    room_bytes: int


def choose_cached_views(asked: int | Literal["auto"] | None, recipe: Recipe, setting: Setting) -> tuple[int, str]:
    """How many views of each training picture are kept, and why; 0: none, each epoch has its own.

    Args:
        asked: By the user; None or ``auto``: as many as pay, if any do.
        recipe: How is trained.
        setting: On what.

    Raises:
        ConfigError: So many cannot be kept, or would change nothing.
    """
    if asked == 0:
        return 0, "asked for"
    obstacle = why_not_cached(recipe, setting)
    if isinstance(asked, int):
        _check(asked, obstacle, recipe, setting)
        return asked, _describe(asked, recipe, setting)
    if obstacle:
        return 0, obstacle
    num_views = VIEWS if varies(recipe) else 1
    if setting.has_clock:
        return 0, "with --max-time nobody knows the number of epochs"
    if setting.device_type != "cpu":
        return 0, "measured on CPUs only"
    saved, needed = saving(num_views, recipe, setting), num_bytes(num_views, recipe, setting)
    if saved < MIN_SAVING:
        return 0, f"{num_views} for {recipe.epochs} epochs would save {max(0, saved):.0%} of the time"
    if needed > setting.room_bytes:
        return 0, f"{num_views} need {_gigabytes(needed)} of disk, {_gigabytes(setting.room_bytes)} are to spare"
    return num_views, _describe(num_views, recipe, setting)


def why_not_cached(recipe: Recipe, setting: Setting) -> str:
    """What rules it out whatever it would save; empty if nothing does."""
    if "stem" in recipe.stages:
        return "no stage is frozen: the stem trains"
    if recipe.mixup or recipe.cutmix:
        return "mixup and cutmix blend other pictures in front of the frozen stages in each epoch"
    if recipe.progressive is not None:
        return "with --progressive the pictures grow from epoch to epoch"
    if setting.num_processes > 1:
        return f"{setting.num_processes} processes share the pictures anew in each epoch"
    return ""


def varies(recipe: Recipe) -> bool:
    """Whether two views of a picture differ."""
    assert recipe.augment is not None
    same_each_time = augment.Recipe("none", mirror=False, policy="none", erasing=0.0, source_pad=False)
    return recipe.augment != same_each_time


def frozen_stages(first: str) -> tuple[str, ...]:
    """The stages in front of the first one that trains."""
    return STAGES[: STAGES.index(first)]


def activation_shape(first: str, image_size: int) -> tuple[int, int, int]:
    """What the frozen stages make of one picture: height, width, channels.

    Args:
        first: The first stage that trains; not the stem.
        image_size: Pixels of the network's input.
    """
    channels, divisor = STAGE_OUTPUTS[frozen_stages(first)[-1]]
    side = image_size
    while divisor > 1:
        # Each stride of two rounds up.
        side, divisor = math.ceil(side / 2), divisor // 2
    return side, side, channels


def num_bytes(num_views: int, recipe: Recipe, setting: Setting) -> int:
    """Of the kept answers to all views, and to the validation pictures."""
    per_picture = BYTES_PER_VALUE * math.prod(activation_shape(recipe.stages[0], setting.image_size))
    return per_picture * (num_views * setting.num_train + setting.num_val)


def num_forwards(num_views: int, stages: tuple[str, ...], *, epochs: int, num_train: int, num_val: int) -> float:
    """The cost of all epochs, in forward passes of one picture through the whole backbone.

    Args:
        num_views: That are kept; 0: none.
        stages: That train.
        epochs: All.
        num_train: Training pictures.
        num_val: Validation pictures.
    """
    # Stages that do not train have no backward pass, which is two thirds of a step.
    backward = (TRAIN_OVER_FORWARD - 1) * sum(STAGE_SHARES[name] for name in stages)
    if not num_views:
        return epochs * (num_train * (1 + backward) + num_val)
    frozen = sum(STAGE_SHARES[name] for name in frozen_stages(stages[0]))
    each_epoch = num_train * (1 - frozen + backward) + num_val * (1 - frozen)
    return epochs * each_epoch + frozen * (num_views * num_train + num_val)


def saving(num_views: int, recipe: Recipe, setting: Setting) -> float:
    """The share of the epochs' time that is saved; below 0 where it costs more."""
    with_, without = (
        num_forwards(views, recipe.stages, epochs=recipe.epochs, num_train=setting.num_train, num_val=setting.num_val)
        for views in (num_views, 0)
    )
    return 1 - with_ / without


def _check(asked: int, obstacle: str, recipe: Recipe, setting: Setting) -> None:
    flag = f"--cached-views {asked}"
    if obstacle:
        hint = "leave one of the two away" if "stem" not in recipe.stages else "add --unfreeze layer4"
        raise ConfigError(f"{flag} is not possible: {obstacle}", hint=hint)
    if asked > recipe.epochs:
        raise ConfigError(f"{flag}: there are only {recipe.epochs} epochs", hint="an epoch sees one view of a picture")
    if asked > 1 and not varies(recipe):
        raise ConfigError(f"{flag}: without augmentation all views are the same", hint="use --cached-views 1")
    needed = num_bytes(asked, recipe, setting)
    if needed > setting.room_bytes:
        raise ConfigError(
            f"{flag} needs {_gigabytes(needed)} of disk, of which {_gigabytes(setting.room_bytes)} are to spare",
            hint="use fewer, or set RESNET_CLI_CACHE to a folder on another disk",
        )


def _describe(num_views: int, recipe: Recipe, setting: Setting) -> str:
    frozen = frozen_stages(recipe.stages[0])
    share = 1 - saving(num_views, recipe, setting)
    return (
        f"of {frozen[0]} to {frozen[-1]}, shared by {recipe.epochs} epochs: about {share:.0%} of the time, "
        f"{_gigabytes(num_bytes(num_views, recipe, setting))} of disk"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 50_000_000 else f"{count / 1e6:.0f} MB"
