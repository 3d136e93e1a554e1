from __future__ import annotations

import base64
import dataclasses
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.html_page import Page, assert_only_own_script, assert_self_contained

from resnet_cli.data.dataset import SPLITS, Dataset, Item
from resnet_cli.data.inspection.compact import NearPair, NearPairs
from resnet_cli.data.inspection.findings import find_problems
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.scan import scan, scan_image
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.histograms import aspect_histogram, cut_histogram, side_histogram
from resnet_cli.reporting.inspection_page import MAX_THUMBNAILS, inspection_page
from resnet_cli.reporting.thumbnails import MAX_THUMBNAIL_BYTES, THUMBNAIL_PX, thumbnails

MAX_PAGE_BYTES = 5_000_000


def inspect(dataset: Dataset) -> Inspection:
    return inspect_images(dataset, [scan_image(item) for item in dataset.items])


def noise(seed: int, size: tuple[int, int] = (40, 30)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)


def png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def pets(sources: Sequence[Any], **changes: Any) -> Dataset:
    """Images of cats and dogs in turn, all in train unless changed."""
    items = tuple(Item(f"image{n}.png", source, (n % 2,)) for n, source in enumerate(sources))
    return dataclasses.replace(Dataset("pets", "pets", ("cat", "dog"), items), **changes)


def test_the_page_is_one_valid_file_that_asks_for_nothing(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"train": {"ants": 12, "bees": 11}, "val": {"ants": 3, "bees": 4}})
    dataset = read_folder(folder)
    text = inspection_page(inspect_images(dataset, scan(dataset.items)))
    page = Page(text)
    assert_self_contained(page)
    assert_only_own_script(text)
    assert "url(" not in text and "@import" not in text
    assert page.values("html", "lang") == ["en"]
    assert page.tags["h1"] == 1 and page.tags["title"] > 0 and page.tags["svg"] == 3
    assert page.tags["table"] == page.tags["caption"] > 0
    assert page.tags["th"] == len(page.values("th", "scope"))
    assert page.tags["img"] == 12
    assert "30 images" in page.text and "2 classes" in page.text and "train, val" in page.text
    assert "Nothing to fix" in page.text


def test_planted_faults_appear_with_counts_and_fixes(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"train": {"ants": 12, "bees": 12}, "val": {"ants": 4, "bees": 4}})
    shutil.copy(folder / "train/ants/000.jpg", folder / "val/ants/leaked.jpg")
    shutil.copy(folder / "train/bees/001.jpg", folder / "train/ants/two_labels.jpg")
    (folder / "train/ants/cut.jpg").write_bytes((folder / "train/ants/002.jpg").read_bytes()[:300])
    photo = Image.fromarray(noise(1))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(folder / "train/bees/phone.jpg", exif=exif)
    Image.fromarray(noise(2)).convert("CMYK").save(folder / "train/bees/print.jpg")
    Image.fromarray(noise(3)).convert("L").save(folder / "train/bees/gray.jpg")
    Image.fromarray(noise(4)[..., 0].astype(np.uint16) * 256).save(folder / "train/bees/deep.png")
    rgba = Image.fromarray(noise(5)).convert("RGBA")
    rgba.putalpha(100)
    rgba.save(folder / "train/bees/clear.png")
    Image.fromarray(noise(6, (200, 20))).save(folder / "train/bees/panorama.png")
    (folder / "train/ants/notes.txt").write_text("no image")
    dataset = read_folder(folder)
    inspection = inspect_images(dataset, scan(dataset.items))
    page = Page(inspection_page(inspection))
    assert_self_contained(page)
    for finding in find_problems(inspection):
        assert finding.message in page.text and finding.fix in page.text
    titles = "Unreadable files 1|Label conflicts 1|Leaks between splits 1|Exact duplicates 2|Rotated by EXIF 1"
    for title in f"{titles}|Transparent 1|Gray 2|16-bit 1|CMYK 1|Long images 1".split("|"):
        assert title in page.text
    assert "1 unreadable" in page.text and "2 exact copies" in page.text and "1 leaks" in page.text
    assert "train/ants/cut.jpg" in page.text and "damaged" in page.text
    assert "orientation 6" in page.text and "90 % cut" in page.text
    assert "Files that are not images by their name: 1" in page.text


def test_the_worst_findings_come_first() -> None:
    dataset = pets([noise(n) for n in range(30)] + [b"no image"], notes=("something was noticed",))
    page = Page(inspection_page(inspect(dataset)))
    assert page.text.index("Fix first") < page.text.index("Good to know")
    assert page.text.index("cannot be read, such as") < page.text.index("something was noticed")


def test_near_duplicates_stand_side_by_side_with_their_score() -> None:
    inspection = inspect(pets([noise(0), noise(1), noise(2)]))
    inspection = dataclasses.replace(inspection, near=NearPairs.of([NearPair(0, 2, 0.9512)]))
    page = Page(inspection_page(inspection))
    assert "Near duplicates 1" in page.text and "95.1 %" in page.text
    assert page.values("img", "alt").count("image0.png") == page.values("img", "alt").count("image2.png") == 1


def test_near_duplicates_that_were_not_looked_for_are_not_called_absent() -> None:
    dataset = pets([noise(0), noise(1)])
    inspection = inspect_images(dataset, [scan_image(item) for item in dataset.items], near=False)
    text = Page(inspection_page(inspection)).text
    assert "not searched for" in text and "0 near pairs" not in text


def test_a_leak_names_every_split_however_many_copies_there_are() -> None:
    items = tuple(
        Item(f"{n}.png", png(Image.fromarray(noise(0))), (0,), "val" if n == 19 else "train") for n in range(20)
    )
    text = Page(inspection_page(inspect(Dataset("many", "many", ("a", "b"), items)))).text
    leaks = text[text.index("Leaks between splits 1") :]
    assert "val 19.png" in leaks and "and 14 more" in leaks


HOSTILE = [
    "<script>alert(1)</script>.png",
    '"><img src=x onerror="alert(1)">.png',
    "' onmouseover='alert(1).png",
    "{{ 7 * 7 }}{% raw %}.png",
    "gnp.\u202eexe",
    "\udcff\udcfe.png",
    "line\nbreak\x1b[31m\x00.png",
    "日本語" * 60,
    "]]></style></title>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_strangers_are_text_and_nothing_else(name: str) -> None:
    same = png(Image.fromarray(noise(0)))
    sources = [same, png(Image.fromarray(noise(1)), transparency=(0, 0, 0)), same, b"no image", same]
    items = tuple(Item(f"{name}{n}", source, (n % 2,), SPLITS[n % 3], name) for n, source in enumerate(sources))
    dataset = Dataset(name, name, (name, name + "'"), items, notes=(name,), split_note=name, passed_over={name: 1})
    text = inspection_page(inspect(dataset))
    text.encode("utf-8")
    assert not {"\u202e", "\x1b", "\x00", "\u2066"} & set(text)
    page = Page(text)
    assert_self_contained(page)
    plain = Page(inspection_page(inspect(Dataset("n", "n", ("a", "b"), items, notes=("n",), split_note="n"))))
    assert page.tags["img"] == plain.tags["img"] and page.tags["h1"] == 1
    if "script" in name:
        assert name in page.text


def test_an_image_that_vanished_after_the_scan_leaves_a_placeholder(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"ants": 4, "bees": 4})
    dataset = read_folder(folder)
    inspection = inspect_images(dataset, scan(dataset.items))
    (folder / "ants/001.jpg").unlink()
    (folder / "bees/002.jpg").write_bytes(b"something else now")
    page = Page(inspection_page(inspection))
    assert page.tags["img"] == 6 and page.text.count("cannot be read") == 2
    assert "ants: ants/001.jpg: cannot be read" in page.values("span", "aria-label")


def test_a_data_set_that_cannot_be_read_at_all_still_has_a_page() -> None:
    page = Page(inspection_page(inspect(pets([b"no", b"image"]))))
    assert_self_contained(page)
    assert page.tags["svg"] == page.tags["img"] == 0 and "no image to show" in page.text


def test_pixels_in_memory_are_shown_as_pixels() -> None:
    text = inspection_page(inspect(pets([noise(n, (32, 32)) for n in range(4)])))
    assert text.count('class="shot tiny"') == 4


def test_many_classes_are_folded_and_sampled() -> None:
    items = tuple(Item(f"{n}.png", noise(n, (8, 8)), (n // 2,)) for n in range(200))
    page = Page(inspection_page(inspect(Dataset("many", "many", tuple(f"class{n}" for n in range(100)), items))))
    assert "the first 20 of 100 classes" in page.text and "80 more classes" in page.text
    assert "class99" in page.text and page.tags["details"] == 1
    assert page.tags["img"] == 40


def test_the_page_is_bounded_for_thousands_of_images_with_hundreds_of_duplicates() -> None:
    # Noise above the thumbnail's side, turned by EXIF and long: everything that fills galleries.
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = Image.fromarray(noise(0, (400, 150))[..., 0])
    files = [png(Image.fromarray(noise(n, (400, 150))), exif=exif) for n in range(60)] + [png(gray, exif=exif)] * 40
    images = [scan_image(Item("", file)) for file in files]
    items, found = [], []
    for n in range(3_000):
        file = n % len(files)
        items.append(Item(f"{'long name ' * 20}{n}.png", files[file], (n % 30,), SPLITS[n % 3]))
        # 500 copies; the others only look like copies here so that their files need not differ.
        sha256 = (n % 2_500).to_bytes(32, "big")
        found.append(images[file]._replace(sha256=sha256, signature=b""))
    classes = tuple(f"{'class ' * 30}{n}" for n in range(30))
    inspection = inspect_images(Dataset("large", "large", classes, tuple(items)), found, near=False)
    inspection = dataclasses.replace(
        inspection, near=NearPairs.of([NearPair(n, n + 1, 0.9) for n in range(0, 2_000, 2)])
    )
    assert len(inspection.exact) == 500
    text = inspection_page(inspection)
    page = Page(text)
    assert 300 < page.tags["img"] <= MAX_THUMBNAILS
    assert len(text.encode()) < MAX_PAGE_BYTES
    assert "24 of 500" in page.text and "24 of 1,000" in page.text


def test_a_thumbnail_is_small_and_keeps_its_shape() -> None:
    items = [Item("a", noise(1, (3_000, 1_500))), Item("b", noise(2, (5_000, 1))), Item("c", noise(3, (7, 5)))]
    sizes = []
    for thumbnail in thumbnails(items):
        data = thumbnail.src.partition(",")[2]
        assert len(data) <= 4 * (MAX_THUMBNAIL_BYTES + 2) // 3
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            sizes.append(image.size)
    assert sizes == [(THUMBNAIL_PX, 64), (THUMBNAIL_PX, 1), (7, 5)]


@pytest.mark.parametrize(
    "histogram",
    [
        side_histogram([32] * 5),
        side_histogram([1, 7, 300, 50_000]),
        aspect_histogram([1.0]),
        aspect_histogram([1 / 30_000, 1.0, 1.5, 30_000.0]),
        cut_histogram([0.0, 0.25, 0.25, 0.9999]),
    ],
)
def test_a_histogram_counts_every_image_inside_its_frame(histogram: Chart) -> None:
    peak = int(histogram.y_ticks[-1].text.replace(",", ""))
    counted = sum(round(bar.height * peak) for bar in histogram.bars)
    assert f"of {counted} images" in histogram.summary
    assert all(0 <= bar.left and bar.left + bar.width <= 1 + 1e-9 and 0 < bar.height <= 1 for bar in histogram.bars)
    assert 2 <= len(histogram.x_ticks) <= 9 and all(-1e-9 <= place <= 1 + 1e-9 for place, _ in histogram.x_ticks)


def test_square_images_stand_in_the_middle() -> None:
    (bar,) = aspect_histogram([1.0, 1.0]).bars
    assert bar.left + bar.width / 2 == pytest.approx(0.5)
