"""Grad-CAM: heat maps of the last stage, overlaid on the network's input.

Source: Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.loading import load_batches
from resnet_cli.engines.features import inference_batch_size
from resnet_cli.images import Pixels
from resnet_cli.model.heatmap import heat_maps, overlay
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import Compute, memory_errors_named
from resnet_cli.system.events import Progress


class GradCam:
    """Computes how much each place of an image contributes to a class.

    The head sees only the mean of the last stage over all places. The gradient of a class's logit is therefore the same
    at each place, and needs no backward pass through the backbone. For a linear head it is the class's row of weights,
    and the map is that of Zhou et al. 2016, https://arxiv.org/abs/1512.04150 (CAM).

    Args:
        network: The network; it is copied, not changed.
        preprocess: The preprocessing, for the normalization.
        compute: Device and precision.
    """

    def __init__(self, network: ResNet50, preprocess: Preprocess, compute: Compute) -> None:
        folded = network.folded().to(compute.device)
        self._network = folded.to(memory_format=torch.channels_last)
        self._preprocess = preprocess
        self._compute = compute
        self._last_stage = torch.empty(0)
        self._network.layer4.register_forward_hook(self._keep)

    def maps(self, pixels: Tensor, targets: Tensor | None = None) -> NDArray[np.float32]:
        """Heat maps with the size of the images, each scaled to its own maximum.

        Args:
            pixels: uint8 [b x 3 x h x w], as the network's input before normalization.
            targets: The classes to explain, int64 [b]; None, or below 0: the most probable ones.

        Returns:
            Heat maps [b x h x w] in [0, 1]; all 0 if no place contributes to the class.
        """
        return heat_maps(self.heat(pixels, targets), height=pixels.shape[2], width=pixels.shape[3])

    def heat(self, pixels: Tensor, targets: Tensor | None = None) -> NDArray[np.float32]:
        """The contribution of each place of the last stage, [b x rows x columns], not negative; see :meth:`maps`."""
        with memory_errors_named(len(pixels)):
            with torch.no_grad(), self._compute.autocast():
                features = self._network.features(self._preprocess.normalize(self._compute.to_device(pixels)))
            activations, self._last_stage = self._last_stage.float(), torch.empty(0)
            features.requires_grad_()
            logits = self._network.fc(features)
            wanted = logits.argmax(dim=1)
            if targets is not None:
                wanted = torch.where(targets.to(wanted.device) < 0, wanted, targets.to(wanted.device))
            (gradients,) = torch.autograd.grad(logits.gather(1, wanted[:, None]).sum(), features)  # [b x 2048]
            heat = torch.einsum("bchw,bc->bhw", activations, gradients).relu_()
        return np.asarray(heat.cpu().numpy())

    def _keep(self, module: object, inputs: object, output: Tensor) -> None:
        self._last_stage = output


def overlays(
    model: Model,
    items: Sequence[Item],
    positions: Sequence[int],
    compute: Compute,
    *,
    targets: Sequence[int] | None = None,
    on_progress: Progress | None = None,
) -> dict[int, Image.Image]:
    """The network's inputs for some images, overlaid with their heat maps.

    Args:
        model: The model.
        items: The images; those at ``positions`` are decoded again.
        positions: Positions of the items to explain.
        compute: Device and precision.
        targets: Class to explain for each position; None, or a number below 0, for the predicted class.
        on_progress: Called with (images done, images in all).

    Returns:
        Position -> image with the size of the network's input. Images that can no longer be read are omitted.
    """
    cam = GradCam(model.network, model.preprocess, compute)
    batch_size = inference_batch_size(model.preprocess.crop_size, compute)

    def see(position: int) -> Pixels:
        return model.preprocess.read(items[position])

    wanted = dict(zip(positions, targets or [-1] * len(positions), strict=True))
    made: dict[int, Image.Image] = {}
    num_done = 0
    for batch in load_batches(wanted, see, batch_size=batch_size):
        if batch.good:
            maps = cam.maps(batch.pixels, torch.tensor([wanted[position] for position in batch.good]))
            images = batch.pixels.permute(0, 2, 3, 1).numpy()  # [b x h x w x 3]
            for position, image, heat in zip(batch.good, images, maps, strict=True):
                made[position] = overlay(Image.fromarray(image), heat)
        num_done += len(batch.items)
        if on_progress:
            on_progress(num_done, len(wanted))
    return made
