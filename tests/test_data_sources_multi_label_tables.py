"""Tables whose images have several labels, in the layouts of well-known data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.tables.several_labels import read_cells
from resnet_cli.errors import DataError

IDS = [f"im{number}" for number in range(6)]


def write_images(folder: Path, ids: Sequence[str] = IDS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ids:
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_images(tmp_path / "photos")
    return tmp_path


def table(path: Path, header: str, rows: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def column(path: Path, name: str, cells: Sequence[str]) -> Path:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    return table(path, f"image,{name}", [",".join(row) for row in zip(IDS, quoted, strict=False)])


def opened(path: Path, **options: Any) -> Dataset:
    return open_dataset(str(path), DataConfig.model_validate(options))


def labels(dataset: Dataset, field: str = "labels") -> dict[str, str]:
    """Image -> its labels in one text, in the order of the classes; images without any are omitted."""
    found = {Path(item.name).stem: [dataset.classes[label] for label in getattr(item, field)] for item in dataset.items}
    return {name: " ".join(names) for name, names in sorted(found.items()) if names}


def noted(dataset: Dataset, text: str) -> bool:
    return any(text in note for note in dataset.notes)


# Several labels in a cell

BOTH = {"im0": "cat dog", "im1": "cat", "im2": "dog", "im3": "cat dog"}


@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["cat;dog", "cat", "dog", "dog; cat", "", ""], "labels separated by ';'"),
        (["cat|dog", "cat", "dog", "cat|dog|cat", "", ""], "labels separated by '|'"),
        (["cat dog", "cat", "dog", "dog  cat", "", ""], "labels separated by spaces"),
        (["cat, dog", "cat", "dog", "dog,cat", "", ""], "labels separated by ','"),
        (['["cat", "dog"]', '["cat"]', '["dog"]', '["dog","cat"]', "[]", ""], "lists of labels"),
        (["['cat', 'dog']", "['cat']", "['dog']", "['dog' 'cat']", "[]", ""], "lists of labels"),
        (["[cat, dog]", "[cat]", "[dog]", "[dog,cat]", "[ ]", ""], "lists of labels"),
        (["cat;dog", '["cat"]', "dog", "dog;cat", "", "[]"], "labels separated by ';'"),
    ],
)
def test_the_cells_of_a_column_tell_what_separates_labels(photos: Path, cells: list[str], how: str) -> None:
    for options in ({}, {"label_column": "labels"}, {"multi_label": True}):
        dataset = opened(column(photos / "t.csv", "labels", cells), **options)
        assert dataset.task == "multi-label" and dataset.reading == f"table t.csv of ids with {how}"
        assert dataset.classes == ("cat", "dog") and labels(dataset) == BOTH and len(dataset.items) == 6
        assert noted(dataset, "2 of 6 rows have several")
        assert noted(dataset, "images without any label, which show none of the classes: 2 of 6")


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        # Plant Pathology 2021, where healthy is a class.
        ("labels", ["scab frog_eye_leaf_spot complex", "scab", "healthy", "rust", "complex", "rust"], 5),
        ("label", ["scab", "rust", "scab rust", "healthy"], 3),
        # Planet: understanding the Amazon from space.
        ("tags", ["haze primary", "agriculture clear primary water", "clear primary", "clear primary"], 5),
        ("labels", ["cat furry", "dog furry", "cat furry", "dog furry"], 3),
        # NIH ChestX-ray14.
        ("Finding Labels", ["Cardiomegaly|Pleural_Thickening", "No Finding", "Cardiomegaly", "No Finding"], 3),
        # Human Protein Atlas, and iMet.
        ("Target", ["16 0", "7 1 2 0", "5", "1", "18", "0"], 7),
        ("attribute_ids", ["51 616 734", "51 13", "7"], 5),
        ("Genre", ["Drama|Romance", "Drama", "Action|Sci-Fi", "Action"], 4),
        ("label", ["cat|dog", "cat", "dog", "owl"], 3),
        ("label", ["cat;dog", "cat", "dog", "owl"], 3),
        ("label", ['["cat", "dog"]', '["cat"]', '["dog"]', '["owl"]'], 3),
        # What predictions are written as.
        ("labels", ["polar bear;sea", "polar bear;ice"], 3),
    ],
)
def test_columns_of_well_known_data_sets_are_read(photos: Path, name: str, cells: list[str], expected: int) -> None:
    dataset = opened(column(photos / "t.csv", name, cells))
    assert dataset.task == "multi-label" and len(dataset.classes) == expected
    names = [f"'{word}'" for word in ("healthy", "No Finding") if word in cells]
    assert all(noted(dataset, f"{word} never comes with another label and is a class") for word in names)
    assert not any("never comes" in note for note in dataset.notes if not names)


@pytest.mark.parametrize(
    "cells",
    [
        ["field hockey", "ice hockey", "archery", "golf"],
        ["animal|cat", "animal|dog", "plant|oak", "plant|elm"],
        ["tench, Tinca tinca", "cock, rooster", "hen", "shark"],
    ],
)
def test_names_of_several_words_stay_names_and_the_flag_does_not_cut_their_words(
    photos: Path, cells: list[str]
) -> None:
    path = column(photos / "t.csv", "label", cells)
    assert opened(path).classes == tuple(sorted(cells))
    dataset = opened(path, multi_label=True)
    # A bar is no part of a name if images are said to have several labels.
    assert dataset.task == "multi-label"
    assert dataset.classes == tuple(sorted(cells) if "|" not in cells[0] else "animal cat dog elm oak plant".split())


def test_lists_are_read_as_json_python_and_numpy_write_them() -> None:
    cells = ["['it\\'s', \"a,b\"]", "['x' 'y']", "[0 17]", "[0, 17.0]", "[]", '["a;b"]']
    found = read_cells(cells, "label").labels
    assert list(found.values()) == [("it's", "a,b"), ("x", "y"), ("0", "17"), ("0", "17"), (), ("a;b",)]
    assert read_cells(['["a;b"]', "c"], "label").labels == {'["a;b"]': ("a;b",), "c": ("c",)}
    for text in ("[[1], 2]", "[true]", "[" * 100_000, "[a]"):
        assert read_cells([text, "cat"], "label").labels[text] == (text,)


LISTS = [["cat", "dog"], ["cat"], ["dog"], ["dog", "cat"], [], None]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lists_of_json_lines_and_parquet_are_labels(photos: Path, suffix: str) -> None:
    path = photos / f"t.{suffix}"
    if suffix == "jsonl":
        path.write_text("".join(json.dumps({"id": i, "tags": c}) + "\n" for i, c in zip(IDS, LISTS, strict=True)))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"id": IDS, "tags": LISTS}), path)
    dataset = opened(path)
    assert labels(dataset) == BOTH and dataset.reading.endswith("with lists of labels") and len(dataset.items) == 6
    assert len(opened(path, on_missing_label="skip").items) == 5


@pytest.mark.parametrize("form", ["Sequence", "List", "list"])
def test_numbers_in_lists_get_the_names_that_a_parquet_file_stores(photos: Path, form: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    numbers = pyarrow.table({"id": IDS, "labels": [[0, 1], [0], [1], [1, 0], [], []]})
    named = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    feature = [named] if form == "list" else {"feature": named, "_type": form}
    metadata = {"huggingface": json.dumps({"info": {"features": {"labels": feature}}})}
    parquet.write_table(numbers.replace_schema_metadata(metadata), photos / "t.parquet")
    assert labels(opened(photos / "t.parquet")) == BOTH


def test_numbers_are_named_by_a_map_beside_the_table(photos: Path) -> None:
    path = column(photos / "t.csv", "Target", ["0 1", "0", "1", "1 0", "", ""])
    assert opened(path).classes == ("0", "1")
    (photos / "classes.txt").write_text("cat\ndog\n")
    assert labels(opened(path)) == BOTH


def test_blank_cells_are_images_without_labels_unless_they_are_to_be_left_out(photos: Path) -> None:
    path = column(photos / "t.csv", "labels", ["cat;dog", "cat", "", "dog", "[]", "dog"])
    assert len(opened(path).items) == 6
    dataset = opened(path, on_missing_label="skip")
    # An empty list says that there is none; a blank cell may also mean that nobody has looked.
    assert {Path(item.name).stem for item in dataset.items} == {"im0", "im1", "im3", "im4", "im5"}
    assert noted(dataset, "rows without a label were left out: 1 of 6")


def test_a_split_of_blank_cells_has_no_labels(photos: Path) -> None:
    cells = ["cat;dog,train", "cat,train", "dog,train", ",train", ",test", ",test"]
    path = table(photos / "t.csv", "image,labels,split", [f"{i},{c}" for i, c in zip(IDS, cells, strict=True)])
    with pytest.raises(DataError, match="line 6: no label; rows without a label: 2 of 6"):
        opened(path)
    assert len(opened(path, on_missing_label="skip").items) == 3


# A column per class


def yes_no(path: Path, names: str, rows: Sequence[str]) -> Path:
    return table(path, f"image,{names}", [f"{image},{row}" for image, row in zip(IDS, rows, strict=False)])


def test_columns_of_which_a_row_sets_several_are_classes(photos: Path) -> None:
    path = yes_no(photos / "t.csv", "cat,dog,owl", ["1,1,0", "1,0,0", "0,1,0", "1,1,0", "0,0,0", "0,0,0"])
    for options in ({}, {"multi_label": True}):
        dataset = opened(path, **options)
        assert dataset.task == "multi-label" and labels(dataset) == BOTH and len(dataset.items) == 6
        assert dataset.reading == "table t.csv of ids with 3 label columns"
        assert noted(dataset, "2 of 6 rows have several of the 3 classes")
        assert noted(dataset, "none of the classes: 2 of 6") and noted(dataset, "classes that no row sets: owl")
        # Another table may have images of it, and of these the values may be unknown.
        assert dataset.classes == ("cat", "dog", "owl")
    # All negatives are said to be so; they are not left out.
    assert len(opened(path, on_missing_label="skip").items) == 6
    assert opened(path, label_column="cat").classes == ("0", "1")


def test_the_flag_makes_several_labels_of_columns_of_which_each_row_sets_one_or_none(photos: Path) -> None:
    path = yes_no(photos / "t.csv", "cat,dog", ["1,0", "0,1", "1,0", "0,1"])
    assert opened(path).task == "single-label"
    assert opened(path, multi_label=True).task == "multi-label"
    path = yes_no(photos / "t.csv", "cat,dog", ["1,0", "0,1", "1,0", "0,0"])
    dataset = opened(path, multi_label=True)
    assert dataset.task == "multi-label" and len(dataset.items) == 4 and len(labels(dataset)) == 3


CHEXPERT = "Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Fracture,Support Devices"
STUDIES = [
    "Female,68,Frontal,AP,1.0,,,1.0",
    "Male,34,Lateral,,,1.0,-1.0,1.0",
    "Female,87,Frontal,AP,0.0,1.0,-1.0,",
    "Male,68,Frontal,PA,,0.0,1.0,0.0",
    "Male,34,Frontal,PA,1.0,0.0,,0.0",
    "Male,87,Lateral,PA,0.0,0.0,,0.0",
]


def test_blank_and_uncertain_values_as_in_chexpert_are_unknown(photos: Path) -> None:
    dataset = opened(yes_no(photos / "t.csv", CHEXPERT, STUDIES))
    assert dataset.classes == ("Edema", "Fracture", "No Finding", "Support Devices")
    assert labels(dataset) == {
        "im0": "No Finding Support Devices",
        "im1": "Edema Support Devices",
        "im2": "Edema",
        "im3": "Fracture",
        "im4": "No Finding",
    }
    assert labels(dataset, "unknown") == {
        "im0": "Edema Fracture",
        "im1": "Fracture No Finding",
        "im2": "Fracture Support Devices",
        "im3": "No Finding",
        "im4": "Fracture",
        "im5": "Fracture",
    }
    assert noted(dataset, "unknown values, which count neither as yes nor as no: blank (7), -1.0 (2)")
    assert noted(dataset, "columns that are not classes were not used: Sex, Age, Frontal/Lateral, AP/PA")
    assert not noted(dataset, "none of the classes")


def test_a_small_validation_table_has_the_classes_of_the_train_table(photos: Path) -> None:
    yes_no(photos / "train.csv", CHEXPERT, STUDIES[:4])
    write_images(photos / "photos", ["va0", "va1"])
    rows = ["va0,Male,34,Frontal,PA,0.0,0.0,0.0,0.0", "va1,Male,87,Lateral,PA,0.0,0.0,0.0,1.0"]
    table(photos / "valid.csv", f"image,{CHEXPERT}", rows)
    dataset = opened(photos)
    assert dataset.task == "multi-label" and len(dataset.classes) == 4
    assert [len(dataset.split(split)) for split in ("train", "val")] == [4, 2]
    assert labels(dataset)["va1"] == "Support Devices"


def test_a_row_of_which_nothing_is_known_teaches_nothing_and_a_blank_one_has_no_label(photos: Path) -> None:
    path = yes_no(photos / "t.csv", "cat,dog", ["1,1", "0,1", "1,0", "u,-1", ",", "0,u"])
    with pytest.raises(DataError, match="line 6: no label; rows without a label: 1 of 5") as caught:
        opened(path)
    assert caught.value.hint == "leave them out: --on-missing-label skip"
    dataset = opened(path, on_missing_label="skip")
    assert len(dataset.items) == 4 and labels(dataset, "unknown") == {"im5": "dog"}
    assert noted(dataset, "rows with nothing but unknown values were left out: 1 of 6")


def test_without_a_0_minus_one_means_no_and_blank_cells_mean_what_the_user_says(photos: Path) -> None:
    # CelebA.
    dataset = opened(yes_no(photos / "t.csv", "Smiling,Young", ["1,1", "-1,1", "1,-1", "-1,-1"]))
    assert labels(dataset) == {"im0": "Smiling Young", "im1": "Young", "im2": "Smiling"} and len(dataset.items) == 4
    assert labels(dataset, "unknown") == {} and noted(dataset, "-1 means no, because no cell is 0")
    path = yes_no(photos / "t.csv", "cat,dog", ["1,1", "1,", ",1", ","])
    with pytest.raises(DataError, match="blank cells may mean no or unknown") as caught:
        opened(path)
    assert "--multi-label" in str(caught.value.hint)
    dataset = opened(path, multi_label=True)
    assert len(dataset.items) == 4 and len(labels(dataset)) == 3 and labels(dataset, "unknown") == {}
    with pytest.raises(DataError, match="-1 and blank cells may mean no or unknown"):
        opened(yes_no(photos / "t.csv", "cat,dog", ["1,1", "1,-1", ",1", "-1,"]), multi_label=True)


def test_a_column_that_may_be_the_label_instead_is_named_with_both_commands(photos: Path) -> None:
    path = yes_no(photos / "t.csv", "kind,old,sick", ["cat,1,1", "dog,0,1", "cat,1,0", "dog,0,0", "cat,0,0", "dog,1,1"])
    with pytest.raises(DataError, match="several could be: kind, old, sick") as caught:
        opened(path)
    hint = str(caught.value.hint)
    assert "--label-column kind" in hint and "if the 2 columns of 0 and 1 are the classes: --multi-label" in hint
    assert opened(path, label_column="kind").classes == ("cat", "dog")
    assert opened(path, multi_label=True).classes == ("old", "sick")


def test_columns_of_classes_beside_class_folders_are_not_taken_for_the_classes(tmp_path: Path) -> None:
    for folder in ("cat", "dog"):
        write_images(tmp_path / folder, [f"{folder}{number}" for number in range(3)])
    rows = [f"{folder}{number},{number % 2},1" for folder in ("cat", "dog") for number in range(3)]
    path = table(tmp_path / "about.csv", "image,blurred,night", rows)
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog") and noted(dataset, "about.csv sets several of its columns of 0 and 1")
    assert opened(path).classes == opened(tmp_path, multi_label=True).classes == ("blurred", "night")


def test_a_cell_that_is_neither_yes_nor_no_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.data.sources.tables.profiles.MAX_ROWS", 3)
    path = yes_no(photos / "t.csv", "cat,dog", ["1,1", "0,1", "1,0", "0,maybe"])
    with pytest.raises(DataError, match="line 5: 'dog' must be 0, 1 or -1"):
        opened(path)


# Several rows for an image


def test_labels_of_several_rows_are_joined_if_the_user_says_so(photos: Path) -> None:
    rows = ["im0,cat", "im1,cat", "im2,dog", "im0,dog", "im3,dog", "im3,cat", "im3,cat", "im1,cat"]
    path = table(photos / "t.csv", "image,label", rows)
    with pytest.raises(DataError, match=r"line 5: .*im0.png has the label 'dog', an earlier row says 'cat'") as caught:
        opened(path)
    assert "if an image may have several labels: --multi-label" in str(caught.value.hint)
    dataset = opened(path, multi_label=True)
    assert labels(dataset) == BOTH and noted(dataset, "images in several rows, whose labels were joined: 2")
    assert dataset.reading == "table t.csv of ids with a label per row"


def test_rows_of_an_image_with_other_sets_of_labels_contradict_each_other(photos: Path) -> None:
    path = table(photos / "t.csv", "image,labels", ["im0,cat;dog", "im0,dog;cat", "im1,cat", "im2,dog"])
    assert noted(opened(path), "repeated rows: 1")
    path = table(photos / "t.csv", "image,labels", ["im0,cat;dog", "im0,dog", "im1,cat", "im2,dog"])
    with pytest.raises(DataError, match="has the labels 'dog', an earlier row says 'cat; dog'"):
        opened(path)
    assert labels(opened(path, multi_label=True))["im0"] == "cat dog"
    path = table(photos / "t.csv", "image,label,split", ["im0,cat,train", "im0,dog,test", "im1,dog,train"])
    with pytest.raises(DataError, match="has the split 'test', an earlier row says 'train'"):
        opened(path, multi_label=True)


def test_labels_with_confidence_0_are_verified_negatives_and_all_others_are_unknown(photos: Path) -> None:
    rows = ["im0,cat,1", "im0,dog,0", "im1,dog,1", "im1,cat,1", "im2,owl,0", "im3,owl,1", "im3,dog,0", "im3,dog,1"]
    path = table(photos / "t.csv", "ImageID,LabelName,Confidence", rows)
    dataset = opened(path, multi_label=True)
    assert labels(dataset) == {"im0": "cat", "im1": "cat dog", "im3": "owl"}
    # Of im3, one row says that it shows a dog, and one that it does not.
    assert labels(dataset, "unknown") == {"im0": "owl", "im1": "owl", "im2": "cat dog", "im3": "cat dog"}
    assert noted(dataset, "0 in the column 'Confidence' says that the image does not have the label of the row")
    dataset = opened(
        table(photos / "t.csv", "image,label,confidence", ["im0,cat,0.9", "im0,dog,0.1"]), multi_label=True
    )
    assert labels(dataset) == {"im0": "cat dog"} and noted(dataset, "'confidence' was not used")


def test_groups_and_splits_of_multi_label_tables_are_kept(photos: Path) -> None:
    rows = ["im0,cat;dog,p1", "im1,cat,p1", "im2,dog,p2"]
    table(photos / "train.csv", "image,labels,patient", rows)
    table(photos / "test.csv", "image,labels,patient", ["im3,dog;cat,p3"])
    dataset = opened(photos, group_by="patient")
    groups: Mapping[str, str] = {Path(item.name).stem: item.group for item in dataset.items}
    assert labels(dataset) == BOTH and groups == {"im0": "p1", "im1": "p1", "im2": "p2", "im3": "p3"}
    assert [len(dataset.split(split)) for split in ("train", "test")] == [3, 1]


def test_a_column_without_a_name_may_have_the_images(photos: Path) -> None:
    # What pandas writes for a table whose index is the image.
    dataset = opened(table(photos / "t.csv", ",labels", ["im0,cat;dog", "im1,cat", "im2,dog", "im3,cat;dog"]))
    assert labels(dataset) == BOTH


@pytest.mark.parametrize(
    "header",
    ["image,labels,unknown,cleaned_by", "path,labels,unknown,made_by", "image,labels,suggested,missing,wrong"],
)
def test_tables_of_this_tool_are_multi_label_even_if_no_image_has_several_labels(photos: Path, header: str) -> None:
    rows = ["photos/im0.png,a cat,,x", "photos/im1.png,a,,x", "photos/im2.png,cat,,x", "photos/im3.png,,,x"]
    rows = [row + "," * (header.count(",") - row.count(",")) for row in rows]
    dataset = opened(table(photos / "t.csv", header, rows))
    assert dataset.task == "multi-label" and dataset.classes == ("a", "a cat", "cat") and len(dataset.items) == 4


@pytest.mark.parametrize("header", ["path,labels,split,unknown", "path,labels,x,unknown,predicted"])
def test_unknown_values_of_other_tables_of_this_tool_stay_unknown(photos: Path, header: str) -> None:
    rows = ["photos/im0.png,a,train,b", "photos/im1.png,a;b,train,", "photos/im2.png,,train,a", "photos/im3.png,b,val,"]
    end = ",a" if "predicted" in header else ""
    dataset = opened(table(photos / "t.csv", header, [row + end for row in rows]))
    unknown = {Path(item.name).stem: [dataset.classes[label] for label in item.unknown] for item in dataset.items}
    assert labels(dataset) == {"im0": "a", "im1": "a b", "im3": "b"} and len(dataset.items) == 4
    assert unknown == {"im0": ["b"], "im1": [], "im2": ["a"], "im3": []}


def test_images_that_a_model_did_not_classify_are_not_images_without_labels(photos: Path) -> None:
    cells = {"im0": (["a", "b"], [0.9, 0.8]), "im1": (None, None), "im2": ([], []), "im3": (["unknown"], [0.7])}
    objects = (
        json.dumps({"path": f"photos/{name}.png", "labels": sets, "probs": probs, "unknown": None, "made_by": "x"})
        for name, (sets, probs) in cells.items()
    )
    (photos / "t.jsonl").write_text("\n".join(objects))
    rows = ["im0,a;b,0.9;0.8,,x", "im1,unknown,,unlike the training images,x", "im2,,,,x", "im3,unknown,0.7,,x"]
    table(
        photos / "t.csv",
        "path,labels,probs,unknown,made_by",
        [f"photos/{row}".replace(",", ".png,", 1) for row in rows],
    )
    for name in ("t.csv", "t.jsonl"):
        with pytest.raises(DataError, match="rows without a label: 1 of 4"):
            opened(photos / name)
        dataset = opened(photos / name, on_missing_label="skip")
        assert labels(dataset) == {"im0": "a b", "im3": "unknown"} and len(dataset.items) == 3


def test_one_column_of_yes_and_no_is_a_class_with_the_flag(photos: Path) -> None:
    only = table(photos / "t.csv", "image,cat,age", ["im0,1,31", "im1,0,32", "im2,-1,33", "im3,0,34"])
    dataset = opened(only, multi_label=True)
    assert dataset.classes == ("cat",) and labels(dataset) == {"im0": "cat"} and len(dataset.items) == 3
    assert "with 1 label column" in dataset.reading
    assert opened(only, multi_label=True, label_column="cat").classes == ("-1", "0", "1")
    for header, row in (("image,label", "{},{}"), ("image,kind,cat", "{0},{2},{1}")):
        rows = [row.format(f"im{index}", index % 2, "ab"[index % 2]) for index in range(4)]
        table(photos / "u.csv", header, rows)
        if header == "image,label":
            assert opened(photos / "u.csv", multi_label=True).classes == ("0", "1")
        else:
            with pytest.raises(DataError, match="several could be: kind, cat") as error:
                opened(photos / "u.csv", multi_label=True)
            assert "0 columns" not in str(error.value.hint)


def test_a_table_of_negatives_has_its_classes(photos: Path) -> None:
    dataset = opened(table(photos / "t.csv", "image,a,b", [f"im{index},0,0" for index in range(4)]), multi_label=True)
    assert dataset.classes == ("a", "b") and [item.labels for item in dataset.items] == [()] * 4
    with pytest.raises(DataError, match="has a label"):
        opened(table(photos / "t.csv", "image,labels", ["im0,[]", "im1,[]"]), multi_label=True)


def test_blanks_in_corrected_predictions_are_no_part_of_names(photos: Path) -> None:
    rows = ["photos/im0.png,cat; dog,x", 'photos/im1.png,"[""a;b""]",x', "photos/im2.png, dog ;cat,x"]
    dataset = opened(table(photos / "t.csv", "path,labels,made_by", rows))
    assert dataset.classes == ("a;b", "cat", "dog") and labels(dataset)["im2"] == "cat dog"
