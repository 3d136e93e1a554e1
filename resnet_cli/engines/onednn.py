"""Layers for the CPU with weights in oneDNN's own layout, and convolutions fused with ReLU and the residual sum.

The same library computes the same products as in :meth:`~resnet_cli.model.network.ResNet50.features`. What is saved is
the work between them: plain weights are reordered for oneDNN in every forward pass, which is a fifth of the work for
one image, and ReLU and the residual sum each pass over the activations once more. In bfloat16, autocast also converts
the weights in every forward pass.

The layout does not depend on the number of images: the results have the same bits for any batch that they are packed
for, and one image takes within 5 % of the processor time of layers that are packed for one (measured).
"""

from __future__ import annotations

import functools
import platform

import torch
from torch import Tensor, nn

from resnet_cli.model.network import Bottleneck, ResNet50
from resnet_cli.system.device import Compute, native_bf16

#: The dtype of the packed layers in each precision, and the largest difference of their outputs from float32: the same
#: products, added in another order; in bfloat16, which has 8 bits, also rounded.
DTYPES = {"fp32": (torch.float32, 1e-4), "bf16": (torch.bfloat16, 3e-2)}


def packs(compute: Compute) -> bool:
    """Whether the packed layers are faster: depends on device, precision, processor and torch.

    float16, bfloat16 on processors that emulate it, Arm and GPUs use torch's own forward pass: packed layers are slower
    or were not measured there.
    """
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    if compute.type != "cpu" or not is_x86 or compute.precision not in DTYPES:
        return False
    return (compute.precision == "fp32" or native_bf16("cpu")) and _torch_can_pack(compute.precision)


def pack(folded: ResNet50, side: int, batch_size: int, precision: str = "fp32") -> ResNet50:
    """Replaces the layers of a folded network by packed ones, without gradients.

    In bfloat16, weights, biases and activations have 8 bits; the sums inside a convolution and the mean at the end are
    float32.

    Args:
        folded: From :meth:`~resnet_cli.model.network.ResNet50.folded`, on the CPU. It is changed in place, so that
            memory never holds all weights twice.
        side: Side of the images in pixels; other sizes give correct outputs too, only slower.
        batch_size: Images per forward pass; other numbers give correct outputs too.
        precision: ``fp32`` or ``bf16``.

    Returns:
        The same network, for float32 images in the channels-last memory format.
    """
    dtype, _ = DTYPES[precision]
    stem = PackedConv(_conv(folded.conv1), batch_size, side, dtype)
    side = (stem.side - 1) // 2 + 1
    folded.conv1 = stem  # type: ignore[assignment]
    for stage in (folded.layer1, folded.layer2, folded.layer3, folded.layer4):
        for name, block in stage.named_children():
            if isinstance(block, Bottleneck):
                packed = PackedBottleneck(block, batch_size, side, dtype)
                setattr(stage, name, packed)
                side = packed.side
    return folded


class PackedBottleneck(nn.Module):
    """Replaces a folded :class:`~resnet_cli.model.network.Bottleneck`."""

    def __init__(self, block: Bottleneck, batch_size: int, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._shortcut = None
        if block.downsample is not None:
            self._shortcut = PackedConv(_conv(block.downsample[0]), batch_size, side, dtype)
        self._first = PackedConv(_conv(block.conv1), batch_size, side, dtype)
        self._second = PackedConv(_conv(block.conv2), batch_size, self._first.side, dtype)
        self._third = PackedConv(_conv(block.conv3), batch_size, self._second.side, dtype)
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
        dtype: Of the weights and the output; inputs are converted to it.
    """

    def __init__(self, conv: nn.Conv2d, batch_size: int, side: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        padding, stride, dilation = ([int(x) for x in sizes] for sizes in (conv.padding, conv.stride, conv.dilation))
        shape = [batch_size, conv.in_channels, side, side]
        weight = torch.ops.mkldnn._reorder_convolution_weight(
            conv.weight.to(dtype), padding, stride, dilation, conv.groups, shape
        )
        self._dtype = dtype
        # The operator that adds in place takes biases of no other dtype.
        bias = None if conv.bias is None else conv.bias.to(dtype)
        self._rest = (weight, bias, padding, stride, dilation, conv.groups)
        #: Side of the output.
        self.side = (side + 2 * padding[0] - conv.kernel_size[0]) // stride[0] + 1
        conv.register_parameter("weight", None)

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        """The convolution, followed by the ``activation``: ``relu`` or ``none``."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(x.to(self._dtype), *self._rest, activation, [], "")
        return found

    def add_to(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """relu(convolution + shortcut), written into the memory of the shortcut."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            shortcut, x, *self._rest, "add", 1.0, "relu", [], ""
        )
        return found


@functools.cache
def _torch_can_pack(precision: str = "fp32") -> bool:
    """Whether this torch has the operators, whose names are private, and they give correct results."""
    dtype, tolerance = DTYPES[precision]
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):  # type: ignore[no-untyped-call]
        return False
    # The caller's random state is not changed.
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        conv = nn.Conv2d(8, 8, 3, padding=1)
        x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
        plain = conv(x)
        expected = torch.relu(plain), torch.relu(plain + x)
        try:
            packed = PackedConv(conv, 2, 6, dtype)
            shortcut = x.to(dtype, copy=True, memory_format=torch.channels_last)
            found = packed(x, "relu"), packed.add_to(shortcut, x.to(dtype))
        except (AttributeError, RuntimeError, TypeError):
            return False
    return all(
        torch.allclose(a.float(), b, rtol=tolerance, atol=tolerance) for a, b in zip(found, expected, strict=True)
    )


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module
