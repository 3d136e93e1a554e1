"""Measures the images that ``inspect`` reports as tiny, flat, dark, bright or blurred: false alarms, hits, and time.

    RESNET_CLI_ASSETS=... python -m benchmarks.looks

Photos and CIFAR-10 images are normal, except that one of CIFAR-10 is dark. Every fourth photo is changed
in several ways, and must then stand out among the photos.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from PIL import Image, ImageFilter

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.duplicates import signature
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.looks import find_looks, look
from resnet_cli.data.inspection.scan import scan_image
from resnet_cli.images import decode

from .duplicates import saved
from .setting import Setting, alone
from .table import Row, show

#: Shorter side in pixels to which the strengths below refer.
SCALE_PX = 256


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every tenth photo")
    with alone(quick=parser.parse_args().quick) as setting:
        show(measure(setting))


def blurred(image: Image.Image, sigma: float) -> Image.Image:
    """The image out of focus."""
    return image.filter(ImageFilter.GaussianBlur(sigma * min(image.size) / SCALE_PX))


def moved(image: Image.Image, pixels: float) -> Image.Image:
    """The image with horizontal motion blur."""
    steps = max(2, round(pixels * min(image.size) / SCALE_PX))
    array = np.asarray(image, np.float32)
    total = np.sum([np.roll(array, step, axis=1) for step in range(steps)], axis=0)
    return Image.fromarray((total / steps).astype(np.uint8))


def enlarged(image: Image.Image, side: int) -> Image.Image:
    """The image reduced to a shorter side, in pixels, and enlarged again."""
    factor = side / min(image.size)
    small = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


#: What is done -> the look that should be found, and how.
CHANGES: dict[str, tuple[str, Callable[[Image.Image], Image.Image]]] = {
    **{f"Gaussian, sigma {sigma} px": ("blurred", partial(blurred, sigma=sigma)) for sigma in (1, 1.5, 2, 3, 4, 6)},
    **{f"moved by {pixels} px": ("blurred", partial(moved, pixels=pixels)) for pixels in (9, 15)},
    "enlarged from 64 px": ("blurred", lambda image: enlarged(image, 64)),
    "a tenth as bright": ("dark", lambda image: image.point(lambda value: value // 10)),
    "one color": ("flat", lambda image: Image.new("RGB", image.size, image.resize((1, 1)).getpixel((0, 0)))),
    "a thumbnail of 32 px": ("tiny", lambda image: image.resize((40, 32))),
}


def measure(setting: Setting) -> Iterator[Row]:
    """Measures false alarms, the share of changed photos that is found, and the time."""
    paths = sorted((setting.assets / "photos").rglob("*.[jJ]*"))[:: 10 if setting.quick else 1]
    photos = [decode(path.read_bytes(), path.name) for path in paths]
    scanned = [scan_image(Item(path.name, path)) for path in paths]
    yield false_alarms("photos", scanned)
    yield found("photos", photos[::4], scanned)
    small = setting.cifar(train=("train", slice(0, 100)))
    yield false_alarms("CIFAR-10", [scan_image(Item(path.name, path)) for path in sorted(small.rglob("*.jpg"))])
    signatures = [signature(photo) for photo in photos]
    began = time.perf_counter()
    for photo, small_one in zip(photos, signatures, strict=True):
        look(photo, small_one)
    spent = time.perf_counter() - began
    began = time.perf_counter()
    for path in paths:
        scan_image(Item(path.name, path))
    share = 100 * spent / (time.perf_counter() - began)
    yield Row("measuring looks, share of the scan of photos", share, "%", details={"n": len(paths)})


def false_alarms(name: str, images: Sequence[ScannedImage]) -> Row:
    """The share of ordinary images that are named."""
    looks = {look_name: len(positions) for look_name, positions in find_looks(images).items()}
    share = 100 * sum(looks.values()) / len(images)
    return Row(f"looks: ordinary images named, {name}", share, "%", at_most=1, details=looks | {"n": len(images)})


def found(name: str, photos: Sequence[Image.Image], ordinary: Sequence[ScannedImage]) -> Row:
    """The share of changed images that stand out among the ordinary ones."""
    hits: dict[str, list[bool]] = {}
    for change, (wanted, apply) in CHANGES.items():
        for number, photo in enumerate(photos):
            changed = scan_image(Item(str(number), np.asarray(saved(apply(photo), 85))))
            hits.setdefault(change, []).append(find_looks([*ordinary, changed])[wanted] == [len(ordinary)])
    details = {change: f"{100 * sum(of_kind) / len(of_kind):.0f} %" for change, of_kind in hits.items()}
    share = 100 * sum(map(sum, hits.values())) / sum(map(len, hits.values()))
    return Row(f"looks: changed images found, {name}", share, "%", at_least=90, details=details | {"n": len(photos)})


if __name__ == "__main__":
    main()
