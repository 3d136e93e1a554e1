"""Images that training gains little from are reported; images that are like the others of their set are not."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter
from support.html_page import Page
from support.planted_faults import cut, photo, write_folder

from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.inspection.cleaning import clean_items
from resnet_cli.data.inspection.duplicates import signature
from resnet_cli.data.inspection.findings import find_problems, to_report
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.looks import LOOKS, Look, find_looks, look, sharpness
from resnet_cli.data.inspection.scan import scan, scan_image
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.reporting.inspection_page import inspection_page

SIZE = (256, 192)


def sharp(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A scene with edges: shapes before patches of all sizes."""
    image = photo(seed, size)
    draw = ImageDraw.Draw(image)
    rng = np.random.default_rng(seed)
    for _ in range(12):
        x, y, radius = rng.random(3) * (*size, size[0] / 6)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def saved(image: Image.Image, quality: int = 85) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def noisy(level: int, strength: float, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(np.clip(level + rng.normal(0, strength, (*SIZE[::-1], 3)), 0, 255).astype(np.uint8))


def gradient(low: int, high: int) -> Image.Image:
    ramp = np.linspace(low, high, SIZE[0]).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(ramp[None, :, None], (*SIZE[::-1], 3)).copy())


def darkened(image: Image.Image, factor: float, offset: int = 0) -> Image.Image:
    return image.point([min(255, int(offset + factor * value)) for value in range(256)] * 3)


def inspected(images: dict[str, Image.Image | bytes]) -> Inspection:
    """Twenty ordinary images, and these."""
    every = {f"ordinary{seed:02d}.jpg": saved(sharp(seed)) for seed in range(20)}
    every |= {name: value if isinstance(value, bytes) else saved(value) for name, value in images.items()}
    items = tuple(Item(name, data, (position % 2,)) for position, (name, data) in enumerate(every.items()))
    return inspect_images(Dataset("x", "x", ("a", "b"), items), [scan_image(item) for item in items])


def looks_of(inspection: Inspection) -> dict[str, list[str]]:
    return {name: names for name, names in to_report(inspection)["looks"].items() if names}


ODD: dict[str, tuple[str, Callable[[], Image.Image]]] = {
    "a pixel": ("tiny", lambda: sharp(50, (7, 5))),
    "a thumbnail": ("tiny", lambda: sharp(51, (40, 30))),
    "white": ("flat", lambda: Image.new("RGB", SIZE, "white")),
    "black": ("flat", lambda: Image.new("RGB", SIZE)),
    "red": ("flat", lambda: Image.new("RGB", SIZE, (200, 30, 30))),
    "the lens covered": ("flat", lambda: noisy(12, 2.0)),
    "fog": ("flat", lambda: gradient(120, 132)),
    "underexposed": ("dark", lambda: darkened(sharp(52), 0.15)),
    "overexposed": ("bright", lambda: darkened(sharp(53), 0.15, 215)),
    "out of focus": ("blurred", lambda: sharp(54).filter(ImageFilter.GaussianBlur(3))),
    "moved": ("blurred", lambda: sharp(55).filter(ImageFilter.BoxBlur(6))),
    "enlarged": ("blurred", lambda: sharp(56, (48, 36)).resize((640, 480), Image.Resampling.BICUBIC)),
}


@pytest.mark.parametrize("name", ODD)
def test_an_image_that_stands_out_is_named_and_no_other(name: str) -> None:
    kind, make = ODD[name]
    inspection = inspected({"odd.jpg": make()})
    assert looks_of(inspection) == {kind: ["odd.jpg"]}
    (finding,) = [finding for finding in find_problems(inspection) if finding.code in LOOKS]
    assert finding.code == kind
    assert finding.message.startswith("1 image is ") and finding.message.endswith("such as odd.jpg")
    assert "--fix keeps them" in finding.fix


ORDINARY: dict[str, Callable[[], Image.Image]] = {
    "another size": lambda: sharp(60, (600, 800)),
    "a third of the size": lambda: sharp(61, (100, 80)),
    "half as bright": lambda: darkened(sharp(62), 0.5),
    "little contrast": lambda: darkened(sharp(63), 0.25, 100),
    "a drawing": lambda: line_drawing("white", "black"),
    "a digit on black": lambda: line_drawing("black", "white"),
    "a dark blue": lambda: two_colors((0, 0, 230), (0, 0, 20)),
    "colors of one brightness": lambda: two_colors((200, 60, 60), (20, 144, 60)),
    "noise": lambda: noisy(128, 40),
    "stripes": lambda: stripes(),
    "a sharp object before a plain wall": lambda: wall(),
}


def line_drawing(paper: str, ink: str) -> Image.Image:
    image = Image.new("RGB", SIZE, paper)
    ImageDraw.Draw(image).line((20, 20, 200, 60, 40, 150, 230, 170), fill=ink, width=6)
    return image


def two_colors(first: tuple[int, int, int], second: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", SIZE, first)
    image.paste(second, (0, 0, SIZE[0] // 2, SIZE[1]))
    return image


def stripes() -> Image.Image:
    rows = np.where(np.arange(SIZE[1]) // 8 % 2, 60, 190).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(rows[:, None, None], (*SIZE[::-1], 3)).copy())


def wall() -> Image.Image:
    image = sharp(64).filter(ImageFilter.GaussianBlur(8))
    image.paste(sharp(65, (90, 90)), (60, 40))
    return image


@pytest.mark.parametrize("name", ORDINARY)
def test_unusual_images_are_not_faulty(name: str) -> None:
    assert looks_of(inspected({"unusual.png": ORDINARY[name]()})) == {}


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_a_set_of_small_images_has_no_tiny_ones(side: int) -> None:
    items = [Item(f"{seed}", np.asarray(sharp(seed, (side, side))), (seed % 2,)) for seed in range(20)]
    images = [scan_image(item) for item in items]
    assert not any(find_looks(images).values())
    items.append(Item("odd", np.asarray(sharp(99, (max(1, side // 5), side)))))
    assert find_looks([*images, scan_image(items[-1])])["tiny"] == [20]


def test_a_set_of_soft_images_has_no_blurred_ones() -> None:
    soft = [scan_image(Item("", saved(sharp(seed).filter(ImageFilter.GaussianBlur(0.8))))) for seed in range(20)]
    assert all(0 < image.sharpness < 0.85 for image in soft)
    assert find_looks(soft)["blurred"] == []
    worse = scan_image(Item("", saved(sharp(99).filter(ImageFilter.GaussianBlur(2.5)))))
    assert find_looks([*soft, worse])["blurred"] == [20]


def test_sharpness_falls_with_blur_and_not_with_contrast_or_size() -> None:
    scene = sharp(1, (800, 600))
    values = [sharpness(scene.filter(ImageFilter.GaussianBlur(sigma))) for sigma in (0, 2, 4, 6)]
    assert values == sorted(values, reverse=True) and values[0] > 1 > values[1]
    assert sharpness(darkened(scene, 0.5)) == pytest.approx(values[0], rel=0.05)
    assert sharpness(scene.resize((400, 300), Image.Resampling.LANCZOS)) == pytest.approx(values[0], rel=0.15)
    assert sharpness(Image.new("RGB", SIZE, "gray")) == 0


def test_blur_of_one_direction_counts() -> None:
    kernel = np.zeros((5, 5))
    kernel[2] = 1
    moved = sharp(1)
    for _ in range(3):
        moved = moved.filter(ImageFilter.Kernel((5, 5), kernel.ravel().tolist()))
    assert sharpness(moved) < 0.85 < sharpness(sharp(1))
    assert sharpness(moved.transpose(Image.Transpose.ROTATE_90)) == pytest.approx(sharpness(moved), rel=0.1)


def test_what_the_thumbnail_shows_is_not_measured_again() -> None:
    image = sharp(1, (32, 32))
    assert look(image, signature(image)) == Look()


def test_a_fine_pattern_is_not_flat() -> None:
    pattern = np.indices((96, 96)).sum(axis=0) % 2 * 255
    image = Image.fromarray(np.repeat(pattern[..., None], 3, axis=2).astype(np.uint8))
    # The thumbnail is of one gray.
    assert set(signature(image)[:256]) <= {127, 128}
    assert look(image, signature(image))[:3] == (0, 255, 255)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255), st.integers(0, 60))
def test_any_image_has_one_look_at_most(width: int, height: int, level: int, spread: int) -> None:
    rng = np.random.default_rng(level)
    pixels = np.clip(level + rng.integers(0, spread + 1, (height, width, 3)), 0, 255).astype(np.uint8)
    found = scan_image(Item("x", pixels))
    assert 0 <= found.darkest <= found.lightest <= 255 and 0 <= found.contrast <= 255
    positions = [at for positions in find_looks([found] * 3).values() for at in positions]
    assert len(positions) == len(set(positions))


def test_an_unreadable_image_has_no_look() -> None:
    assert find_looks([ScannedImage(b"", 0, error="damaged")]) == {name: [] for name in LOOKS}
    assert find_looks([]) == {name: [] for name in LOOKS}


def test_a_second_scan_knows_the_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.data.inspection.index.RACY_NS", 0)
    root = write_folder(tmp_path / "x", {"a": 12, "b": 12})
    sharp(1).filter(ImageFilter.GaussianBlur(3)).save(root / "a" / "blurred.jpg")
    Image.new("RGB", SIZE, "white").save(root / "a" / "white.png")
    items = open_dataset(str(root)).items
    first = scan(items)
    monkeypatch.setattr("resnet_cli.data.inspection.scan.scan_image", None)
    assert scan(items) == first


def test_fix_keeps_them_and_the_page_shows_them(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "x", {"cat": 12, "dog": 12})
    for seed in range(24):
        sharp(seed).save(root / ("cat" if seed % 2 else "dog") / f"sharp{seed}.jpg")
    for name, (_, make) in ODD.items():
        make().save(root / "cat" / f"{name}.png")
    cut(root / "dog" / "000.jpg", root / "dog" / "cut.jpg")
    shutil.copy(root / "cat" / "white.png", root / "cat" / "white copy.png")
    dataset = open_dataset(str(root))
    inspection = inspect_images(dataset, scan(dataset.items))
    kept, dropped = clean_items(inspection)
    assert {item.name for item, _ in dropped} == {"dog/cut.jpg", "cat/white.png"}
    assert {f"cat/{name}.png" for name in ODD if name != "white"} < {item.name for item in kept}
    page = Page(inspection_page(inspection))
    for title in ("Tiny images 2", "One color, or nearly so 6", "Nearly black 1", "Nearly white 1", "Blurred 3"):
        assert title in page.text
    assert "7 x 5 px" in page.text and "contrast 0 of 255" in page.text
    for finding in find_problems(inspection):
        assert finding.message in page.text


def test_the_page_fits_whatever_is_wrong() -> None:
    items = [Item(f"{n}.png", np.full((8, 8, 3), n % 200, np.uint8), (n % 2,)) for n in range(400)]
    inspection = inspect_images(Dataset("x", "x", ("a", "b"), tuple(items)), [scan_image(item) for item in items])
    odd = dataclasses.replace(inspection)
    assert len(odd.looks["flat"]) == 400
    assert "12 of 400" in Page(inspection_page(odd)).text


# Real photos.


def test_no_real_photo_stands_out(assets: Path) -> None:
    for folder in ("ants_bees", "imagenet"):
        dataset = open_dataset(str(assets / "photos" / folder))
        assert {name: found for name, found in find_looks(scan(dataset.items)).items() if found} == {}


def test_blurred_photos_are_found(assets: Path) -> None:
    paths = sorted((assets / "photos" / "imagenet").rglob("*.JPEG"))[::2]
    images = [Image.open(path).convert("RGB") for path in paths]
    radii = [2 * min(image.size) / 256 for image in images]
    blurred = [image.filter(ImageFilter.GaussianBlur(radius)) for image, radius in zip(images, radii, strict=True)]
    every = [scan_image(Item("", saved(image))) for image in (*images, *blurred)]
    found = find_looks([*every[: len(images)] * 3, *every[len(images) :]])["blurred"]
    assert found == list(range(3 * len(images), 4 * len(images)))
