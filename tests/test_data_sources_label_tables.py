"""Which columns and which tables label the images of DATA."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources import packed_sizes
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.tables.columns import ROLES
from resnet_cli.errors import DataError, ResnetCliError, SetupError
from resnet_cli.installation import install_command

IDS = [f"im{number:03d}" for number in range(8)]
LABELS = ["cat", "dog"] * 4
CLASSES = {"train": {"cat": 4, "dog": 4}}


def images(folder: Path, ids: Sequence[str] = IDS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ids:
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")


def table(path: Path, header: str, rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header.replace(",", delimiter), *(delimiter.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for item in dataset.items:
        found.setdefault(item.split, Counter())[dataset.classes[item.label]] += 1
    return {split: dict(counter) for split, counter in found.items()}


def opened(path: Path, **options: str) -> Dataset:
    return open_dataset(str(path), DataConfig.model_validate(options))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    images(tmp_path / "photos")
    return tmp_path


PAIRS = list(zip(IDS, LABELS, strict=True))


@pytest.mark.parametrize("header", ["image,label", "image,cat,dog"])
def test_a_table_of_column_names_alone_has_no_rows(photos: Path, header: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv: the table has no rows"):
        opened(table(photos / "t.csv", header, []))


@pytest.mark.parametrize("image", ["image", "Image Path", "id", "image_id", "ID_CODE", "fname", "uuid", "file.name"])
@pytest.mark.parametrize("label", ["label", "Class Name", "breed", "dx", "tags", "ground_truth.label", "class_id"])
def test_columns_are_known_by_their_usual_names_in_any_spelling(photos: Path, image: str, label: str) -> None:
    assert counts(opened(table(photos / "t.csv", f"{image},{label}", PAIRS))) == CLASSES
    assert set(ROLES["image"][1]).isdisjoint(ROLES["label"][1])


def test_the_only_column_that_names_images_and_the_only_one_with_few_values_are_taken_and_noted(photos: Path) -> None:
    rows = [(number, f"photos/{name}.png", label, f"text {number}") for number, (name, label) in enumerate(PAIRS)]
    dataset = opened(table(photos / "t.csv", ",where,kind,remark", rows))
    assert counts(dataset) == CLASSES
    assert any("images are in the column 'where'" in note for note in dataset.notes)
    assert any("labels are in the column 'kind'" in note for note in dataset.notes)


def test_several_columns_that_may_be_labels_are_refused_with_the_commands(photos: Path) -> None:
    rows = [(name, label, "mf"[number // 4]) for number, (name, label) in enumerate(PAIRS)]
    path = table(photos / "t.csv", "id,kind,sex", rows)
    with pytest.raises(DataError, match="several could be: kind, sex") as caught:
        opened(path)
    assert "--label-column kind, or --label-column sex" in (caught.value.hint or "")
    assert counts(opened(path, label_column="kind")) == CLASSES


@pytest.mark.parametrize(
    ("zero", "one"),
    [("0", "1"), ("0.0", "1.0"), ("False", "True"), (" 0", " 1")],
    ids=["int", "float", "bool", "blank"],
)
def test_one_column_per_class_is_read_as_classes(photos: Path, zero: str, one: str) -> None:
    rows = [(name, *(one if label == kind else zero for kind in ("cat", "dog", "owl"))) for name, label in PAIRS]
    path = table(photos / "t.csv", "filename, cat, dog, owl", rows)
    dataset = opened(path)
    assert counts(dataset) == CLASSES
    assert dataset.reading == "table t.csv of ids with 3 one-hot columns"
    dataset = opened(path, label_column="cat")
    assert counts(dataset) == CLASSES and any("'cat' is one of 3 columns" in note for note in dataset.notes)


def test_a_row_that_marks_no_class_has_no_label(photos: Path) -> None:
    rows = [[name, int(label == "cat"), int(label == "dog")] for name, label in PAIRS]
    rows[2][1:] = [0, 0]
    path = table(photos / "t.csv", "id,cat,dog", rows)
    with pytest.raises(DataError, match="line 4: no label; rows without a label: 1 of 8") as caught:
        opened(path)
    assert "show none of the classes: --multi-label" in (caught.value.hint or "")
    assert counts(opened(path, on_missing_label="skip")) == {"train": {"cat": 3, "dog": 4}}


def test_a_row_that_is_blank_in_all_columns_of_classes_has_no_label(photos: Path) -> None:
    rows = [[name, *("10"[label != kind] for kind in ("cat", "dog", "owl"))] for name, label in PAIRS]
    rows[2][1:] = ["", "", ""]
    path = table(photos / "t.csv", "id,cat,dog,owl", rows)
    with pytest.raises(DataError, match="line 4: no label; rows without a label: 1 of 8"):
        opened(path)
    dataset = opened(path, on_missing_label="skip")
    assert len(dataset.items) == 7 and set(dataset.classes) <= {"cat", "dog", "owl"}
    # Marks that are blank in some columns may mean anything.
    rows[2][1:] = ["1", "", ""]
    with pytest.raises(DataError, match="several could be: cat, dog"):
        opened(table(photos / "t.csv", "id,cat,dog,owl", rows))


def test_marks_beside_a_column_of_labels_are_no_classes(photos: Path) -> None:
    rows = [(name, label, number % 2, 1 - number % 2) for number, (name, label) in enumerate(PAIRS)]
    assert counts(opened(table(photos / "t.csv", "id,label,male,female", rows))) == CLASSES


def test_rows_without_label_are_refused_with_their_number_or_left_out(photos: Path) -> None:
    path = table(photos / "t.csv", "id,label", [*PAIRS[:-2], (IDS[6], ""), (IDS[7], " ")])
    with pytest.raises(DataError, match="line 8: no label; rows without a label: 2 of 8") as caught:
        opened(path)
    assert "--on-missing-label skip" in (caught.value.hint or "")
    dataset = opened(path, on_missing_label="skip")
    assert counts(dataset) == {"train": {"cat": 3, "dog": 3}}
    assert any("rows without a label were left out: 2 of 8" in note for note in dataset.notes)


@pytest.mark.parametrize("names", ["label_name", "benign_malignant", "what it is"])
def test_names_of_the_same_classes_are_preferred_to_numbers(photos: Path, names: str) -> None:
    rows = [(name, "ab"[number % 2], int(label == "dog"), label) for number, (name, label) in enumerate(PAIRS)]
    dataset = opened(table(photos / "t.csv", f"id,lesion_id,label,{names}", rows))
    assert counts(dataset) == CLASSES
    assert any(f"class names are in the column '{names}'" in note for note in dataset.notes)


def test_names_of_other_classes_are_not_preferred_to_numbers(photos: Path) -> None:
    rows = [(name, number % 4, label) for number, (name, label) in enumerate(PAIRS)]
    assert opened(table(photos / "t.csv", "id,label,animal", rows)).classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("map.json", json.dumps({"0": "cat", "1": "dog"})),
        ("class_to_idx.json", json.dumps({"cat": 0, "dog": 1})),
        ("names.json", json.dumps(["cat", "dog", "owl"])),
        ("classes.txt", "cat\ndog\n"),
        ("labels.txt", "0 cat\n1 dog\n"),
        ("synsets.txt", "cat 0\ndog 1\n"),
    ],
)
def test_numbers_are_named_by_a_map_beside_the_table_that_has_them_all(photos: Path, name: str, content: str) -> None:
    rows = [(id_, LABELS.index(label)) for id_, label in PAIRS]
    path = table(photos / "t.csv", "id,label", rows)
    (photos / name).write_text(content)
    dataset = opened(path)
    assert counts(dataset) == CLASSES
    assert any(f"named by {name}: 0 is 'cat'" in note for note in dataset.notes)
    (photos / "class_names.txt").write_text("dog\ncat\n")
    dataset = opened(path)
    assert set(dataset.classes) == {"0", "1"} and any("name them differently" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "content",
    ["{", "[" * 100_000, '{"0": "cat"}', '{"0": "cat", "1": "cat"}', '{"0": 3, "1": []}', '["cat", null]', "7"],
)
def test_other_json_files_beside_a_table_of_numbers_do_no_harm(photos: Path, content: str) -> None:
    path = table(photos / "t.csv", "id,label", [(id_, LABELS.index(label)) for id_, label in PAIRS])
    (photos / "info.json").write_text(content)
    assert set(opened(path).classes) == {"0", "1"}


@pytest.mark.parametrize("cell", ["['{}']", '["{}"]', "[{}]"])
def test_a_list_of_one_label_is_the_label(photos: Path, cell: str) -> None:
    path = table(photos / "t.csv", "id,labels", [(name, cell.format(label)) for name, label in PAIRS])
    dataset = opened(path)
    assert counts(dataset) == CLASSES
    assert any("each label is a list with one class" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        ("label", ["field hockey", "ice hockey", "archery", "golf"]),
        ("labels", ["Bluish Nail", "Healthy Nail", "Terry nail", "other"]),
        ("label", ["black tea", "green tea", "black coffee", "milk"]),
        ("label", ["animal|cat", "animal|dog", "plant|oak", "plant|elm"]),
        ("label", ['"tench, Tinca tinca"', '"cock, rooster"', "hen", "shark"]),
    ],
)
def test_names_of_several_words_are_one_label(photos: Path, column: str, labels: list[str]) -> None:
    dataset = opened(table(photos / "t.csv", f"id,{column}", list(zip(IDS, labels * 2, strict=True))))
    assert sorted(dataset.classes) == sorted(label.strip('"') for label in labels)


# Splits


@pytest.mark.parametrize(
    ("column", "train", "val"),
    [
        ("split", "train", "valid"),
        ("Usage", "Training", "PublicTest"),
        ("data set", "train", "valid"),
        ("is_valid", "False", "True"),
        ("is_valid", "0", "1"),
        ("tags", "train", "val"),
    ],
)
def test_columns_of_splits_are_known(photos: Path, column: str, train: str, val: str) -> None:
    rows = [(name, label, train if number < 6 else val) for number, (name, label) in enumerate(PAIRS)]
    path = table(photos / "t.csv", f"id,label,{column}", rows)
    expected = {"train": {"cat": 3, "dog": 3}, "val": {"cat": 1, "dog": 1}}
    assert counts(opened(path)) == counts(opened(path, split_column=column)) == expected


def test_folds_and_other_values_are_no_splits(photos: Path) -> None:
    rows = [(name, label, number % 5, "summer") for number, (name, label) in enumerate(PAIRS)]
    dataset = opened(table(photos / "t.csv", "id,label,fold,usage", rows))
    assert counts(dataset) == CLASSES and any("'fold' has the numbers of folds" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.csv", "test.csv"),
        ("Train.csv", "Test.csv"),
        ("labels_train.csv", "labels_test.csv"),
        ("train/metadata.csv", "test/metadata.csv"),
        ("meta/train_labels.csv", "meta/test_labels.csv"),
    ],
)
def test_one_table_per_split_are_one_data_set(photos: Path, train: str, test: str) -> None:
    table(photos / train, "id,label", PAIRS[:6])
    table(photos / test, "id,label", PAIRS[6:])
    table(photos / "Meta.csv", "id,label", [(IDS[0], "cat"), (IDS[1], "dog")])
    dataset = opened(photos)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 3}, "test": {"cat": 1, "dog": 1}}
    assert any("whose names denote no split were not used: Meta.csv" in note for note in dataset.notes)


def test_shards_of_a_table_are_one_table(photos: Path) -> None:
    for number in range(2):
        table(photos / f"data/train-{number:05d}-of-00002.csv", "id,label", PAIRS[4 * number : 4 * number + 4])
    assert counts(opened(photos)) == CLASSES
    first = photos / "data/train-00000-of-00002.csv"
    images(photos / "data/images", ["im000", "im001", "im002", "im003"])
    assert any("is one of 2 files" in note and str(first.parent) in note for note in opened(first).notes)
    table(photos / "data/test-00000-of-00001.csv", "id,label", [("im009", "dog")])
    images(photos / "photos", ["im009"])
    assert counts(opened(photos)) == {**CLASSES, "test": {"dog": 1}}


def test_several_tables_are_refused_with_the_training_table_first(photos: Path) -> None:
    for name in ("a.csv", "train.csv", "z.csv"):
        table(photos / name, "id,label", PAIRS)
    with pytest.raises(DataError, match=r"several tables list its images: a\.csv, train\.csv, z\.csv") as caught:
        opened(photos)
    assert (caught.value.hint or "").startswith(f"give one of them as DATA: {photos / 'train.csv'}, or ")


@pytest.mark.parametrize("name", ["sample_submission.csv", "sampleSubmission.csv", "submission.csv"])
def test_answers_that_are_made_up_never_label_images(photos: Path, name: str) -> None:
    images(photos / "photos", ["te1", "te2"])
    table(photos / name, "image,label", [("te1", "cat"), ("te2", "dog")])
    table(photos / "train.csv", "img_file,breed", PAIRS)
    table(photos / "test.csv", "img_file,sex", [("te1", "m"), ("te2", "m")])
    dataset = opened(photos)
    assert counts(dataset) == CLASSES
    assert any("does not list were ignored: 2 (2 in photos)" in note for note in dataset.notes)


# Tables beside class folders


def class_folders(root: Path) -> list[tuple[str, str]]:
    rows = []
    for label in ("cat", "dog"):
        images(root / label, [f"{label}{number}" for number in range(3)])
        rows += [(f"{label}{number}", label) for number in range(3)]
    return rows


def test_a_table_that_numbers_the_classes_of_folders_adds_nothing(tmp_path: Path) -> None:
    rows = [(name, int(label == "dog")) for name, label in class_folders(tmp_path)]
    table(tmp_path / "labels.csv", "id,label", rows)
    dataset = opened(tmp_path)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 3}}
    assert any("numbers the classes that the folders name" in note for note in dataset.notes)
    assert set(opened(tmp_path, label_column="label").classes) == {"0", "1"}


def test_tables_that_number_the_classes_of_folders_may_give_the_splits(tmp_path: Path) -> None:
    rows = [(f"{label}/{name}.png", int(label == "dog")) for name, label in class_folders(tmp_path)]
    table(tmp_path / "train.csv", "Filename,Label", rows[:2] + rows[4:])
    table(tmp_path / "test.csv", "Filename,Label", rows[2:4])
    dataset = opened(tmp_path)
    assert counts(dataset) == {"train": {"cat": 2, "dog": 2}, "test": {"cat": 1, "dog": 1}}
    assert any("named by the folders of the images" in note for note in dataset.notes)


def test_the_only_other_column_may_be_called_an_id(photos: Path) -> None:
    assert counts(opened(table(photos / "t.csv", "Image,Id", PAIRS))) == CLASSES
    with pytest.raises(DataError, match="no column is called 'label'"):
        opened(table(photos / "t.csv", "Image,patient_id,year", [(*pair, 1) for pair in PAIRS]))


def test_a_test_table_without_a_column_of_labels_labels_nothing(photos: Path) -> None:
    table(photos / "test.csv", "id,sex", PAIRS)
    with pytest.raises(DataError) as caught:
        opened(photos)
    assert "test.csv names images, but no column has a usual name" in (caught.value.hint or "")


def test_a_table_of_some_of_the_images_with_the_classes_of_their_folders_loses_none(tmp_path: Path) -> None:
    table(tmp_path / "drivers.csv", "id,label", class_folders(tmp_path)[1:5])
    dataset = opened(tmp_path)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 3}}
    assert any("lists only 4 of 6 images" in note and str(tmp_path / "drivers.csv") in note for note in dataset.notes)
    rows = [(*row, f"driver {number}") for number, row in enumerate(class_folders(tmp_path)[1:5])]
    table(tmp_path / "drivers.csv", "id,label,driver", rows)
    dataset = opened(tmp_path, group_by="driver")
    assert {item.group for item in dataset.items} == {f"driver {number}" for number in range(4)}


def test_a_table_whose_columns_are_not_clear_is_named_where_folders_are_read(tmp_path: Path) -> None:
    rows = [(f"{label}/{name}.png", "ab"[number % 2]) for number, (name, label) in enumerate(class_folders(tmp_path))]
    table(tmp_path / "notes.csv", "path,annotator", rows)
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert any("notes.csv labels images, but its columns have no usual names" in note for note in dataset.notes)


def test_an_unrelated_table_does_no_harm(tmp_path: Path) -> None:
    class_folders(tmp_path)
    table(tmp_path / "pixels.csv", "pixel0,pixel1,label", [(1, 2, 3), (4, 5, 6)])
    table(tmp_path / "labels.csv", "Image,Category", [(1, "NEUTROPHIL"), (2, "OTHER")])
    dataset = opened(tmp_path)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 3}}
    assert not any(".csv" in note for note in dataset.notes if "ignored" not in note)


# File formats


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tabs.csv", "image\tlabel\r\n{rows:\t}"),
        ("bars.csv", "image|label\n{rows:|}"),
        ("excel.csv", "sep=;\r\nimage;label\r\n{rows:;}"),
        ("headless.csv", "{rows:,}"),
        ("list.txt", "{rows: }"),
        ("wide.txt", "{rows:    }"),
        ("comma.txt", "{rows:,}"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_are_tables_in_every_usual_form(photos: Path, name: str, content: str, encoding: str) -> None:
    start, _, rest = content.partition("{rows:")
    delimiter = rest.rstrip("}")
    rows = "".join(f"photos/{image}.png{delimiter}{label} Käfer\n" for image, label in PAIRS)
    (photos / name).write_bytes((start + rows).encode(encoding))
    assert counts(opened(photos / name)) == {"train": {"cat Käfer": 4, "dog Käfer": 4}}


def test_the_first_row_of_a_table_without_a_header_may_be_ids_and_may_begin_with_the_label(photos: Path) -> None:
    assert counts(opened(table(photos / "t.csv", "cat,im000", [(b, a) for a, b in PAIRS[1:]]))) == CLASSES
    rows = [(f"{a}.png", 1, 2, 3, 4, b) for a, b in PAIRS]
    path = table(photos / "t.csv", ",".join(map(str, rows[0])), rows[1:])
    assert counts(opened(path)) == CLASSES


def test_windows_1252_is_read_and_noted_and_other_bytes_are_refused(photos: Path) -> None:
    rows = "".join(f"{image};{label.replace('cat', 'Käfer')}\n" for image, label in PAIRS)
    (photos / "t.csv").write_bytes(f"id;label\n{rows}".encode("cp1252"))
    dataset = opened(photos / "t.csv")
    assert dataset.classes == ("Käfer", "dog")
    assert any("read as Windows-1252, such as 'Käfer'" in note for note in dataset.notes)
    rows = rows.replace("Käfer", "Жук")
    (photos / "t.csv").write_bytes(f"id;label\n{rows}".encode("cp1251"))
    with pytest.raises(DataError, match="neither UTF-8 nor Windows-1252") as caught:
        opened(photos / "t.csv")
    assert "iconv" in (caught.value.hint or "")


def test_too_many_cells_in_the_last_column_move_no_other(photos: Path) -> None:
    rows = [(image, label, "a", "text") for image, label in PAIRS]
    rows[3] = (*rows[3], "with a comma")  # type: ignore[assignment]
    path = table(photos / "t.csv", "id,label,season,remark", rows)
    dataset = opened(path)
    assert counts(dataset) == CLASSES
    assert any("rows with more cells than columns: 1 of 8" in note for note in dataset.notes)
    with pytest.raises(DataError, match="line 5: 5 cells under 4 columns"):
        opened(path, label_column="remark")


def test_a_compressed_table_is_a_table(photos: Path) -> None:
    path = table(photos / "t.csv", "id,label", PAIRS)
    data = path.read_bytes()
    path.unlink()
    (photos / "t.csv.gz").write_bytes(gzip.compress(data))
    assert counts(opened(photos / "t.csv.gz")) == counts(opened(photos)) == CLASSES
    (photos / "t.csv.gz").write_bytes(gzip.compress(data)[:-10])
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        opened(photos / "t.csv.gz")


def test_a_compressed_table_that_unpacks_to_too_much_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_sizes, "RATIO_FROM_BYTES", 10_000)
    rows = b"im000,cat\n" * 200_000
    (photos / "t.csv.gz").write_bytes(gzip.compress(b"id,label\n" + rows))
    with pytest.raises(DataError, match="decompression bomb"):
        opened(photos / "t.csv.gz")


def test_a_workbook_is_a_table_of_its_first_sheet_with_images(photos: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["about", "these data"])
    sheet = book.create_sheet("data")
    for row in [[], ["id", "label", "year"], *([int(id_[2:]), label, 2020.0] for id_, label in PAIRS)]:
        sheet.append(row)
    book.save(photos / "t.xlsx")
    images(photos / "numbers", [str(number) for number in range(8)])
    assert counts(opened(photos / "t.xlsx")) == CLASSES
    assert opened(photos / "t.xlsx", label_column="year").classes == ("2020",)


def test_a_workbook_cut_or_changed_anywhere_is_rows_or_one_of_our_errors(photos: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("id", "label"), *PAIRS]:
        book.active.append(row)
    book.save(photos / "t.xlsx")
    whole = (photos / "t.xlsx").read_bytes()

    @settings(max_examples=60)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 255), st.booleans())
    def law(position: int, byte: int, is_cut: bool) -> None:
        tail = b"" if is_cut else bytes([byte]) + whole[position + 1 :]
        (photos / "t.xlsx").write_bytes(whole[:position] + tail)
        try:
            opened(photos / "t.xlsx")
        except ResnetCliError as error:
            assert error.message

    law()


def test_without_openpyxl_the_error_says_how_to_get_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (photos / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(SetupError, match="openpyxl") as caught:
        opened(photos / "t.xlsx")
    assert caught.value.hint == install_command("excel")


CELLS = ["id", "label", "im000", "im001.png", "photos/im002.png", "0", "1", "cat", "a b", "é", "", "train", "[1]", '"']
CELLS += ["-1", "a b|cat", "['a' 'b']", "confidence"]


@given(st.lists(st.lists(st.sampled_from(CELLS), max_size=4), max_size=6), st.sampled_from(",;\t|"), st.booleans())
def test_any_cells_are_a_data_set_or_one_of_our_errors(
    tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]], delimiter: str, is_multi: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any cells"
    if not folder.exists():
        images(folder / "photos")
    (folder / "t.csv").write_text("\n".join(delimiter.join(row) for row in cells), encoding="utf-8")
    for path in (folder / "t.csv", folder):
        try:
            assert all(open_dataset(str(path), DataConfig(multi_label=is_multi)).classes)
        except ResnetCliError as error:
            assert error.message


SPLITS = ["train"] * 5 + ["test"] * 3


@pytest.mark.parametrize("column", ["split", "subset", "partition", "Usage"])
def test_a_table_of_splits_splits_the_images_of_a_table_of_labels(photos: Path, column: str) -> None:
    table(photos / "labels.csv", "image,label", PAIRS)
    table(photos / "splits.csv", f"image,{column}", list(zip(IDS, SPLITS, strict=True)))
    dataset = opened(photos)
    assert counts(dataset) == {"train": {"cat": 3, "dog": 2}, "test": {"cat": 1, "dog": 2}}
    assert not any("splits.csv" in note for note in dataset.notes)


def test_a_table_of_numbered_splits_is_read_as_in_celeba(photos: Path) -> None:
    table(photos / "list_attr.csv", "image_id,Smiling,Young", [(n, 1 if n[-1] in "0145" else -1, 1) for n in IDS])
    table(
        photos / "list_eval_partition.csv", "image_id,partition", list(zip(IDS, [0, 0, 0, 0, 1, 1, 2, 2], strict=True))
    )
    assert counts(opened(photos, label_column="Smiling")) == {
        "train": {"1": 2, "-1": 2},
        "val": {"1": 2},
        "test": {"-1": 2},
    }


def test_a_table_of_splits_splits_class_folders(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        images(tmp_path / label, [f"{label}{number}" for number in range(4)])
    rows = [
        (f"{label}/{label}{number}.png", "val" if number == 3 else "train")
        for label in ("cat", "dog")
        for number in range(4)
    ]
    table(tmp_path / "split.csv", "file,split", rows)
    assert counts(opened(tmp_path)) == {"train": {"cat": 3, "dog": 3}, "val": {"cat": 1, "dog": 1}}


def test_a_table_of_splits_that_misses_images_is_said(photos: Path) -> None:
    table(photos / "labels.csv", "image,label", PAIRS)
    table(photos / "splits.csv", "image,split", list(zip(IDS, SPLITS, strict=True))[2:])
    dataset = opened(photos)
    assert counts(dataset) == CLASSES
    assert any("they name 6 of 8 images" in note for note in dataset.notes)


@pytest.mark.parametrize("held_out", ["valid", "test"])
def test_the_table_of_a_held_out_split_is_not_read_alone_if_that_of_the_train_split_cannot_be(
    photos: Path, held_out: str
) -> None:
    table(photos / "train.csv", "image,Edema,Fracture,Age", [(name, 1, -1, 60) for name in IDS[:6]])
    table(photos / f"{held_out}.csv", "image,label", PAIRS[6:])
    with pytest.raises(DataError, match="the table of the train split does not") as refused:
        opened(photos)
    assert "train.csv" in str(refused.value.hint)
    assert "--label-column" in str(refused.value.hint)
    assert counts(opened(photos / f"{held_out}.csv")) == {"train": {"cat": 1, "dog": 1}}


def test_tables_that_are_recognized_by_content_and_not_used_are_said(photos: Path) -> None:
    table(photos / "labels.csv", "image,label", PAIRS)
    table(photos / "weather.csv", "image,sky", [(name, "blue" if name < "im004" else "gray") for name in IDS])
    dataset = opened(photos)
    assert counts(dataset) == CLASSES
    assert any("weather.csv labels images" in note for note in dataset.notes)


def test_a_table_with_other_classes_than_the_folders_says_so(tmp_path: Path) -> None:
    for folder in ("cat", "dog"):
        images(tmp_path / folder, [f"{folder}{number}" for number in range(4)])
    rows = [(f"{name}{number}.png", ("tabby", "pug")[number % 2]) for name in ("cat", "dog") for number in range(4)]
    table(tmp_path / "labels.csv", "image,label", rows)
    dataset = opened(tmp_path)
    assert counts(dataset) == {"train": {"tabby": 4, "pug": 4}}
    assert any("2 folders of the images, such as cat, are not the classes" in note for note in dataset.notes)
