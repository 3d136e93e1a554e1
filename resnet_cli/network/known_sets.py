"""Data sets with names: where they are published, and how their bytes are verified.

A mirror may serve other bytes: the hash decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnet_cli.network.remote_file import RemoteFile


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


_CIFAR_LICENCE = "none stated; the authors ask to cite Krizhevsky 2009"

# Source: lengths and SHA-256 from tensorflow/datasets, tensorflow_datasets/url_checksums/*.txt, under the names
# cifar10, cifar100, dtd, eurosat, fashion_mnist, food101, oxford_flowers102, oxford_iiit_pet, stl10, svhn_cropped;
# the addresses of all but CIFAR are those of torchvision's dataset classes. Some are plain http, where only the hash
# protects the bytes.
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
