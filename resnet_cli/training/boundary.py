"""The network in two parts: the stages in front of the first one that trains, and the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_cli.device import Compute, memory_errors_named
from resnet_cli.features import feature_dtype, folded_for, inference_batch_size
from resnet_cli.model import ResNet50
from resnet_cli.packed import packs
from resnet_cli.preprocess import Preprocess
from resnet_cli.training.cached_views import activation_shape, frozen_stages
from resnet_cli.training.optimizers import STAGES, stage_of

#: Raised when the same pictures would give other activations.
FORMAT_VERSION = 2

Activations: TypeAlias = NDArray[np.float16]


class FrozenStages:
    """The stages in front of the first one that trains, ready for inference; BatchNorm is folded.

    Args:
        network: Is copied, not changed.
        first: The first stage that trains.
        preprocess: Gives size and normalisation.
        compute: Device and precision.
    """

    def __init__(self, network: ResNet50, first: str, preprocess: Preprocess, compute: Compute) -> None:
        self._preprocess, self.compute = preprocess, compute
        stages = frozen_stages(first)
        self.shape = activation_shape(first, preprocess.crop_size)
        self.group_size = inference_batch_size(preprocess.crop_size, compute)
        folded = folded_for(network, preprocess.crop_size, compute)
        stem = nn.Sequential(folded.conv1, folded.bn1, nn.ReLU(inplace=True), folded.maxpool)
        self._frozen = nn.Sequential(stem, *(getattr(folded, name) for name in stages[1:]))
        self.key = repr(
            (
                FORMAT_VERSION,
                _hash(network, stages),
                preprocess.fingerprint(),
                compute.type,
                compute.precision,
                packs(compute),
                self.group_size,
            )
        )

    def __call__(self, pixels: Tensor) -> Activations:
        """Pixels uint8 [b x 3 x h x w] -> float16 [b x height x width x channels]."""
        with torch.inference_mode(), self.compute.autocast(), memory_errors_named(len(pixels)):
            made = self._frozen(self._preprocess.normalize(self.compute.place(pixels)))
            # What float16 cannot hold would be infinite.
            # (The largest float16 is infinite itself once bfloat16 has rounded it.)
            made = made.float().clamp_(max=torch.finfo(torch.float16).max).to(torch.float16)
        rows: Activations = made.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return rows


class TrainedStages:
    """The rest of the backbone as it is now, ready for inference.

    Args:
        network: Is copied, not changed.
        first: The first stage that trains.
        compute: Device and precision.
    """

    def __init__(self, network: ResNet50, first: str, compute: Compute) -> None:
        folded = network.folded().to(compute.device)
        self._network = folded.to(memory_format=torch.channels_last)
        self._first, self._compute = first, compute

    def __call__(self, activations: Tensor) -> Tensor:
        """As :meth:`KeptView.rows` gives them -> features [b x 2048] on the CPU, rounded as the feature cache does."""
        with torch.inference_mode(), self._compute.autocast(), memory_errors_named(len(activations)):
            features = features_from(self._network, self._first, activations)
        return features.to(feature_dtype(self._compute)).cpu()


def features_from(network: ResNet50, first: str, activations: Tensor) -> Tensor:
    """The backbone from a stage on: [b x c x h x w] -> float32 features [b x 2048].

    Args:
        network: Of which these stages are used.
        first: That stage.
        activations: As :meth:`KeptView.rows` gives them.
    """
    x = activations
    for name in STAGES[STAGES.index(first) :]:
        x = getattr(network, name)(x)
    # In float32 also under autocast, as ResNet50.features has it.
    pooled: Tensor = x.float().mean(dim=(2, 3))
    return pooled


def _hash(network: ResNet50, stages: Sequence[str]) -> str:
    """Of the tensors of some stages: what trains is left out, so that a resumed training finds its views."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.backbone_state().items()):
        if stage_of(name) in stages and not name.endswith("num_batches_tracked"):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
