"""Names the architecture of tensors that are not a plain ResNet-50, so that a refusal says what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

#: Blocks per stage -> name, of networks with bottleneck blocks. Source: He et al. 2016, table 1; timm/models/resnet.py.
_DEPTHS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "a ResNet-26",
    (3, 4, 23, 3): "a ResNet-101",
    (3, 8, 36, 3): "a ResNet-152",
    (3, 24, 36, 3): "a ResNet-200",
}
#: The same of networks with basic blocks of two convolutions.
_BASIC_DEPTHS: dict[tuple[int, ...], str] = {
    (1, 1, 1, 1): "a ResNet-10",
    (2, 2, 2, 2): "a ResNet-18",
    (3, 4, 6, 3): "a ResNet-34",
}
#: Names of tensors -> the variant of a ResNet that has them; the first match counts. Source: the models' code in timm,
#: openai/CLIP, torchvision, Cadene/pretrained-models.pytorch and open-mmlab/mmpretrain.
_VARIANTS: tuple[tuple[str, str], ...] = (
    (r"attnpool\.", "CLIP's modified ResNet-50, with a stem of three convolutions and attention pooling"),
    (r"layer\d\.\d+\.convs\.", "a Res2Net"),
    (r"layer\d\.\d+\.conv2\.(?:fc1|radix|conv)\b", "a ResNeSt or SKNet"),
    (r"layer\d\.\d+\.se\.conv\.", "an ECA-ResNet, with channel attention"),
    (r"layer\d\.\d+\.(?:se|se_module|se_layer)\.", "an SE-ResNet, with squeeze and excitation"),
    (r"layer\d\.\d+\.(?:attn|ca|sa|cbam|nl|non_local|context_block)\w*\.", "a ResNet with attention"),
    (r"layer\d\.\d+\.(?:bn|norm)\d\.(?:scale|bias_gen)", "a ResNet with another normalization"),
)
#: Names of tensors -> the family of networks that has them. Source: the models' code in timm, torchvision,
#: transformers, detectron2 and ultralytics.
_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"(?:^|\.)stem\.conv3\.conv\.weight$", "a network with a stem of three convolutions, such as CLIP's ResNet-50"),
    (r"(?:^|\.)layer1\.0\.", "a ResNet with other blocks"),
    (
        r"(?:^|\.)stem\.conv1\.norm\.weight$",
        "a ResNet in Detectron2's layout, which does not say where its strides are",
    ),
    (r"(?:^|\.)res2\.0\.conv1\.", "a ResNet in Detectron2's layout, which does not say where its strides are"),
    (r"(?:^|\.)stages\.0\.blocks\.0\.norm1\.", "a ResNet v2 (pre-activation), or another network of timm"),
    (r"(?:^|\.)root\.conv\.weight$|block1/unit01", "a BiT, which is a ResNet v2 with group normalization"),
    (r"relative_position_bias_table", "a Swin transformer"),
    (r"(?:^|\.)(?:cls_token|class_token|pos_embed|positional_embedding|class_embedding)$", "a vision transformer"),
    (r"(?:^|\.)stages\.\d\.(?:blocks\.)?\d+\.(?:gamma|dwconv\.weight|conv_dw\.weight)$", "a ConvNeXt"),
    (r"(?:^|\.)features\.denseblock1\.", "a DenseNet"),
    (r"(?:^|\.)Mixed_5b\.|(?:^|\.)inception3a\.", "an Inception network"),
    (
        r"(?:^|\.)blocks\.0\.0\.conv_dw\.|(?:^|\.)features\.\d\.0\.block\.|_depthwise_conv\.",
        "an EfficientNet or MobileNet",
    ),
    (r"(?:^|\.)features\.1\.conv\.0\.", "a MobileNet"),
    (r"(?:^|\.)features\.0\.weight$", "a VGG or AlexNet"),
    (r"(?:^|\.)(?:trunk_output|s1\.b1|layers\.0\.blocks\.0)\.", "a RegNet or another network in stages"),
    (r"(?:^|\.)model\.\d+\.(?:cv1|m\.0\.cv1)\.conv\.", "a YOLO detector"),
    (r"(?:^|\.)(?:lora_A|lora_B|q_proj|k_proj|self_attn)\b", "a transformer"),
)
#: Networks whose tensors have the names and shapes of a ResNet-50's, but compute something else.
#: Source: timm/models/resnet.py (aa_layer has no weights); open-mmlab/mmcv, model zoo (style="caffe").
_LOOKALIKES = (
    (re.compile(r"resnet(?:blur|aa)50|antialiased"), "an anti-aliased ResNet-50, which blurs before it strides"),
    (
        re.compile(r"resnet50[_-]?(?:\w+[_-])?(?:caffe|msra)\b"),
        "a ResNet-50 of Caffe, with BGR input and other strides",
    ),
)


def name_variant(tensors: Mapping[str, Tensor]) -> str | None:
    """The kind of ResNet that tensors in torchvision's naming belong to; None for a ResNet-50, whole or in part.

    Args:
        tensors: Tensors under torchvision's names, also those that a ResNet-50 does not have.
    """
    for pattern, name in _VARIANTS:
        if any(re.search(rf"(?:^|\.){pattern}", found) for found in tensors):
            return name
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    stem, middle = shapes.get("conv1.weight", ()), shapes.get("layer1.0.conv2.weight", ())
    depths = tuple(len({name.split(".")[1] for name in shapes if name.startswith(f"layer{i}.")}) for i in range(1, 5))
    if "layer1.0.conv3.weight" not in shapes:
        blocks = "-".join(map(str, depths))
        return _BASIC_DEPTHS.get(depths, f"a ResNet with {blocks} basic blocks") if len(middle) == 4 else None
    if _has_deep_stem(shapes):
        has_pool = len(shapes.get("layer1.0.downsample.1.weight", ())) == 4
        return f"a ResNet-{_size(depths)}-{'D' if has_pool else 'C'}, with a stem of three convolutions"
    if depths in _DEPTHS:
        return _DEPTHS[depths]
    if len(middle) == 4 and middle[:2] != (64, 64):
        return _name_width(*middle[:2], depths)
    if not any(name.endswith("running_mean") for name in shapes):
        return "a ResNet-50 without the statistics of BatchNorm, such as one with group normalization"
    return _name_stem(stem)


def name_family(names: Iterable[str]) -> str | None:
    """The kind of network that has tensors of these names; None if it is not known."""
    found = list(names)
    return next((name for pattern, name in _FAMILIES if any(re.search(pattern, text) for text in found)), None)


def name_lookalike(state: Any, file_name: str) -> str | None:
    """The network that a checkpoint says it is, if it only looks like a ResNet-50; None if it says nothing of the kind.

    Args:
        state: The content of the file.
        file_name: Its name.
    """
    said = [file_name]
    if isinstance(state, Mapping):
        places = [state, *(state.get(key) for key in ("args", "hyper_parameters", "hparams", "config"))]
        for place in places:
            values = place if isinstance(place, Mapping) else getattr(place, "__dict__", {})
            said += [values[key] for key in ("arch", "model", "model_name") if isinstance(values.get(key), str)]
    texts = [text.lower() for text in said]
    return next((name for pattern, name in _LOOKALIKES if any(pattern.search(text) for text in texts)), None)


def _has_deep_stem(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    has_several = "conv1.0.weight" in shapes or "stem.0.weight" in shapes
    return "conv3.weight" in shapes or ("conv1.weight" not in shapes and has_several)


def _size(depths: tuple[int, ...]) -> str:
    return _DEPTHS.get(depths, "a ResNet-50").removeprefix("a ResNet-")


def _name_width(width: int, per_group: int, depths: tuple[int, ...]) -> str:
    size = _size(depths)
    if per_group != width:
        return f"a ResNeXt-{size} ({width // max(1, per_group)} groups of {per_group} channels)"
    return f"a Wide ResNet-{size}-{width // 64}" if width % 64 == 0 else f"a ResNet-{size} of width {width}"


def _name_stem(stem: tuple[int, ...]) -> str | None:
    if len(stem) != 4:
        return None
    _, channels, height, width = stem
    if channels != 3:
        kind = "gray images" if channels == 1 else f"images of {channels} channels"
        return f"a ResNet-50 for {kind}; this program reads RGB"
    if (height, width) == (3, 3):
        return "a ResNet-50 for small images such as CIFAR's, whose first convolution is 3 x 3 instead of 7 x 7"
    return None
