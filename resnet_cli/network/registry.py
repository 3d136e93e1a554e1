"""Weights with names: where they are published, and how their bytes are verified.

A mirror may serve other bytes: the hash decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnet_cli.network.remote_file import RemoteFile


@dataclass(frozen=True, kw_only=True)
class HubWeights:
    """ResNet-50 weights on the Hugging Face Hub, as safetensors in torchvision's layout.

    Attributes:
        repo: Repository, as ``OWNER/NAME``.
        revision: A commit, which pins the bytes; a branch or tag; None for the newest.
        num_bytes: Length of the weights file, if it is known.
        sha256: SHA-256 of the file in lower-case hex, if it is known; the Hub's own is checked in any case.
        licence: The terms under which it is published.
        description: What it is, in one line.
    """

    repo: str
    revision: str | None = None
    num_bytes: int | None = None
    sha256: str | None = None
    licence: str = ""
    description: str = ""

    @property
    def spec(self) -> str:
        """What a user types to select exactly these weights."""
        return f"hf:{self.repo}" + (f"@{self.revision}" if self.revision else "")


_TORCHVISION_LICENCE = "BSD-3-Clause; trained on ImageNet-1k, which is for non-commercial research"

# Source: the names carry the first 8 digits (torchvision.models.ResNet50_Weights). The full hashes and
# lengths are the same in several public repositories that pin these files.
WEIGHTS: dict[str, RemoteFile] = {
    "imagenet-v1": RemoteFile(
        name="resnet50-0676ba61.pth",
        url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
        num_bytes=102_530_333,
        sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        licence=_TORCHVISION_LICENCE,
        description="torchvision IMAGENET1K_V1: top1 76.13 % at 224 px",
    ),
    "imagenet-v2": RemoteFile(
        name="resnet50-11ad3fa6.pth",
        url="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        num_bytes=102_540_417,
        sha256="11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        licence=_TORCHVISION_LICENCE,
        description="torchvision IMAGENET1K_V2: top1 80.86 % at 224 px",
    ),
}

_TIMM_LICENCE = "Apache-2.0; trained on ImageNet-1k, which is for non-commercial research"
_TIMM_NUM_BYTES = 102_469_840

# Source: top-1 and input size: huggingface/pytorch-image-models, results/results-imagenet.csv; licenses: the model
# cards and timm/models/resnet.py; revisions and hashes: the repositories' pages on the Hub. timm's files of a plain
# ResNet-50 have the same length: the same tensors under the same names, without metadata.
HUB_WEIGHTS: dict[str, HubWeights] = {
    "timm-a1": HubWeights(
        repo="timm/resnet50.a1_in1k",
        revision="93271f4677dbf7b4d7f7e7d9d7811bd66c327e56",
        num_bytes=_TIMM_NUM_BYTES,
        sha256="773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb",
        licence=_TIMM_LICENCE,
        description="ResNet strikes back, A1: top1 81.21 % at 288 px",
    ),
    "timm-a1h": HubWeights(
        repo="timm/resnet50.a1h_in1k",
        revision="e7a9beccdc0353b32a1825fefc87847e4530ee35",
        num_bytes=_TIMM_NUM_BYTES,
        licence=_TIMM_LICENCE,
        description="A1 with more regularization: top1 80.68 % at 224 px",
    ),
    "timm-ra": HubWeights(
        repo="timm/resnet50.ra_in1k",
        revision="bd3df32877dc17521c1121ab9498cdc4eebdd720",
        num_bytes=_TIMM_NUM_BYTES,
        sha256="c49195c94e4fe19545a332e706f998d836f63b5d9892cc54526df3ee9b92ba18",
        licence=_TIMM_LICENCE,
        description="RandAugment recipe: top1 79.84 % at 288 px",
    ),
    "timm-swsl": HubWeights(
        repo="timm/resnet50.fb_swsl_ig1b_ft_in1k",
        num_bytes=_TIMM_NUM_BYTES,
        licence="CC BY-NC 4.0",
        description="pretrained on a billion Instagram photos: top1 81.18 % at 224 px",
    ),
}
