"""The record of the images that a training used: they are recognized by content, wherever and however they are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from resnet_cli.data.dataset import Item, Split
from resnet_cli.data.inspection.scan import scan
from resnet_cli.data.inspection.used_images import (
    NO_USED_IMAGES,
    USES,
    ImageHashes,
    UsedImages,
    look_alike,
)
from resnet_cli.errors import DataError


def noise(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """An image with structure at every scale."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    grain = rng.integers(-20, 20, (height, width, 3))
    pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def hashes_of(*sources: Path | bytes | Image.Image) -> ImageHashes:
    items = [
        Item(f"{index}.png", np.asarray(source) if isinstance(source, Image.Image) else source)
        for index, source in enumerate(sources)
    ]
    return ImageHashes.of(scan(items))


def used(splits: list[Split], folder: Path) -> UsedImages:
    """A record of as many images, ``0.png`` and so on."""
    items = []
    for index, split in enumerate(splits):
        noise(index).save(folder / f"{index}.png")
        items.append(Item(f"{index}.png", folder / f"{index}.png", split=split))
    return UsedImages.of(items, scan(items))


def test_an_image_is_recognized_in_every_form_that_keeps_its_bytes_or_pixels(tmp_path: Path) -> None:
    record = used(["train"], tmp_path)
    again, other = tmp_path / "again.png", tmp_path / "other.bmp"
    exif = Image.Exif()
    exif[0x0132] = "2026:11:29 12:00:00"
    noise(0).save(again, compress_level=0, exif=exif)
    noise(0).save(other)
    found = record.find(hashes_of((tmp_path / "0.png").read_bytes(), again, other, noise(0), noise(1)))
    assert found == ["train"] * 4 + [None]


def test_upright_pixels_count_and_not_how_they_are_stored(tmp_path: Path) -> None:
    record = used(["train"], tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    noise(0).transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.png", exif=exif)
    noise(0).transpose(Image.Transpose.ROTATE_180).save(tmp_path / "upside-down.png")
    assert record.find(hashes_of(tmp_path / "turned.png", tmp_path / "upside-down.png")) == ["train", None]


def test_an_image_without_texture_is_its_pixels_and_its_size(tmp_path: Path) -> None:
    white = Image.new("RGB", (8, 8), "white")
    white.save(tmp_path / "white.png")
    items = [Item("white.png", tmp_path / "white.png")]
    record = UsedImages.of(items, scan(items))
    others = [Image.new("RGB", (8, 8), "black"), Image.new("RGB", (4, 16), "white"), white]
    assert record.find(hashes_of(*others)) == [None, None, "train"]


def test_an_unreadable_image_is_equal_to_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).mkdir()
    items = [Item(name, tmp_path / name) for name in ("a.png", "b.png")]
    record = UsedImages.of(items[:1], scan(items[:1]))
    assert record.find(ImageHashes.of(scan(items))) == [None, None]


def test_the_greatest_effect_on_the_model_counts(tmp_path: Path) -> None:
    for order in (["train", "test"], ["test", "train"]):
        noise(0).save(tmp_path / "0.png")
        items = [Item(f"{split}.png", tmp_path / "0.png", split=split) for split in order]  # type: ignore[arg-type]
        assert UsedImages.of(items, scan(items)).find(hashes_of(noise(0))) == ["train"]


def test_a_training_inherits_what_its_start_was_trained_on(tmp_path: Path) -> None:
    first, second, third = used(["train", "val", "test"], tmp_path), used(["test"], tmp_path), used(["val"], tmp_path)
    later = second.started_from(first)
    assert (later.num_own, len(later.uses)) == (1, 3)
    assert later.find(hashes_of(noise(0), noise(1), noise(2))) == ["earlier_train", "earlier_val", None]
    assert third.started_from(later).find(hashes_of(noise(0), noise(1))) == ["earlier_train", "earlier_val"]


def test_a_start_whose_images_are_unknown_is_named_once(tmp_path: Path) -> None:
    unknown = UsedImages(NO_USED_IMAGES.hashes, NO_USED_IMAGES.uses, ("old",))
    assert used(["train"], tmp_path).started_from(unknown).started_from(unknown).unrecorded == ("old",)


def test_a_record_is_read_as_it_was_written_and_is_small(tmp_path: Path) -> None:
    record = used(["train", "val", "test"], tmp_path).started_from(used(["train"], tmp_path))
    record.save(tmp_path / "record.safetensors")
    read = UsedImages.read(tmp_path / "record.safetensors")
    assert read is not None
    for name in ("content", "pixels", "look"):
        assert np.array_equal(getattr(read.hashes, name), getattr(record.hashes, name))
    assert np.array_equal(read.uses, record.uses) and read.unrecorded == record.unrecorded
    many = UsedImages(ImageHashes(*3 * [np.arange(50_000, dtype=np.uint64)]), np.zeros(50_000, np.uint8))
    many.save(tmp_path / "many.safetensors")
    assert (tmp_path / "many.safetensors").stat().st_size < 50_000 * 25 + 1000
    assert UsedImages.read(tmp_path / "none.safetensors") is None


def test_a_data_set_without_images_has_an_empty_record(tmp_path: Path) -> None:
    NO_USED_IMAGES.save(tmp_path / "empty.safetensors")
    read = UsedImages.read(tmp_path / "empty.safetensors")
    assert read is not None and read.num_own == 0 and read.find(hashes_of(noise(0))) == [None]


@pytest.mark.parametrize("damage", ["cut", "other", "uses", "length", "order"])
def test_a_damaged_record_is_an_error_with_a_way_out(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "record.safetensors"
    record = used(["train", "val"], tmp_path)
    arrays = {name: getattr(record.hashes, name) for name in ("content", "pixels", "look")} | {"uses": record.uses}
    about = {"schema_version": 1, "uses": USES, "unrecorded": []}
    if damage == "uses":
        arrays["uses"] = record.uses + 7
    if damage == "length":
        arrays["look"] = arrays["look"][:1].copy()
    if damage == "order":
        arrays["uses"] = np.array([USES.index("earlier_train"), USES.index("train")], np.uint8)
    data = save(arrays, metadata={} if damage == "other" else {"resnet_cli": json.dumps(about)})
    path.write_bytes(data[:-5] if damage == "cut" else data)
    with pytest.raises(DataError, match="not a record of the images") as caught:
        UsedImages.read(path)
    assert caught.value.hint and "delete it" in caught.value.hint


def test_copies_look_alike_and_other_images_do_not(tmp_path: Path) -> None:
    originals, copies = [], []
    for seed in range(40):
        image = noise(seed, 160, 120)
        originals.append(image)
        path = tmp_path / f"{seed}.jpg"
        image.resize((120, 90)).save(path, quality=70)
        copies.append(path)
    looks, of_copies = hashes_of(*originals).look, hashes_of(*copies).look
    assert look_alike(looks, of_copies).all()
    assert not look_alike(looks, np.roll(of_copies, 1)).any()
