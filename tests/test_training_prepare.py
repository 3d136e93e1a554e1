"""The check at the head of every finetune: what stops it, what is left out, and what stays together."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.planted_faults import cut, one_bit_png, photo, write, write_folder

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import SPLITS, Dataset
from resnet_cli.data.inspection import index
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.training import prepare
from resnet_cli.training.prepare import Prepared, prepare_data


def prepared(data: Path | str, **flags: Any) -> Prepared:
    return prepare_data(resolve(FinetuneConfig, {"data": str(data)} | flags), lambda *_: None)


def split_of(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.split for item in dataset.items}


def rows(dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(item.name, dataset.classes[item.label], item.split) for item in dataset.items]


def near_copy(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.resize((52, 39)).save(target, quality=70)


def film(folder: Path, count: int, seed: int) -> None:
    """Frames of one still scene."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = np.asarray(photo(seed)).astype(np.int16)
    rng = np.random.default_rng(seed)
    for number in range(count):
        frame = np.clip(scene + rng.integers(-5, 6, scene.shape), 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(folder / f"frame{number:02d}.png")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets", {"cat": 14, "dog": 14})


def spoil(root: Path) -> list[str]:
    """Makes three images unreadable."""
    cut(root / "cat" / "003.jpg", root / "cat" / "003.jpg")
    (root / "cat" / "009.jpg").write_bytes(b"")
    (root / "dog" / "000.jpg").write_bytes(one_bit_png(10_000, 6_000))
    return ["cat/003.jpg", "cat/009.jpg", "dog/000.jpg"]


def test_a_sound_folder_is_split_without_a_word(pets: Path) -> None:
    found = prepared(pets)
    assert (found.skipped, found.warnings, found.checked) == ((), (), "all readable")
    assert set(split_of(found.dataset).values()) == set(SPLITS)


def test_an_unreadable_image_is_an_error_by_default_and_all_are_named(pets: Path) -> None:
    bad = spoil(pets)
    with pytest.raises(DataError) as caught:
        prepared(pets)
    assert caught.value.exit_code == 3
    assert caught.value.message.startswith("3 of 28 images cannot be read")
    assert all(str(pets / name) in caught.value.message for name in bad)
    assert "--on-bad-image skip" in (caught.value.hint or "")


def test_without_the_unreadable_ones_all_is_as_if_they_had_never_been_there(pets: Path, tmp_path: Path) -> None:
    bad = spoil(pets)
    twin = shutil.copytree(pets, tmp_path / "twin")
    for name in bad:
        (twin / name).unlink()
    found, wanted = prepared(pets, on_bad_image="skip"), prepared(twin)
    assert rows(found.dataset) == rows(wanted.dataset)
    assert [error.path for error in found.skipped] == [str(pets / name) for name in bad]
    assert all(error.reason for error in found.skipped)
    assert found.checked.startswith("3 skipped")
    assert any("skipped: 3" in warning for warning in found.warnings)


def test_leaving_out_a_whole_class_names_the_class(pets: Path) -> None:
    for path in (pets / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="'cat' has no training image"):
        prepared(pets, on_bad_image="skip")


def test_nothing_readable_is_an_error_even_when_skipping(pets: Path) -> None:
    for path in pets.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="28 of 28 images cannot be read"):
        prepared(pets, on_bad_image="skip")


def test_a_larger_limit_reads_what_the_usual_one_refuses(pets: Path) -> None:
    # Above Pillow's own limit of 179 million too.
    (pets / "cat" / "large.png").write_bytes(one_bit_png(15_000, 12_500))
    with pytest.raises(DataError, match="limit of 50,000,000"):
        prepared(pets)
    assert prepared(pets, max_pixels=200_000_000).skipped == ()


def test_every_image_may_be_too_large(pets: Path) -> None:
    with pytest.raises(DataError, match="more than the limit of 1,000"):
        prepared(pets, max_pixels=1000, on_bad_image="skip")


def test_a_second_look_opens_no_file(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "RACY_NS", 0)
    first = prepared(pets)

    def refuse(path: Path) -> bytes:
        raise AssertionError(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert rows(prepared(pets).dataset) == rows(first.dataset)


# What looks the same stays together.


@pytest.mark.parametrize("split_seed", range(6))
def test_copies_and_look_alikes_are_in_one_split(pets: Path, split_seed: int) -> None:
    together: list[tuple[str, ...]] = []
    for number in range(5):
        shutil.copy(pets / "cat" / f"{number:03d}.jpg", pets / "cat" / f"copy{number}.jpg")
        near_copy(pets / "dog" / f"{number:03d}.jpg", pets / "dog" / f"near{number}.jpg")
        # And through both.
        shutil.copy(pets / "dog" / f"near{number}.jpg", pets / "dog" / f"z{number}.jpg")
        together.append((f"cat/{number:03d}.jpg", f"cat/copy{number}.jpg"))
        together.append((f"dog/{number:03d}.jpg", f"dog/near{number}.jpg", f"dog/z{number}.jpg"))
    found = prepared(pets, split_seed=split_seed, val_fraction=0.2)
    split = split_of(found.dataset)
    assert all(len({split[name] for name in names}) == 1 for names in together)
    assert set(split.values()) == set(SPLITS)
    assert found.warnings == ()
    assert "copies: 10" in found.checked and "look-alikes: 5" in found.checked


def test_copies_stay_together_where_look_alikes_are_not_looked_for(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MAX_NEAR_SEARCH", 20)
    for number in range(10):
        shutil.copy(pets / "cat" / f"{number:03d}.jpg", pets / "cat" / f"copy{number}.jpg")
        near_copy(pets / "dog" / f"{number:03d}.jpg", pets / "dog" / f"near{number}.jpg")
    found = prepared(pets, val_fraction=0.3)
    split = split_of(found.dataset)
    assert all(split[f"cat/{number:03d}.jpg"] == split[f"cat/copy{number}.jpg"] for number in range(10))
    assert "look-alikes" not in found.checked


@pytest.mark.parametrize("split_seed", range(4))
def test_frames_of_one_film_are_split_with_a_warning_and_other_look_alikes_stay_together(
    tmp_path: Path, split_seed: int
) -> None:
    root = write_folder(tmp_path / "film", {"dog": 12})
    film(root / "cat", 20, seed=900)
    for number in range(6):
        near_copy(root / "dog" / f"{number:03d}.jpg", root / "dog" / f"near{number}.jpg")
    found = prepared(root, split_seed=split_seed, val_fraction=0.25)
    split = split_of(found.dataset)
    assert {split[f"cat/frame{number:02d}.png"] for number in range(20)} == set(SPLITS)
    assert all(split[f"dog/{number:03d}.jpg"] == split[f"dog/near{number}.jpg"] for number in range(6))
    (warning,) = found.warnings
    assert "all images of a class look alike" in warning and "cat/frame" in warning


def test_classes_that_are_frames_of_one_film_can_be_trained_on(tmp_path: Path) -> None:
    film(tmp_path / "film" / "a", 40, seed=900)
    (tmp_path / "film" / "b").mkdir()
    for path in sorted((tmp_path / "film" / "a").iterdir())[::2]:
        path.rename(tmp_path / "film" / "b" / path.name)
    found = prepared(tmp_path / "film")
    assert all(sum(found.dataset.counts()[split]) for split in SPLITS)
    assert any("look the same" in warning for warning in found.warnings)


def test_a_film_that_the_source_has_split_is_a_leak_and_no_failure(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "film", {"train/dog": 12, "val/dog": 3})
    film(root / "train" / "cat", 20, seed=900)
    (root / "val" / "cat").mkdir()
    for number in range(4):
        path = root / "train" / "cat" / f"frame{number:02d}.png"
        path.rename(root / "val" / "cat" / path.name)
    found = prepared(root)
    assert found.dataset.counts() == {"train": [16, 12], "val": [4, 3], "test": [0, 0]}
    (warning,) = found.warnings
    assert "pairs of images that look the same are in several splits" in warning and re.search(
        r"inspect \S*film --fix", warning
    )


def test_a_class_of_copies_of_one_image_cannot_validate(pets: Path) -> None:
    for number in range(4):
        write(pets / "owl" / f"{number}.jpg", 500)
    with pytest.raises(DataError, match="'owl' are all in one group, or copies of one image"):
        prepared(pets)


# What the user should know.


def test_leaks_conflicts_and_classes_that_do_not_match_are_warned_of(tmp_path: Path) -> None:
    layout = {"train/cat": 12, "train/dog": 12, "train/Cow": 12, "val/cat": 3, "val/dog": 3, "val/cow": 3}
    root = write_folder(tmp_path / "pets", layout)
    shutil.copy(root / "train" / "cat" / "000.jpg", root / "val" / "cat" / "leak.jpg")
    shutil.copy(root / "train" / "cat" / "001.jpg", root / "train" / "dog" / "conflict.jpg")
    with pytest.raises(DataError, match="'cow' has no training image") as caught:
        prepared(root)
    assert "(the same as 'Cow'?)" in caught.value.message
    found = prepared(root, classes="cat,dog")
    assert [warning.split(",")[0] for warning in found.warnings] == [
        "1 image is labeled as several classes",
        "1 image is in several splits",
    ]


def test_a_share_of_a_split_that_is_there_has_no_effect_and_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"train/cat": 3, "train/dog": 3, "val/cat": 1, "val/dog": 1})
    with pytest.raises(ConfigError, match="--val-fraction has no effect"):
        prepared(root, val_fraction=0.2)


def test_a_limit_counts_what_can_be_read(pets: Path) -> None:
    spoil(pets)
    found = prepared(pets, on_bad_image="skip", limit=6)
    assert sum(found.dataset.counts()["train"]) == 6
    half = prepared(pets, on_bad_image="skip", fraction=0.5).dataset.counts()["train"]
    whole = prepared(pets, on_bad_image="skip").dataset.counts()["train"]
    assert sum(half) == round(sum(whole) / 2)


def test_progress_is_told_of_every_image(pets: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    prepare_data(resolve(FinetuneConfig, {"data": str(pets)}), lambda *work: seen.append(work))
    assert seen[-1] == ("check", 28, 28)
