"""Files of predictions: readable at any moment, resumed after any interruption, and never another program's."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from support.full_disk import largest_file
from support.mean_colours import predicted

from resnet_cli.config.predict import file_format
from resnet_cli.data.dataset import Item
from resnet_cli.errors import ConfigError, DataError, DiskError, ImageError, ModelError
from resnet_cli.outputs.embeddings import check_embeddings_path, embeddings_file, names_path
from resnet_cli.outputs.prediction_files import growing_file, made_by, parquet_file
from resnet_cli.outputs.resume import Done, read_done
from resnet_cli.outputs.schema import FILE_COLUMNS
from resnet_cli.prediction import PredictedItem

BY = "0123456789abcdef-01234567"
ODD = [
    "plain.jpg",
    'quo"te,.jpg',
    "new\nline.jpg",
    "\N{FOX FACE}.jpg",
    os.fsdecode(b"caf\xe9.jpg"),
    "tab\t.jpg",
    "r\r.jpg",
]
Kind = Literal["csv", "json"]
KINDS: list[Kind] = ["csv", "json"]


def many() -> list[PredictedItem[Any]]:
    found = [predicted(name, novelty=0.25, is_unfamiliar=False) for name in ODD]
    found[1] = predicted(ODD[1], (), error=ImageError(ODD[1], 'damaged: "x"\nsecond line'))
    found[3] = predicted(ODD[3], unknown="only 80.0 % sure", novelty=0.5, is_unfamiliar=True)
    return found


def write(path: Path, kind: Kind, rows: Sequence[PredictedItem[Any]], done: Done | None = None) -> None:
    with growing_file(path, kind, BY, num_bytes=done.num_bytes if done else 0) as add:
        for row in rows:
            add(row)


def names(path: Path, kind: Kind) -> list[str]:
    if kind == "json":
        return [json.loads(line)["path"] for line in path.read_bytes().splitlines()]
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [row["path"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_say_everything(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "answers"
    write(path, kind, many())
    assert names(path, kind) == ODD
    if kind == "json":
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert all(tuple(row) == FILE_COLUMNS for row in rows)
        assert rows[0] == {
            "path": "plain.jpg",
            "label": "red",
            "prob": 0.8,
            "topk": [{"label": "red", "prob": 0.8}, {"label": "green", "prob": 0.2}],
            "unknown": None,
            "novelty": 0.25,
            "unfamiliar": False,
            "error": None,
            "made_by": BY,
        }
        assert (rows[1]["label"], rows[1]["topk"], rows[1]["error"]) == (None, [], 'damaged: "x"\nsecond line')
        assert (rows[3]["label"], rows[3]["unknown"]) == ("unknown", "only 80.0 % sure")
        assert (rows[3]["unfamiliar"], rows[1]["unfamiliar"]) == (True, None)
    else:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = list(csv.DictReader(file))
        assert (table[0]["prob"], table[0]["novelty"], table[0]["error"]) == ("0.800000", "0.250000", "")
        assert json.loads(table[0]["topk"]) == {"red": 0.8, "green": 0.2}
        assert (table[1]["label"], table[1]["topk"]) == ("", "")
        assert [table[row]["unfamiliar"] for row in (0, 1, 3)] == ["False", "", "True"]


@pytest.mark.parametrize("kind", KINDS)
def test_cut_at_any_byte_and_gone_on_with_it_is_the_uninterrupted_file(tmp_path: Path, kind: Kind) -> None:
    whole = tmp_path / "whole"
    write(whole, kind, many())
    data = whole.read_bytes()
    path = tmp_path / "cut"
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        done = read_done(path, kind, BY)
        assert done.num_bytes <= length
        items = [Item(row.item.name, b"") for row in many()]
        rest = {item.name for item in done.rest(iter(items))}
        write(path, kind, [row for row in many() if row.item.name in rest], done)
        assert path.read_bytes() == data, length


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_after_a_power_cut_are_no_answer(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "answers"
    write(path, kind, many())
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + bytes(100))
    assert read_done(path, kind, BY).num_bytes == size


def test_what_is_done_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, "csv", many())
    done = read_done(path, "csv", BY)
    assert (done.num, done.num_failed, done.num_bytes) == (len(ODD), 1, path.stat().st_size)
    assert all(name in done for name in ODD) and "other.jpg" not in done
    assert "anything" not in Done()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("other", "what"), [("f" * 16 + BY[16:], "by another model"), (BY[:17] + "f" * 8, "with other settings")]
)
def test_another_models_file_is_refused_and_stays_as_it_is(tmp_path: Path, kind: Kind, other: str, what: str) -> None:
    path = tmp_path / "answers"
    write(path, kind, many())
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=what):
        read_done(path, kind, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "my diary",
        "my diary\n",
        "a,b\n1,2\n",
        '{"path": 3, "made_by": "x", "error": null}\n{"a": 1}\n',
        '{"a": 1}\n',
        "path,label\nx,y\n",
        '"' + "x" * 5000,
        "\n\n\n",
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, kind: Kind, text: str) -> None:
    path = tmp_path / "answers"
    path.write_text(text)
    with pytest.raises(DataError, match="was not written by this program"):
        read_done(path, kind, BY)
    assert path.read_text() == text


@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_the_middle_is_not_taken_for_a_cut(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "answers"
    write(path, kind, many())
    data = path.read_bytes()
    at = data.index(b"new") if kind == "csv" else data.index(b'"label"', 200)
    path.write_bytes(data[:at] + b'"' + data[at:])
    with pytest.raises(DataError, match="was not written by this program"):
        read_done(path, kind, BY)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_bytes", [0, 40, 400, 600, 601])
def test_on_a_full_disk_the_file_ends_with_a_whole_row_and_can_be_continued(
    tmp_path: Path, kind: Kind, num_bytes: int
) -> None:
    whole, path = tmp_path / "whole", tmp_path / "cut"
    write(whole, kind, many())
    with pytest.raises(DiskError, match=f"cannot write {path}: File too large"), largest_file(num_bytes):
        write(path, kind, many())
    written = path.read_bytes()
    assert whole.read_bytes().startswith(written)
    done = read_done(path, kind, BY)
    assert done.num_bytes == len(written) <= num_bytes
    write(path, kind, many()[done.num :], done)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with growing_file(path, "csv", BY) as add:
        for row in many():
            add(row)
        with pytest.raises(ConfigError, match="another process is writing to it"), growing_file(path, "csv", BY):
            pass
    assert names(path, "csv") == ODD


def test_a_folder_in_the_way_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot write"), growing_file(tmp_path, "csv", BY):
        pass


def test_formats_follow_the_name_or_the_flag() -> None:
    assert [file_format(Path(name), None) for name in ("a.csv", "A.JSONL", "a.json", "a.parquet")] == [
        "csv",
        "json",
        "json",
        "parquet",
    ]
    assert file_format(Path("answers.log"), "json") == "json"
    with pytest.raises(ConfigError, match="says nothing about its format"):
        file_format(Path("answers"), None)
    with pytest.raises(ConfigError, match="its extension says csv"):
        file_format(Path("a.csv"), "json")


def test_made_by_names_the_models_bytes_and_the_settings(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"one")
    first = made_by(model, (3, None))
    assert len(first) == 25 and first == made_by(model, (3, None))
    assert made_by(model, (5, None)).split("-")[0] == first.split("-")[0] != made_by(model, (5, None))
    model.write_bytes(b"two")
    assert made_by(model, (3, None)).split("-")[1] == first.split("-")[1]
    assert made_by(model, (3, None)) != first
    with pytest.raises(ModelError, match="No such file"):
        made_by(tmp_path / "gone", ())


# Parquet


def test_parquet_holds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("resnet_cli.outputs.prediction_files.GROUP_ROWS", 3)
    path = tmp_path / "a.parquet"
    with parquet_file(path, BY) as add:
        for row in many():
            add(row)
        assert not path.exists()
    found = parquet.ParquetFile(path)
    assert (found.metadata.num_row_groups, found.schema_arrow.names) == (3, list(FILE_COLUMNS))
    rows = found.read().to_pylist()
    assert [row["path"] for row in rows] == [name if "caf" not in name else "caf\\xe9.jpg" for name in ODD]
    assert rows[0]["topk"][0] == {"label": "red", "prob": pytest.approx(0.8)}
    assert (rows[1]["prob"], rows[1]["topk"]) == (None, [])


def test_an_interrupt_leaves_no_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(KeyboardInterrupt), parquet_file(tmp_path / "a.parquet", BY) as add:
        add(many()[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


# Features


def features(count: int, dtype: type[np.floating[Any]]) -> list[PredictedItem[Any]]:
    rng = np.random.default_rng(0)
    rows = [predicted(f"{index}\n.jpg", features=rng.normal(size=8).astype(dtype)) for index in range(count)]
    return [*rows[:2], predicted("bad", (), error=ImageError("bad", "empty")), *rows[2:]]


def read_features(path: Path) -> tuple[np.ndarray[Any, Any], list[str]]:
    if path.suffix == ".parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(path)
        columns = table.to_pydict()
        return np.array(columns["features"], dtype=np.float32).reshape(-1, 8), columns["path"]
    with names_path(path).open(newline="") as file:
        found = [row["path"] for row in csv.DictReader(file)]
    if path.suffix == ".npy":
        return np.load(path), found
    from safetensors.numpy import load_file

    return load_file(path)["features"], found


@pytest.mark.parametrize("count", [0, 1, 2500])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", ["f.npy", "f.safetensors", "f.parquet"])
def test_features_come_back_as_they_were(tmp_path: Path, name: str, dtype: type[np.floating[Any]], count: int) -> None:
    path, rows = tmp_path / name, features(count, dtype)
    check_embeddings_path(path)
    with embeddings_file(path, 8, dtype) as add:
        for row in rows:
            add(row)
    found, found_names = read_features(path)
    good = {row.item.name: row.prediction.features for row in rows if row.prediction.features is not None}
    assert found.shape == (count, 8) and found_names == list(good)
    assert count == 0 or np.array_equal(found, np.stack(list(good.values())))
    assert name.endswith(".parquet") or found.dtype == dtype
    assert len(list(tmp_path.iterdir())) == (1 if name.endswith(".parquet") else 2)


@pytest.mark.parametrize("name", ["f.npy", "f.safetensors", "f.parquet"])
def test_an_interrupt_leaves_no_features(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt), embeddings_file(tmp_path / name, 8, np.float32) as add:
        add(features(1, np.float32)[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_embeddings_never_replace_anything(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no known kind of file"):
        check_embeddings_path(tmp_path / "f.txt")
    (tmp_path / "f.npy.names.csv").touch()
    with pytest.raises(ConfigError, match=r"f\.npy\.names\.csv exists already"):
        check_embeddings_path(tmp_path / "f.npy")
