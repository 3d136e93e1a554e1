from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.annotation_exports import (
    EXPORTS,
    LABELS,
    coco,
    create_ml,
    cvat_xml,
    fiftyone,
    label_studio,
    label_studio_task,
    labelme,
    lines,
    list_of_objects,
    map_of_images,
    put_image,
    put_images,
    via_json,
    written,
)

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError

PLAIN = {f"{number}.jpg": "cat" if number % 2 else "dog" for number in range(6)}
by_format = pytest.mark.parametrize("name", EXPORTS)


def opened(path: Path, **options: Any) -> Dataset:
    return open_dataset(str(path), DataConfig(**options))


def labels_of(dataset: Dataset) -> dict[str, str]:
    """Name of the image without its folders -> class."""
    return {Path(item.name).name.removeprefix("0123abcd-"): dataset.classes[item.label] for item in dataset.items}


def splits_of(dataset: Dataset) -> dict[str, int]:
    return {split: sum(numbers) for split, numbers in dataset.counts().items() if sum(numbers)}


def refused(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(path, **options)
    return caught.value


@by_format
def test_a_folder_is_read_by_its_annotations(tmp_path: Path, name: str) -> None:
    EXPORTS[name](tmp_path, LABELS)
    dataset = opened(tmp_path)
    assert labels_of(dataset) == LABELS
    assert all(Path(str(item.source)).is_file() for item in dataset.items)
    assert splits_of(dataset) == {"train": len(LABELS)}


@by_format
def test_an_annotation_file_gives_the_same_as_its_folder(tmp_path: Path, name: str) -> None:
    path = EXPORTS[name](tmp_path, LABELS)
    dataset = opened(path)
    assert labels_of(dataset) == LABELS
    assert all(Path(str(item.source)).is_file() for item in dataset.items)


@by_format
def test_a_data_set_says_which_annotations_it_was_read_from(tmp_path: Path, name: str) -> None:
    path = EXPORTS[name](tmp_path, LABELS)
    assert (path.name if path.is_file() else "*.json") in opened(tmp_path).reading


@by_format
def test_an_archive_with_annotations_is_read_like_its_folder(tmp_path: Path, name: str) -> None:
    EXPORTS[name](tmp_path / "data", LABELS)
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "data")
    assert labels_of(opened(Path(archive))) == LABELS


@pytest.mark.parametrize(
    "document",
    [
        {"name": "app", "dependencies": {"left": "1"}},
        {"compilerOptions": {"strict": True}},
        {"cells": [], "metadata": {}, "nbformat": 4},
        {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a cat"}]},
        {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": []},
        [{"image": "elsewhere/none.jpg", "label": "x"}],
        [{"url": "https://host/a.jpg"}],
        {"labels": None},
        {"images": ["cat/0.jpg", "dog/1.jpg"]},
        {"train_images": ["cat/0.jpg"], "test_images": ["dog/1.jpg"]},
        {"classes": ["cat", "dog"]},
        {"logo.png": {"integrity": "sha256"}},
        {},
        [],
        7,
    ],
    ids=lambda document: json.dumps(document)[:30],
)
def test_other_json_files_do_no_harm(tmp_path: Path, document: Any) -> None:
    for label in ("cat", "dog"):
        put_images(tmp_path / label, PLAIN)
    written(tmp_path / "some.json", document)
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.items) == 12


@pytest.mark.parametrize("content", ["{", "// settings\n{}", '{"a.jpg": ', "[" * 100_000, "<xml", "\0\1"])
def test_damaged_json_beside_class_folders_does_no_harm(tmp_path: Path, content: str) -> None:
    for label in ("cat", "dog"):
        put_images(tmp_path / label, PLAIN)
    written(tmp_path / "some.json", content)
    written(tmp_path / "some.xml", content)
    assert opened(tmp_path).classes == ("cat", "dog")


def test_files_per_split_give_the_splits(tmp_path: Path) -> None:
    train, val = {"a.jpg": "cat", "b.jpg": "dog"}, {"c.jpg": "cat"}
    coco(tmp_path, train, "annotations/instances_train2017.json", "train2017")
    coco(tmp_path, val, "annotations/instances_val2017.json", "val2017")
    dataset = opened(tmp_path)
    assert splits_of(dataset) == {"train": 2, "val": 1}
    assert labels_of(dataset) == train | val
    assert dataset.reading.startswith("COCO annotations annotations/instances_train2017.json, ")


def test_folders_per_split_give_the_splits_even_if_names_repeat(tmp_path: Path) -> None:
    fiftyone(tmp_path / "train", {"a.jpg": "cat", "b.jpg": "dog"})
    fiftyone(tmp_path / "validation", {"a.jpg": "dog"})
    dataset = opened(tmp_path)
    assert splits_of(dataset) == {"train": 2, "val": 1}


def test_splits_in_the_annotations_are_kept(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    uses = ["training", "test", "validation", "training", "training", "training"]
    lines(
        tmp_path / "import.jsonl",
        [
            {
                "imageGcsUri": f"gs://b/{name}",
                "classificationAnnotation": {"displayName": label},
                "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": use},
            }
            for (name, label), use in zip(PLAIN.items(), uses, strict=True)
        ],
    )
    assert splits_of(opened(tmp_path)) == {"train": 4, "val": 1, "test": 1}


@pytest.mark.parametrize(
    "item",
    [
        lambda image, label: [image, label],
        lambda image, label: [image, 3, label],
        lambda image, label: {"image": image, "label": label},
        lambda image, label: image,
    ],
    ids=["pairs", "triples", "objects", "paths in class folders"],
)
def test_a_document_may_have_one_list_per_split(tmp_path: Path, item: Any) -> None:
    images = {f"{label}/{name}": label for name, label in PLAIN.items()}
    put_images(tmp_path, images)
    entries = [item(image, label) for image, label in images.items()]
    dataset = opened(written(tmp_path / "splits.json", {"train": entries[:4], "test": entries[4:]}))
    assert labels_of(dataset) == PLAIN
    assert splits_of(dataset) == {"train": 4, "test": 2}
    assert splits_of(opened(tmp_path)) == {"train": 4, "test": 2}


def test_a_document_may_have_one_map_per_split(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    document = {"train": dict(list(PLAIN.items())[:4]), "val": dict(list(PLAIN.items())[4:])}
    dataset = opened(written(tmp_path / "splits.json", document))
    assert labels_of(dataset) == PLAIN
    assert splits_of(dataset) == {"train": 4, "val": 2}


def test_lists_of_flat_images_per_split_are_no_classes(tmp_path: Path) -> None:
    put_images(tmp_path / "images", PLAIN)
    names = [f"images/{name}" for name in PLAIN]
    error = refused(written(tmp_path / "splits.json", {"train": names[:4], "test": names[4:]}))
    assert "no image that it lists has a label (6 images)" in error.message


def test_rows_of_a_json_list_have_splits_and_groups_as_tables_have(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    rows = [
        {"file": name, "species": label, "split": "val" if name == "0.jpg" else "train", "site": name[0]}
        for name, label in PLAIN.items()
    ]
    path = written(tmp_path / "rows.json", rows)
    dataset = opened(path, label_column="species", group_by="site")
    assert splits_of(dataset) == {"train": 5, "val": 1}
    assert {item.group for item in dataset.items} == {*"012345"}


def test_a_json_list_may_have_ids_and_one_column_per_class_as_tables_have(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    rows = [{"id": name[0], "cat": int(label == "cat"), "dog": int(label == "dog")} for name, label in PLAIN.items()]
    assert labels_of(opened(written(tmp_path / "rows.json", rows))) == PLAIN


def test_checksums_of_images_are_no_classes(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        put_images(tmp_path / label, PLAIN)
    images = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    path = written(tmp_path / "checksums.json", {image: f"{number:064x}" for number, image in enumerate(images)})
    assert opened(tmp_path).classes == ("cat", "dog")
    assert "12 different values for 12 images" in refused(path).message


def test_json_lines_in_a_json_file_are_read(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    lines(tmp_path / "labels.json", [{"image": name, "label": label} for name, label in PLAIN.items()])
    assert labels_of(opened(tmp_path)) == PLAIN


def test_numbers_are_classes_as_in_a_table(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    text = "".join(f"{n}\t{n % 2:f}\t{name}\n" for n, name in enumerate(PLAIN))
    path = written(tmp_path / "train.lst", text)
    assert opened(path).classes == ("0", "1")
    assert opened(path).reading == "SageMaker list train.lst"


def test_numbers_get_the_names_of_a_list_beside_them(tmp_path: Path) -> None:
    put_images(tmp_path / "00000", PLAIN)
    labels = [[f"00000/{name}", int(label == "dog")] for name, label in PLAIN.items()]
    path = written(tmp_path / "dataset.json", {"labels": labels})
    assert opened(path).classes == ("0", "1")
    written(tmp_path / "classes.txt", "cat\ndog\n")
    dataset = opened(path)
    assert labels_of(dataset) == PLAIN
    assert any("classes.txt" in note for note in dataset.notes)


def test_a_coco_file_in_its_own_folder_finds_the_images_beside_it(tmp_path: Path) -> None:
    path = coco(tmp_path, PLAIN, "annotations/instances_val2017.json", "val2017")
    assert labels_of(opened(path)) == PLAIN


@pytest.mark.parametrize("name", ["Label Studio JSON-MIN", "Label Studio CSV", "Vertex AI CSV", "Labelbox export"])
def test_a_file_in_the_folder_of_an_export_finds_the_images_beside_that_folder(tmp_path: Path, name: str) -> None:
    path = EXPORTS[name](tmp_path / "set", PLAIN)
    moved = tmp_path / "set" / "export" / path.name
    moved.parent.mkdir()
    path.rename(moved)
    dataset = opened(moved)
    assert labels_of(dataset) == PLAIN
    assert any("found by name" in note for note in dataset.notes) or name == "Labelbox export"


@pytest.mark.parametrize(
    ("document", "several"),
    [
        ([label_studio_task("0.jpg", "cat", "dog"), label_studio_task("1.jpg", "cat")], "1 of 2"),
        (
            [{"filename": "0.jpg", "annotations": ["cat", "dog"]}, {"filename": "1.jpg", "annotations": ["dog"]}],
            "1 of 2",
        ),
        ({"classes": ["cat", "dog"], "labels": {"0": [0, 1], "1": [1, 0], "2": 1}}, "2 of 3"),
        ({"0.jpg": ["cat", "dog"], "1.jpg": ["cat"]}, "1 of 2"),
        ([{"image": "0.jpg", "label": ["cat", "dog"]}, {"image": "1.jpg", "label": ["cat"]}], "1 of 2"),
        ([{"image": "0.jpg", "choice": {"choices": ["cat", "dog"]}}, {"image": "1.jpg", "choice": "cat"}], "1 of 2"),
        (
            {
                "images": [{"id": 1, "file_name": "0.jpg"}, {"id": 2, "file_name": "1.jpg"}],
                "annotations": [{"image_id": 1, "category_id": 1}, {"image_id": 1, "category_id": 2}],
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            },
            "1 of 2",
        ),
    ],
)
def test_images_with_several_labels_are_read_as_sets(tmp_path: Path, document: Any, several: str) -> None:
    put_images(tmp_path, PLAIN)
    path = written(tmp_path / "labels.json", document)
    column = {"label_column": "choice"} if "choice" in json.dumps(document)[:60] else {}
    dataset = opened(path, **column)
    assert dataset.task == "multi-label" and dataset.classes == ("cat", "dog")
    num_several = sum(len(item.labels) == 2 for item in dataset.items)
    assert f"{num_several} of {len(dataset.items)}" == several


def test_a_set_for_detection_is_refused_as_such(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    boxes = [{"image": "0.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1, "y": 1}}]}]
    error = refused(written(tmp_path / "annotations.json", boxes))
    assert "1 boxes" in error.message
    assert "detection" in (error.hint or "")


def test_yolo_labels_are_refused_by_name(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put_images(tmp_path / "images" / split, PLAIN)
        for name in PLAIN:
            written(tmp_path / "labels" / split / f"{Path(name).stem}.txt", "0 0.5 0.5 0.25 0.25\n1 .1 .1 .2 .2\n")
    description = written(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames:\n  0: cat\n")
    assert "YOLO" in refused(description).message
    assert "YOLO" in refused(tmp_path).message


def test_boxes_of_one_category_per_image_label_the_image_and_are_mentioned(tmp_path: Path) -> None:
    path = coco(tmp_path, PLAIN)
    document = json.loads(path.read_text(encoding="utf-8"))
    for one in document["annotations"]:
        one |= {"bbox": [0, 0, 4, 4], "segmentation": [[0, 0, 1, 1, 2, 2]]}
    document["annotations"].append(document["annotations"][0])
    dataset = opened(written(path, document))
    assert labels_of(dataset) == PLAIN
    assert any("6 images have boxes" in note for note in dataset.notes)


def test_boxes_of_several_categories_are_refused(tmp_path: Path) -> None:
    path = coco(tmp_path, PLAIN)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["annotations"] += [{"image_id": 0, "category_id": one, "bbox": [0, 0, 1, 1]} for one in (10, 11)]
    error = refused(written(path, document))
    assert "images with several labels: 1 of 6" in error.message
    assert "detection" in (error.hint or "")


def test_pascal_voc_boxes_beside_class_folders_do_no_harm(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        put_images(tmp_path / "Images" / label, PLAIN)
        for name in PLAIN:
            xml = f"<annotation><filename>{name}</filename><object><name>{label}</name></object></annotation>"
            written(tmp_path / "Annotation" / label / f"{Path(name).stem}.xml", xml)
    assert not any("Pascal" in note for note in opened(tmp_path / "Images").notes)


def test_one_file_about_all_images_is_found_among_many_others(tmp_path: Path) -> None:
    labels = {f"{number}.jpg": "cat" if number % 2 else "dog" for number in range(40)}
    map_of_images(tmp_path, labels)
    for number in range(40):
        written(tmp_path / f"{number}.json", {"camera": "a.jpg"})
    assert labels_of(opened(tmp_path)) == labels


def test_one_file_per_image_is_read_however_many_there_are(tmp_path: Path) -> None:
    labels = {f"{number}.jpg": "cat" if number % 2 else "dog" for number in range(40)}
    labelme(tmp_path, labels)
    assert labels_of(opened(tmp_path)) == labels


def test_attributes_are_chosen_by_name(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    entries = {
        name: {"filename": name, "file_attributes": {"animal": label, "light": "day"}} for name, label in PLAIN.items()
    }
    path = written(tmp_path / "via.json", entries)
    error = refused(path)
    assert "'animal' (6)" in error.message
    assert "--label-column 'animal'" in (error.hint or "")
    assert labels_of(opened(path, label_column="animal")) == PLAIN
    assert opened(tmp_path, label_column="light").classes == ("day",)
    with pytest.raises(ConfigError, match="no such attribute"):
        opened(path, label_column="breed")


def test_an_attribute_that_is_called_class_needs_no_flag(tmp_path: Path) -> None:
    path = via_json(tmp_path, PLAIN)
    document = json.loads(path.read_text(encoding="utf-8"))
    for entry in document["_via_img_metadata"].values():
        entry["file_attributes"]["caption"] = entry["filename"]
    assert labels_of(opened(written(path, document))) == PLAIN


@pytest.mark.parametrize("flag", ["image_column", "split_column"])
def test_flags_of_columns_are_refused_where_there_are_no_columns(tmp_path: Path, flag: str) -> None:
    with pytest.raises(ConfigError, match="no effect"):
        opened(coco(tmp_path, PLAIN), **{flag: "x"})
    with pytest.raises(ConfigError, match="no effect"):
        opened(coco(tmp_path, PLAIN), label_column="x")


def test_cancelled_and_reviewed_annotations_count_as_the_tool_means_them(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    tasks = [label_studio_task(name, label) for name, label in PLAIN.items()]
    cancelled = label_studio_task("0.jpg", "wrong", was_cancelled=True)["annotations"]
    reviewed = label_studio_task("1.jpg", "reviewed", ground_truth=True)["annotations"]
    tasks[0]["annotations"] += cancelled
    tasks[1]["annotations"] += reviewed
    assert labels_of(opened(written(tmp_path / "export.json", tasks))) == PLAIN | {"1.jpg": "reviewed"}


def test_files_that_say_the_same_are_read_once(tmp_path: Path) -> None:
    list_of_objects(tmp_path, PLAIN)
    written(tmp_path / "map.json", {f"images/{name}": label for name, label in PLAIN.items()})
    dataset = opened(tmp_path)
    assert labels_of(dataset) == PLAIN
    assert any("map.json" in note and "same labels" in note for note in dataset.notes)


def test_the_files_of_splits_are_preferred_to_a_file_of_all(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    rows = [{"image": name, "label": label} for name, label in PLAIN.items()]
    for name, part in (("all", rows), ("train", rows[:4]), ("test", rows[4:])):
        written(tmp_path / f"{name}.json", part)
    assert splits_of(opened(tmp_path)) == {"train": 4, "test": 2}


def test_files_that_contradict_each_other_are_refused_with_the_commands(tmp_path: Path) -> None:
    first = map_of_images(tmp_path, PLAIN)
    other = written(tmp_path / "other.json", PLAIN | {"0.jpg": "cat"})
    error = refused(tmp_path)
    assert "1 image differently" in error.message
    assert str(first) in (error.hint or "")
    assert str(other) in (error.hint or "")


def test_class_folders_win_over_annotations_of_a_few_of_their_images(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        put_images(tmp_path / "train" / label, PLAIN)
    written(tmp_path / "train" / "labels.json", {"0": {"path": "cat/0.jpg", "labels": ["cat"]}})
    assert len(opened(tmp_path).items) == 12


def test_class_folders_win_over_numbers(tmp_path: Path) -> None:
    rows = []
    for number, label in enumerate(("cat", "dog")):
        put_images(tmp_path / label, PLAIN)
        rows += [f"{index}\t{number}\t{label}/{name}" for index, name in enumerate(PLAIN)]
    path = written(tmp_path / "train.lst", "\n".join(rows) + "\n")
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert any("train.lst: only numbers" in note and str(path) in note for note in dataset.notes)
    assert opened(path).classes == ("0", "1")


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"cat/0.jpg": "day", "dog/1.jpg": "night"}, "labels only 2 of 12 images"),
        ({f"cat/{name}": ["cat", "day"] for name in PLAIN}, "images with several labels: 6 of 6"),
    ],
)
def test_class_folders_are_read_with_a_note_about_annotations_that_say_something_else(
    tmp_path: Path, document: Any, why: str
) -> None:
    for label in ("cat", "dog"):
        put_images(tmp_path / label, PLAIN)
    written(tmp_path / "other.json", document)
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.items) == 12
    assert any(note.startswith("not used: ") and why in note for note in dataset.notes)


def test_annotations_of_all_images_win_over_folders_with_a_note(tmp_path: Path) -> None:
    labels = {f"batch{number}/{name}": label for number in (1, 2) for name, label in PLAIN.items()}
    map_of_images(tmp_path, labels)
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert any("not the 2 folders" in note for note in dataset.notes)


def test_the_official_split_of_annotations_is_not_lost_to_class_folders(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val")):
        labels = {f"{group}/{label}/{number}.jpg": label for group, label in (("a", "x"), ("a", "y"), ("b", "z"))}
        coco(tmp_path, labels, f"{split}2019.json", ".")
    dataset = opened(tmp_path)
    assert splits_of(dataset) == {"train": 3, "val": 3}
    assert dataset.classes == ("x", "y", "z")


def test_xml_entities_are_refused(tmp_path: Path) -> None:
    put_images(tmp_path, {"0.jpg": "cat"})
    head = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cat">]>'
    path = written(
        tmp_path / "annotations.xml", f'{head}<annotations><image name="0.jpg"><tag label="&b;"/></image></annotations>'
    )
    assert "entities" in refused(path).message


def test_nesting_and_size_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_image(tmp_path / "a.jpg")
    assert "not JSON" in refused(written(tmp_path / "deep.json", "[" * 100_000)).message
    monkeypatch.setattr("resnet_cli.data.sources.annotations.files.MAX_JSON_BYTES", 10)
    assert "more than" in refused(written(tmp_path / "large.json", {"a.jpg": "a long name"})).message


def test_fields_of_coco_images_may_be_groups(tmp_path: Path) -> None:
    path = coco(tmp_path, PLAIN)
    document = json.loads(path.read_text(encoding="utf-8"))
    for number, one in enumerate(document["images"]):
        one["location"] = number // 2
    written(path, document)
    assert [item.group for item in opened(path, group_by="location").items] == ["0", "1", "2", "0", "1", "2"]
    assert not any(item.group for item in opened(path).items)
    assert opened(path, group_by="parent").items[0].group.endswith("images")
    document["images"][0]["location"] = {"site": 1}
    assert "the group must be text" in refused(written(path, document), group_by="location").message


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    put_images(tmp_path, PLAIN)
    items = [[name, label] for name, label in PLAIN.items()]
    error = refused(written(tmp_path / "split.json", {"train": items, "test": items[:1]}))
    assert "0.jpg is in two splits" in error.message


def test_two_categories_of_the_same_name_are_not_merged(tmp_path: Path) -> None:
    path = coco(tmp_path, PLAIN)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["categories"] = [{"id": 10, "name": "cat"}, {"id": 11, "name": "cat"}]
    assert "2 categories are called 'cat'" in refused(written(path, document)).message


def test_a_class_may_be_called_mask(tmp_path: Path) -> None:
    labels = {"0.jpg": "mask", "1.jpg": "points", "2.jpg": "mask"}
    EXPORTS["map of classes"](tmp_path, labels)
    assert labels_of(opened(tmp_path)) == labels


@pytest.mark.parametrize("export", [create_ml, cvat_xml, label_studio, labelme, coco, fiftyone])
def test_images_without_a_label_are_never_given_a_class(tmp_path: Path, export: Any) -> None:
    export(tmp_path, PLAIN | {"9.jpg": ""})
    error = refused(tmp_path)
    assert "--on-missing-label skip" in (error.hint or "")
    assert labels_of(opened(tmp_path, on_missing_label="skip")) == PLAIN


def test_an_unknown_annotation_file_is_refused_with_an_example(tmp_path: Path) -> None:
    error = refused(written(tmp_path / "package.json", {"name": "x"}))
    assert "not in a known annotation format" in error.message
    assert '"image"' in (error.hint or "")
