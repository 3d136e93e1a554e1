"""Views of stored images equal Pillow's, however they are stored; a file of them is complete or absent."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.running import TINY as SMALL
from support.running import command_environment
from torch import Tensor

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Item
from resnet_cli.data.views import image_cache
from resnet_cli.data.views.augment import Augmentation, Strength, default_augmentation
from resnet_cli.data.views.batched import resample, target_of, whole_box
from resnet_cli.data.views.image_cache import MappedImages, choose_layout, open_mapped
from resnet_cli.data.views.resident import MEMORY_SHARE, Storage, ThreadedViews, fits, open_views, why_not_resident
from resnet_cli.errors import DataError
from resnet_cli.model.network import ResNet50
from resnet_cli.preprocess import Fit, Interpolation, Preprocess
from resnet_cli.system.caches import CacheWarning
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed
from resnet_cli.training.plan import make_plan
from resnet_cli.training.steps import Batch
from resnet_cli.training.task_network import NetworkTraining

CPU = torch.device("cpu")
PREPROCESS = Preprocess(resize_size=72, crop_size=64)
TINY_PREPROCESS = Preprocess(resize_size=64, crop_size=64, interpolation="bicubic")
FITS: tuple[Fit, ...] = ("crop", "pad", "squash")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
PHOTO_SIZES = ((120, 90), (90, 130), (200, 150), (80, 80), (300, 210))


def soft_image(width: int, height: int, seed: int) -> np.ndarray:
    """Noise without the finest detail, like photos."""
    rng = np.random.default_rng((seed, width, height))
    coarse = Image.fromarray(rng.integers(0, 256, (max(2, height // 6), max(2, width // 6), 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def make_items(sizes: Sequence[tuple[int, int]]) -> list[Item]:
    return [Item(f"{at}", soft_image(*size, seed=at)) for at, size in enumerate(sizes)]


TINY = make_items([(32, 32)] * 12)
PHOTOS = make_items(PHOTO_SIZES)


def light(*, tiny: bool) -> Augmentation:
    return default_augmentation("light", mirror=True, tiny=tiny)


def views(
    items: Sequence[Item],
    preprocess: Preprocess,
    augmentation: Augmentation,
    storage: Storage = "resident",
    *,
    shares: Sequence[Sequence[int]] | None = None,
    epoch: int = 1,
    size: int | None = None,
) -> Tensor:
    """All views of an epoch in one tensor; asserts that they are stored as requested."""
    opened = open_views(items, preprocess, augmentation, seed=0, device="cpu", storage=storage)
    assert isinstance(opened, ThreadedViews) == (storage in {"threads", "auto"})
    batches = opened.batches(shares or [range(len(items))], epoch=epoch, size=size or preprocess.crop_size)
    return torch.cat([pixels.clone() for pixels in batches])


def distance(one: Tensor, other: Tensor) -> tuple[float, int]:
    """Mean and largest difference, on a scale of 255."""
    gap = (one.int() - other.int()).abs()
    return float(gap.float().mean()), int(gap.max())


@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    side=st.integers(1, 70),
    seed=st.integers(0, 1000),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_a_part_is_resampled_as_pillow_does_it(
    width: int, height: int, side: int, seed: int, interpolation: Interpolation
) -> None:
    pixels = soft_image(width, height, seed)
    rng = np.random.default_rng(seed)
    left, top = rng.uniform(0, width * 0.9), rng.uniform(0, height * 0.9)
    right, bottom = rng.uniform(left + 0.05, width), rng.uniform(top + 0.05, height)
    expected = Image.fromarray(pixels).resize((side, side), FILTERS[interpolation], (left, top, right, bottom))
    (found,) = resample(
        torch.from_numpy(pixels.copy())[None],
        torch.tensor([[left, top, right, bottom]]),
        torch.tensor([[0, 0, side, side]]),
        side=side,
        interpolation=interpolation,
    )
    mean, largest = distance(found, torch.from_numpy(np.array(expected)))
    # Pillow may resize the height of upright images first: then it rounds, and clips overshoots, differently.
    assert (mean <= 0.01 or largest <= 1) if width >= height else mean <= 1


@pytest.mark.parametrize("fit", FITS)
@given(width=st.integers(1, 90), height=st.integers(1, 90), crop=st.integers(8, 64), margin=st.integers(0, 16))
def test_the_box_and_the_target_are_those_of_the_preprocessing(
    fit: Fit, width: int, height: int, crop: int, margin: int
) -> None:
    width, height = min(width, 8 * height), min(height, 8 * width)
    preprocess = Preprocess(resize_size=crop + margin, crop_size=crop).with_fit(fit)
    pixels = soft_image(width, height, seed=crop)
    box = whole_box((width, height), preprocess)
    left, top, right, bottom = target = target_of(box, preprocess)
    (found,) = resample(
        torch.from_numpy(pixels.copy())[None],
        torch.tensor([box]).float(),
        torch.tensor([target]),
        side=crop,
        interpolation="bilinear",
    )
    expected = torch.from_numpy(preprocess(Image.fromarray(pixels)).copy())
    assert distance(found[top:bottom, left:right], expected[top:bottom, left:right])[1] <= 2
    expected[top:bottom, left:right] = torch.tensor(preprocess.mean_color, dtype=torch.uint8)
    assert (expected == torch.tensor(preprocess.mean_color)).all()


@pytest.mark.parametrize("storage", ["resident", "mapped"])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("strength", ["none", "light"])
def test_of_photos_the_whole_view_and_its_shifts_are_those_of_pillow_bit_for_bit(
    strength: Strength, fit: Fit, storage: Storage
) -> None:
    preprocess = PREPROCESS.with_fit(fit)
    augmentation = default_augmentation(strength, mirror=True, tiny=False, erasing=0.5)
    expected = views(PHOTOS, preprocess, augmentation, "threads")
    assert torch.equal(views(PHOTOS, preprocess, augmentation, storage), expected)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("strength", ["none", "light", "standard", "strong"])
@pytest.mark.parametrize("size", [(32, 32), (40, 28)])
def test_of_tiny_sources_every_view_is_that_of_pillow_but_for_rounding(
    size: tuple[int, int], strength: Strength, fit: Fit
) -> None:
    items = make_items([size] * 8)
    preprocess = TINY_PREPROCESS.with_fit(fit)
    augmentation = dataclasses.replace(
        default_augmentation(strength, mirror=True, tiny=True, erasing=0.5), policy="none"
    )
    for side in (64, 48):
        expected = views(items, preprocess, augmentation, "threads", size=side)
        mean, largest = distance(views(items, preprocess, augmentation, size=side), expected)
        assert mean <= 0.5 and largest <= 2


@pytest.mark.parametrize("fit", FITS)
def test_parts_of_photos_differ_little_from_those_of_the_sources(fit: Fit) -> None:
    augmentation = default_augmentation("standard", mirror=True, tiny=False)
    preprocess = PREPROCESS.with_fit(fit)
    expected = views(PHOTOS, preprocess, augmentation, "threads")
    assert distance(views(PHOTOS, preprocess, augmentation), expected)[0] <= 4
    assert distance(views(PHOTOS, preprocess, augmentation, epoch=2), expected)[0] > 20


def test_progressive_resizing_shows_the_same_view_smaller() -> None:
    # For other sizes, the center crop is half a pixel beside that of the larger one.
    photos = make_items([(120, 90), (90, 120), (80, 80)])
    for augmentation in (light(tiny=False), default_augmentation("standard", mirror=True, tiny=False)):
        expected = views(photos, PREPROCESS, augmentation, "threads", size=32)
        found = views(photos, PREPROCESS, augmentation, size=32)
        assert found.shape == (3, 3, 32, 32)
        assert distance(found, expected)[0] <= 4


@pytest.mark.parametrize("mirror", [False, True])
def test_mirroring_and_erasing_agree_exactly(mirror: bool) -> None:
    """Nothing is resampled: the sources have the network's size."""
    items = make_items([(64, 64)] * 40)
    same_size = Preprocess(resize_size=64, crop_size=64)
    augmentation = Augmentation("none", mirror, "none", 0.5, False)
    expected = views(items, same_size, augmentation, "threads")
    assert torch.equal(views(items, same_size, augmentation), expected)
    plain = views(items, same_size, Augmentation("none", False, "none", 0.0, False))
    assert 10 < sum(torch.equal(*pair) for pair in zip(plain, expected, strict=True)) + 20 * mirror < 35


@pytest.mark.parametrize("storage", ["resident", "mapped"])
@pytest.mark.parametrize("items", [TINY, PHOTOS], ids=["tiny", "photos"])
def test_a_view_is_a_function_of_seed_epoch_and_index_whatever_the_batches(items: list[Item], storage: Storage) -> None:
    augmentation = default_augmentation("standard", mirror=True, tiny=False, erasing=0.5)
    whole = views(items, PREPROCESS, augmentation, storage)
    assert torch.equal(views(items, PREPROCESS, augmentation, storage), whole)
    order = [3, 0, 4, 4, 1, 2]
    shuffled = views(items, PREPROCESS, augmentation, storage, shares=[order[:2], order[2:3], order[3:]])
    assert torch.equal(shuffled, whole[order])
    assert not torch.equal(views(items, PREPROCESS, augmentation, storage, epoch=2), whole)


def test_views_are_channels_last_in_memory() -> None:
    for items in (TINY, PHOTOS):
        found = views(items, PREPROCESS, light(tiny=False))
        opened = open_views(items, PREPROCESS, light(tiny=False), seed=0, device="cpu", storage="resident")
        (batch,) = opened.batches([[0, 1, 2]], epoch=1, size=64)
        assert batch.dtype == torch.uint8 and batch.permute(0, 2, 3, 1).is_contiguous()
        assert torch.equal(batch, found[:3])


def test_the_processor_decodes_on_threads_unless_told_otherwise() -> None:
    augmentation = light(tiny=True)
    assert torch.equal(views(TINY, PREPROCESS, augmentation, "auto"), views(TINY, PREPROCESS, augmentation, "threads"))


def test_what_cannot_be_stored_says_why_and_takes_the_threads() -> None:
    sizes = [item.open().size for item in TINY]

    def reason(augmentation: Augmentation, sizes: Sequence[tuple[int, int]], fit: Fit = "crop") -> str:
        return why_not_resident(augmentation, choose_layout(augmentation, sizes, PREPROCESS.with_fit(fit)), sizes)

    strong, standard = (default_augmentation(name, mirror=True, tiny=False) for name in ("strong", "standard"))
    assert "trivialaugment" in reason(strong, sizes)
    assert reason(dataclasses.replace(strong, policy="none"), sizes) == ""
    assert reason(light(tiny=True), sizes) == "" == reason(light(tiny=False), [*sizes, (40, 40)])
    assert "several sizes" in reason(light(tiny=True), [*sizes, (40, 40)])
    long = [(300, 100), (310, 100), (100, 100)]
    assert "3.0 times as long" in reason(standard, long)
    assert reason(light(tiny=False), long) == "" == reason(standard, long, "pad") == reason(standard, [(90, 80)])
    forced = open_views(TINY, PREPROCESS, strong, seed=0, device="cpu", storage="resident")
    assert isinstance(forced, ThreadedViews)


def test_images_fit_if_they_leave_most_of_the_memory() -> None:
    layout = choose_layout(light(tiny=True), [(32, 32)], PREPROCESS)
    assert (layout.kind, layout.num_bytes) == ("source", 3 * 32 * 32)
    needed = 1000 * layout.num_bytes
    assert fits(1000, layout, CPU, free_bytes=round(needed / MEMORY_SHARE) + 1)
    assert not fits(1001, layout, CPU, free_bytes=round(needed / MEMORY_SHARE) + 1)
    assert not fits(1, layout, CPU)


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    Image.fromarray(soft_image(40, 40, 0)).save(tmp_path / "a.png")
    items = [Item("a.png", tmp_path / "a.png"), Item("gone.png", tmp_path / "gone.png")]
    storages: tuple[Storage, ...] = ("resident", "mapped")
    for storage in storages:
        with pytest.raises(DataError, match=r"gone\.png: No such file"):
            open_views(items, PREPROCESS, light(tiny=False), seed=0, device="cpu", storage=storage)


@pytest.mark.parametrize("storage", ["resident", "mapped"])
def test_training_resumes_and_shares_its_batches_wherever_images_lie(storage: Storage) -> None:
    values = {"data": "digits", "mode": "full", "limit": 22, "batch_size": 6, "augment": "light", "val_fraction": 0.05}
    plan = make_plan(resolve(FinetuneConfig, SMALL | values))
    network = ResNet50(len(plan.dataset.classes))

    def batches(storage: Storage, *, done: int = 0, team: Distributed = SINGLE_PROCESS) -> list[Batch]:
        return list(NetworkTraining(plan, network, team, image_source=storage).task().batches(2, done))

    whole = batches(storage)
    for found, expected in zip(whole, batches("threads"), strict=True):
        assert torch.equal(found.targets, expected.targets)
        # A level of 255 here and there.
        assert (found.inputs - expected.inputs).abs().max() < 0.02
    for found, expected in zip(batches(storage, done=2), whole[2:], strict=True):
        assert torch.equal(found.inputs, expected.inputs)
    for rank in (0, 1):
        for found, expected in zip(batches(storage, team=Distributed(rank, 2)), whole, strict=True):
            assert torch.equal(found.inputs, expected.inputs[rank::2])
            assert found.num_images == expected.num_images


# The file.


@pytest.fixture
def folder() -> Path:
    return Path(os.environ["RESNET_CLI_CACHE"]) / "pictures"


@pytest.fixture
def num_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one entry for each image that is converted to its stored layout."""
    seen: list[int] = []
    really = image_cache.Layout.store

    def counted(self: image_cache.Layout, image: Image.Image) -> np.ndarray:
        seen.append(1)
        return really(self, image)

    monkeypatch.setattr(image_cache.Layout, "store", counted)
    return seen


AUGMENTATION = default_augmentation("standard", mirror=True, tiny=False)
LAYOUT = choose_layout(AUGMENTATION, PHOTO_SIZES, PREPROCESS)
HASHES = [item.content_hash() for item in PHOTOS]


def images_in(mapped: MappedImages | None) -> Tensor:
    assert mapped is not None
    return torch.cat(list(mapped.rows([range(len(PHOTOS))], CPU)))


def test_the_second_open_decodes_nothing(num_decoded: list[int], folder: Path) -> None:
    first = images_in(open_mapped(PHOTOS, HASHES, LAYOUT))
    assert len(num_decoded) == len(PHOTOS)
    assert torch.equal(images_in(open_mapped(PHOTOS, HASHES, LAYOUT)), first)
    assert len(num_decoded) == len(PHOTOS)
    assert [path.suffix for path in sorted(folder.iterdir())] == ["", ".u8"]
    for row, item in zip(first, PHOTOS, strict=True):
        assert np.array_equal(row, LAYOUT.store(item.open()))


@pytest.mark.parametrize("damage", ["cut", "longer", "seal", "sums", "empty"])
def test_a_file_that_is_not_whole_is_written_again(damage: str, num_decoded: list[int], folder: Path) -> None:
    first = images_in(open_mapped(PHOTOS, HASHES, LAYOUT))
    (path,) = folder.glob("*.u8")
    whole = path.read_bytes()
    footer = len(PHOTOS) * LAYOUT.num_bytes
    broken = {
        "cut": whole[:-1],
        "longer": whole + b"\0",
        "seal": whole[:-1] + bytes([whole[-1] ^ 1]),
        "sums": whole[:footer] + bytes([whole[footer] ^ 1]) + whole[footer + 1 :],
        "empty": b"",
    }
    path.write_bytes(broken[damage])
    assert torch.equal(images_in(open_mapped(PHOTOS, HASHES, LAYOUT)), first)
    assert len(num_decoded) == 2 * len(PHOTOS)
    assert path.read_bytes() == whole


def test_an_image_that_the_disk_has_damaged_is_decoded_again(num_decoded: list[int], folder: Path) -> None:
    first = images_in(open_mapped(PHOTOS, HASHES, LAYOUT))
    (path,) = folder.glob("*.u8")
    with path.open("r+b") as file:
        file.seek(2 * LAYOUT.num_bytes + 5)
        (value,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([value ^ 255]))
    num_decoded.clear()
    assert torch.equal(images_in(open_mapped(PHOTOS, HASHES, LAYOUT)), first)
    assert len(num_decoded) == 1
    assert not path.exists()
    assert torch.equal(images_in(open_mapped(PHOTOS, HASHES, LAYOUT)), first)
    assert len(num_decoded) == 1 + len(PHOTOS)


def test_other_images_another_form_or_another_decoder_never_read_the_file(
    num_decoded: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images_in(open_mapped(PHOTOS, HASHES, LAYOUT))
    (path,) = folder.glob("*.u8")
    taller = dataclasses.replace(LAYOUT, width=LAYOUT.width // 2, height=LAYOUT.height * 2)
    for items, layout in ((PHOTOS[:-1], LAYOUT), (PHOTOS, taller)):
        with pytest.raises(ValueError, match=r"length|other images"):
            MappedImages(path, items, layout, image_cache._key(HASHES[: len(items)], layout))
    keys = {image_cache._key(HASHES, LAYOUT), image_cache._key(HASHES[::-1], LAYOUT), image_cache._key(HASHES, taller)}
    monkeypatch.setattr("resnet_cli.preprocess.decoder_version", lambda *_: "newer")
    assert len(keys | {image_cache._key(HASHES, LAYOUT)}) == 4


def test_a_full_disk_is_no_place_and_training_takes_the_threads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    num_bytes = len(PHOTOS) * LAYOUT.num_bytes
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=9 * num_bytes))
    assert open_mapped(PHOTOS, HASHES, LAYOUT) is None
    assert list(folder.glob("*.u8")) == []
    forced = open_views(PHOTOS, PREPROCESS, AUGMENTATION, seed=0, device="cpu", storage="mapped")
    assert isinstance(forced, ThreadedViews)


def test_a_cache_folder_that_cannot_be_made_is_no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match="cannot be written"):
        assert open_mapped(PHOTOS, HASHES, LAYOUT) is None


def test_the_file_that_was_not_used_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    groups = [make_items([(120 + at, 90)]) for at in range(3)]
    hashes = [[item.content_hash() for item in group] for group in groups]
    size = LAYOUT.num_bytes + 36
    usage = shutil.disk_usage("/")
    # Space for two, whatever part of it is used.
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: usage._replace(free=25 * size - sum(file.stat().st_size for file in Path(path).glob("*.u8"))),
    )
    paths = [folder / f"{image_cache._key(keys, LAYOUT)}.u8" for keys in hashes]
    for at in (0, 1):
        open_mapped(groups[at], hashes[at], LAYOUT)
        os.utime(paths[at], (1e9 + at, 1e9 + at))
    open_mapped(groups[0], hashes[0], LAYOUT)
    open_mapped(groups[2], hashes[2], LAYOUT)
    assert [path.exists() for path in paths] == [True, False, True]


WRITER = """
import sys, time
from test_data_views_resident import HASHES, LAYOUT, PHOTOS
from resnet_cli.data.views import image_cache
really = image_cache.decode_all
def slowly(items, layout):
    yield from really(items, layout)
    print("written", flush=True)
    time.sleep(60)
image_cache.decode_all = slowly
image_cache.open_mapped(PHOTOS, HASHES, LAYOUT)
"""


def test_a_killed_writer_leaves_nothing_that_is_read_and_the_next_one_cleans_up(
    num_decoded: list[int], folder: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER], cwd=Path(__file__).parent, env=command_environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
    assert list(folder.glob("*.u8")) == []
    assert len(list(folder.glob(".*.tmp"))) == 1
    images_in(open_mapped(PHOTOS, HASHES, LAYOUT))
    assert len(num_decoded) == len(PHOTOS)
    assert len(list(folder.glob("*.u8"))) == 1
    assert list(folder.glob(".*.tmp")) == []


def test_an_interrupted_writer_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(image_cache, "decode_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_mapped(PHOTOS, HASHES, LAYOUT)
    assert [path.name for path in folder.iterdir()] == [".lock"]
