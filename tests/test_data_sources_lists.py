"""Published data sets are read with the splits and labels of their lists, and what lists leave out is noted."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.lists.images import folder_labels
from resnet_cli.data.sources.lists.lines import split_line
from resnet_cli.data.sources.lists.mat_lists import read_mat
from resnet_cli.data.sources.lists.split_lists import split_of_list
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError, ResnetCliError

#: Image below DATA -> class and split.
Expected = dict[str, tuple[str, str]]


def _png() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (2, 2)).save(sink, "PNG")
    return sink.getvalue()


PNG = _png()
CLASSES = ("apple_pie", "waffles", "hot dog")


def put(folder: Path, names: Iterable[str]) -> None:
    """Writes images; what is in them makes no difference to how they are found."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)


def write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def save_mat(path: Path, variables: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("scipy.io").savemat(path, dict(variables))


def cells(texts: Iterable[str]) -> np.ndarray[Any, Any]:
    values = list(texts)
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def found(dataset: Dataset) -> Expected:
    return {item.name: (dataset.classes[item.label], item.split) for item in dataset.items}


def below(folder: str, expected: Expected) -> Expected:
    return {f"{folder}/{name}": value for name, value in expected.items()}


def numbered(per_split: Mapping[str, int], name: str = "{label}/{index}.jpg", folder: str = "images") -> Expected:
    """Images of each class in each split."""
    result: Expected = {}
    for label in CLASSES:
        index = 0
        for split, number in per_split.items():
            for _ in range(number):
                index += 1
                result[f"{folder}/{name.format(label=label, index=index)}"] = (label, split)
    return result


def by_split(expected: Expected, split: str) -> list[str]:
    return [name for name, (_, own) in expected.items() if own == split]


def _food(folder: Path) -> Expected:
    expected = numbered({"train": 3, "test": 2})
    put(folder, expected)
    for split in ("train", "test"):
        write(folder / f"meta/{split}.txt", (name[7:-4] for name in by_split(expected, split)))
    write(folder / "meta/classes.txt", CLASSES)
    write(folder / "meta/labels.txt", ("Apple pie", "Waffles", "Hot dog"))
    return expected


def _indoor(folder: Path) -> Expected:
    expected = numbered({"train": 3, "test": 2}, folder="Images")
    put(folder, expected)
    for split in ("train", "test"):
        write(folder / f"{split.title()}Images.txt", (name[7:] for name in by_split(expected, split)))
    return expected


def _textures(folder: Path) -> Expected:
    expected = numbered({"train": 2, "val": 2, "test": 2})
    put(folder, expected)
    for split in ("train", "val", "test"):
        write(folder / f"labels/{split}1.txt", (name[7:] for name in by_split(expected, split)))
        write(folder / f"labels/{split}2.txt", (name[7:] for name in reversed(by_split(expected, split))))
    write(folder / "labels/labels_joint_anno.txt", (f"{name[7:]} {label} " for name, (label, _) in expected.items()))
    return expected


def _birds(folder: Path) -> Expected:
    expected = numbered({"train": 3, "test": 2}, "{index}_{label}.jpg")
    folders = {label: f"{number:03d}.{label}" for number, label in enumerate(CLASSES, 1)}
    expected = {f"images/{folders[c]}/{name[7:]}": (folders[c], split) for name, (c, split) in expected.items()}
    put(folder, [*expected, *(f"segmentations/{name[7:-4]}.png" for name in expected)])
    ids = {name: f"{number:04d}-a" for number, name in enumerate(expected, 1)}
    write(folder / "images.txt", (f"{key} {name[7:]}" for name, key in ids.items()))
    write(folder / "image_class_labels.txt", (f"{key} {int(expected[name][0][:3])}" for name, key in ids.items()))
    write(folder / "train_test_split.txt", (f"{key} {int(expected[name][1] == 'train')}" for name, key in ids.items()))
    write(folder / "classes.txt", (f"{number} some bird {number}" for number in (1, 2, 3)))
    write(folder / "bounding_boxes.txt", (f"{key} 1.0 2.0 3.0 4.0" for key in ids.values()))
    return expected


def _pets(folder: Path) -> Expected:
    names = {label: label.replace(" ", "_") for label in CLASSES}
    expected = numbered({"train": 3, "test": 2}, "{label}_{index}.jpg")
    expected = {name.replace(" ", "_"): (names[label], split) for name, (label, split) in expected.items()}
    put(folder, [*expected, *(f"annotations/trimaps/{name[7:-4]}.png" for name in expected)])
    number = {name: number for number, name in enumerate(names.values(), 1)}
    lines = {name: f"{name[7:-4]} {number[label]} 1 1" for name, (label, _) in expected.items()}
    write(folder / "annotations/trainval.txt", (lines[name] for name in by_split(expected, "train")))
    write(folder / "annotations/test.txt", (lines[name] for name in by_split(expected, "test")))
    write(folder / "annotations/list.txt", ("#Image CLASS-ID SPECIES BREED ID", *lines.values()))
    return expected


def _aircraft(folder: Path) -> Expected:
    splits = ("train", "val", "test")
    expected = {
        f"images/{1000 + 10 * index + number:07d}.jpg": (f"Boeing {label}", split)
        for index, label in enumerate(("717", "737-800", "E-170"))
        for number, split in enumerate(splits * 2)
    }
    put(folder, expected)
    for split in splits:
        names = by_split(expected, split)
        write(folder / f"images_variant_{split}.txt", (f"{name[7:-4]} {expected[name][0]}" for name in names))
        write(folder / f"images_family_{split}.txt", (f"{name[7:-4]} {expected[name][0][:8]}" for name in names))
        write(folder / f"images_{split}.txt", (name[7:-4] for name in names))
    write(folder / "images_box.txt", (f"{name[7:-4]} 1 2 3 4" for name in expected))
    write(folder / "variants.txt", ("Boeing 717", "Boeing 737-800", "Boeing E-170"))
    return expected


def _places(folder: Path) -> Expected:
    classes = ("airfield", "balcony/exterior", "balcony/interior")
    train = {f"data_256/{label[0]}/{label}/{n:08d}.jpg": (label, "train") for label in classes for n in range(3)}
    val = {f"val_256/Places365_val_{10 * n + k:08d}.jpg": (classes[k], "val") for n in range(2) for k in range(3)}
    put(folder, [*train, *val, "test_256/Places365_test_00000001.jpg"])
    for file, images in (("places365_train_standard.txt", train), ("places365_val.txt", val)):
        write(folder / file, (f"{name[8:]} {classes.index(label)}" for name, (label, _) in images.items()))
    write(folder / "places365_test.txt", ["Places365_test_00000001.jpg"])
    write(folder / "categories_places365.txt", (f"/{label[0]}/{label} {k}" for k, label in enumerate(classes)))
    return train | val


def _places_in_folders(folder: Path) -> Expected:
    expected: Expected = {}
    for split, number in (("train", 3), ("val", 2)):
        expected |= {f"{split}/{label}/{n}.jpg": (label, split) for label in CLASSES for n in range(number)}
        write(folder / f"{split}.txt", by_split(expected, split))
    put(folder, expected)
    return expected


def _tiny_imagenet(folder: Path) -> Expected:
    wnids = ("n01440764", "n02102040")
    train = {f"train/{wnid}/images/{wnid}_{n}.JPEG": (wnid, "train") for wnid in wnids for n in range(3)}
    val = {f"val/images/val_{n}.JPEG": (wnids[n % 2], "val") for n in range(4)}
    put(folder, [*train, *val, "test/images/test_0.JPEG"])
    for wnid in wnids:
        write(folder / f"train/{wnid}/{wnid}_boxes.txt", (f"{wnid}_{n}.JPEG\t0\t0\t62\t62" for n in range(3)))
    lines = (f"{name[11:]}\t{label}\t0\t32\t44\t62" for name, (label, _) in val.items())
    write(folder / "val/val_annotations.txt", lines)
    write(folder / "wnids.txt", wnids)
    write(folder / "words.txt", ("n01440764\ttench, Tinca tinca", "n02102040\tEnglish springer"))
    return train | val


def _imagenet(folder: Path) -> Expected:
    wnids, top = ("n01440764", "n02102040"), "ILSVRC/Data/CLS-LOC"
    train = {f"{top}/train/{wnid}/{wnid}_{n}.JPEG": (wnid, "train") for wnid in wnids for n in range(3)}
    val = {f"{top}/val/ILSVRC2012_val_{n:08d}.JPEG": (wnids[n % 2], "val") for n in range(1, 5)}
    put(folder, [*train, *val, f"{top}/test/ILSVRC2012_test_00000001.JPEG"])
    stems = [name.split("/", 4)[4][:-5] for name in train]
    write(folder / "ILSVRC/ImageSets/CLS-LOC/train_cls.txt", (f"{stem} {n}" for n, stem in enumerate(stems, 1)))
    write(folder / "ILSVRC/ImageSets/CLS-LOC/val.txt", (f"ILSVRC2012_val_{n:08d} {n}" for n in range(1, 5)))
    write(folder / "LOC_synset_mapping.txt", ("n01440764 tench, Tinca tinca", "n02102040 English springer"))
    rows = (f"{Path(name).stem},{label} 1 2 3 4 {label} 5 6 7 8 " for name, (label, _) in val.items())
    write(folder / "LOC_val_solution.csv", ("ImageId,PredictionString", *rows))
    submission = ("ImageId,PredictionString", "ILSVRC2012_test_00000001,n01440764 0 0 1 1")
    write(folder / "LOC_sample_submission.csv", submission)
    return train | val


def _traffic_signs(folder: Path) -> Expected:
    signs = [(f"{number:05d}", track, index) for number in range(2) for track in range(2) for index in range(2)]
    train = {f"Final_Training/Images/{c}/{track:05d}_{n:05d}.ppm": (c, "train") for c, track, n in signs}
    test = {f"Final_Test/Images/{n:05d}.ppm": (f"{n % 2:05d}", "test") for n in range(4)}
    put(folder, [*train, *test])
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    for label in ("00000", "00001"):
        rows = (f"{name[28:]};2;2;0;0;2;2;{int(label)}" for name in train if f"/{label}/" in name)
        write(folder / f"Final_Training/Images/{label}/GT-{label}.csv", (header, *rows))
    rows = (f"{name[18:]};2;2;0;0;2;2;{int(label)}" for name, (label, _) in test.items())
    write(folder / "GT-final_test.csv", (header, *rows))
    write(folder / "Readme-Images.txt", ["The German Traffic Sign Recognition Benchmark"])
    return train | test


def _scenes(folder: Path) -> Expected:
    labels = ("abbey", "bakery/shop", "outhouse/outdoor")
    expected = {f"{label[0]}/{label}/sun_{n}.jpg": (label, "train") for label in labels for n in range(3)}
    put(folder, expected)
    write(folder / "ClassName.txt", (f"/{label[0]}/{label}" for label in labels))
    return expected


def _scenes_with_partitions(folder: Path) -> Expected:
    expected = {name: (label, "test" if "_2" in name else "train") for name, (label, _) in _scenes(folder).items()}
    for partition in ("01", "02"):
        for word, split in (("Training", "train"), ("Testing", "test")):
            write(folder / f"Partitions/{word}_{partition}.txt", (f"/{name}" for name in by_split(expected, split)))
    return expected


def _numbered_text(folder: Path) -> Expected:
    expected = {f"images/{n}.jpg": (CLASSES[n % 3], "train" if n < 9 else "val") for n in range(15)}
    put(folder, expected)
    for split in ("train", "val"):
        lines = (f"{name[7:]} {CLASSES.index(expected[name][0])}" for name in by_split(expected, split))
        write(folder / f"{split}.txt", lines)
    write(folder / "synsets.txt", CLASSES)
    return expected


def _flat_validation(folder: Path) -> Expected:
    wnids = ("n01440764", "n02102040")
    train = {f"train/{wnid}/{wnid}_{n}.JPEG": (wnid, "train") for wnid in wnids for n in range(4)}
    val = {f"val/ILSVRC2012_val_{n:08d}.JPEG": (wnids[n % 2], "val") for n in range(1, 5)}
    put(folder, [*train, *val])
    for split, images in (("train", train), ("val", val)):
        lines = (f"{name.partition('/')[2]} {wnids.index(label)}" for name, (label, _) in images.items())
        write(folder / f"meta/{split}.txt", lines)
    return train | val


def _imagenet_devkit(folder: Path) -> Expected:
    wnids = ("n01440764", "n02102040")
    train = {f"train/{wnid}/{wnid}_{n}.JPEG": (wnid, "train") for wnid in wnids for n in range(3)}
    val = {f"val/ILSVRC2012_val_{n:08d}.JPEG": (wnids[n % 2], "val") for n in range(1, 5)}
    put(folder, [*train, *val])
    kit = folder / "ILSVRC2012_devkit_t12/data"
    write(kit / "ILSVRC2012_validation_ground_truth.txt", (str(5 - wnids.index(label)) for label, _ in val.values()))
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    rows = [(5, wnids[0], "tench"), (4, wnids[1], "springer"), (1001, "n00001740", "entity")]
    save_mat(kit / "meta.mat", {"synsets": np.array(rows, dtype=fields)})
    return train | val


def _dogs(folder: Path) -> Expected:
    expected = numbered({"train": 3, "test": 2}, "n02085620-{label}/n_{index}.jpg")
    expected = {name: (f"n02085620-{label}", split) for name, (label, split) in expected.items()}
    put(folder, expected)
    for split in ("train", "test"):
        save_mat(folder / f"{split}_list.mat", {"file_list": cells(name[7:] for name in by_split(expected, split))})
    return expected


def _cars(folder: Path) -> Expected:
    fields = [(name, "O") for name in ("bbox_x1", "class", "fname")]
    expected: Expected = {}
    for split, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        names = {f"cars_{split}/{n:05d}.jpg": (CLASSES[n % 3], split) for n in range(1, 7)}
        rows = [(1, CLASSES.index(label) + 1, name.partition("/")[2]) for name, (label, _) in names.items()]
        save_mat(folder / file, {"annotations": np.array(rows, dtype=fields)})
        expected |= names
    save_mat(folder / "devkit/cars_meta.mat", {"class_names": cells(CLASSES).T})
    put(folder, expected)
    return expected


def _flowers(folder: Path) -> Expected:
    splits = ("train", "val", "test")
    expected = {f"jpg/image_{n:05d}.jpg": (str(n % 3 + 1), splits[n % 2 + n % 4 // 2]) for n in range(1, 13)}
    put(folder, expected)
    save_mat(folder / "imagelabels.mat", {"labels": [[int(label) for label, _ in expected.values()]]})
    ids = {split: [int(name[10:15]) for name in by_split(expected, split)] for split in splits}
    save_mat(folder / "setid.mat", {"trnid": [ids["train"]], "valid": [ids["val"]], "tstid": [ids["test"]]})
    return expected


def assert_not_read_with_lists(folder: Path) -> None:
    try:
        dataset = open_dataset(str(folder))
    except DataError:
        return
    assert "list" not in dataset.reading


Build = Callable[[Path], Expected]
SETS: tuple[Build, ...] = (
    _food, _indoor, _textures, _birds, _pets, _aircraft, _places, _places_in_folders, _tiny_imagenet, _imagenet,
    _traffic_signs, _scenes, _scenes_with_partitions, _numbered_text, _flat_validation, _imagenet_devkit, _dogs, _cars,
    _flowers,
)  # fmt: skip
every_set = pytest.mark.parametrize("build", SETS, ids=lambda build: build.__name__.strip("_"))


@every_set
def test_official_splits_and_labels_are_read(build: Build, tmp_path: Path) -> None:
    expected = build(tmp_path / "data")
    dataset = open_dataset(str(tmp_path / "data"))
    assert found(dataset) == expected
    if build is _places_in_folders:
        # The lists repeat what the folders say.
        return
    assert "list" in dataset.reading
    assert len({split for _, split in expected.values()}) < 2 or dataset.split_note == "from the lists"


@every_set
def test_a_folder_around_the_set_gives_the_same_images(build: Build, tmp_path: Path) -> None:
    expected = build(tmp_path / "data/set-1.0/set")
    assert found(open_dataset(str(tmp_path / "data"))) == below("set-1.0/set", expected)


@every_set
def test_a_zipped_set_gives_the_same_images(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)
    expected = build(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for path in sorted((tmp_path / "data").rglob("*.*")):
            if path.is_file():
                file.write(path, path.relative_to(tmp_path / "data").as_posix())
    assert found(open_dataset(str(tmp_path / "set.zip"))) == expected


@pytest.mark.parametrize(
    ("build", "folder"),
    [(_food, "images"), (_indoor, "Images"), (_textures, "images"), (_birds, "images"), (_pets, "images"),
     (_aircraft, "images"), (_places, "data_256"), (_dogs, "images"), (_imagenet, "ILSVRC/Data/CLS-LOC")],
)  # fmt: skip
def test_the_folder_of_images_alone_is_read_with_the_lists_around_it(build: Build, folder: str, tmp_path: Path) -> None:
    expected = {name.removeprefix(f"{folder}/"): value for name, value in build(tmp_path).items() if folder in name}
    dataset = open_dataset(str(tmp_path / folder))
    assert found(dataset) == expected
    assert any("the lists around it are used" in note for note in dataset.notes)


@pytest.mark.parametrize("build", [_food, _indoor, _textures, _pets, _numbered_text, _dogs, _birds])
def test_images_that_no_list_names_are_counted(build: Build, tmp_path: Path) -> None:
    expected = build(tmp_path)
    num_others = sum(path.is_file() for path in tmp_path.rglob("*.[jp][pn]g")) - len(expected)
    folder = next(iter(expected)).rpartition("/")[0]
    put(tmp_path, [f"{folder}/extra_1.jpg", f"{folder}/extra_2.jpg"])
    dataset = open_dataset(str(tmp_path))
    assert found(dataset) == expected
    assert any(f"were ignored: {num_others + 2} (" in note for note in dataset.notes)


@every_set
def test_listed_images_that_do_not_exist_are_counted(build: Build, tmp_path: Path) -> None:
    expected = build(tmp_path)
    # Training images that are in class folders need no list in three of the sets.
    lost = next(name for name in reversed(expected))
    (tmp_path / lost).unlink()
    dataset = open_dataset(str(tmp_path))
    assert found(dataset) == {name: value for name, value in expected.items() if name != lost}
    assert build is _scenes or any("do not exist: 1" in n for n in dataset.notes)


@pytest.mark.parametrize("build", [_food, _indoor, _textures, _birds, _places_in_folders, _dogs])
def test_another_reading_can_be_asked_for(build: Build, tmp_path: Path) -> None:
    build(tmp_path)
    with pytest.raises(ResnetCliError):
        open_dataset(str(tmp_path), DataConfig(label_column="unknown"))


def test_class_folders_can_be_read_without_their_lists(tmp_path: Path) -> None:
    expected = _food(tmp_path)
    dataset = open_dataset(str(tmp_path / "images"), DataConfig(classes_at="1"))
    assert found(dataset) == {name[7:]: (label, "train") for name, (label, _) in expected.items()}


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_images_behind_a_link_are_found_if_links_are_followed(tmp_path: Path) -> None:
    expected = _food(tmp_path / "set")
    (tmp_path / "set/images").rename(tmp_path / "elsewhere")
    (tmp_path / "set/images").symlink_to(tmp_path / "elsewhere")
    assert found(open_dataset(str(tmp_path / "set"), DataConfig(follow_links=True))) == expected
    with pytest.raises(DataError):
        open_dataset(str(tmp_path / "set"))


def test_the_level_of_the_classes_can_be_chosen(tmp_path: Path) -> None:
    expected = _aircraft(tmp_path)
    dataset = open_dataset(str(tmp_path))
    assert any("--label-column family" in note for note in dataset.notes)
    families = open_dataset(str(tmp_path), DataConfig(label_column="family"))
    assert found(families) == {name: (label[:8].strip(), split) for name, (label, split) in expected.items()}


def test_the_first_of_several_folds_is_used_and_noted(tmp_path: Path) -> None:
    _textures(tmp_path)
    assert "fold 1 of 2 is used" in open_dataset(str(tmp_path)).notes


@pytest.mark.parametrize(
    ("build", "file", "split"),
    [(_food, "meta/train.txt", "train"), (_indoor, "TestImages.txt", "test"), (_textures, "labels/val1.txt", "val"),
     (_textures, "labels/labels_joint_anno.txt", ""), (_pets, "annotations/list.txt", ""),
     (_pets, "annotations/trainval.txt", "train"), (_aircraft, "images_variant_train.txt", "train"),
     (_tiny_imagenet, "val/val_annotations.txt", "val")],
)  # fmt: skip
def test_one_list_gives_its_own_images(build: Build, file: str, split: str, tmp_path: Path) -> None:
    expected = build(tmp_path)
    dataset = open_dataset(str(tmp_path / file))
    labels = {name.rpartition("/")[2]: label for name, (label, own) in expected.items() if own == split or not split}
    # Food-101 and its like number the images of each class anew.
    if build not in (_food, _indoor, _textures):
        assert {name.rpartition("/")[2]: label for name, (label, _) in found(dataset).items()} == labels
    assert len(dataset.items) == sum(own == split or not split for _, own in expected.values())
    assert {item.split for item in dataset.items} == {"train"}
    assert not dataset.split_note


@pytest.mark.parametrize(("build", "file"), [(_birds, "images.txt"), (_flowers, "imagelabels.mat")])
def test_a_list_that_says_nothing_alone_gives_its_data_set(build: Build, file: str, tmp_path: Path) -> None:
    expected = build(tmp_path)
    assert found(open_dataset(str(tmp_path / file))) == expected


def test_numbers_that_only_count_the_lines_are_no_labels(tmp_path: Path) -> None:
    expected = numbered({"train": 3, "test": 2})
    put(tmp_path, expected)
    for split in ("train", "test"):
        names = by_split(expected, split)
        write(tmp_path / f"{split}.txt", (f"{name[7:]} {number}" for number, name in enumerate(names, 1)))
    dataset = open_dataset(str(tmp_path))
    assert {label for label, _ in found(dataset).values()} == set(CLASSES)


def test_numbers_without_names_are_classes_and_noted(tmp_path: Path) -> None:
    put(tmp_path, (f"images/{n}.jpg" for n in range(9)))
    write(tmp_path / "train.txt", (f"{n}.jpg {n % 3}" for n in range(9)))
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes == ("0", "1", "2")
    assert any("classes.txt" in note for note in dataset.notes)


def test_labels_that_differ_from_class_folders_are_counted(tmp_path: Path) -> None:
    names = [f"images/{label}/{n}.jpg" for label in ("cat", "dog") for n in range(6)]
    put(tmp_path, names)
    labels = ["dog" if name == "images/cat/0.jpg" else name.split("/")[1] for name in names]
    lines = [f"{name[7:]} {label}" for name, label in zip(names, labels, strict=True)]
    write(tmp_path / "train.txt", lines[::2])
    write(tmp_path / "test.txt", lines[1::2])
    notes = open_dataset(str(tmp_path)).notes
    assert any("images with another class than most images in their folder: 1" in note for note in notes)


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    _food(tmp_path)
    with (tmp_path / "meta/test.txt").open("a") as file:
        file.write("apple_pie/1\n")
    with pytest.raises(DataError, match="split"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    "line", ["img/{} 1 0 1", "img/{} 4,2,19,37,{}", "img/{} A child in a pink dress {}", "img/{} {}"]
)
def test_what_is_no_class_is_not_made_one(line: str, tmp_path: Path) -> None:
    put(tmp_path, (f"img/{n}.jpg" for n in range(20)))
    for split, numbers in (("train", range(14)), ("test", range(14, 20))):
        write(tmp_path / f"{split}.txt", (line.format(f"{n}.jpg", n) for n in numbers))
    assert_not_read_with_lists(tmp_path)


def test_lists_that_say_whether_an_object_is_there_give_several_labels(tmp_path: Path) -> None:
    put(tmp_path, (f"JPEGImages/{n}.jpg" for n in range(20)))
    for split, numbers in (("train", range(14)), ("val", range(14, 20))):
        write(tmp_path / f"ImageSets/Main/{split}.txt", map(str, numbers))
        for name in ("bird", "cat"):
            write(tmp_path / f"ImageSets/Main/{name}_{split}.txt", (f"{n}  {1 - n % 2 * 2}" for n in numbers))
    dataset = open_dataset(str(tmp_path))
    assert dataset.task == "multi-label" and dataset.classes == ("bird", "cat")
    assert all(item.labels == (() if int(Path(item.name).stem) % 2 else (0, 1)) for item in dataset.items)
    assert len(dataset.split("train")) == 14


def test_lists_of_split_folders_do_not_make_splits_classes(tmp_path: Path) -> None:
    for split, number in (("train", 8), ("val", 4)):
        names = [f"images/{split}2017/{split}_{n}.jpg" for n in range(number)]
        put(tmp_path, names)
        write(tmp_path / f"{split}2017.txt", (f"./{name}" for name in names))
    assert_not_read_with_lists(tmp_path)


@pytest.mark.parametrize(
    "name", ["README.txt", "requirements.txt", "LICENSE.txt", "train.txt", "test_list.txt", "labels.txt"]
)
@pytest.mark.parametrize(
    "content",
    [b"(c) the authors\n\nall rights\n", b"torch==2.11\n", b"\0\1\2" * 99, b"", b"\xff\xfe\0" * 9, b"x" * 3_000_000],
    ids=["prose", "packages", "binary", "empty", "utf-16", "long"],
)
def test_unrelated_texts_do_no_harm(name: str, content: bytes, tmp_path: Path) -> None:
    expected = {f"{label}/{n}.png": (label, "train") for label in CLASSES for n in range(2)}
    put(tmp_path, expected)
    (tmp_path / name).write_bytes(content)
    assert found(open_dataset(str(tmp_path))) == expected


def test_a_list_of_few_images_does_not_replace_class_folders(tmp_path: Path) -> None:
    expected = {f"{label}/{n}.png": (label, "train") for label in CLASSES for n in range(20)}
    put(tmp_path, expected)
    write(tmp_path / "train.txt", ["waffles/1.png"])
    write(tmp_path / "test.txt", ["waffles/2.png", "hot dog/3.png"])
    assert found(open_dataset(str(tmp_path))) == expected


def test_a_list_without_a_split_labels_a_flat_folder(tmp_path: Path) -> None:
    expected = {f"photos/{n}.jpg": (CLASSES[n % 3], "train") for n in range(9)}
    put(tmp_path, expected)
    write(tmp_path / "labels.txt", (f"{name[7:]} {label}" for name, (label, _) in expected.items()))
    assert found(open_dataset(str(tmp_path))) == expected
    write(tmp_path / "other.txt", (f"{name[7:]} {label}" for name, (label, _) in expected.items()))
    with pytest.raises(DataError, match="several lists"):
        open_dataset(str(tmp_path))


def test_a_table_comes_before_a_text_list_without_a_split(tmp_path: Path) -> None:
    expected = {f"photos/{n}.jpg": (CLASSES[n % 3], "train") for n in range(9)}
    put(tmp_path, expected)
    write(tmp_path / "labels.csv", ("image,label", *(f"{name},{label}" for name, (label, _) in expected.items())))
    write(tmp_path / "labels.txt", (f"{name[7:]} {label[:1]}" for name, (label, _) in expected.items()))
    assert found(open_dataset(str(tmp_path))) == expected


def test_lists_without_labels_give_the_splits_of_a_table(tmp_path: Path) -> None:
    expected = {f"photos/{n}.jpg": (CLASSES[n % 3], "train" if n < 6 else "test") for n in range(9)}
    put(tmp_path, expected)
    write(tmp_path / "labels.csv", ("image,label", *(f"{name},{label}" for name, (label, _) in expected.items())))
    for file, split in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        write(tmp_path / file, (name[7:] for name in by_split(expected, split)))
    dataset = open_dataset(str(tmp_path))
    assert found(dataset) == expected
    assert dataset.split_note == "from the lists"
    write(tmp_path / "test_list.txt", ["8.jpg"])
    assert any("they name 7 of 9 images" in note for note in open_dataset(str(tmp_path)).notes)


def test_images_outside_the_lists_of_two_splits_are_training_images(tmp_path: Path) -> None:
    expected = {f"{label}/{n}.jpg": (label, ("val", "test", "train")[min(n, 2)]) for label in CLASSES for n in range(9)}
    put(tmp_path, expected)
    write(tmp_path / "validation_list.txt", by_split(expected, "val"))
    write(tmp_path / "testing_list.txt", by_split(expected, "test"))
    dataset = open_dataset(str(tmp_path))
    assert found(dataset) == expected
    assert any("are the training images: 21" in note for note in dataset.notes)


def test_lists_that_do_not_replace_class_folders_are_named(tmp_path: Path) -> None:
    put(tmp_path, (f"{label}/{n}.jpg" for label in CLASSES for n in range(9)))
    write(tmp_path / "train.txt", (f"{label}/{n}.jpg" for label in CLASSES for n in range(5)))
    dataset = open_dataset(str(tmp_path))
    assert len(dataset.items) == 27
    assert any("train.txt: not used; listed images: 15 of 27" in note for note in dataset.notes)


def test_boxes_beside_class_folders_are_no_labels(tmp_path: Path) -> None:
    _tiny_imagenet(tmp_path)
    dataset = open_dataset(str(tmp_path / "train"))
    assert {item.name.split("/")[0]: dataset.classes[item.label] for item in dataset.items} == {
        "n01440764": "n01440764",
        "n02102040": "n02102040",
    }


def test_lists_outside_an_archive_are_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)
    _food(tmp_path)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for path in sorted((tmp_path / "images").rglob("*.jpg")):
            file.write(path, path.relative_to(tmp_path).as_posix())
    assert open_dataset(str(tmp_path / "images.zip")).split_note == ""


@pytest.mark.parametrize("name", ["image_class_labels.txt", "train_test_split.txt", "images.txt"])
def test_joined_lists_that_do_not_match_are_refused(name: str, tmp_path: Path) -> None:
    _birds(tmp_path)
    lines = (tmp_path / name).read_text().splitlines()
    write(tmp_path / name, [*lines[:-1], lines[0]] if name == "images.txt" else lines[:-1])
    with pytest.raises(DataError, match=name):
        open_dataset(str(tmp_path))


@every_set
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_lists_give_our_errors_or_a_note(
    build: Build, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("set")
    expected = build(folder)
    lists = sorted(path for path in folder.rglob("*.*") if path.suffix in (".txt", ".csv", ".mat"))
    path = data.draw(st.sampled_from(lists))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    noise = data.draw(st.binary(max_size=8))
    path.write_bytes(content[:cut] + noise + content[cut + len(noise) :] if data.draw(st.booleans()) else content[:cut])
    try:
        dataset = open_dataset(str(folder))
    except ResnetCliError:
        return
    num_used = sum(item.name in expected for item in dataset.items)
    is_said = any("ignored" in note or "do not exist" in note for note in dataset.notes)
    assert num_used == len(expected) or is_said or "list" not in dataset.reading


_WORDS = st.sampled_from(
    ["cat/1.jpg", "cat/1", "dog/2.jpg", "1", "-1", "cat", "\t", "#", "/", "..", "\\", "\0", "é", "img.jpg"]
)


@settings(max_examples=60, deadline=None)
@given(
    lists=st.dictionaries(st.sampled_from(["train", "val", "test", "trainval", "labels"]), st.lists(st.lists(_WORDS)))
)
def test_any_lists_beside_class_folders_give_a_data_set_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, lists: dict[str, list[list[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("set")
    put(folder, (f"{label}/{n}.jpg" for label in ("cat", "dog") for n in range(4)))
    for name, lines in lists.items():
        write(folder / f"{name}.txt", map(" ".join, lines))
    try:
        dataset = open_dataset(str(folder))
    except ResnetCliError:
        return
    assert len(dataset.items) == 8 or any("were ignored" in note for note in dataset.notes)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=400), is_started=st.booleans())
def test_any_bytes_are_a_matlab_file_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, is_started: bool
) -> None:
    pytest.importorskip("scipy.io")
    path = tmp_path_factory.getbasetemp() / "any.mat"
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(header + content if is_started else content)
    try:
        read_mat(path)
    except DataError:
        pass


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60))
def test_any_line_has_an_image_and_a_label(text: str) -> None:
    image, label = split_line(text)
    assert "\\" not in image
    assert label == label.strip()


@pytest.mark.parametrize(
    ("line", "image", "label"),
    [
        ("apple_pie/1005190", "apple_pie/1005190", ""),
        ("gameroom/bt 883gif.jpg", "gameroom/bt 883gif.jpg", ""),
        ("/a/airfield/1.jpg 0", "a/airfield/1.jpg", "0"),
        ("1025794 707-320", "1025794", "707-320"),
        ("0034309 Boeing 717", "0034309", "Boeing 717"),
        ("val_0.JPEG\tn03444034\t0\t32\t44\t62", "val_0.JPEG", "n03444034"),
        ("n01_0.JPEG\t0\t0\t62\t62", "n01_0.JPEG", "0 0 62 62"),
        (r"train\cat\1.png,cat", "train/cat/1.png", "cat"),
        ('"my photo.jpg" hot dog', "my photo.jpg", "hot dog"),
    ],
)
def test_lines_of_published_lists(line: str, image: str, label: str) -> None:
    assert split_line(line) == (image, label)


@pytest.mark.parametrize(
    ("stem", "split", "rest", "fold"),
    [
        ("train", "train", "*", 0),
        ("TestImages", "test", "*_images", 0),
        ("val10", "val", "*", 10),
        ("Training_01", "train", "*_", 1),
        ("trainval", "trainval", "*", 0),
        ("train_val_list", "trainval", "*_list", 0),
        ("images_variant_test", "test", "images_variant_*", 0),
        ("places365_train_standard", "train", "places365_*", 0),
        ("places365_val", "val", "places365_*", 0),
        ("trainlist01", "train", "*list", 1),
    ],
)
def test_names_of_lists_denote_splits(stem: str, split: str, rest: str, fold: int) -> None:
    assert split_of_list(stem) == (split, rest, fold)


@pytest.mark.parametrize("stem", ["README", "requirements", "constraints", "testament", "contest", "train_test_split"])
def test_other_names_denote_no_split(stem: str) -> None:
    assert split_of_list(stem) is None


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["images/cat/1.jpg", "images/dog/1.jpg"], ["cat", "dog"]),
        (["train/cat/1.jpg", "val/cat/1.jpg", "val/dog/2.jpg"], ["cat", "cat", "dog"]),
        (["a/abbey/1.jpg", "b/bakery/shop/1.jpg"], ["abbey", "bakery/shop"]),
        (["train/cat/1.jpg", "val/1.jpg"], ["cat", ""]),
        (["train/1.jpg", "bus/1.jpg"], ["train", "bus"]),
        (["images/train/1.jpg", "images/val/1.jpg"], ["", ""]),
        (["images/1.jpg", "images/2.jpg"], ["", ""]),
        (["set/cat/1.jpg"], ["cat"]),
        (["1.jpg"], [""]),
        ([], []),
    ],
)
def test_folders_that_denote_classes(names: list[str], labels: list[str]) -> None:
    assert folder_labels(names) == labels


def test_a_copy_of_the_images_is_not_taken_for_them(tmp_path: Path) -> None:
    for copy in ("color", "gray"):
        put(tmp_path, (f"{copy}/{label}/{n}.jpg" for label in CLASSES for n in range(4)))
    for split, numbers in (("train", range(3)), ("test", range(3, 4))):
        write(tmp_path / f"{split}.txt", (f"{label}/{n}.jpg" for label in CLASSES for n in numbers))
    assert_not_read_with_lists(tmp_path)


def test_lists_of_splits_find_images_of_the_same_name_in_their_splits(tmp_path: Path) -> None:
    images = [(split, label, n) for split in ("train", "val") for label in CLASSES for n in range(2)]
    expected: Expected = {f"{split}/{label}/{n}.jpg": (label, split) for split, label, n in images}
    put(tmp_path, expected)
    for split in ("train", "val"):
        write(tmp_path / f"{split}.txt", (name.partition("/")[2] for name in by_split(expected, split)))
    assert found(open_dataset(str(tmp_path))) == expected


def test_a_matlab_file_that_is_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("scipy.io")
    element = zlib.compress(b"\0" * 50_000_000, 9)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path = tmp_path / "imagelabels.mat"
    path.write_bytes(head + struct.pack("<II", 15, len(element)) + element)
    with pytest.raises(DataError):
        read_mat(path)


@pytest.mark.parametrize("parts", [("part1", "part2"), ("images_001/images", "images_002/images"), ("cam a", "cam b")])
def test_lists_of_bare_names_leave_the_classes_to_a_table_of_these_images(tmp_path: Path, parts: Sequence[str]) -> None:
    names = [f"{number}.png" for number in range(12)]
    for part, some in zip(parts, (names[:6], names[6:]), strict=True):
        put(tmp_path / part, some)
    write(tmp_path / "labels.csv", ["image,label", *(f"{name},{'cat' if name < '5' else 'dog'}" for name in names)])
    write(tmp_path / "train_val_list.txt", names[:9])
    write(tmp_path / "test_list.txt", names[9:])
    dataset = open_dataset(str(tmp_path), DataConfig())
    assert dataset.classes == ("cat", "dog")
    assert {Path(item.name).name for item in dataset.items if item.split == "test"} == set(names[9:])


def test_lists_of_bare_names_split_class_folders(tmp_path: Path) -> None:
    put(tmp_path, [f"{name}/{name}{number}.png" for name in ("cat", "dog") for number in range(3)])
    write(tmp_path / "train.txt", [f"{name}{number}.png" for name in ("cat", "dog") for number in range(2)])
    write(tmp_path / "test.txt", ["cat2.png", "dog2.png"])
    assert found(open_dataset(str(tmp_path), DataConfig())) == {
        f"{name}/{name}{number}.png": (name, "test" if number == 2 else "train")
        for name in ("cat", "dog")
        for number in range(3)
    }
