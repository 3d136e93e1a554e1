"""Batches of one image whose last stage has a single pixel: they cannot train BatchNorm."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from torch import Tensor, nn

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError

#: Image size up to which the last stage has a single pixel, since the network halves its input five times. A single
#: image then has one value per channel, and so no variance.
ONE_PIXEL_PX = 32


def refuse_single_images(config: FinetuneConfig, *, batch_size: int, micro_batch: int, size_px: int) -> None:
    """Refuses to train BatchNorm where every image goes through the network alone.

    Args:
        config: The user's config.
        batch_size: Images per optimizer step.
        micro_batch: Images that go through the network at once.
        size_px: Side of the network's input in pixels.

    Raises:
        ConfigError: None of these images could train it.
    """
    if micro_batch > 1 or size_px > ONE_PIXEL_PX:
        return
    divisors = {f"--{name}": value for name in ("accumulate", "devices") if (value := getattr(config, name))}
    given = " and ".join(f"{name} {value}" for name, value in {"--batch-size": batch_size, **divisors}.items())
    way = f"use --batch-size {2 * math.prod(divisors.values())} or more"
    raise ConfigError(
        f"{given}: BatchNorm cannot be trained on one image at a time at {size_px} px, where the last stage has a "
        "single value per channel",
        hint=f"{way}, or --batchnorm eval" if config.batchnorm == "train" else way,
    )


def smallest_pass(network: nn.Module, size_px: int) -> int:
    """The number of images below which a shortage of memory must not divide a batch.

    Args:
        network: The network, in the mode in which it is trained.
        size_px: Side of its input in pixels.
    """
    return 2 if size_px <= ONE_PIXEL_PX and any(_trained_layers(network)) else 1


@contextlib.contextmanager
def with_statistics(network: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Lets BatchNorm use its running statistics, unchanged, for a single image, which has no statistics of its own.

    Args:
        network: The network, in the mode in which it is trained.
        inputs: What goes through it: [b x 3 x s x s], or features for a head alone.
    """
    layers = list(_trained_layers(network)) if len(inputs) < smallest_pass(network, inputs.shape[-1]) else []
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


def _trained_layers(network: nn.Module) -> Iterator[nn.Module]:
    return (module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and module.training)
