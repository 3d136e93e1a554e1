"""Layers for the CPU with weights in oneDNN's own layout, and convolutions fused with ReLU and the residual sum.

The same library computes the same float32 products as in :meth:`~resnet_cli.model.network.ResNet50.features`. What is
saved is the work between them: plain weights are reordered for oneDNN in every forward pass, which is a fifth of the
work for one image, and ReLU and the residual sum each pass over the activations once more.
"""

from __future__ import annotations

import functools
import platform

import torch
from torch import Tensor, nn

from resnet_cli.model.network import Bottleneck, ResNet50
from resnet_cli.system.device import Compute

#: Largest difference of float32 outputs: the same products, added in another order.
TOLERANCE = 1e-4


def packs(compute: Compute) -> bool:
    """Whether the packed layers are faster: depends on device, precision, processor and torch.

    Other precisions, Arm and GPUs use torch's own forward pass: nothing was measured there.
    """
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return compute.type == "cpu" and compute.precision == "fp32" and is_x86 and _torch_can_pack()


def pack(folded: ResNet50, side: int, batch_size: int) -> ResNet50:
    """Replaces the layers of a folded network by packed ones, without gradients.

    Args:
        folded: From :meth:`~resnet_cli.model.network.ResNet50.folded`, on the CPU. It is changed in place, so that
            memory never holds all weights twice.
        side: Side of the images in pixels; other sizes give correct outputs too, only slower.
        batch_size: Images per forward pass; other numbers give correct outputs too, only slower.

    Returns:
        The same network, for images in the channels-last memory format.
    """
    stem = PackedConv(_conv(folded.conv1), batch_size, side)
    side = (stem.side - 1) // 2 + 1
    folded.conv1 = stem  # type: ignore[assignment]
    for stage in (folded.layer1, folded.layer2, folded.layer3, folded.layer4):
        for name, block in stage.named_children():
            if isinstance(block, Bottleneck):
                packed = PackedBottleneck(block, batch_size, side)
                setattr(stage, name, packed)
                side = packed.side
    return folded


class PackedBottleneck(nn.Module):
    """Replaces a folded :class:`~resnet_cli.model.network.Bottleneck`."""

    def __init__(self, block: Bottleneck, batch_size: int, side: int) -> None:
        super().__init__()
        self._shortcut = None
        if block.downsample is not None:
            self._shortcut = PackedConv(_conv(block.downsample[0]), batch_size, side)
        self._first = PackedConv(_conv(block.conv1), batch_size, side)
        self._second = PackedConv(_conv(block.conv2), batch_size, self._first.side)
        self._third = PackedConv(_conv(block.conv3), batch_size, self._second.side)
        self.side = self._third.side

    def forward(self, x: Tensor) -> Tensor:
        """[b x num_in x h x w] -> [b x 4 * width x h / stride x w / stride]; an identity shortcut is overwritten."""
        out = self._second(self._first(x, "relu"), "relu")
        shortcut = x if self._shortcut is None else self._shortcut(x)
        return self._third.add_to(shortcut, out)


class PackedConv(nn.Module):
    """A convolution for inputs [b x c x side x side], fused with what follows it.

    Source: torch/_inductor/fx_passes/mkldnn_fusion.py, which calls the same operators in frozen compiled networks.

    Args:
        conv: The convolution; its weight is removed.
        batch_size: Number of images b.
        side: Side of the input.
    """

    def __init__(self, conv: nn.Conv2d, batch_size: int, side: int) -> None:
        super().__init__()
        padding, stride, dilation = ([int(x) for x in sizes] for sizes in (conv.padding, conv.stride, conv.dilation))
        shape = [batch_size, conv.in_channels, side, side]
        weight = torch.ops.mkldnn._reorder_convolution_weight(
            conv.weight, padding, stride, dilation, conv.groups, shape
        )
        self._rest = (weight, conv.bias, padding, stride, dilation, conv.groups)
        #: Side of the output.
        self.side = (side + 2 * padding[0] - conv.kernel_size[0]) // stride[0] + 1
        conv.register_parameter("weight", None)

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        """The convolution, followed by the ``activation``: ``relu`` or ``none``."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(x, *self._rest, activation, [], "")
        return found

    def add_to(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """relu(convolution + shortcut), written into the memory of the shortcut."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            shortcut, x, *self._rest, "add", 1.0, "relu", [], ""
        )
        return found


@functools.cache
def _torch_can_pack() -> bool:
    """Whether this torch has the operators, whose names are private, and they give correct results."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):  # type: ignore[no-untyped-call]
        return False
    # The caller's random state is not changed.
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        conv = nn.Conv2d(8, 8, 3, padding=1)
        x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
        plain = conv(x)
        expected = torch.relu(plain), torch.relu(plain + x)
        try:
            packed = PackedConv(conv, 2, 6)
            found = packed(x, "relu"), packed.add_to(x.clone(memory_format=torch.channels_last), x)
        except (AttributeError, RuntimeError, TypeError):
            return False
    return all(torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE) for a, b in zip(found, expected, strict=True))


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module
