"""Multi-label data made of CIFAR-10: mosaics of 2 x 2 images that show one to four classes.

    RESNET_CLI_ASSETS=... python -m benchmarks.mosaic_images FOLDER

Writes 2,000 mosaics of 64 px for training, 500 for validation and 2,000 for the test, and ``labels.csv`` with the
columns ``path``, ``labels`` (separated by ``;``) and ``split``.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .setting import find_assets

#: Side of a mosaic, in images.
SIDE = 2
#: Split -> number of mosaics; the images of test mosaics are those of CIFAR-10's test split.
SIZES = {"train": 2000, "val": 500, "test": 2000}
#: Encoded images by class.
Pool = Mapping[str, Sequence[bytes]]


def write_mosaics(pools: Mapping[str, Pool], folder: Path, sizes: Mapping[str, int], *, seed: int = 0) -> Path:
    """Writes mosaics as PNG files, and their table.

    The number of classes of a mosaic is 1, 2, 3 or 4, each as often; then that many classes are drawn, all equally
    likely. Each of them has at least one of the four places, the others are drawn among these classes again. No image
    is used twice.

    Args:
        pools: ``train`` and ``test`` -> images of each class; validation mosaics are made of training images.
        folder: Folder to write, which must not exist.
        sizes: Split -> number of mosaics.
        seed: Random seed.

    Returns:
        The table.

    Raises:
        StopIteration: A class has too few images.
    """
    rng = np.random.default_rng(seed)
    unused = {
        name: {label: iter(rng.permutation(np.arange(len(images)))) for label, images in sorted(pool.items())}
        for name, pool in pools.items()
    }
    rows = []
    for split, count in sizes.items():
        source = "test" if split == "test" else "train"
        (folder / split).mkdir(parents=True)
        for number in range(count):
            places = _draw_places(sorted(pools[source]), rng)
            images = [pools[source][label][next(unused[source][label])] for label in places]
            path = f"{split}/{number:04}.png"
            _join(images).save(folder / path)
            rows.append((path, ";".join(sorted(set(places))), split))
    table = folder / "labels.csv"
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "labels", "split"), *rows])
    return table


def _draw_places(classes: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The class of each place."""
    num_places = SIDE * SIDE
    chosen = rng.choice(classes, size=rng.integers(1, num_places + 1), replace=False)
    repeated = rng.choice(chosen, size=num_places - len(chosen))
    places: list[str] = rng.permutation(np.concatenate([chosen, repeated])).tolist()
    return places


def _join(images: Sequence[bytes]) -> Image.Image:
    parts = [np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in images]
    rows = [np.concatenate(parts[start : start + SIDE], axis=1) for start in range(0, len(parts), SIDE)]
    return Image.fromarray(np.concatenate(rows))


def read_pools(archive: Path) -> dict[str, dict[str, list[bytes]]]:
    """Reads the archive of CIFAR-10: split -> class -> its images, in the order of their names."""
    with tarfile.open(archive) as tar:
        found = {member.name: _content(tar, member) for member in tar if member.isfile()}
    pools: dict[str, dict[str, list[bytes]]] = {}
    for name, content in sorted(found.items()):
        split, label = name.split("/")[-3:-1]
        pools.setdefault(split, {}).setdefault(label, []).append(content)
    return pools


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def main() -> None:
    """Writes the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write, which must not exist")
    print(write_mosaics(read_pools(find_assets() / "cifar10-jpeg.tar.gz"), parser.parse_args().folder, SIZES))


if __name__ == "__main__":
    main()
