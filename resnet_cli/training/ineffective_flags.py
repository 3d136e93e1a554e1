"""Flags that have no effect in some mode, and their refusal."""

from __future__ import annotations

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError
from resnet_cli.training.defaults import Mode

#: Flags about optimizer steps; a head that L-BFGS fits takes none.
STEP_FLAGS = (
    "epochs",
    "patience",
    "target",
    "batch_size",
    "accumulate",
    "optimizer",
    "head_lr",
    "weight_decay",
    "schedule",
    "warmup",
    "clip_grad",
    "ema",
    "average",
    "checkpoint_every",
)
#: Flags about training the backbone -> the flag to use instead while the backbone is frozen.
BACKBONE_FLAGS = {
    "lr": "--head-lr",
    "step_precision": "--precision",
    "layer_decay": "",
    "unfreeze": "",
    "progressive": "",
    "augment": "",
    "policy": "",
    "erasing": "",
    "mixup": "",
    "cutmix": "",
    "mix_off_epochs": "",
}


def refuse_ineffective(config: FinetuneConfig, mode: Mode, why: str) -> None:
    """Refuses flags that have no effect in the chosen mode.

    Args:
        config: The user's config.
        mode: The mode, decided already.
        why: Reason for that mode; empty where the user chose it.

    Raises:
        ConfigError: There is such a flag.
    """
    reason = f" (mode auto: {why})" if why else ""
    if mode == "full" and config.solver != "auto":
        raise ConfigError(
            "--solver has no effect in mode full, which trains no head on features",
            hint="use --mode lp-ft, or remove it",
        )
    if config.add and mode != "frozen":
        raise ConfigError(
            f"--add needs a frozen backbone: a model stores exemplars as features{reason}",
            hint="use --mode frozen",
        )
    if mode != "frozen" and config.engine not in ("auto", "torch"):
        raise ConfigError(
            f"--engine {config.engine} has no effect in mode {mode}{reason}: torch trains the backbone",
            hint="use --mode frozen, or remove it",
        )
    if config.precision == "int8" and mode != "frozen":
        raise ConfigError(
            f"--precision int8 needs a frozen backbone: a quantized one cannot be trained{reason}",
            hint="use --mode frozen; or remove --precision",
        )
    idle = [name for name in BACKBONE_FLAGS if getattr(config, name) is not None]
    idle += ["batchnorm"] if config.batchnorm != "auto" else []
    if mode == "frozen" and idle:
        instead = BACKBONE_FLAGS.get(idle[0])
        raise ConfigError(
            f"--{idle[0].replace('_', '-')} has no effect while the backbone is frozen{reason}",
            hint=f"{f'use {instead}, or ' if instead else ''}train the backbone with --mode lp-ft",
        )
