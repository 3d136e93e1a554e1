"""The names that other programs give to the tensors of a ResNet, as torchvision's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

_BACKBONE = re.compile(r"(?:conv1|bn1|layer[1-4])\.")
_TRANSFORMERS = re.compile(
    r"encoder\.stages\.(\d)\.layers\.(\d+)\.(?:shortcut|layer\.(\d))\.(convolution|normalization)\.(\w+)", re.ASCII
)
_TRANSFORMERS_STEM = re.compile(r"embedder\.embedder\.(convolution|normalization)\.(\w+)", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A way to name the tensors of a ResNet.

    Attributes:
        anchors: The names of the first convolution of the first block and of the last one of the last block: where one
            of them is, there is a network, or a part of one.
        rename: A name without its prefix -> torchvision's; None if it is not part of the backbone.
        label: What the plan calls it; empty for torchvision's own.
    """

    anchors: tuple[str, str]
    rename: Callable[[str], str | None]
    label: str


def _same(name: str) -> str | None:
    return name if _BACKBONE.match(name) else None


def _from_transformers(name: str) -> str | None:
    if found := _TRANSFORMERS_STEM.fullmatch(name):
        return f"{'conv1' if found[1] == 'convolution' else 'bn1'}.{found[2]}"
    found = _TRANSFORMERS.fullmatch(name)
    if not found:
        return None
    stage, block, layer, kind, part = found.groups()
    if layer is None:
        return f"layer{int(stage) + 1}.{block}.downsample.{int(kind == 'normalization')}.{part}"
    return f"layer{int(stage) + 1}.{block}.{'conv' if kind == 'convolution' else 'bn'}{int(layer) + 1}.{part}"


def _from_children(name: str) -> str | None:
    # 2 and 3 are ReLU and the pooling, without tensors.
    first, _, rest = name.partition(".")
    stages = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    return f"{stages[first]}.{rest}" if first in stages else None


#: Source: torchvision/models/resnet.py; transformers/models/resnet/modeling_resnet.py; and
#: ``nn.Sequential(*resnet.children())``, as in fastai's ``create_body``.
LAYOUTS = (
    Layout(("layer1.0.conv1.weight", "layer4.2.conv3.weight"), _same, ""),
    Layout(
        (
            "encoder.stages.0.layers.0.layer.0.convolution.weight",
            "encoder.stages.3.layers.2.layer.2.convolution.weight",
        ),
        _from_transformers,
        "transformers",
    ),
    Layout(("4.0.conv1.weight", "7.2.conv3.weight"), _from_children, "an nn.Sequential of torchvision's layers"),
)
