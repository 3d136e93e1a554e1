"""Estimates the time and memory of a plan from one measured forward pass."""

from __future__ import annotations

import dataclasses
import time

import torch

from resnet_cli.engines.features import FrozenBackbone, inference_batch_size
from resnet_cli.model.network import ResNet50
from resnet_cli.system.device import Compute
from resnet_cli.text import duration, size
from resnet_cli.training.assembly import start_network
from resnet_cli.training.plan import Plan

#: Share of each stage in the work of a forward pass: 4.09 billion multiplications, 0.12 of them in the stem (counted,
#: 224 px).
STAGE_SHARES = {"stem": 0.03, "layer1": 0.16, "layer2": 0.25, "layer3": 0.36, "layer4": 0.20}
#: A training step has a forward pass and a backward pass with twice its work.
TRAIN_OVER_FORWARD = 3
#: Bytes per image of 224 px that are kept until the backward pass in float32: 11.1 million activations, each stored
#: once as an input of a convolution and once of a BatchNorm (activations: timm's model table).
TRAIN_BYTES_PER_IMAGE = 11_100_000 * 4 * 2
#: Memory of Python, torch and its libraries (measured), and of the network's weights.
BASE_BYTES = 700 * 2**20
NETWORK_BYTES = 102 * 10**6


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Time in seconds and peak memory in bytes of a run, if no features are cached."""

    seconds: float
    memory_bytes: int

    def describe(self) -> str:
        """Both as text."""
        return f"{duration(self.seconds)} and {size(self.memory_bytes)} of memory (less time if features are cached)"


def estimate(plan: Plan) -> Estimate:
    """Measures the forward pass of one batch and extrapolates.

    Raises:
        ModelError: The weights file is damaged or has another architecture.
    """
    size = plan.preprocess.crop_size
    num_all, num_train = len(plan.dataset.items), len(plan.dataset.split("train"))
    # For a few images, a batch of hundreds would take longer than the run.
    batch_size = min(inference_batch_size(size, plan.compute), num_all)
    network = start_network(plan)
    per_image = _seconds_per_image(network, plan, plan.compute, batch_size)
    scale = (size / 224) ** 2
    if plan.is_frozen:
        memory = NETWORK_BYTES * 2 + batch_size * scale * TRAIN_BYTES_PER_IMAGE / 8 + num_all * 2048 * 4 * 3
        return Estimate(num_all * per_image, int(BASE_BYTES + memory))
    num_val = len(plan.dataset.split("val"))
    trained = sum(STAGE_SHARES[name] for name in plan.stages)
    per_step_image = per_image
    if plan.step_compute.precision != plan.compute.precision:
        per_step_image = _seconds_per_image(network, plan, plan.step_compute, batch_size)
    # Stages that do not train have no backward pass, which is two thirds of the work of a step.
    forwards_per_step_image = 1 + (TRAIN_OVER_FORWARD - 1) * trained
    epoch_s = num_train * forwards_per_step_image * per_step_image + num_val * per_image
    seconds = (num_all - num_train) * per_image + plan.epochs * epoch_s
    if plan.starts_with_probe:
        seconds += (num_train + num_val) * per_image
    memory = NETWORK_BYTES * 5 + plan.micro_batch * scale * TRAIN_BYTES_PER_IMAGE * trained
    seconds /= plan.config.devices or 1
    if plan.config.max_time is not None:
        seconds = min(seconds, plan.config.max_time)
    return Estimate(seconds, int(BASE_BYTES + memory))


def _seconds_per_image(network: ResNet50, plan: Plan, compute: Compute, batch_size: int) -> float:
    """Seconds per image of a forward pass, measured after a first pass that allocates memory.

    In int8 it is a third of that in float32, on processors with VNNI: the backbone is not quantized for an estimate.
    """
    if compute.precision == "int8":
        return _seconds_per_image(network, plan, dataclasses.replace(compute, precision="fp32"), batch_size) / 3
    backbone = FrozenBackbone(network, plan.preprocess, compute)
    size = plan.preprocess.crop_size
    pixels = torch.zeros(batch_size, 3, size, size, dtype=torch.uint8)
    backbone(pixels)
    began = time.perf_counter()
    backbone(pixels)
    return (time.perf_counter() - began) / batch_size
