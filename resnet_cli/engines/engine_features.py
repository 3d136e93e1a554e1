"""Features of a network in torch, computed by another engine."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from resnet_cli.engines.backbone_file import describe
from resnet_cli.engines.backbone_writer import keep_backbone, write_backbone
from resnet_cli.engines.base import Backbone
from resnet_cli.engines.opening import open_file
from resnet_cli.model.network import ResNet50, backbone_hash
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.caches import temporary_folder
from resnet_cli.system.device import Compute


class EngineFeatures:
    """A backbone for pixels in torch, as :class:`~resnet_cli.engines.features.FrozenBackbone` is one.

    Args:
        network: The network; it is copied, not changed.
        preprocess: The preprocessing, for the normalization.
        compute: Precision and engine.
        dtype: The dtype of the features.
    """

    def __init__(self, network: ResNet50, preprocess: Preprocess, compute: Compute, dtype: torch.dtype) -> None:
        self._backbone = _open(network, preprocess, compute)
        self._dtype = dtype

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [b x 3 x h x w] -> features [b x 2048] on the CPU."""
        squares = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return torch.from_numpy(self._backbone(squares)).to(self._dtype)


def _open(network: ResNet50, preprocess: Preprocess, compute: Compute) -> Backbone:
    with contextlib.ExitStack() as stack:
        path = keep_backbone(network, preprocess)
        if path is None:
            # The cache folder cannot be written: a file for this process alone.
            path = stack.enter_context(temporary_folder()) / "backbone.onnx"
            write_backbone(network, preprocess, describe(backbone_hash(network), preprocess), path)
        return open_file(path, compute.engine, compute.precision)
