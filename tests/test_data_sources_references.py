"""Where the images of a table's rows are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.image_index import ImageIndex, reference_parts
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.rows.references import lasting_image_folder
from resnet_cli.errors import ConfigError, DataError

NAMES = ["cat1", "cat2", "dog1", "dog2"]


def images(folder: Path, names: Sequence[str], suffix: str = ".png") -> None:
    for name in names:
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "PNG")


def table(path: Path, cells: Sequence[str], header: str = "image,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [cell.replace("\\", "/").rpartition("/")[2][:3] for cell in cells]
    path.write_text(header + "\n" + "".join(f"{cell},{label}\n" for cell, label in zip(cells, labels, strict=True)))
    return path


def names(dataset: Dataset) -> list[str]:
    return sorted(item.name for item in dataset.items)


@pytest.mark.parametrize(
    "prefix",
    [
        "C:\\Users\\me\\set\\photos\\",
        "/content/drive/MyDrive/set/photos/",
        "s3://bucket/set/photos/",
        "azureml://subscriptions/x/paths/photos/",
        "file:///home/me/photos/",
        "https://example.org/photos/",
        "../set/photos/",
        "",
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".PNG", ""])
def test_paths_of_another_computer_denote_the_images_with_the_longest_common_tail(
    tmp_path: Path, prefix: str, suffix: str
) -> None:
    images(tmp_path / "photos", NAMES)
    images(tmp_path / "elsewhere", NAMES[:1])
    cells = [f"{prefix}{name}{suffix}" for name in NAMES]
    dataset = open_dataset(str(table(tmp_path / "labels.csv", cells if prefix else cells[1:])))
    assert names(dataset) == [f"photos/{name}.png" for name in (NAMES if prefix else NAMES[1:])]
    assert any("found by name" in note for note in dataset.notes)


def test_percent_signs_and_queries_of_web_addresses_are_understood() -> None:
    assert reference_parts("https://host/a%20b/c%C3%A9.png?w=3#x") == ["host", "a b", "cé.png"]
    assert reference_parts("s3://bucket/a%20b.png") == ["bucket", "a%20b.png"]


def test_web_addresses_without_local_images_are_refused_with_the_solution(tmp_path: Path) -> None:
    cells = [f"https://example.org/{name}.png" for name in NAMES]
    with pytest.raises(DataError, match="web addresses, which are not downloaded: 4 of 4") as caught:
        open_dataset(str(table(tmp_path / "labels.csv", cells)))
    assert "--image-folder" in (caught.value.hint or "")


def test_names_that_an_upload_made_longer_denote_the_original_images(tmp_path: Path) -> None:
    images(tmp_path / "photos", NAMES)
    cells = [f"/data/upload/1/0a1b2c3d-{name}.png" for name in NAMES]
    path = tmp_path / "labels.csv"
    path.write_text("image,label\n" + "".join(f"{cell},{cell[-8:-5]}\n" for cell in cells))
    assert names(open_dataset(str(path))) == [f"photos/{name}.png" for name in NAMES]


def test_the_images_may_be_beside_the_folder_of_the_table(tmp_path: Path) -> None:
    images(tmp_path / "images", NAMES)
    images(tmp_path / "private", ["cat9"])
    path = table(tmp_path / "meta" / "labels.csv", NAMES)
    dataset = open_dataset(str(path))
    assert [item.name for item in dataset.items] == [
        f"{tmp_path.resolve().as_posix()}/images/{name}.png" for name in NAMES
    ]
    with pytest.raises(DataError, match=r"no image that it lists exists \(1 image\)"):
        open_dataset(str(table(path, ["cat9"])))


def test_a_folder_that_cannot_be_listed_beside_the_table_does_no_harm(tmp_path: Path) -> None:
    images(tmp_path / "photos", NAMES)
    (tmp_path / "private").mkdir(mode=0)
    assert len(open_dataset(str(table(tmp_path / "labels.csv", NAMES))).items) == 4


def test_the_image_folder_is_named_below_data_or_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path / "pets" / "new", NAMES)
    images(tmp_path / "pets" / "old", NAMES)
    table(tmp_path / "pets" / "labels.csv", [f"{name}.png" for name in NAMES])
    monkeypatch.chdir(tmp_path)
    for folder in ("new", "pets/new", str(tmp_path / "pets/new")):
        dataset = open_dataset("pets", DataConfig(image_folder=folder))
        assert names(dataset) == [f"new/{name}.png" for name in NAMES]
    with pytest.raises(DataError, match="--image-folder newer: no such folder"):
        open_dataset("pets", DataConfig(image_folder="newer"))


def test_a_run_remembers_the_image_folder_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path / "pets" / "new", NAMES)
    images(tmp_path / "here", NAMES)
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "pets" / "labels.csv", NAMES)
    for spec in (tmp_path / "pets", tmp_path / "pets" / "labels.csv"):
        assert lasting_image_folder(str(spec), "new") == "new"
        assert lasting_image_folder(str(spec), "here") == str(tmp_path / "here")
        assert lasting_image_folder(str(spec), None) is None
    assert lasting_image_folder("https://host/pets.zip", "in the archive") == "in the archive"


@pytest.mark.parametrize("options", [DataConfig(image_folder="cat"), DataConfig(on_missing_label="skip")])
def test_flags_of_rows_have_no_effect_on_folders(tmp_path: Path, options: DataConfig) -> None:
    images(tmp_path / "cat", NAMES)
    images(tmp_path / "dog", NAMES)
    with pytest.raises(ConfigError, match="has no effect"):
        open_dataset(str(tmp_path), options)


def test_names_in_several_folders_denote_the_folder_that_has_them_all(tmp_path: Path) -> None:
    images(tmp_path / "new", NAMES)
    images(tmp_path / "old", NAMES[:2])
    dataset = open_dataset(str(table(tmp_path / "labels.csv", NAMES)))
    assert names(dataset) == [f"new/{name}.png" for name in NAMES]
    assert any("in new, which has all of them" in note for note in dataset.notes)


def test_names_in_several_folders_that_have_them_all_are_refused_with_the_commands(tmp_path: Path) -> None:
    images(tmp_path / "new", NAMES)
    images(tmp_path / "old", NAMES)
    path = table(tmp_path / "labels.csv", NAMES)
    with pytest.raises(DataError, match=r"rows that fit several images: 4 of 4, such as 'cat1'") as caught:
        open_dataset(str(path))
    assert caught.value.hint == "name the folder of the images: --image-folder new, or --image-folder old"
    assert names(open_dataset(str(path), DataConfig(image_folder="old"))) == [f"old/{name}.png" for name in NAMES]


@pytest.mark.parametrize("name", ["trainLabels.csv", "train.csv", "labels_train.csv"])
def test_the_split_in_a_tables_name_denotes_the_folder_of_its_images(tmp_path: Path, name: str) -> None:
    images(tmp_path / "train", NAMES)
    images(tmp_path / "test", [*NAMES, "cat3"])
    table(tmp_path / name, NAMES)
    dataset = open_dataset(str(tmp_path))
    assert names(dataset) == [f"train/{name}.png" for name in NAMES]
    assert {item.split for item in dataset.items} == {"train"}
    assert any("does not list were ignored: 5 (5 in test)" in note for note in dataset.notes)


def test_the_class_of_a_row_decides_between_class_folders(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        images(tmp_path / "photos" / label, ["1", "2"])
    path = tmp_path / "labels.csv"
    path.write_text("image,label\n1,cat\n2,cat\n1,dog\n2,dog\n")
    dataset = open_dataset(str(path))
    assert all(f"/{dataset.classes[item.label]}/" in item.name for item in dataset.items)
    assert len(dataset.items) == 4


def test_masks_of_the_same_names_are_not_the_images(tmp_path: Path) -> None:
    images(tmp_path / "photos", NAMES)
    images(tmp_path / "masks", NAMES)
    assert names(open_dataset(str(table(tmp_path / "labels.csv", NAMES)))) == [f"photos/{name}.png" for name in NAMES]


def test_a_missing_image_is_not_replaced_by_one_of_the_same_name(tmp_path: Path) -> None:
    images(tmp_path / "photos", NAMES[1:])
    images(tmp_path / "other", NAMES[:1])
    cells = [f"/mnt/set/photos/{name}.png" for name in NAMES]
    dataset = open_dataset(str(table(tmp_path / "labels.csv", cells)))
    assert not any(item.name.startswith("other") for item in dataset.items)
    assert any("images that do not exist: 1 of 4, such as '/mnt/set/photos/cat1.png'" in note for note in dataset.notes)
    cells = [f"photos/{name}.png" for name in NAMES]
    dataset = open_dataset(str(table(tmp_path / "labels.csv", cells)))
    assert "photos/cat1.png" in names(dataset)
    assert any("images that do not exist: 1 of 4" in note for note in dataset.notes)


def test_direct_paths_need_no_look_at_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path / "photos", NAMES)
    path = table(tmp_path / "labels.csv", [f"photos/{name}.png" for name in NAMES])
    monkeypatch.setattr("resnet_cli.data.sources.survey.Survey.below", None)
    assert len(open_dataset(str(path)).items) == 4


def test_accents_in_both_unicode_forms_are_the_same_name() -> None:
    index = ImageIndex(["a/Ka\u0308fer.png"])
    assert index.find("K\u00e4fer.png") == (["a/Ka\u0308fer.png"], 0)
    assert index.find("b/K\u00c4FER") == (["a/Ka\u0308fer.png"], 1)


def test_an_id_denotes_a_name_without_its_extension_and_a_name_with_another_extension_nothing() -> None:
    index = ImageIndex(["a/x.1.png", "b/y.jpg"])
    assert index.find("x.1") == (["a/x.1.png"], 0)
    assert index.find("c/b/y.JPG") == (["b/y.jpg"], 1)
    assert index.find("y.png") == ([], 0)
    assert index.find("") == index.find("..") == ([], 0)


PARTS = st.sampled_from(["a", "b", "c.png", "d.jpg", "C:", "..", "", "%41", "\udce9.png", "e"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=4), max_size=8), st.lists(PARTS, max_size=5))
def test_whatever_a_reference_is_found_images_have_its_name(listed: list[list[str]], reference: list[str]) -> None:
    listing = ["/".join(filter(None, [*parts, "z.png"])) for parts in listed]
    found, num_cut = ImageIndex(listing).find("\\".join([*reference, "z"]))
    assert set(found) <= set(listing) and bool(found) == bool(listing)
    assert 0 <= num_cut <= len(reference)


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_names_in_windows_1252_denote_images_with_unicode_names(tmp_path: Path) -> None:
    images(tmp_path / "photos", ["Käfer", "Grün"])
    path = tmp_path / "labels.csv"
    path.write_bytes("image;label\nKäfer.png;Käfer\nGrün.png;Grün\n".encode("cp1252"))
    dataset = open_dataset(str(path))
    assert names(dataset) == ["photos/Grün.png", "photos/Käfer.png"] and dataset.classes == ("Grün", "Käfer")
