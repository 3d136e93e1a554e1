from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.data.sources.rows.row import Row
from resnet_cli.data.sources.tables import formats as table_formats
from resnet_cli.data.sources.tables import table as tables
from resnet_cli.data.sources.tables.formats import TABLE_EXTENSIONS, is_table_name
from resnet_cli.data.sources.tables.table import read_table
from resnet_cli.errors import ConfigError, DataError, ResnetCliError, SetupError
from resnet_cli.installation import install_command

ROWS = [
    ("a.jpg", "cat", "train", "g1"),
    ("sub folder/b c.png", "dog", "val", "g2"),
    ("grün/猫.jpg", "hot dog, really", "test", ""),
    ('he said "hi".jpg', "7", "train", "g1"),
    (" leading; and trailing .jpg", "ünïcode", "", "3"),
]
NAMES = ("image", "label", "split", "group")
LETTERS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1)


def write_csv(path: Path, rows: Sequence[tuple[str, ...]], delimiter: str = ",", end: str = "\n") -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows([NAMES, *rows])
    path.write_bytes(text.getvalue().encode())


def write_json_lines(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    path.write_text("".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None, **options: Any) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(columns)
    parquet.write_table(table.replace_schema_metadata(metadata), path, **options)


def need_library_of(suffix: str) -> None:
    if suffix in (".parquet", ".xlsx"):
        pytest.importorskip({".parquet": "pyarrow", ".xlsx": "openpyxl"}[suffix])


def write_any(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    if path.suffix == ".parquet":
        write_parquet(path, dict(zip(NAMES, (list(column) for column in zip(*rows, strict=True)), strict=True)))
    elif path.suffix in (".jsonl", ".ndjson"):
        write_json_lines(path, rows)
    else:
        write_csv(path, rows, "\t" if path.suffix == ".tsv" else ",")


def values(path: Path, **columns: str | None) -> list[tuple[str, str, str, str]]:
    return [(row.image, row.label, row.split, row.group) for row in read_table(path, **columns).rows]


def pairs(path: Path, **columns: str | None) -> list[tuple[str, str]]:
    return [(row.image, row.label) for row in read_table(path, **columns).rows]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path, **columns: str | None) -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_table(path, **columns).rows)
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.ndjson", "t.parquet", "T.CSV"])
def test_every_format_yields_the_same_rows(tmp_path: Path, name: str) -> None:
    write_any(tmp_path / name, ROWS)
    table = read_table(tmp_path / name)
    assert table.columns == NAMES
    rows = list(table.rows)
    assert [(row.image, row.label, row.split, row.group) for row in rows] == ROWS
    assert all(row.data is None for row in rows)
    first = 2 if name.lower().endswith("sv") else 1
    assert [row.line for row in rows] == list(range(first, first + len(ROWS)))


@pytest.mark.parametrize("name", ["list.txt", "list.lst"])
def test_a_list_of_paths_and_labels_is_a_table(tmp_path: Path, name: str) -> None:
    content = "# a comment\n\na.jpg cat\r\nsub folder/b c.png\tdog\n  c d.jpg   3  \ne.jpg\thot dog\nf\tg.jpg\tx\n"
    path = written(tmp_path / name, content)
    expected = [
        ("a.jpg", "cat"),
        ("sub folder/b c.png", "dog"),
        ("c d.jpg", "3"),
        ("e.jpg", "hot dog"),
        ("f\tg.jpg", "x"),
    ]
    assert pairs(path) == expected
    assert read_table(path).columns == ("image", "label")
    assert [row.line for row in read_table(path).rows] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("last_end", [True, False])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("t.csv", [b"image,label", b"a.jpg,cat", b"", b"b.jpg,dog"]),
        ("t.csv", [b"image;label", b"a.jpg;cat", b";", b"b.jpg;dog"]),
        ("t.csv", [b"a.jpg,cat", b"b.jpg,dog"]),
        ("t.csv", [b'"image","label"', b'"a.jpg","cat"', b'"b.jpg","dog"']),
        ("t.tsv", [b"", b"image\tlabel", b"a.jpg\tcat", b"b.jpg\tdog"]),
        ("t.jsonl", [b'{"image": "a.jpg", "label": "cat"}', b"", b'{"label": "dog", "image": "b.jpg"}']),
        ("t.txt", [b"a.jpg cat", b"b.jpg dog"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_line_ends_and_byte_order_marks_change_nothing(
    tmp_path: Path, name: str, lines: list[bytes], end: bytes, bom: bytes, last_end: bool
) -> None:
    path = written(tmp_path / name, bom + end.join(lines) + (end if last_end else b""))
    assert pairs(path) == [("a.jpg", "cat"), ("b.jpg", "dog")]


@given(st.lists(st.tuples(LETTERS, LETTERS, st.just("train"), LETTERS), min_size=1))
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    for name in ("t.csv", "t.tsv", "t.jsonl"):
        path = tmp_path_factory.getbasetemp() / name
        write_any(path, rows)
        assert values(path) == rows


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("t.csv", b"%s,cat"),
        ("t.tsv", b"%s\tcat"),
        ("t.txt", b"%s cat"),
        ("t.jsonl", b'{"image": "%s", "label": "cat"}'),
    ],
)
def test_file_names_that_are_not_utf_8_survive(tmp_path: Path, name: str, line: bytes) -> None:
    odd = b"gr\xfcn \xff.jpg"
    header = {".csv": b"image,label\n", ".tsv": b"image\tlabel\n"}.get(Path(name).suffix, b"")
    path = written(tmp_path / name, header + line % odd)
    assert [os.fsencode(image) for image, _ in pairs(path)] == [odd]


def test_a_quoted_cell_may_hold_lines_and_rows_count_from_their_first_line(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", 'image,label\n"a\n""b"".jpg",cat\n\nc.jpg,dog\n')
    assert [(row.image, row.line) for row in read_table(path).rows] == [('a\n"b".jpg', 2), ("c.jpg", 5)]


def test_backslashes_stay_as_they_are_written(tmp_path: Path) -> None:
    assert pairs(written(tmp_path / "t.csv", "image,label\nsub\\a.jpg,cat\n")) == [("sub\\a.jpg", "cat")]


def test_labels_splits_and_groups_are_stripped(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "image, Label ,split,group\na.jpg, cat , val,\tg \n")
    assert values(path) == [("a.jpg", "cat", "val", "g")]
    assert read_table(path).columns == ("image", " Label ", "split", "group")


@pytest.mark.parametrize(
    "image", ["image", "Path", "FILE", "filename", "file_name", "filepath", "file_path", "image_path", "img"]
)
@pytest.mark.parametrize("label", ["label", "class", "Category", "target", "label_name", "class_name"])
def test_columns_are_found_by_their_usual_names(tmp_path: Path, image: str, label: str) -> None:
    path = written(tmp_path / "t.csv", f"id,{label},Subset,{image},group_id\n1,cat,val,a.jpg,g\n")
    assert values(path) == [("a.jpg", "cat", "val", "g")]


def test_the_first_usual_name_wins_over_the_later_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "class,path,LABEL,image\nx,y.jpg,cat,a.jpg\n")
    assert pairs(path) == [("a.jpg", "cat")]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_a_column_that_is_named_wins(tmp_path: Path, name: str) -> None:
    write_any(tmp_path / name, [("a.jpg", "cat", "b.jpg", "dog")])
    asked = {"image_column": "split", "label_column": "GROUP", "split_column": "image", "group_column": "Label"}
    assert values(tmp_path / name, **asked) == [("b.jpg", "dog", "a.jpg", "cat")]


def test_the_exact_name_of_a_column_wins_over_its_other_cases(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "image,KIND,Kind,kind\na.jpg,1,2,3\n")
    for name, label in [("KIND", "1"), ("Kind", "2"), ("kind", "3"), ("kInD", "1")]:
        assert pairs(path, label_column=name) == [("a.jpg", label)]


@pytest.mark.parametrize(
    ("keyword", "flag"),
    [
        ("image_column", "--image-column"),
        ("label_column", "--label-column"),
        ("split_column", "--split-column"),
        ("group_column", "--group-by"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_named_column_that_is_not_there_names_its_flag_and_the_columns(
    tmp_path: Path, name: str, keyword: str, flag: str
) -> None:
    write_any(tmp_path / name, ROWS)
    with pytest.raises(ConfigError, match=f"{flag} nope: ") as caught:
        read_table(tmp_path / name, **{keyword: "nope"})
    assert caught.value.hint == "its columns: image, label, split, group"


@pytest.mark.parametrize(("header", "flag"), [("image,kind", "--label-column"), ("photo,label", "--image-column")])
def test_no_such_column_says_which_flag_names_it(tmp_path: Path, header: str, flag: str) -> None:
    error = refused(written(tmp_path / "t.csv", f"{header}\na.jpg,cat\n"))
    assert error.hint == f"name it with {flag} COLUMN; its columns: {header.replace(',', ', ')}"


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert "'label' occurs twice" in refused(written(tmp_path / "t.csv", "image,label,label\na.jpg,1,2\n")).message
    path = written(tmp_path / "t.csv", "image,label,note,note\na.jpg,cat,2,3\n")
    assert pairs(path) == [("a.jpg", "cat")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("num_columns", [2, 3, 4])
def test_a_table_without_a_header_has_its_columns_in_order(tmp_path: Path, num_columns: int, delimiter: str) -> None:
    rows = [row[:num_columns] for row in [("dir/a.JPG", "cat", "val", "g"), ("b.jpeg", "dog", "train", "h")]]
    content = "".join(delimiter.join(row) + "\n" for row in rows)
    path = written(tmp_path / ("t.tsv" if delimiter == "\t" else "t.csv"), content)
    assert values(path) == [(*row, *[""] * (4 - num_columns)) for row in rows]
    assert read_table(path).columns == NAMES[:num_columns]
    assert [row.line for row in read_table(path).rows] == [1, 2]


def test_a_table_without_a_header_cannot_have_more_columns_than_have_a_meaning(tmp_path: Path) -> None:
    assert refused(written(tmp_path / "t.csv", "a.jpg,cat,val,g,x\n")).hint
    assert "'label'" in refused(written(tmp_path / "t.csv", "a.jpg\nb.jpg\n")).message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", "image,label\na.jpg,cat\nb.jpg\n", "line 3: 'label' is missing"),
        ("t.csv", "image,label,split\na.jpg,cat\n", "line 2: 'split' is missing"),
        ("t.csv", "image,label\na.jpg,\n", "line 2: no label"),
        ("t.csv", "image,label\n  ,cat\n", "line 2: no image"),
        ("t.csv", "image,label\na,b.jpg,cat\n", "line 2: 3 cells under 2 columns"),
        ("t.csv", 'image,label\na.jpg,cat\n"b.jpg,dog\nc.jpg,cat\n', "line 3: not a row"),
        ("t.csv", 'image,label\na.jpg,"cat"s\n', "line 2: not a row"),
        ("t.csv", "image,label\na\0.jpg,cat\n", "line 2: the image 'a"),
        ("t.csv", "image,label\r\ra.jpg,cat\r", "line 1: not a row"),
        ("t.csv", "", "the table is empty"),
        ("t.csv", "\n \n", "the table is empty"),
        ("t.csv", "image,label\n", "the table has no rows"),
        ("t.tsv", "image\tlabel\na.jpg cat\n", "line 2: 'label' is missing"),
        ("t.txt", "a.jpg cat\nb.jpg\n", "line 2: no label after 'b.jpg'"),
        ("t.txt", "a.jpg cat\nb.jpg\t\n", "line 2: no label after 'b.jpg'"),
        ("t.txt", "# nothing\n", "the table has no rows"),
        ("t.jsonl", "", "the table is empty"),
        ("t.jsonl", '{"image": "a.jpg"}', "no column is called 'label'"),
        ("t.jsonl", '{"image": "a.jpg", "label": "cat"}\n{"image": "b.jpg"}', "line 2: 'label' is missing"),
        ("t.jsonl", '{"image": "a.jpg", "label": null}', "line 1: no label"),
        ("t.jsonl", '{"image": "a.jpg", "label": NaN}', "line 1: no label"),
        ("t.jsonl", '{"image": "a.jpg", "label": true}', "line 1: the label must be text or a number, not True"),
        ("t.jsonl", '{"image": "a.jpg", "label": -Infinity}', "line 1: the label must be text or a number, not -inf"),
        ("t.jsonl", '{"image": "a.jpg", "label": [["cat"]]}', "line 1: the label must be text or a number"),
        ("t.jsonl", '{"image": 3, "label": "cat"}', "line 1: the image must be a path, not 3"),
        ("t.jsonl", '{"image": null, "label": "cat"}', "line 1: no image"),
        ("t.jsonl", '{"image": "\\ud83d.jpg", "label": "cat"}', "line 1: the image '"),
        ("t.jsonl", '{"image": "a.jpg", "label": "c\\u0000t"}', "line 1: the label 'c"),
        ("t.jsonl", '{"image": "a.jpg", "label": "cat"}\n{"image": "b.jpg", ', "line 2: not JSON"),
        ("t.jsonl", '\n["a.jpg", "cat"]', "line 2: not a JSON object"),
        ("t.jsonl", '{"image": "a.jpg", "label": ' + "9" * 5000 + "}", "line 1: not JSON"),
        ("t.jsonl", "[" * 200_000, "line 1: not JSON"),
        ("t.parquet", "", "damaged"),
        ("t.parquet", "PAR1 and no more PAR1", "damaged"),
        ("t.csv", b"\xff\xfei\0m", "UTF-16"),
    ],
    ids=lambda value: str(value[:40]),
)  # fmt: skip
def test_a_wrong_row_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: str | bytes, expected: str
) -> None:
    if name == "t.parquet":
        pytest.importorskip("pyarrow")
    assert expected in refused(written(tmp_path / name, content)).message


def test_a_row_may_end_in_empty_cells(tmp_path: Path) -> None:
    assert pairs(written(tmp_path / "t.csv", "image,label\na.jpg,cat,,\n,,,\n")) == [("a.jpg", "cat")]


def test_json_labels_that_are_numbers_are_their_plain_text(tmp_path: Path) -> None:
    labels = ["3", "3.0", "-0.0", "2.5", "123456789012345678901", '" 3 "']
    path = written(tmp_path / "t.jsonl", "".join(f'{{"image": "a.jpg", "label": {label}}}\n' for label in labels))
    assert [label for _, label in pairs(path)] == ["3", "3", "0", "2.5", "123456789012345678901", "3"]


def test_json_rows_may_have_more_keys_but_not_another_meaning(tmp_path: Path) -> None:
    first = '{"path": "a.jpg", "label": "cat"}\n'
    path = written(tmp_path / "t.jsonl", first + '{"path": "b.jpg", "label": "dog", "note": {"by": "me"}}')
    assert pairs(path) == [("a.jpg", "cat"), ("b.jpg", "dog")]
    for key in ("split", "image", "GROUP"):
        path = written(tmp_path / "t.jsonl", first + f'{{"path": "b.jpg", "label": "dog", "{key}": "test"}}')
        assert "line 2: has different columns" in refused(path).message


def test_rows_are_read_only_as_far_as_they_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "image,label\na.jpg,cat\nb.jpg\n")
    table = read_table(path)
    assert next(table.rows) == Row("a.jpg", ("cat",), line=2)
    with pytest.raises(DataError, match="line 3"):
        next(table.rows)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.txt"])
def test_a_line_without_end_is_refused(tmp_path: Path, name: str) -> None:
    assert "line 1: longer than 1,000,000 bytes" in refused(written(tmp_path / name, "a" * 1_000_001)).message


def test_a_row_of_endless_lines_is_refused(tmp_path: Path) -> None:
    head = "image,label\na.jpg,cat\n"
    many = refused(written(tmp_path / "many.csv", head + '"x\n",' * 300_000))
    assert "line 3: a row longer than 1,000,000 characters" in many.message
    assert "line 3: not a row" in refused(written(tmp_path / "one.csv", head + '"' + "x\n" * 200_000)).message


def test_a_table_may_be_longer_than_a_row(tmp_path: Path) -> None:
    num_rows = 60_000
    path = written(tmp_path / "t.csv", "image,label\n" + "a folder/image.jpg,cat\n" * num_rows)
    assert path.stat().st_size > table_formats.MAX_LINE_BYTES
    assert sum(1 for _ in read_table(path).rows) == num_rows


def test_reading_changes_no_limit_of_the_csv_module(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    pairs(written(tmp_path / "t.csv", "image,label\na.jpg,cat\n"))
    assert csv.field_size_limit() == limit


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 4)
    write_any(tmp_path / "t.csv", ROWS)
    assert "more than 4 rows" in refused(tmp_path / "t.csv").message


@pytest.mark.parametrize("suffix", sorted(TABLE_EXTENSIONS))
def test_what_is_no_readable_file_is_a_data_error(tmp_path: Path, suffix: str) -> None:
    need_library_of(suffix)
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    refused(folder)
    assert "damaged" not in refused(tmp_path / f"gone{suffix}").message


def test_tables_are_known_by_their_names() -> None:
    plain = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".txt", ".lst"}
    assert plain | {".csv.gz", ".tsv.gz"} == TABLE_EXTENSIONS
    assert all(is_table_name(Path(name)) for name in ("a/b.csv", "B.Parquet", "a.csv.gz", "v1.2.CSV.GZ"))
    assert not any(is_table_name(Path(name)) for name in (".csv", ".hidden.csv", "a.json", "a", "a.gz", "a.csv.zip"))


def test_another_extension_is_refused(tmp_path: Path) -> None:
    assert ".parquet" in (refused(written(tmp_path / "t.ods", "")).hint or "")


# Parquet


HF_NAMES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}


def test_labels_of_a_hugging_face_table_are_class_names_and_its_images_are_inside(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    images = [
        {"bytes": b"\xff\xd81", "path": "deep/in/a b.jpg"},
        {"bytes": b"2", "path": None},
        {"bytes": b"3", "path": "c:\\d\\e.png"},
        {"bytes": b"4", "path": "folder/.."},
        {"bytes": None, "path": "beside/f.jpg"},
    ]
    write_parquet(path, {"img": images, "label": [0, 1, 1, 0, 0]}, {"huggingface": json.dumps(HF_NAMES)})
    assert [(row.image, row.label, row.data) for row in read_table(path).rows] == [
        ("a b.jpg", "cat", b"\xff\xd81"),
        ("row000002", "dog", b"2"),
        ("e.png", "dog", b"3"),
        ("row000004", "cat", b"4"),
        ("beside/f.jpg", "cat", None),
    ]
    assert read_table(path).columns == ("img", "label")


def test_a_column_of_bytes_holds_the_images(tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", {"image": [b"x", b""], "label": ["cat", "dog"]})
    rows = list(read_table(tmp_path / "t.parquet").rows)
    assert [(row.image, row.data, row.line) for row in rows] == [("row000001", b"x", 1), ("row000002", b"", 2)]


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        None,
        3,
        {},
        {"info": None},
        {"info": {"features": []}},
        {"info": {"features": {"label": 3}}},
        {"info": {"features": {"label": {"_type": "Value", "names": ["cat", "dog"]}}}},
        {"info": {"features": {"label": {"_type": "ClassLabel", "names": 3}}}},
    ],
    ids=str,
)
def test_without_class_names_a_number_is_its_plain_text(tmp_path: Path, metadata: Any) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path, {"image": ["a.jpg", "b.jpg"], "label": [0, 1]}, {"huggingface": json.dumps(metadata)})
    assert pairs(path) == [("a.jpg", "0"), ("b.jpg", "1")]


@pytest.mark.parametrize(
    "text", ["{", "[" * 200_000, "\ud800".encode("utf-8", "surrogatepass")], ids=["{", "deep", "utf"]
)
def test_class_names_that_cannot_be_read_are_an_error(tmp_path: Path, text: Any) -> None:
    write_parquet(tmp_path / "t.parquet", {"image": ["a.jpg"], "label": [0]}, {"huggingface": text})
    refused(tmp_path / "t.parquet")


@pytest.mark.parametrize("label", [-1, 2])
def test_a_number_without_a_class_name_is_an_error(tmp_path: Path, label: int) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path, {"image": ["a.jpg", "b.jpg"], "label": [0, label]}, {"huggingface": json.dumps(HF_NAMES)})
    assert f"row 2: label {label} is not one of the 2 classes" in refused(path).message


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        *[([1.0, 2.5], ["1", "2.5"]), ([1, None], None), ([True, False], None), ([b"a", b"b"], None)],
        *[([["a"], []], ["a", ""]), ([[["a"]], []], None)],
    ],
    ids=str,
)
def test_parquet_labels_follow_the_rules_of_json(tmp_path: Path, labels: list[Any], expected: list[str] | None) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path, {"image": ["a.jpg", "b.jpg"], "label": labels})
    if expected is None:
        assert " row " in refused(path).message
    else:
        assert [label for _, label in pairs(path)] == expected


def test_categories_and_large_strings_are_text(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    names = pyarrow.array(["a.jpg", "b.jpg"], pyarrow.large_string())
    write_parquet(tmp_path / "t.parquet", {"image": names, "label": pyarrow.array(["cat", "dog"]).dictionary_encode()})
    assert pairs(tmp_path / "t.parquet") == [("a.jpg", "cat"), ("b.jpg", "dog")]


def test_rows_count_on_over_batches_and_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_formats, "PARQUET_BATCH_BYTES", 100)
    path = tmp_path / "t.parquet"
    write_parquet(path, {"image": [f"{i}.jpg" for i in range(1, 51)], "label": ["x"] * 50}, row_group_size=7)
    rows = list(read_table(path).rows)
    assert [row.image for row in rows] == [f"{row.line}.jpg" for row in rows]
    assert [row.line for row in rows] == list(range(1, 51))


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="file names are Unicode there")
def test_a_parquet_file_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"gr\xfcn.parquet")
    write_parquet(tmp_path / "t.parquet", {"image": ["a.jpg"], "label": ["cat"]})
    (tmp_path / "t.parquet").rename(path)
    assert pairs(path) == [("a.jpg", "cat")]


def test_without_pyarrow_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match="pyarrow") as caught:
        read_table(written(tmp_path / "t.parquet", "PAR1"))
    assert caught.value.hint == install_command("parquet")
    write_any(tmp_path / "t.csv", ROWS)
    assert values(tmp_path / "t.csv") == ROWS


# Hostile bytes


def read_or_refuse(path: Path) -> None:
    try:
        for row in read_table(path).rows:
            assert row.image.strip() and row.label == row.label.strip() != ""
            os.fsencode(row.image)
            row.label.encode("utf-8", "surrogateescape")
    except ResnetCliError as error:
        assert error.message


PIECES = [b"image", b"label", b"split", b",", b";", b"\t", b'"', b"\n", b"\r", b"\0", b" ", b"a.jpg", b"{", b"}", b":"]
HOSTILE = st.binary(max_size=200) | st.lists(st.sampled_from([*PIECES, b"[", b"1e999", b"\xff", b"\\ud800"])).map(
    b"".join
)


@pytest.mark.parametrize("suffix", sorted(TABLE_EXTENSIONS))
@pytest.mark.parametrize("start", [b"", b"image,label\n", b"image\tlabel\n", b'{"image":"a.jpg","label":', b"PAR1"])
def test_any_bytes_are_rows_or_one_of_our_errors(tmp_path: Path, suffix: str, start: bytes) -> None:
    need_library_of(suffix)
    path = tmp_path / f"t{suffix}"

    @given(HOSTILE)
    def law(data: bytes) -> None:
        path.write_bytes(start + data)
        read_or_refuse(path)

    law()


@pytest.fixture
def parquet_bytes(tmp_path: Path) -> bytes:
    images = [{"bytes": bytes([i]) * 20, "path": f"{i}.jpg"} for i in range(8)]
    columns = {"image": images, "label": [0, 1] * 4, "split": ["train", "val"] * 4}
    write_parquet(tmp_path / "whole.parquet", columns, {"huggingface": json.dumps(HF_NAMES)})
    return (tmp_path / "whole.parquet").read_bytes()


def test_a_parquet_file_cut_anywhere_is_an_error(tmp_path: Path, parquet_bytes: bytes) -> None:
    for length in range(0, len(parquet_bytes), 7):
        refused(written(tmp_path / "t.parquet", parquet_bytes[:length]))


def test_a_parquet_file_with_a_wrong_byte_is_rows_or_one_of_our_errors(tmp_path: Path, parquet_bytes: bytes) -> None:
    @given(st.integers(0, len(parquet_bytes) - 1), st.integers(1, 255))
    def law(position: int, flip: int) -> None:
        data = bytearray(parquet_bytes)
        data[position] ^= flip
        read_or_refuse(written(tmp_path / "t.parquet", bytes(data)))

    law()
