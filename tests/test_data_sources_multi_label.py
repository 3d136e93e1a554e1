"""Images with several labels, one or none, in everything that is not a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from support.annotation_exports import coco, label_studio_task, lines, put_images, written

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError

#: Image -> labels, sorted; None for an image that nobody has labeled.
Sets: TypeAlias = Mapping[str, tuple[str, ...] | None]
#: Writes a file beside the images.
Export: TypeAlias = Callable[[Path, Sets], Path]

SETS: Sets = {"a.jpg": ("cat", "hot dog"), "b.jpg": ("hot dog",), "c.jpg": ("Käfer", "cat"), "d.jpg": ()}
UNLABELED: Sets = {**SETS, "e.jpg": None}


def opened(path: Path, **options: Any) -> Dataset:
    return open_dataset(str(path), DataConfig(**options))


def sets_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Name of the image without its folders -> its labels."""
    assert dataset.task == "multi-label"
    return {Path(item.name).name: tuple(dataset.classes[label] for label in item.labels) for item in dataset.items}


def unknown_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {
        Path(item.name).name: tuple(dataset.classes[label] for label in item.unknown)
        for item in dataset.items
        if item.unknown
    }


def splits_of(dataset: Dataset) -> dict[str, str]:
    return {Path(item.name).name: item.split for item in dataset.items}


def refused(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(path, **options)
    return caught.value


def label_studio(folder: Path, sets: Sets) -> Path:
    tasks = []
    for name, labels in sets.items():
        task = label_studio_task(name, *(labels or ()))
        tasks.append(task | ({"annotations": []} if labels is None else {}))
    return written(folder / "export.json", tasks)


def label_studio_minimal(folder: Path, sets: Sets) -> Path:
    rows = []
    for number, (name, labels) in enumerate(sets.items()):
        choice = labels[0] if labels and len(labels) == 1 else {"choices": list(labels)} if labels else None
        about = {"annotator": 1, "annotation_id": None if labels is None else number + 1}
        rows.append({"id": number, "image": name, "choice": choice, **about})
    return written(folder / "minimal.json", rows)


def objects(describe: Callable[[str, list[str] | None], dict[str, Any]], name: str = "labels.jsonl") -> Export:
    """A format with one JSON object on a line for each image."""

    def export(folder: Path, sets: Sets) -> Path:
        rows = [describe(image, None if labels is None else list(labels)) for image, labels in sets.items()]
        return lines(folder / name, rows)

    return export


def document(describe: Callable[[Sets], Any]) -> Export:
    return lambda folder, sets: written(folder / "labels.json", describe(sets))


def sage_maker(image: str, labels: list[str] | None) -> dict[str, Any]:
    if labels is None:
        return {"source-ref": f"s3://b/{image}", "look-metadata": {"failure-reason": "no answer"}}
    about = {"class-map": {str(number): name for number, name in enumerate(labels)}, "human-annotated": "yes"}
    return {"source-ref": f"s3://b/{image}", "look": [*range(len(labels))], "look-metadata": about}


def label_box(image: str, labels: list[str] | None) -> dict[str, Any]:
    answers = {"name": "content", "checklist_answers": [{"name": label} for label in labels or ()]}
    done = [] if labels is None else [{"annotations": {"classifications": [answers], "objects": []}}]
    return {"data_row": {"external_id": image}, "projects": {"p": {"labels": done}}}


def prodigy(image: str, labels: list[str] | None) -> dict[str, Any]:
    answer = "reject" if labels is None else "accept"
    return {"image": image, "_task_hash": 1, "answer": answer, "accept": labels or [], "options": []}


def cvat_xml(folder: Path, sets: Sets) -> Path:
    images = "".join(
        f'<image id="1" name="{name}">' + "".join(f'<tag label="{label}"/>' for label in labels or ()) + "</image>"
        for name, labels in sets.items()
    )
    return written(folder / "annotations.xml", f"<annotations><version>1.1</version>{images}</annotations>")


def single_files(describe: Callable[[str, tuple[str, ...]], dict[str, Any]]) -> Export:
    """A format with one file for each image."""

    def export(folder: Path, sets: Sets) -> Path:
        for name, labels in sets.items():
            written(folder / f"{Path(name).stem}.json", describe(name, labels or ()))
        return folder

    return export


def of_image(sets: Sets) -> dict[str, Any]:
    return {name: None if labels is None else list(labels) for name, labels in sets.items()}


def coco_of_images(sets: Sets) -> dict[str, Any]:
    names = sorted({name for labels in sets.values() for name in labels or ()})
    pairs = [(number, name) for number, labels in enumerate(sets.values()) for name in labels or ()]
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(sets)],
        "annotations": [{"image_id": number, "category_id": names.index(name)} for number, name in pairs],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }


def datumaro(sets: Sets) -> dict[str, Any]:
    names = sorted({name for labels in sets.values() for name in labels or ()})
    items = [
        {
            "id": Path(image).stem,
            "annotations": [{"type": "label", "label_id": names.index(name)} for name in labels or ()],
            "image": {"path": image},
        }
        for image, labels in sets.items()
    ]
    return {"categories": {"label": {"labels": [{"name": name} for name in names]}}, "items": items}


FLAGS = ("Käfer", "cat", "hot dog")
#: Formats that distinguish an image without labels from one that nobody has labeled.
TELLING: dict[str, Export] = {
    "label studio": label_studio,
    "label studio minimal": label_studio_minimal,
    "map": document(of_image),
    "list of objects": objects(lambda image, labels: {"image": image, "label": labels}, "labels.json"),
    "fiftyone": document(lambda sets: {"classes": [], "labels": of_image(sets)}),
    "sage maker": objects(sage_maker, "labels.manifest"),
    "azure": objects(lambda image, labels: {"image_url": f"azureml://x/{image}", "label": labels}),
    "labelbox": objects(label_box),
    "prodigy": objects(prodigy),
    "labelme": single_files(
        lambda image, labels: {"imagePath": image, "shapes": [], "flags": {name: name in labels for name in FLAGS}}
    ),
}
#: Other formats.
SILENT: dict[str, Export] = {
    "coco": document(coco_of_images),
    "cvat": cvat_xml,
    "cvat labels": document(
        lambda sets: {name: {"path": name, "labels": list(labels or ())} for name, labels in sets.items()}
    ),
    "datumaro": document(datumaro),
    "create ml": document(
        lambda sets: [{"image": name, "annotations": list(labels or ())} for name, labels in sets.items()]
    ),
    "doccano": objects(lambda image, labels: {"filename": image, "label": labels or []}),
    "vertex": objects(
        lambda image, labels: {
            "imageGcsUri": f"gs://b/{image}",
            "classificationAnnotations": [{"displayName": label} for label in labels or ()],
        }
    ),
    "darwin": single_files(
        lambda image, labels: {
            "item": {"name": image},
            "annotations": [{"name": label, "tag": {}} for label in labels],
        }
    ),
    "supervisely": single_files(
        lambda image, labels: {
            "size": {"width": 8},
            "name": image,
            "objects": [],
            "tags": [{"name": label, "value": None} for label in labels],
        }
    ),
}


@pytest.mark.parametrize("name", [*TELLING, *SILENT])
def test_several_labels_of_one_answer_need_no_flag(tmp_path: Path, name: str) -> None:
    put_images(tmp_path, dict.fromkeys(SETS, ""))
    path = (TELLING | SILENT)[name](tmp_path, SETS)
    for data in (path, tmp_path):
        dataset = opened(data)
        assert sets_of(dataset) == dict(SETS)
        assert any("none of the classes: 1 of 4" in note for note in dataset.notes)


@pytest.mark.parametrize("name", [name for name in TELLING if name != "labelme"])
def test_images_that_nobody_has_labeled_are_no_negatives(tmp_path: Path, name: str) -> None:
    put_images(tmp_path, dict.fromkeys(UNLABELED, ""))
    path = TELLING[name](tmp_path, UNLABELED)
    error = refused(path)
    assert "1 of 5" in error.message and "--on-missing-label skip" in (error.hint or "")
    assert sets_of(opened(path, on_missing_label="skip")) == dict(SETS)


@pytest.mark.parametrize("name", ["cvat", "datumaro"])
def test_where_the_format_does_not_tell_images_without_labels_can_be_left_out(tmp_path: Path, name: str) -> None:
    put_images(tmp_path, dict.fromkeys(SETS, ""))
    dataset = opened(SILENT[name](tmp_path, SETS), on_missing_label="skip")
    assert sets_of(dataset) == {name: labels for name, labels in SETS.items() if labels}


def test_annotators_who_disagree_do_not_make_several_labels(tmp_path: Path) -> None:
    put_images(tmp_path, dict.fromkeys(SETS, ""))
    tasks = [label_studio_task(name, "cat" if name == "a.jpg" else "dog") for name in SETS]
    tasks[0]["annotations"] += label_studio_task("a.jpg", "dog")["annotations"]
    path = written(tmp_path / "export.json", tasks)
    error = refused(path)
    assert "1 of 4, such as a.jpg: cat, dog" in error.message
    assert "annotators" in (error.hint or "") and "--multi-label" in (error.hint or "")
    assert sets_of(opened(path, multi_label=True))["a.jpg"] == ("cat", "dog")


def test_one_label_per_image_is_single_label_data_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    plain: Sets = {"a.jpg": ("cat",), "b.jpg": ("dog",), "c.jpg": ()}
    put_images(tmp_path, dict.fromkeys(plain, ""))
    path = SILENT["coco"](tmp_path, plain)
    assert "1 of 3" in refused(path).message
    assert opened(path, on_missing_label="skip").task == "single-label"
    assert sets_of(opened(path, multi_label=True)) == dict(plain)


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """COCO's boxes: of two classes in one image, of one in two images, and an image without any."""
    path = coco(tmp_path, {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "dog", "d.jpg": ""})
    document = json.loads(path.read_text(encoding="utf-8"))
    document["annotations"].append({"image_id": 0, "category_id": 11})
    for one in document["annotations"]:
        one["bbox"] = [0, 0, 4, 4]
    return written(path, document)


def test_boxes_label_images_if_the_user_says_so(boxes: Path) -> None:
    error = refused(boxes)
    assert "1 of 4, such as a.jpg: cat, dog" in error.message and "--multi-label" in (error.hint or "")
    dataset = opened(boxes, multi_label=True)
    assert sets_of(dataset) == {"a.jpg": ("cat", "dog"), "b.jpg": ("dog",), "c.jpg": ("dog",), "d.jpg": ()}
    assert any("3 images have boxes" in note for note in dataset.notes)


def test_categories_that_nobody_looked_for_are_unknown(boxes: Path) -> None:
    document = json.loads(boxes.read_text(encoding="utf-8"))
    for image in document["images"]:
        image["neg_category_ids"] = [10] if image["file_name"] == "d.jpg" else []
    dataset = opened(written(boxes, document), multi_label=True)
    assert sets_of(dataset)["d.jpg"] == () and sets_of(dataset)["a.jpg"] == ("cat", "dog")
    assert unknown_of(dataset) == {"b.jpg": ("cat",), "c.jpg": ("cat",), "d.jpg": ("dog",)}


def voc(folder: Path, name: str, *objects: tuple[str, int]) -> None:
    found = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult>"
        "<part><name>head</name></part><bndbox><xmin>1</xmin></bndbox></object>"
        for label, difficult in objects
    )
    written(
        folder / f"{name}.xml",
        f"<annotation><filename>{name}.jpg</filename><source><name>x</name></source>{found}</annotation>",
    )


def test_a_file_of_pascal_voc_belongs_to_the_image_of_its_name(tmp_path: Path) -> None:
    put_images(tmp_path, dict.fromkeys(("1.jpg", "2.jpg"), ""))
    voc(tmp_path, "1", ("dog", 0))
    voc(tmp_path, "old", ("cat", 0))
    (tmp_path / "old.xml").rename(tmp_path / "2.xml")
    assert sets_of(opened(tmp_path, multi_label=True)) == {"1.jpg": ("dog",), "2.jpg": ("cat",)}


def test_difficult_objects_of_pascal_voc_leave_the_class_unknown(tmp_path: Path) -> None:
    put_images(tmp_path / "JPEGImages", dict.fromkeys(("1.jpg", "2.jpg", "3.jpg"), ""))
    voc(tmp_path / "Annotations", "1", ("dog", 0), ("cat", 0), ("cat", 1))
    voc(tmp_path / "Annotations", "2", ("dog", 0), ("cat", 1))
    voc(tmp_path / "Annotations", "3")
    assert "--multi-label" in (refused(tmp_path).hint or "")
    dataset = opened(tmp_path, multi_label=True)
    assert sets_of(dataset) == {"1.jpg": ("cat", "dog"), "2.jpg": ("dog",), "3.jpg": ()}
    assert unknown_of(dataset) == {"2.jpg": ("cat",)}


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        put_images(tmp_path / "images" / split, {f"{split}{number}.jpg": "" for number in range(3)})
        written(tmp_path / "labels" / split / f"{split}0.txt", "0 0.5 0.5 0.25 0.25\n2 .1 .1 .2 .2\n0 .1 .1 .2 .2\n")
        written(tmp_path / "labels" / split / f"{split}1.txt", "")
    put_images(tmp_path / "extra", {"x.jpg": ""})
    return tmp_path


def test_boxes_of_yolo_label_images_if_the_user_says_so(yolo: Path) -> None:
    description = written(yolo / "data.yaml", "train: images/train\nval: images/val\nnames: [cat, owl, dog]\n")
    for data in (yolo, description):
        assert "--multi-label" in (refused(data).hint or "")
        dataset = opened(data, multi_label=True)
        sets = sets_of(dataset)
        assert sets == {
            f"{split}{number}.jpg": () if number else ("cat", "dog")
            for split in ("train", "val")
            for number in range(3)
        }
        assert all(split == name[:-5] for name, split in splits_of(dataset).items())
        assert any("1 image in folders without any label file" in note for note in dataset.notes)


def test_classes_of_yolo_that_the_description_does_not_name_are_refused(yolo: Path) -> None:
    written(yolo / "data.yaml", "train: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n")
    assert "class 2" in refused(yolo, multi_label=True).message
    written(yolo / "labels" / "val" / "val1.txt", "cat 1 1 1 1\n")
    assert "val1.txt: line 1" in refused(yolo, multi_label=True).message


def put(path: Path, content: str) -> None:
    """A file that is read by name and content only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Class folders with copies under other names; all files have the same size."""
    files = {
        "beach/1.jpg": "A",
        "sky/x.jpg": "A",
        "dog/2.jpg": "B",
        "beach/2.jpg": "C",
        "sky/3.jpg": "D",
        "sky/4.jpg": "D",
    }
    for name, content in files.items():
        put(tmp_path / "data" / name, content)
    return tmp_path / "data"


def test_an_image_in_several_class_folders_has_the_labels_of_all_of_them(tree: Path) -> None:
    dataset = opened(tree, multi_label=True)
    found = {item.name: tuple(dataset.classes[label] for label in item.labels) for item in dataset.items}
    assert found == {
        "beach/1.jpg": ("beach", "sky"),
        "dog/2.jpg": ("dog",),
        "beach/2.jpg": ("beach",),
        "sky/3.jpg": ("sky",),
    }
    assert any(
        "several class folders, by their content: 1 of 4; files that are copies of others: 2" in note
        for note in dataset.notes
    )
    # Without the flag, each file is an image of its own.
    assert len(opened(tree).items) == 6 and opened(tree).task == "single-label"


def test_only_files_of_the_same_size_are_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tree / "dog" / "5.jpg", "longer")
    read: list[str] = []
    read_bytes = Path.read_bytes

    def note(path: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    opened(tree, multi_label=True)
    assert len(read) == 6 and "5.jpg" not in read


def test_copies_in_different_splits_stay_apart(tmp_path: Path) -> None:
    for name, content in {"train/a/1.jpg": "A", "train/b/1.jpg": "A", "val/a/1.jpg": "A", "val/b/2.jpg": "B"}.items():
        put(tmp_path / name, content)
    dataset = opened(tmp_path, multi_label=True)
    assert {item.name: item.labels for item in dataset.items} == {
        "train/a/1.jpg": (0, 1), "val/a/1.jpg": (0,), "val/b/2.jpg": (1,)
    }  # fmt: skip


def test_images_in_the_folder_of_negatives_have_no_labels(tree: Path) -> None:
    for number in (1, 2):
        put(tree / "_none" / f"n{number}.jpg", f"N{number}")
    put(tree / "Background" / "b.jpg", "Z")
    dataset = opened(tree, multi_label=True)
    sets = sets_of(dataset)
    assert sets["n1.jpg"] == sets["n2.jpg"] == () and sets["b.jpg"] == ("Background",)
    assert "_none" not in dataset.classes and "_none" in opened(tree).classes
    assert any("images in _none, which show none of the classes: 2 of 7" in note for note in dataset.notes)
    assert any("Background is a class" in note and "_none" in note for note in dataset.notes)
    put(tree / "_none" / "1.jpg", "A")
    assert "_none: _none/1.jpg and beach/1.jpg" in refused(tree, multi_label=True).message


def test_links_to_images_in_other_class_folders_are_copies(tree: Path) -> None:
    try:
        (tree / "dog" / "link.jpg").symlink_to(tree / "beach" / "2.jpg")
    except OSError:
        pytest.skip("links cannot be made here")
    dataset = opened(tree, multi_label=True)
    assert sets_of(dataset)["2.jpg"] in (("beach", "dog"), ("dog",))
    assert ("beach", "dog") in [tuple(dataset.classes[label] for label in item.labels) for item in dataset.items]


def voc_lists(folder: Path, **values: Mapping[str, Mapping[str, int]]) -> None:
    """The lists of Pascal VOC's classification task: split -> class -> image -> -1, 0 or 1."""
    for split, classes in values.items():
        for name, images in classes.items():
            # The kit pads 1 with a blank.
            rows = [f"{image} {value:>2}" for image, value in images.items()]
            written(folder / "ImageSets" / "Main" / f"{name}_{split}.txt", "\n".join(rows) + "\n")
        written(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(next(iter(classes.values()))) + "\n")


def test_the_class_lists_of_pascal_voc_say_yes_no_and_unknown(tmp_path: Path) -> None:
    names = [f"{number:06d}" for number in range(1, 6)]
    train = {
        "dog": {names[0]: 1, names[1]: -1},
        "cat": {names[0]: 1, names[1]: 0},
        "boat": dict.fromkeys(names[:2], -1),
    }
    val = {"dog": {names[2]: -1}, "cat": {names[2]: -1}, "boat": {names[2]: -1}}
    test = {
        "dog": {names[3]: 1, names[4]: 1},
        "cat": dict.fromkeys(names[3:], -1),
        "boat": dict.fromkeys(names[3:], -1),
    }
    both = {name: {**train[name], **val[name]} for name in train}
    put_images(tmp_path / "VOC2007" / "JPEGImages", dict.fromkeys((f"{name}.jpg" for name in names[:4]), ""))
    put_images(tmp_path / "VOC2007" / "SegmentationClass", {f"{names[0]}.png": ""})
    voc(tmp_path / "VOC2007" / "Annotations", names[0], ("dog", 0), ("cat", 0))
    voc_lists(tmp_path / "VOC2007", train=train, val=val, trainval=both, test=test)
    for data in (tmp_path, tmp_path / "VOC2007"):
        dataset = opened(data)
        assert dataset.classes == ("boat", "cat", "dog")
        expected = {f"{name}.jpg": () for name in names[:3]}
        assert sets_of(dataset) == {**expected, f"{names[0]}.jpg": ("cat", "dog"), f"{names[3]}.jpg": ("dog",)}
        assert unknown_of(dataset) == {f"{names[1]}.jpg": ("cat",)}
        assert [splits_of(dataset)[f"{name}.jpg"] for name in names[:4]] == ["train", "train", "val", "test"]
        assert "listed images that do not exist: 1" in dataset.notes


def test_the_lists_of_several_years_are_read_together(tmp_path: Path) -> None:
    for year, split in (("VOC2007", "trainval"), ("VOC2012", "test")):
        put_images(tmp_path / year / "JPEGImages", {f"{year}_1.jpg": "", f"{year}_2.jpg": ""})
        values = {"dog": {f"{year}_1": 1, f"{year}_2": -1}, "cat": {f"{year}_1": -1, f"{year}_2": 1}}
        voc_lists(tmp_path / year, **{split: values})
    assert splits_of(opened(tmp_path)) == {
        "VOC2007_1.jpg": "train", "VOC2007_2.jpg": "train", "VOC2012_1.jpg": "test", "VOC2012_2.jpg": "test"
    }  # fmt: skip


def test_a_damaged_class_list_is_refused_with_its_line(tmp_path: Path) -> None:
    put_images(tmp_path / "JPEGImages", {"1.jpg": "", "2.jpg": ""})
    voc_lists(tmp_path, train={"dog": {"1": 1, "2": -1}, "cat": {"1": -1, "2": 1}})
    written(tmp_path / "ImageSets" / "Main" / "cat_train.txt", "1 1\n2 yes\n")
    assert "cat_train.txt: line 2" in refused(tmp_path).message


def test_a_sage_maker_list_has_a_mark_for_each_class_or_one_number(tmp_path: Path) -> None:
    put_images(tmp_path, dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), ""))
    marks = {"a.jpg": "1 0 1 0 0 0 0", "b.jpg": "0 1.000000 0 0 0 0 0", "c.jpg": "0 0 0 0 0 0 0"}
    rows = ["\t".join([str(number), *row.split(), name]) for number, (name, row) in enumerate(marks.items())]
    path = written(tmp_path / "train.lst", "\n".join(rows) + "\n")
    assert sets_of(opened(path)) == {"a.jpg": ("0", "2"), "b.jpg": ("1",), "c.jpg": ()}
    written(path, "0\t3\t7\ta.jpg\n1\t4\t2\tb.jpg\n")
    assert "--multi-label" in (refused(path).hint or "")


def test_the_tables_of_a_roboflow_export_are_its_splits(tmp_path: Path) -> None:
    for split, rows in (("train", "a.jpg, 1, 1\nb.jpg, 0, 1\n"), ("valid", "c.jpg, 0, 0\n"), ("test", "d.jpg, 1, 0\n")):
        put_images(tmp_path / split, {line.partition(",")[0]: "" for line in rows.splitlines()})
        written(tmp_path / split / "_classes.csv", f"filename, cat, hot dog\n{rows}")
    dataset = opened(tmp_path)
    assert sets_of(dataset) == {"a.jpg": ("cat", "hot dog"), "b.jpg": ("hot dog",), "c.jpg": (), "d.jpg": ("cat",)}
    assert splits_of(dataset) == {"a.jpg": "train", "b.jpg": "train", "c.jpg": "val", "d.jpg": "test"}


def test_images_in_several_lists_of_a_map_of_classes_need_the_flag(tmp_path: Path) -> None:
    put_images(tmp_path, dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), ""))
    path = written(tmp_path / "map.json", {"cat": ["a.jpg", "b.jpg"], "dog": ["a.jpg", "c.jpg"]})
    assert "1 of 3, such as a.jpg: cat, dog" in refused(path).message
    assert sets_of(opened(path, multi_label=True)) == {"a.jpg": ("cat", "dog"), "b.jpg": ("cat",), "c.jpg": ("dog",)}


@pytest.mark.parametrize(
    "content",
    [
        "names: [cat, dog]\ntrain: [1, {}]\n",
        "train: images/train\nnames: {0: [1], 1: null}\n",
        "train: x\nnames: &a [*a]\n",
    ],
    ids=["splits", "names", "circle"],
)
def test_strange_descriptions_of_yolo_end_in_an_error_or_a_data_set(yolo: Path, content: str) -> None:
    path = written(yolo / "data.yaml", content)
    for data in (path, yolo):
        try:
            assert opened(data, multi_label=True).task == "multi-label"
        except DataError as error:
            assert error.message


@pytest.mark.parametrize(
    "value",
    [[["cat"]], [{"name": "cat"}], [1.5], [True], {"choices": [["cat"]]}, [None, "", "cat"]],
    ids=lambda value: json.dumps(value),
)
def test_strange_lists_of_labels_end_in_an_error_or_a_data_set(tmp_path: Path, value: Any) -> None:
    put_images(tmp_path, dict.fromkeys(SETS, ""))
    documents: list[Any] = [
        dict.fromkeys(SETS, value),
        [{"image": name, "label": value} for name in SETS],
        [{"filename": name, "annotations": value} for name in SETS],
        [{"data": {"image": name}, "annotations": [{"result": [{"value": {"choices": value}}]}]} for name in SETS],
    ]
    for number, document in enumerate(documents):
        path = written(tmp_path / f"{number}.json", document)
        for multi_label in (False, True):
            try:
                opened(path, multi_label=multi_label)
            except DataError as error:
                assert error.message


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_labels_of_images_count_for_more_than_their_boxes(tmp_path: Path, kind: str, flag: bool) -> None:
    """A run that recorded several labels is opened with the flag, and must find the same."""
    put_images(tmp_path, dict.fromkeys(SETS, ""))
    rows = [f"{name},{'|'.join(labels or ())}\n" for name, labels in SETS.items()]
    written(tmp_path / "tags.csv", "image,labels\n" + "".join(rows))
    for number, name in enumerate(SETS):
        if kind == "voc":
            voc(tmp_path, Path(name).stem, ("wheel", 0), ("door", 0))
        if kind == "yolo":
            written(tmp_path / f"{Path(name).stem}.txt", f"{number} .5 .5 .1 .1\n9 .5 .5 .1 .1\n")
    if kind == "coco":
        images = [{"id": number, "file_name": name} for number, name in enumerate(SETS)]
        boxes = [{"image_id": n % 4, "category_id": n // 4, "bbox": [0, 0, 1, 1]} for n in range(8)]
        categories = [{"id": 0, "name": "wheel"}, {"id": 1, "name": "door"}]
        written(tmp_path / "boxes.json", {"images": images, "annotations": boxes, "categories": categories})
    assert sets_of(opened(tmp_path, multi_label=flag)) == dict(SETS)
