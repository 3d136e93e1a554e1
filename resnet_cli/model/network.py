"""The network (backbone + head) and the model: what a user keeps, one ``.safetensors`` file.

Tensor names are torchvision's, so a model with a linear head also loads into ``torchvision.models.resnet50``
and into timm. What a model remembers of its images stands beside them, under names with a prefix of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnet_cli.errors import ModelError
from resnet_cli.model.reliability import Reliability
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import atomic_path

#: Width of the backbone's output: a feature is a row of this many numbers.
NUM_FEATURES = 2048
#: Version of the metadata inside a model file; raised when an old reader would misread it.
SCHEMA_VERSION = 1
METADATA_KEY = "resnet_cli"
#: Begin the names of the tensors that are no part of the network.
MEMORY_PREFIX, RELIABILITY_PREFIX = "memory.", "reliability."


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
        num_classes: Outputs of the head.
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
            # There is nothing to start, and on that device it would take the seconds in which torch's compiler is
            # imported.
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                # Each block starts as its shortcut: a random start would be unstable for its first epochs.
                # Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1.
                nn.init.zeros_(module.bn3.weight)

    def features(self, images: Tensor) -> Tensor:
        """The backbone: images [b x 3 x h x w] -> float32 features [b x 2048]."""
        x = self.maxpool(torch.relu_(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        # Averaged in float32 also under autocast: 49 bfloat16 values would lose their last digits.
        pooled: Tensor = x.float().mean(dim=(2, 3))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Images [b x 3 x h x w] -> logits [b x k]."""
        logits: Tensor = self.fc(self.features(images))
        return logits

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters but the head's."""
        return (parameter for name, parameter in self.named_parameters() if not name.startswith("fc."))

    def backbone_state(self) -> dict[str, Tensor]:
        """The state dict without the head."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("fc.")}

    def folded(self) -> ResNet50:
        """A copy for inference whose BatchNorms are merged into the convolutions; answers stay the same.

        The copy has a backbone with fewer passes over memory; it cannot be trained or saved.
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

    The weights of the last layer start at zero: the first loss is ln(k), whatever the features' scale.
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


@dataclasses.dataclass(frozen=True, eq=False)
class Exemplars:
    """Features of a few images of each class, exactly what this model's backbone makes of them.

    They are for whoever adds classes without having the images, and tell what is unlike all of them.

    Attributes:
        features: [m x 2048], float16 or float32.
        labels: Indices into the model's classes, int64 [m].
        held_out: bool [m]; True for rows of the validation split, which the head was not trained on.
    """

    features: Tensor
    labels: Tensor
    held_out: Tensor


@dataclasses.dataclass(frozen=True)
class Model:
    """What a user keeps.

    Attributes:
        network: Backbone and head.
        classes: Names in index order.
        preprocess: How an image becomes the network's input.
        hidden: Widths of the head's hidden layers.
        temperature: Logits are divided by it before softmax.
        provenance: Plain JSON values: version, data, weights, recipe, scores.
        path: The file it came from, if any.
        exemplars: Features of a few images of each class; None for weights that are not ours.
        reliability: How it answered its validation split; None likewise.
    """

    network: ResNet50
    classes: tuple[str, ...]
    preprocess: Preprocess
    hidden: tuple[int, ...] = ()
    temperature: float = 1.0
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: Path | None = None
    exemplars: Exemplars | None = None
    reliability: Reliability | None = None

    @property
    def reference(self) -> NDArray[Any] | None:
        """Features of training images that others are compared with, [m x 2048]; None if it remembers none."""
        if self.exemplars is None or bool(self.exemplars.held_out.all()):
            return None
        return np.asarray(self.exemplars.features[~self.exemplars.held_out].numpy())

    def save(self, path: Path) -> None:
        """Writes the model file atomically: a reader sees the old file, the new one or none.

        Raises:
            DiskError: The file cannot be written.
        """
        from safetensors.torch import save

        about = {
            "schema_version": SCHEMA_VERSION,
            "classes": self.classes,
            "preprocess": self.preprocess.to_dict(),
            "hidden": self.hidden,
            "temperature": self.temperature,
            "provenance": dict(self.provenance),
        }
        state = self.network.state_dict()
        if self.exemplars is not None:
            state |= {MEMORY_PREFIX + name: tensor for name, tensor in vars(self.exemplars).items()}
        if self.reliability is not None:
            state |= {RELIABILITY_PREFIX + name: torch.from_numpy(x) for name, x in vars(self.reliability).items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        # save_file would write mode 0600 and not flush to the disk; bytes go through our own atomic write.
        # One key, since safetensors writes several in random order: the same model is the same bytes.
        data = save(tensors, metadata={METADATA_KEY: json.dumps(about)})
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)


#: What each value of the metadata must be; the preprocessing checks itself.
_METADATA: dict[str, Callable[[Any], bool]] = {
    "classes": lambda x: isinstance(x, list) and all(isinstance(c, str) for c in x) and 0 < len(set(x)) == len(x),
    "hidden": lambda x: isinstance(x, list) and all(type(width) is int and 1 <= width <= 65_536 for width in x),
    "temperature": lambda x: isinstance(x, int | float) and 0 < x < 1e6,
    "preprocess": lambda x: isinstance(x, dict),
    "provenance": lambda x: isinstance(x, dict),
}


def model_from_tensors(tensors: Mapping[str, Tensor], about: dict[str, Any], path: Path) -> Model:
    """Builds a model from the content of a model file.

    Args:
        tensors: Every tensor of the file.
        about: The parsed metadata of ours.
        path: Named in errors.

    Raises:
        ModelError: Anything is missing, unknown, of the wrong shape, or not finite.
    """
    version = about.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ModelError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}", hint="update one")
    for name, is_sound in _METADATA.items():
        if name not in about or not is_sound(about[name]):
            raise ModelError(f"{path}: damaged metadata: {name} {str(about.get(name, 'is missing'))[:80]}")
    preprocess = Preprocess.from_dict(about["preprocess"])
    classes, hidden = tuple(about["classes"]), tuple(about["hidden"])
    with torch.device("meta"):
        network = ResNet50(len(classes), hidden)
    load_tensors(network, network_tensors(tensors), path)
    return Model(
        network,
        classes,
        preprocess,
        hidden,
        float(about["temperature"]),
        about["provenance"],
        path,
        _read_memory(tensors, len(classes), path),
        _read_reliability(tensors, path),
    )


def network_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's own tensors among those of a model file."""
    others = (MEMORY_PREFIX, RELIABILITY_PREFIX)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}


def _read_part(tensors: Mapping[str, Tensor], prefix: str, kind: type[Any], path: Path) -> dict[str, Tensor] | None:
    """The tensors of a dataclass; None where there are none."""
    # A copy: nothing may keep the file mapped.
    found = {name.removeprefix(prefix): tensors[name].clone() for name in tensors if name.startswith(prefix)}
    wanted = [field.name for field in dataclasses.fields(kind)]
    if found and sorted(found) != sorted(wanted):
        raise ModelError(f"{path}: damaged {prefix[:-1]}: not {', '.join(wanted)}, as this program writes it")
    return found or None


def _read_reliability(tensors: Mapping[str, Tensor], path: Path) -> Reliability | None:
    found = _read_part(tensors, RELIABILITY_PREFIX, Reliability, path)
    if found is None:
        return None
    reliability = Reliability(**{name: tensor.numpy() for name, tensor in found.items()})
    if not reliability.is_sound():
        raise ModelError(f"{path}: damaged reliability: values that cannot be")
    return reliability


def _read_memory(tensors: Mapping[str, Tensor], num_classes: int, path: Path) -> Exemplars | None:
    found = _read_part(tensors, MEMORY_PREFIX, Exemplars, path)
    if found is None:
        return None
    exemplars = Exemplars(**found)
    features, labels, held_out = exemplars.features, exemplars.labels, exemplars.held_out
    fits = (
        features.ndim == 2
        and features.shape[1] == NUM_FEATURES
        and labels.shape == held_out.shape == features.shape[:1]
        and features.dtype in {torch.float16, torch.float32}
        and (labels.dtype, held_out.dtype) == (torch.int64, torch.bool)
        and bool(torch.isfinite(features).all())
        and bool(((labels >= 0) & (labels < num_classes)).all())
    )
    if not fits:
        shapes = ", ".join(f"{name} {tuple(x.shape)} {x.dtype}" for name, x in found.items())
        raise ModelError(f"{path}: damaged memory: {shapes}, or values that cannot be")
    return exemplars


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts tensors into a network (also one on the meta device) after checking every one.

    Raises:
        ModelError: A name or shape differs, or a value is not finite.
    """
    expected = network.state_dict()
    # Files older than torch 0.4.1 lack BatchNorm's step counters, as torch's own loader knows.
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
            f"{path}: not a ResNet-50 as this program knows it: {'; '.join(wrong[:3])}{more}",
            hint="give ResNet-50 weights in torchvision's or timm's layout, or a model of this program",
        )
    # A copy in the expected dtype: files may hold float16, and nothing may keep the file mapped.
    state = {name: tensors[name].to(expected[name].dtype, copy=True) for name in expected}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelError(f"{path}: '{broken[0]}' holds values that are not finite numbers")
    network.load_state_dict(state, assign=True)


def backbone_hash(network: ResNet50) -> str:
    """SHA-256 over the backbone's tensors, names and shapes: the same weights give the same text."""
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
