"""The recipe of a training: the user's values or the defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.config.units import parse_head
from resnet_cli.data.views import augment
from resnet_cli.errors import ConfigError
from resnet_cli.task import TaskName
from resnet_cli.training import defaults
from resnet_cli.training.batchnorm import refuse_single_images
from resnet_cli.training.decisions import Decisions
from resnet_cli.training.defaults import AnyLossName, Mode, Solver
from resnet_cli.training.ineffective_flags import STEP_FLAGS
from resnet_cli.training.losses import Balance
from resnet_cli.training.optimizers import STAGES, Rates
from resnet_cli.training.schedule import ScheduleName

#: What a loss does, where its row is always shown.
LOSS_NOTES: Mapping[tuple[TaskName, AnyLossName], str] = {
    ("multi-label", "bce"): "binary cross-entropy of each class",
    ("multi-label", "asl"): "asymmetric loss: an easy no counts far less",
    ("multi-label", "focal"): "easy yes and no count less",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All hyperparameters of a training.

    Attributes:
        mode: ``frozen`` (a linear probe on cached features), ``full`` (all layers), ``lp-ft`` (a linear probe, then all
            layers) or ``gradual`` (a linear probe, then one more stage at a time).
        solver: Solver of a head on features; None in mode ``full``.
        stages: Stages of the backbone that train, in the order of the network; () if it is frozen.
        hidden: Widths of the head's hidden layers.
        epochs: Number of epochs.
        batch_size: Images per optimizer step.
        micro_batch: Images that go through the network at once.
        rates: Peak learning rates and weight decay.
        lr_is_auto: Whether a range test will replace ``rates.lr``.
        schedule: Learning-rate schedule.
        warmup: Share of all steps until the learning rate peaks.
        clip_grad: Maximum norm of the gradient; None for no clipping.
        loss: Name of the loss.
        label_smoothing: Share of each label that is spread over all classes, in [0, 1).
        balance: How imbalanced classes are balanced.
        augment: Augmentation of the training images; None if the backbone is frozen (features are computed once).
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of CutMix; 0 for none.
        mix_off_epochs: Number of epochs at the end without mixup and CutMix.
        progressive: Image size of the first epoch in pixels; None if all epochs have the full size.
        ema: Decay of the moving average of the weights; None for none.
        average: Number of epochs at the end whose weights are averaged; None for none.
        train_batchnorm: Whether BatchNorm of trained stages uses and updates batch statistics.
    """

    mode: Mode
    solver: Solver | None
    stages: tuple[str, ...]
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    micro_batch: int
    rates: Rates
    lr_is_auto: bool
    schedule: ScheduleName
    warmup: float
    clip_grad: float | None
    loss: AnyLossName
    label_smoothing: float
    balance: Balance
    augment: augment.Augmentation | None
    mixup: float
    cutmix: float
    mix_off_epochs: int
    progressive: int | None
    ema: float | None
    average: int | None
    train_batchnorm: bool

    @property
    def is_frozen(self) -> bool:
        """Whether only the head trains."""
        return self.mode == "frozen"

    @property
    def depends_on_seed(self) -> bool:
        """Whether another seed gives another model.

        L-BFGS finds the same head with every seed, and the few steps that start from it stay close to it.
        """
        return not (self.is_frozen and self.solver in {"lbfgs", "lbfgs-sgd"})

    @property
    def takes_steps(self) -> bool:
        """Whether the training consists of optimizer steps; L-BFGS has no epochs."""
        return not (self.is_frozen and self.solver == "lbfgs")

    @property
    def starts_with_probe(self) -> bool:
        """Whether a linear probe on frozen features comes first, as epoch 0."""
        return self.mode in {"lp-ft", "gradual"} or self.solver == "lbfgs-sgd"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What the defaults depend on.

    Attributes:
        num_train: Number of training images.
        source_px: Median shorter side of the source images in pixels.
        image_size: Side of the network's input in pixels.
        random_start: Whether the backbone's weights are random.
        mirror_safe: Whether a mirrored image still belongs to its class.
        task: Whether an image has one label or any number.
    """

    num_train: int
    source_px: int
    image_size: int
    random_start: bool
    mirror_safe: bool
    task: TaskName = "single-label"


def choose_recipe(decisions: Decisions, mode: Mode, facts: Facts) -> Recipe:
    """Decides every hyperparameter that the user left open.

    Args:
        decisions: Has the user's config, and records each decision that has an effect in this mode.
        mode: The mode, decided already.
        facts: What the defaults depend on.

    Raises:
        ConfigError: Two values cannot be combined.
    """
    config, is_frozen = decisions.config, mode == "frozen"
    decisions.record("head", config.head)
    balance = _choose_balance(decisions, facts.task)
    loss = _choose_loss(decisions, facts.task)
    solver = None if mode == "full" else _choose_solver(decisions, mode, facts.task, loss, balance=balance)
    # Decisions about steps have no effect where L-BFGS fits the head, so they are not recorded then.
    steps = Decisions(decisions.resolved) if is_frozen and solver == "lbfgs" else decisions
    epochs = steps.decide("epochs", defaults.EPOCHS)
    steps.note("epochs", f"or as many as fit into {config.max_time:.0f} s" if config.max_time else "")
    _check(config, epochs, facts)
    batch_size = steps.decide("batch-size", defaults.default_batch_size(mode, facts.num_train))
    # Images of one process where several share a step.
    micro_batch = math.ceil(batch_size / ((config.accumulate or 1) * (config.devices or 1)))
    stages: tuple[str, ...] = ()
    if not is_frozen:
        stages = decisions.decide("unfreeze", STAGES, row=False)
    schedule: ScheduleName = steps.decide("schedule", "cosine", row=False)
    train_batchnorm = not is_frozen and _choose_batchnorm(decisions, mode, micro_batch, facts)
    if train_batchnorm:
        refuse_single_images(config, batch_size=batch_size, micro_batch=micro_batch, size_px=facts.image_size)
    num_steps = count_steps(facts.num_train, batch_size, train_batchnorm=train_batchnorm)
    parts = f", {micro_batch} at once" if micro_batch < batch_size else ""
    steps.note("batch-size", f"steps per epoch: {num_steps}{parts}")
    if is_frozen:
        # The time limit has decided the mode; beside --mode frozen it would be refused.
        decisions.values["max_time"] = None
    return Recipe(
        mode=mode,
        solver=solver,
        stages=stages,
        hidden=parse_head(config.head),
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        rates=_choose_rates(steps, mode, facts, schedule, starts_from_lbfgs=solver == "lbfgs-sgd"),
        lr_is_auto=config.lr == "auto",
        schedule=schedule,
        warmup=defaults.WARMUP if config.warmup is None else config.warmup,
        clip_grad=config.clip_grad,
        loss=loss,
        label_smoothing=config.label_smoothing or 0.0,
        balance=balance,
        augment=None if is_frozen else _choose_augment(decisions, facts),
        mixup=config.mixup or 0.0,
        cutmix=config.cutmix or 0.0,
        mix_off_epochs=config.mix_off_epochs or 0,
        progressive=config.progressive,
        ema=config.ema,
        average=config.average,
        train_batchnorm=train_batchnorm,
    )


def count_steps(num_train: int, batch_size: int, *, train_batchnorm: bool) -> int:
    """Number of optimizer steps per epoch; the images are spread evenly over them."""
    # A single image has no batch statistics.
    most = num_train // 2 if train_batchnorm else num_train
    return max(1, min(math.ceil(num_train / batch_size), most))


def _choose_balance(decisions: Decisions, task: TaskName) -> Balance:
    """With one label, added classes have far more images than the old ones have exemplars.

    With many labels, no class competes with another. An offset of a class's logits would only move its bias, which
    training moves back.
    """
    default: Mapping[TaskName, Balance] = {
        "single-label": "logit-adjust" if decisions.config.add else "none",
        "multi-label": "none",
    }
    balance: Balance = decisions.decide("balance", default[task], row=False)
    if task == "multi-label" and balance == "logit-adjust":
        raise ConfigError(
            "--balance logit-adjust has no effect on multi-label data: each class has its own bias and threshold",
            hint="use --balance weights, or --balance sampler",
        )
    return balance


def _choose_loss(decisions: Decisions, task: TaskName) -> AnyLossName:
    names = defaults.LOSSES[task]
    loss: AnyLossName = decisions.decide("loss", names[0], row=task != "single-label")
    decisions.note("loss", LOSS_NOTES.get((task, loss), ""))
    if loss not in names:
        raise ConfigError(
            f"--loss {loss} is not a loss for {task} data",
            hint=f"use --loss {', '.join(names[:-1])} or {names[-1]}",
        )
    return loss


def _choose_solver(decisions: Decisions, mode: Mode, task: TaskName, loss: AnyLossName, *, balance: Balance) -> Solver:
    config = decisions.config
    # In the other modes, flags about steps are about the training after the probe.
    given = [name for name in STEP_FLAGS if getattr(config, name) is not None] if mode == "frozen" else []
    solver, why = defaults.default_solver(config.head == "linear", given, task=task, loss=loss, balance=balance)
    if config.solver == "lbfgs-sgd" and mode != "frozen":
        raise ConfigError(
            f"--solver lbfgs-sgd has no effect in mode {mode}, whose steps train the network",
            hint="use --solver lbfgs, or --mode frozen",
        )
    if config.solver in {"lbfgs", "lbfgs-sgd"} and solver not in {"lbfgs", config.solver}:
        steps = ", or use --solver lbfgs-sgd" if solver == "lbfgs-sgd" else ""
        raise ConfigError(f"--solver {config.solver} is not possible: {why}", hint=f"remove one of the two{steps}")
    return decisions.decide("solver", solver, why)


def _choose_batchnorm(decisions: Decisions, mode: Mode, micro_batch: int, facts: Facts) -> bool:
    num_images = min(micro_batch, facts.num_train)
    default = defaults.default_batchnorm(mode, num_images, num_train=facts.num_train, random_start=facts.random_start)
    trains = decisions.decide("batchnorm", default) == "train"
    decisions.note("batchnorm", "" if trains else "the weights' own statistics stay fixed")
    return trains


def _choose_rates(
    decisions: Decisions, mode: Mode, facts: Facts, schedule: ScheduleName, *, starts_from_lbfgs: bool
) -> Rates:
    config = decisions.config
    is_frozen, random_start = mode == "frozen", facts.random_start
    peak = "peak of warm-up and cosine" if schedule == "cosine" else f"peak; {schedule}"
    optimizer = decisions.decide(
        "optimizer",
        defaults.default_optimizer(mode, random_start=random_start),
        "random weights need it" if random_start else "",
        row=not is_frozen,
    )
    lr, layer_decay = None, 1.0
    if not is_frozen:
        layer_decay = decisions.decide("layer-decay", 1.0, row=False)
        lr = defaults.default_lr(mode, optimizer, random_start=random_start)
        lr = decisions.decide("lr", lr)
        decay = f", times {layer_decay:g} for each earlier stage" if layer_decay < 1 else ""
        decisions.record("lr", "auto" if config.lr == "auto" else f"{lr:g}", f"backbone; {peak}{decay}")
        if config.lr == "auto":
            decisions.values["lr"] = "auto"
    head_lr = defaults.default_head_lr(mode, optimizer, parse_head(config.head), random_start=random_start)
    head_lr = decisions.decide("head-lr", defaults.HEAD_LR_AFTER_LBFGS if starts_from_lbfgs else head_lr)
    decisions.record("head-lr", f"{head_lr:g}", peak)
    if starts_from_lbfgs and optimizer == "sgd" and config.weight_decay is None:
        decisions.record("weight-decay", "as L-BFGS", "the penalty that validation chooses for the head of L-BFGS")
        return Rates(optimizer, lr, head_lr, None, layer_decay)
    weight_decay = decisions.decide("weight-decay", defaults.default_weight_decay(mode, optimizer), row=False)
    if config.weight_decay is not None:
        decisions.record("weight-decay", f"{weight_decay:g}")
    return Rates(optimizer, lr, head_lr, weight_decay, layer_decay)


def _check(config: FinetuneConfig, epochs: int, facts: Facts) -> None:
    if config.average is not None and config.average > epochs:
        raise ConfigError(f"--average {config.average}: there are only {epochs} epochs", hint="raise --epochs")
    if config.mix_off_epochs is not None and not (config.mixup or config.cutmix):
        raise ConfigError("--mix-off-epochs has no effect without --mixup or --cutmix", hint="add one: --mixup 0.2")
    if config.progressive is not None and config.progressive >= facts.image_size:
        raise ConfigError(
            f"--progressive {config.progressive}: must be smaller than the image size, {facts.image_size}",
            hint="--progressive is the image size of the first epoch, --image-size that of the last",
        )


def _choose_augment(decisions: Decisions, facts: Facts) -> augment.Augmentation:
    recipe = augment.default_augmentation(
        decisions.decide("augment", defaults.default_augment(facts.source_px)),
        mirror=facts.mirror_safe,
        tiny=facts.source_px <= augment.TINY_SOURCE_PX,
        policy=decisions.config.policy,
        erasing=decisions.config.erasing,
    )
    decisions.values |= {"policy": recipe.policy, "erasing": recipe.erasing}
    varied = [
        recipe.strength if recipe.strength != "light" else "small shifts",
        "mirrored" if recipe.mirror else "",
        recipe.policy if recipe.policy != "none" else "",
        f"erasing {recipe.erasing:g}" if recipe.erasing else "",
    ]
    decisions.note("augment", ", ".join(filter(None, varied)) if varied != ["none", "", "", ""] else "")
    return recipe
