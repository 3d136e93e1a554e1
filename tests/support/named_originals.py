"""The published files of each data set of the registry, in their real layout, with a handful of images."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torchvision import datasets as tv


@dataclass(frozen=True)
class Original:
    """The published files of one data set, and what has to be read from them: (split, class, name, content)."""

    files: dict[str, bytes]
    items: list[tuple[str, str, str, bytes]]


def tar_gz(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def mat(**arrays: Any) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, arrays)
    return buffer.getvalue()


def idx(array: np.ndarray) -> bytes:
    """Source: http://yann.lecun.com/exdb/mnist/, "the IDX file format"."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes())


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def pixel_items(name: str, split: str, images: np.ndarray, classes: list[str]) -> list[tuple[str, str, str, bytes]]:
    return [
        (split, label, f"{name}/{split}/{label}/{index}", image.tobytes())
        for index, (image, label) in enumerate(zip(images, classes, strict=True))
    ]


# The images are not real images: opening a data set must not decode them.
def flowers102() -> Original:
    images = {f"jpg/image_{number:05d}.jpg": b"flower %d" % number for number in range(1, 7)}
    ids = {"trnid": [[5, 1]], "valid": [[2, 6]], "tstid": [[4, 3]]}
    labels = [1, 102, 2, 1, 1, 102]
    names = {1: "pink primrose", 2: "hard-leaved pocket orchid", 102: "blackberry lily"}
    items = []
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        for number in ids[key][0]:
            path = f"jpg/image_{number:05d}.jpg"
            items.append((split, names[labels[number - 1]], f"flowers-102/{path}", images[path]))
    files = {"102flowers.tgz": tar_gz(images), "imagelabels.mat": mat(labels=[labels]), "setid.mat": mat(**ids)}
    return Original(files, items)


def oxford_pets() -> Original:
    lists = {
        "train": ["american_bulldog_10 2 2 1", "Abyssinian_1 1 1 1"],
        "test": ["Abyssinian_2 1 1 1", "american_bulldog_3 2 2 1"],
    }
    items, images = [], {}
    for split, lines in lists.items():
        for line in lines:
            stem = line.split()[0]
            images[f"images/{stem}.jpg"] = stem.encode()
            pet = "Abyssinian" if stem.startswith("A") else "American Bulldog"
            items.append((split, pet, f"oxford-iiit-pet/images/{stem}.jpg", stem.encode()))
    texts = {
        "annotations/trainval.txt": "\n".join(lists["train"]).encode(),
        "annotations/test.txt": "\n".join(lists["test"]).encode(),
        "annotations/._test.txt": b"what macOS leaves",
    }
    return Original({"images.tar.gz": tar_gz(images), "annotations.tar.gz": tar_gz(texts)}, items)


def food101() -> Original:
    lists = {"train": ["apple_pie/1", "apple_pie/2", "waffles/3"], "test": ["apple_pie/4", "waffles/5"]}
    members, items = {}, []
    for split, stems in lists.items():
        per_class = {name: [s for s in stems if s.startswith(name)] for name in ("apple_pie", "waffles")}
        members[f"food-101/meta/{split}.json"] = json.dumps(per_class).encode()
        for stem in stems:
            members[f"food-101/images/{stem}.jpg"] = stem.encode()
            items.append((split, stem.split("/")[0], f"food-101/images/{stem}.jpg", stem.encode()))
    return Original({"food-101.tar.gz": tar_gz(members)}, items)


def stl10() -> Original:
    names = "airplane bird car cat deer dog horse monkey ship truck".split()
    labels = {"train": [2, 10, 1], "test": [1, 3]}
    members = {"class_names.txt": "\n".join(names).encode(), "unlabeled_X.bin": noise(1, 3, 96, 96).tobytes()}
    items = []
    for split, found in labels.items():
        images = noise(len(found), 96, 96, 3)
        # Column after column in each plane. Source: https://cs.stanford.edu/~acoates/stl10/, "Binary files".
        members[f"{split}_X.bin"] = images.transpose(0, 3, 2, 1).tobytes()
        members[f"{split}_y.bin"] = bytes(found)
        items += pixel_items("stl10", split, images, [names[label - 1] for label in found])
    archive = tar_gz({f"stl10_binary/{name}": data for name, data in members.items()})
    return Original({"stl10_binary.tar.gz": archive}, items)


def svhn() -> Original:
    files, items = {}, []
    for split, labels in (("train", [10, 1, 9]), ("test", [2, 10])):
        images = noise(len(labels), 32, 32, 3)
        files[f"{split}_32x32.mat"] = mat(X=images.transpose(1, 2, 3, 0), y=np.array(labels, np.uint8)[:, None])
        items += pixel_items("svhn", split, images, [str(label % 10) for label in labels])
    return Original(files, items)


def fashion_mnist() -> Original:
    files, items = {}, []
    for split, stem, labels in (("train", "train", [9, 0, 1]), ("test", "t10k", [0, 9])):
        gray = noise(len(labels), 28, 28)
        files[f"{stem}-images-idx3-ubyte.gz"] = idx(gray)
        files[f"{stem}-labels-idx1-ubyte.gz"] = idx(np.array(labels, np.uint8))
        names = [{0: "T-shirt/top", 1: "Trouser", 9: "Ankle boot"}[label] for label in labels]
        items += pixel_items("fashion-mnist", split, np.stack([gray] * 3, -1), names)
    return Original(files, items)


def eurosat() -> Original:
    images = {f"2750/{kind}/{kind}_{n}.jpg": f"{kind} {n}".encode() for kind in ("Forest", "River") for n in (1, 2)}
    items = [("train", name.split("/")[1], f"eurosat/{name}", data) for name, data in images.items()]
    return Original({"EuroSAT.zip": zipped(images)}, items)


def dtd() -> Original:
    members, items = {}, []
    for number, split in enumerate(("train", "val", "test")):
        paths = [f"{kind}/{kind}_{number:04d}.jpg" for kind in ("banded", "zigzagged")]
        members[f"dtd/labels/{split}1.txt"] = "\n".join(paths).encode()
        members[f"dtd/labels/{split}2.txt"] = b"banded/other_0001.jpg"
        for path in paths:
            members[f"dtd/images/{path}"] = path.encode()
            items.append((split, path.split("/")[0], f"dtd/dtd/images/{path}", path.encode()))
    return Original({"dtd-r1.0.1.tar.gz": tar_gz(members)}, items)


def imagenette() -> Original:
    members, items = {"imagenette2-320/noisy_imagenette.csv": b"path,noisy_labels_0"}, []
    # All ten: torchvision numbers the folders that it finds.
    for split in ("train", "val"):
        for wnid, names in tv.Imagenette._WNID_TO_CLASS.items():
            name = f"imagenette2-320/{split}/{wnid}/{wnid}_1.JPEG"
            members[name] = f"{split} {wnid}".encode()
            items.append((split, names[0], name, members[name]))
    return Original({"imagenette2-320.tgz": tar_gz(members)}, items)


ORIGINALS: dict[str, Callable[[], Original]] = {
    "flowers102": flowers102,
    "oxford-pets": oxford_pets,
    "food101": food101,
    "stl10": stl10,
    "svhn": svhn,
    "fashion-mnist": fashion_mnist,
    "eurosat": eurosat,
    "dtd": dtd,
    "imagenette": imagenette,
}
