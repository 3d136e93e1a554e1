"""A cleaned table omits what is wrong and keeps what is right, and no file is changed."""

from __future__ import annotations

import csv
import dataclasses
import functools
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from support.planted_faults import contents, cut, one_bit_png, photo, write, write_folder

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import SPLITS, Dataset, Item
from resnet_cli.data.inspection.cleaning import clean_items, clean_table
from resnet_cli.data.inspection.duplicates import signature
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.scan import scan
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.labeled import group_items
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.splits import complete_splits
from resnet_cli.errors import DataError

POSIX = pytest.mark.skipif(os.name == "nt", reason="names that Windows refuses")
LAYOUT = {"train/cat": 6, "train/dog": 6, "val/cat": 3, "val/dog": 3, "test/cat": 3, "test/dog": 3}
CHANGES: list[Callable[[Image.Image], Image.Image]] = [
    lambda image: image,
    lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    lambda image: image.resize((40, 30)),
]


def look(data: Path | Dataset) -> Inspection:
    dataset = data if isinstance(data, Dataset) else open_dataset(str(data))
    return inspect_images(dataset, scan(dataset.items))


def clean(data: Path | Dataset, table: Path) -> tuple[Inspection, dict[str, str]]:
    """Writes the cleaned table and inspects it: returns the inspection, and why each other image was omitted."""
    dropped = clean_table(look(data), table)
    return look(table), {item.name: reason for item, reason in dropped}


def is_clean(inspection: Inspection) -> bool:
    conflicts = [leak for leak in inspection.label_conflicts if leak.is_exact]
    faults = (inspection.unreadable, inspection.exact, inspection.leaks, conflicts, inspection.separated_groups())
    return not any(faults)


def near_copy(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.crop((1, 2, image.width - 2, image.height - 1)).save(target, quality=70)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    root = write_folder(tmp_path / "pets", LAYOUT)
    cat, dog = root / "train" / "cat", root / "train" / "dog"
    shutil.copy(cat / "000.jpg", root / "test" / "cat" / "leak.jpg")
    shutil.copy(cat / "000.jpg", root / "val" / "cat" / "leak.jpg")
    shutil.copy(cat / "001.jpg", cat / "copy.jpg")
    shutil.copy(cat / "002.jpg", dog / "conflict.jpg")
    near_copy(dog / "000.jpg", dog / "near.jpg")
    near_copy(dog / "001.jpg", root / "val" / "dog" / "near.jpg")
    near_copy(root / "val" / "dog" / "001.jpg", root / "test" / "dog" / "near.jpg")
    cut(cat / "004.jpg", cat / "004.jpg")
    (dog / "bomb.png").write_bytes(one_bit_png(10_000, 6_000))
    return root


def test_the_cleaned_table_has_no_fault_and_keeps_all_that_is_right(faulty: Path, tmp_path: Path) -> None:
    before = read_folder(faulty)
    inspection, why = clean(faulty, tmp_path / "pets-clean.csv")
    assert is_clean(inspection)
    assert why == {
        "train/cat/000.jpg": "a copy of test/cat/leak.jpg",
        "val/cat/leak.jpg": "a copy of test/cat/leak.jpg",
        "train/cat/copy.jpg": "a copy of train/cat/001.jpg",
        "train/cat/002.jpg": "the same image has different labels",
        "train/dog/conflict.jpg": "the same image has different labels",
        "train/dog/001.jpg": "looks the same as val/dog/near.jpg",
        "val/dog/001.jpg": "looks the same as test/dog/near.jpg",
        "train/cat/004.jpg": why["train/cat/004.jpg"],
        "train/dog/bomb.png": why["train/dog/bomb.png"],
    }
    assert "damaged" in why["train/cat/004.jpg"] and "limit" in why["train/dog/bomb.png"]
    kept = {
        (f"pets/{item.name}", before.classes[item.label], item.split) for item in before.items if item.name not in why
    }
    after = inspection.dataset
    assert {(item.name, after.classes[item.label], item.split) for item in after.items} == kept
    groups = {item.name: item.group for item in after.items if item.group}
    assert set(groups) == {"pets/train/dog/000.jpg", "pets/train/dog/near.jpg"} and len(set(groups.values())) == 1


def test_no_file_is_touched(faulty: Path, tmp_path: Path) -> None:
    before, stats = contents(faulty), {path: path.stat().st_mtime_ns for path in faulty.rglob("*")}
    clean(faulty, tmp_path / "pets-clean.csv")
    assert contents(faulty) == before
    assert {path: path.stat().st_mtime_ns for path in faulty.rglob("*")} == stats


def test_a_clean_set_comes_out_whole(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", LAYOUT)
    inspection, why = clean(root, tmp_path / "clean.csv")
    assert why == {} and is_clean(inspection)
    fingerprints = [
        look(data).dataset.fingerprint([p.sha256 for p in look(data).images]) for data in (root, tmp_path / "clean.csv")
    ]
    assert fingerprints[0] == fingerprints[1]


def test_cleaning_twice_changes_nothing(faulty: Path, tmp_path: Path) -> None:
    clean(faulty, tmp_path / "once.csv")
    _, why = clean(tmp_path / "once.csv", tmp_path / "twice.csv")
    assert why == {}
    assert (tmp_path / "once.csv").read_text() == (tmp_path / "twice.csv").read_text()


def test_without_splits_the_table_has_none_either(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 4, "dog": 4})
    clean(root, tmp_path / "clean.csv")
    assert {row["split"] for row in rows(tmp_path / "clean.csv")} == {""}
    dataset = complete_splits(open_dataset(str(tmp_path / "clean.csv")), val_fraction=0.25, seed=0)
    assert {item.split for item in dataset.items} == set(SPLITS)


@pytest.mark.parametrize("only", ["test", "val"])
def test_the_one_split_of_a_set_is_kept(tmp_path: Path, only: str) -> None:
    root = write_folder(tmp_path / "pets", {f"{only}/cat": 4, f"{only}/dog": 4})
    inspection, _ = clean(root, tmp_path / "clean.csv")
    assert {item.split for item in inspection.dataset.items} == {only}


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def test_images_below_the_tables_folder_are_named_relative_to_it_and_others_absolutely(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    (tmp_path / "elsewhere").mkdir()
    for table, first in {
        tmp_path / "clean.csv": "pets/cat/000.jpg",
        root / "clean.csv": "cat/000.jpg",
        tmp_path / "elsewhere" / "clean.csv": (root / "cat" / "000.jpg").as_posix(),
        # A folder whose name begins like that of the other.
        root.with_name("pet") / "clean.csv": (root / "cat" / "000.jpg").as_posix(),
    }.items():
        table.parent.mkdir(exist_ok=True)
        inspection, _ = clean(root, table)
        assert rows(table)[0]["image"] == first
        assert is_clean(inspection) and len(inspection.images) == 4
        table.unlink()


def test_a_table_beside_the_images_moves_with_them(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    clean(root, root / "clean.csv")
    moved = root.rename(tmp_path / "moved")
    assert is_clean(look(moved / "clean.csv"))


def test_a_relative_table_in_the_current_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    monkeypatch.chdir(tmp_path)
    inspection, _ = clean(Path("pets"), Path("clean.csv"))
    assert is_clean(inspection)
    assert rows(Path("clean.csv"))[0]["image"] == "pets/cat/000.jpg"


@POSIX
def test_links_are_followed_to_the_files_themselves(tmp_path: Path) -> None:
    blobs = write_folder(tmp_path / "blobs", {"all": 6})
    root = tmp_path / "pets"
    for number, name in enumerate(("cat", "cat", "cat", "dog", "dog", "dog")):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / f"{number}.jpg").symlink_to(blobs / "all" / f"{number:03d}.jpg")
    (root / "cat" / "again.jpg").symlink_to(root / "cat" / "0.jpg")
    here = tmp_path / "here"
    here.symlink_to(tmp_path, target_is_directory=True)
    dataset = read_folder(root, DataConfig(follow_links=True))
    inspection, why = clean(dataset, here / "clean.csv")
    assert is_clean(inspection) and len(inspection.images) == 6
    assert list(why.values()) == ["a copy of cat/0.jpg"]
    assert rows(tmp_path / "clean.csv")[0]["image"] == "blobs/all/000.jpg"


NASTY = [
    *("a,b", 'say "cheese"', "two\nlines", "tab\there", "carriage\rreturn", " blanks ", "#hash", "'", "é", "名前"),
    *("=1+1", "\u202e", "%2e", ";", "-"),
]


@POSIX
def test_names_with_anything_in_them_survive(tmp_path: Path) -> None:
    labels = [name for name in NASTY if name == name.strip()]
    for seed, (label, name) in enumerate((label, name) for label in labels for name in NASTY[:6]):
        write(tmp_path / "x" / label / f"{name}.jpg", seed)
    for seed, raw in enumerate((b"\xff\xfe", b"caf\xe9")):
        write(Path(os.fsdecode(os.fsencode(tmp_path / "x") + b"/" + raw + b"/\x80\n.jpg")), 900 + seed)
    before = read_folder(tmp_path / "x")
    inspection, why = clean(before, tmp_path / "clean.csv")
    assert why == {} and is_clean(inspection)
    after = inspection.dataset
    assert after.classes == before.classes
    assert [(item.source, item.label, item.split) for item in after.items] == [
        (item.source, item.label, item.split) for item in before.items
    ]


# Groups.


def test_look_alikes_get_one_group_even_through_a_chain(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 8, "dog": 8})
    for change in range(3):
        image = CHANGES[change](photo(0))
        image.save(root / "cat" / f"z{change}.png")
    dataset = group_items(read_folder(root), "cat/(z)[12]|dog/(0)")
    # Two groups of the source that similarity joins, and one that it does not.
    groups = {"cat/000.jpg": "one", "cat/z0.png": "", "cat/z1.png": "two", "cat/z2.png": "", "cat/005.jpg": "two",
              "dog/001.jpg": "three"}  # fmt: skip
    items = [dataclasses.replace(item, group=groups.get(item.name, "")) for item in dataset.items]
    kept, dropped = clean_items(look(dataclasses.replace(dataset, items=tuple(items))))
    assert dropped == []
    found = {item.name: item.group for item in kept if item.group}
    joined = ("cat/000.jpg", "cat/005.jpg", "cat/z0.png", "cat/z1.png", "cat/z2.png")
    assert set(found) == {*joined, "dog/001.jpg"}
    assert len({found[name] for name in joined}) == 1 and found["dog/001.jpg"] == "three"


def test_of_a_group_in_several_splits_the_part_that_judges_stays(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", LAYOUT)
    dataset = group_items(read_folder(root), "(00[012])")
    kept, dropped = clean_items(look(dataset))
    assert {item.name for item, _ in dropped} == {
        f"{split}/{name}/00{number}.jpg" for split in ("train", "val") for name in ("cat", "dog") for number in range(3)
    }
    assert {reason for _, reason in dropped} == {f"its group '00{number}' is in test too" for number in range(3)}
    complete_splits(dataclasses.replace(dataset, items=tuple(kept)), val_fraction=0.2, seed=0)


@pytest.mark.parametrize("num_frames", [40, 100, pytest.param(300, marks=pytest.mark.slow)])
def test_the_frames_of_one_film_are_in_one_split(tmp_path: Path, num_frames: int) -> None:
    rng = np.random.default_rng(0)
    scene = np.asarray(photo(77)).astype(np.int16)

    def frame(brighter: int = 0) -> Image.Image:
        return Image.fromarray(np.clip(scene + brighter + rng.integers(-4, 5, scene.shape), 0, 255).astype(np.uint8))

    # Each frame has more near duplicates in train than it is paired with, and all are closer than the one in test.
    images = [frame() for _ in range(num_frames)] + [frame(10), photo(1), photo(2)]
    places = ["train"] * num_frames + ["val", "train", "val"]
    items = [Item(f"{n:03d}.png", Path("nowhere"), (0,), place) for n, place in enumerate(places)]  # type: ignore[arg-type]
    photos = [
        ScannedImage(bytes([n % 256, n // 256]), 1, 64, 48, "PNG", "RGB", signature=signature(image))
        for n, image in enumerate(images)
    ]
    kept, dropped = clean_items(inspect_images(Dataset("x", "x", ("a",), tuple(items)), photos))
    assert sorted(item.name for item, _ in dropped) == [item.name for item in items[:num_frames]]
    assert [item.name for item in kept] == [item.name for item in items[num_frames:]]


# What cannot be cleaned.


def test_pixels_and_bytes_are_refused(tmp_path: Path) -> None:
    pixels = np.asarray(photo(0))
    for source in (pixels, b"bytes"):
        dataset = Dataset("digits", "digits", ("0", "1"), (Item("0", source),))
        with pytest.raises(DataError, match="digits does not consist of files") as caught:
            clean_table(look(dataset), tmp_path / "clean.csv")
        assert "finetune can use it as it is" in (caught.value.hint or "")


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 1, "dog": 1})
    shutil.copy(root / "cat" / "000.jpg", root / "dog" / "000.jpg")
    with pytest.raises(DataError, match="nothing would be left"):
        clean_table(look(root), tmp_path / "clean.csv")


# Any mixture of faults.


@functools.cache
def looks() -> list[bytes]:
    """Twelve signatures: four different scenes with three images each that look the same."""
    return [signature(change(photo(scene))) for scene in range(4) for change in CHANGES]


FAULTS = st.lists(
    st.tuples(
        st.integers(0, 11),  # Number of the image; a third of it is its scene.
        st.sampled_from(SPLITS),
        st.integers(0, 1),
        st.sampled_from(["", "", "", "g1", "g2"]),
        st.booleans() | st.just(True),
    ),
    min_size=1,
    max_size=24,
)


@given(FAULTS)
def test_any_mixture_of_faults_is_cleaned_and_nothing_goes_without_a_reason(
    faults: list[tuple[int, str, int, str, bool]],
) -> None:
    items, photos = [], []
    for number, (which, split, label, group, is_readable) in enumerate(faults):
        items.append(Item(f"{number:02d}.jpg", Path("nowhere"), (label,), split, group))  # type: ignore[arg-type]
        record = ScannedImage(bytes([which]), 1, 64, 48, "JPEG", "RGB", signature=looks()[which])
        photos.append(record if is_readable else ScannedImage(bytes([which]), 1, error="damaged"))
    dataset = Dataset("x", "x", ("a", "b"), tuple(items))
    before = inspect_images(dataset, photos)
    kept, dropped = clean_items(before)
    names = [item.name for item in kept]
    assert sorted(names + [item.name for item, _ in dropped]) == [item.name for item in items]
    assert names == sorted(names)
    sources = {item.name: (item, record) for item, record in zip(items, photos, strict=True)}
    for item in kept:
        assert dataclasses.replace(item, group=sources[item.name][0].group) == sources[item.name][0]
    after = inspect_images(dataclasses.replace(dataset, items=tuple(kept)), [sources[name][1] for name in names])
    assert is_clean(after)
    # Frames of a film get no group: some of them are needed for validation.
    films = before.films | after.films
    pairs = [(kept[pair.first], kept[pair.second]) for pair in after.near]
    assert all(one.group == two.group != "" for one, two in pairs if films.isdisjoint({one.label, two.label}))
    scenes = Counter(record.sha256[0] // len(CHANGES) for record in photos)
    num_grouped = sum(bool(item.group) for item in items)
    for dropped_item, reason in dropped:
        item, record = sources[dropped_item.name]
        is_alone = scenes[record.sha256[0] // len(CHANGES)] == 1
        assert reason and (record.error or not is_alone or (item.group and num_grouped > 1))
