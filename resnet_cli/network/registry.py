"""Weights and data sets with names: where they are published, and how their bytes are verified.

A mirror may serve other bytes: the hash decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnet_cli.network.transfer import RemoteFile


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set with a name.

    Attributes:
        name: What the user types.
        files: Files to download; empty if a library contains the data set.
        licence: The terms under which it is published.
        description: What it is, in one line.
        mirror_safe: Whether a mirrored image still belongs to its class (digits do not).
    """

    name: str
    files: tuple[RemoteFile, ...]
    licence: str
    description: str
    mirror_safe: bool = True

    @property
    def num_bytes(self) -> int | None:
        """Length of all files together; None if one is not known."""
        sizes = [file.num_bytes for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


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
_CIFAR_LICENCE = "none stated; the authors ask to cite Krizhevsky 2009"

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

# Source: lengths and SHA-256 from tensorflow/datasets, tensorflow_datasets/url_checksums/*.txt, under the names
# cifar10, cifar100, dtd, eurosat, fashion_mnist, food101, oxford_flowers102, oxford_iiit_pet, stl10, svhn_cropped;
# the addresses of all but CIFAR are those of torchvision's dataset classes. Some are plain http, where only the hash
# protects the bytes.
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

DATASETS: dict[str, KnownSet] = {
    known.name: known
    for known in (
        KnownSet(
            name="cifar10",
            files=(
                RemoteFile(
                    name="cifar-10-binary.tar.gz",
                    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    num_bytes=170_052_171,
                    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
            licence=_CIFAR_LICENCE,
            description="60,000 images of 32 x 32 px in 10 classes",
        ),
        KnownSet(
            name="cifar100",
            files=(
                RemoteFile(
                    name="cifar-100-binary.tar.gz",
                    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                    num_bytes=168_513_733,
                    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                ),
            ),
            licence=_CIFAR_LICENCE,
            description="60,000 images of 32 x 32 px in 100 classes",
        ),
        KnownSet(
            name="flowers102",
            files=(
                RemoteFile(
                    name="102flowers.tgz",
                    url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
                    num_bytes=344_862_509,
                    sha256="2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                ),
                RemoteFile(
                    name="imagelabels.mat",
                    url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/imagelabels.mat",
                    num_bytes=502,
                    sha256="4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
                ),
                RemoteFile(
                    name="setid.mat",
                    url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/setid.mat",
                    num_bytes=14_989,
                    sha256="46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
                ),
            ),
            licence="none stated",
            description="8,189 photos of 102 flowers",
        ),
        KnownSet(
            name="oxford-pets",
            files=(
                RemoteFile(
                    name="images.tar.gz",
                    url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                    num_bytes=791_918_971,
                    sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                ),
                RemoteFile(
                    name="annotations.tar.gz",
                    url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                    num_bytes=19_173_078,
                    sha256="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                ),
            ),
            licence="CC BY-SA 4.0; the photos' owners keep their copyright",
            description="7,349 photos of 37 breeds of cats and dogs",
        ),
        KnownSet(
            name="food101",
            files=(
                RemoteFile(
                    name="food-101.tar.gz",
                    url="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                    num_bytes=4_996_278_331,
                    sha256="d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
                ),
            ),
            licence="none; photos of Foodspotting: ask their owners for anything beyond scientific fair use",
            description="101,000 photos of 101 dishes; the train labels are noisy",
        ),
        KnownSet(
            name="stl10",
            files=(
                RemoteFile(
                    name="stl10_binary.tar.gz",
                    url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                    num_bytes=2_640_397_119,
                    sha256="f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
                ),
            ),
            licence="none stated; images of ImageNet, which is for non-commercial research",
            description="13,000 images of 96 x 96 px in 10 classes",
        ),
        KnownSet(
            name="svhn",
            files=(
                RemoteFile(
                    name="train_32x32.mat",
                    url="http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
                    num_bytes=182_040_794,
                    sha256="435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                ),
                RemoteFile(
                    name="test_32x32.mat",
                    url="http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
                    num_bytes=64_275_384,
                    sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
                ),
            ),
            licence="non-commercial use only",
            description="99,289 digits of house numbers, 32 x 32 px, in 10 classes",
            mirror_safe=False,
        ),
        KnownSet(
            name="fashion-mnist",
            files=(
                RemoteFile(
                    name="train-images-idx3-ubyte.gz",
                    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
                    num_bytes=26_421_880,
                    sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                RemoteFile(
                    name="train-labels-idx1-ubyte.gz",
                    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
                    num_bytes=29_515,
                    sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                RemoteFile(
                    name="t10k-images-idx3-ubyte.gz",
                    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
                    num_bytes=4_422_102,
                    sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                RemoteFile(
                    name="t10k-labels-idx1-ubyte.gz",
                    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
                    num_bytes=5_148,
                    sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
            licence="MIT",
            description="70,000 gray images of clothes, 28 x 28 px, in 10 classes",
        ),
        KnownSet(
            name="eurosat",
            # tensorflow/datasets uses the authors' server, madm.dfki.de; torchvision replaced it by this one and kept
            # the MD5, c8fa0143.
            files=(
                RemoteFile(
                    name="EuroSAT.zip",
                    url="https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                    num_bytes=94_280_567,
                    sha256="8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
                ),
            ),
            licence="MIT",
            description="27,000 Sentinel-2 images of 64 x 64 px in 10 classes of land use",
        ),
        KnownSet(
            name="dtd",
            files=(
                RemoteFile(
                    name="dtd-r1.0.1.tar.gz",
                    url="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
                    num_bytes=625_239_812,
                    sha256="e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
                ),
            ),
            licence="none stated; made available for research",
            description="5,640 photos of 47 textures, the first of its ten partitions",
        ),
        KnownSet(
            name="imagenette",
            # tensorflow/datasets still lists the archive of 2019, which has been replaced (its issue 3115). These are
            # the length and SHA-256 of the archive whose MD5 torchvision has, 3df6f0d0, as pinned by several public
            # repositories such as FluxML/FastAI.jl (src/datasets/fastaidatasets.jl).
            files=(
                RemoteFile(
                    name="imagenette2-320.tgz",
                    url="https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
                    num_bytes=341_663_724,
                    sha256="569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c",
                ),
            ),
            licence="Apache-2.0; images of ImageNet, which is for non-commercial research",
            description="13,394 photos of 10 easy ImageNet classes, 320 px",
        ),
        KnownSet(
            name="digits",
            files=(),
            licence="CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)",
            description="1,797 scans of 8 x 8 px in 10 classes; part of scikit-learn",
            mirror_safe=False,
        ),
    )
}
