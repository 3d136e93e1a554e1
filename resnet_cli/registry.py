"""What can be had by a name: weights and data sets, where they are published, and how their bytes are recognised.

A mirror may serve other bytes: the hash decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnet_cli.transfer import RemoteFile


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set that goes by a name.

    Attributes:
        name: What the user types.
        files: What has to be fetched; none for a set that a library brings along.
        licence: Under which terms it is published.
        description: What it is, in one line.
        mirror_safe: Whether a mirrored picture still belongs to its class (digits do not).
    """

    name: str
    files: tuple[RemoteFile, ...]
    licence: str
    description: str
    mirror_safe: bool = True

    @property
    def num_bytes(self) -> int | None:
        """The length of all files together; None where one is not known."""
        sizes = [file.num_bytes for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


_TORCHVISION_LICENCE = "BSD-3-Clause; trained on ImageNet-1k, which is for non-commercial research"
_CIFAR_LICENCE = "none stated; the authors ask to cite Krizhevsky 2009"

# Source: the names carry the first 8 digits (torchvision.models.ResNet50_Weights). The full hashes and
# lengths were found equal in several public repositories that pin these files.
WEIGHTS: dict[str, RemoteFile] = {
    "imagenet-v1": RemoteFile(
        name="resnet50-0676ba61.pth",
        url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
        num_bytes=102_530_333,
        sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        licence=_TORCHVISION_LICENCE,
        description="torchvision ResNet50_Weights.IMAGENET1K_V1, top1 76.13 %",
    ),
    "imagenet-v2": RemoteFile(
        name="resnet50-11ad3fa6.pth",
        url="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        num_bytes=102_540_417,
        sha256="11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        licence=_TORCHVISION_LICENCE,
        description="torchvision ResNet50_Weights.IMAGENET1K_V2, top1 80.86 %",
    ),
}

# Source: tensorflow/datasets, tensorflow_datasets/url_checksums/cifar10.txt and cifar100.txt.
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
            description="60 000 pictures of 32 x 32 px in 10 classes",
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
            description="60 000 pictures of 32 x 32 px in 100 classes",
        ),
        KnownSet(
            name="digits",
            files=(),
            licence="CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)",
            description="1,797 scans of 8 x 8 px in 10 classes; comes with scikit-learn",
            mirror_safe=False,
        ),
    )
}
