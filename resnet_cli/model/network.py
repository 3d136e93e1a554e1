"""The network: a ResNet-50 backbone and a head, with torchvision's names of tensors."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnet_cli.errors import ModelError
from resnet_cli.model.output import NUM_FEATURES as NUM_FEATURES


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions around a shortcut; the stride is in the 3 x 3 (ResNet "v1.5").

    Source: He et al. 2016, https://arxiv.org/abs/1512.03385; stride as in ``torchvision.models.resnet``.
    """

    def __init__(self, num_in: int, width: int, stride: int) -> None:
        super().__init__()
        num_out = 4 * width
        self.conv1 = nn.Conv2d(num_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, num_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(num_out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or num_in != num_out:
            self.downsample = nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))

    def forward(self, x: Tensor) -> Tensor:
        """[b x num_in x h x w] -> [b x 4 * width x h / stride x w / stride]."""
        out = torch.relu_(self.bn1(self.conv1(x)))
        out = torch.relu_(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu_(out + shortcut)


class ResNet50(nn.Module):
    """The network: a ResNet-50 backbone and a head named ``fc``.

    Args:
        num_classes: Number of outputs of the head.
        hidden: Widths of the head's hidden layers; () for a linear head.
    """

    def __init__(self, num_classes: int, hidden: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _stage(64, 64, num_blocks=3, stride=1)
        self.layer2 = _stage(256, 128, num_blocks=4, stride=2)
        self.layer3 = _stage(512, 256, num_blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, num_blocks=3, stride=2)
        self.fc = make_head(num_classes, hidden)
        if self.conv1.weight.is_meta:
            # There is nothing to initialize, and on that device torch would first import its compiler, for seconds.
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                # Each block starts as its shortcut: with random weights the first epochs would be unstable.
                # Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1.
                nn.init.zeros_(module.bn3.weight)

    def features(self, images: Tensor) -> Tensor:
        """The backbone: images [b x 3 x h x w] -> float32 features [b x 2048]."""
        x = self.maxpool(torch.relu_(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        # Averaged in float32 even under autocast: the sum of 49 bfloat16 values would lose digits.
        pooled: Tensor = x.float().mean(dim=(2, 3))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Images [b x 3 x h x w] -> logits [b x k]."""
        logits: Tensor = self.fc(self.features(images))
        return logits

    def backbone_state(self) -> dict[str, Tensor]:
        """The state dict without the head."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("fc.")}

    def folded(self) -> ResNet50:
        """A copy for inference with BatchNorm folded into the convolutions; the outputs stay the same.

        The copy needs fewer passes over memory; it cannot be trained or saved.
        """
        network = copy.deepcopy(self).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, ResNet50):
                module.conv1, module.bn1 = _fold(module.conv1, module.bn1)
            elif isinstance(module, Bottleneck):
                module.conv1, module.bn1 = _fold(module.conv1, module.bn1)
                module.conv2, module.bn2 = _fold(module.conv2, module.bn2)
                module.conv3, module.bn3 = _fold(module.conv3, module.bn3)
                if module.downsample is not None:
                    module.downsample = nn.Sequential(*_fold(*module.downsample))
        return network


def make_head(num_classes: int, hidden: tuple[int, ...]) -> nn.Module:
    """A linear layer, or an MLP with ReLU and dropout 0.5 after each hidden layer.

    The weights of the last layer start at zero, so the first loss is ln(k) for features of any scale.
    Source: BiT, Kolesnikov et al. 2020, https://arxiv.org/abs/1912.11370.
    """
    layers: list[nn.Module] = []
    width = NUM_FEATURES
    for num_hidden in hidden:
        layers += [nn.Linear(width, num_hidden), nn.ReLU(), nn.Dropout(0.5)]
        width = num_hidden
    last = nn.Linear(width, num_classes)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last) if layers else last


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Loads tensors into a network, which can be on the meta device, after checking every one.

    Raises:
        ModelError: A name or shape differs, or a value is not finite.
    """
    expected = network.state_dict()
    # Files older than torch 0.4.1 lack the step counters of BatchNorm; torch's own loader adds them too.
    counters = {name: torch.zeros((), dtype=torch.int64) for name in expected if name.endswith("num_batches_tracked")}
    tensors = counters | dict(tensors)
    wrong = [f"no '{name}'" for name in expected if name not in tensors]
    wrong += [f"unknown '{name}'" for name in tensors if name not in expected]
    wrong += [
        f"'{name}' is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
        for name, tensor in tensors.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more differences" if len(wrong) > 3 else ""
        raise ModelError(
            f"{path}: not a ResNet-50 that this program can read: {'; '.join(wrong[:3])}{more}",
            hint="give ResNet-50 weights in torchvision's or timm's layout, or a model of this program",
        )
    # A copy in the expected dtype: files can contain float16, and nothing may keep the file mapped.
    state = {name: tensors[name].to(expected[name].dtype, copy=True) for name in expected}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelError(f"{path}: '{broken[0]}' holds values that are not finite numbers")
    network.load_state_dict(state, assign=True)


def backbone_hash(network: ResNet50) -> str:
    """SHA-256 of the backbone's tensors with their names and shapes, in hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.backbone_state().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _stage(num_in: int, width: int, *, num_blocks: int, stride: int) -> nn.Sequential:
    blocks = [Bottleneck(num_in, width, stride)]
    blocks += [Bottleneck(4 * width, width, 1) for _ in range(num_blocks - 1)]
    return nn.Sequential(*blocks)


def _fold(conv: nn.Module, bn: nn.Module) -> tuple[Any, Any]:
    assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, bn), nn.Identity()
