"""Data sets that Hugging Face's datasets has saved: the same files, written with pyarrow alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError, ResnetCliError

pyarrow = pytest.importorskip("pyarrow", reason="Arrow files need pyarrow: pip install 'resnet-cli[parquet]'")

NAMES = ["cat", "dog", "owl"]


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def write_arrow(path: Path, num_rows: int, *, seed: int = 0, as_file: bool = False, **columns: Any) -> None:
    columns = columns or {
        "image": [{"bytes": png(seed + row), "path": None} for row in range(num_rows)],
        "label": [row % len(NAMES) for row in range(num_rows)],
    }
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}
    table = pyarrow.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:
        with (pyarrow.ipc.new_file if as_file else pyarrow.ipc.new_stream)(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)


def save(folder: Path, num_rows: list[int], *, seed: int = 0, **state: Any) -> None:
    files = [f"data-{index:05d}-of-{len(num_rows):05d}.arrow" for index in range(len(num_rows))]
    for index, (name, rows) in enumerate(zip(files, num_rows, strict=True)):
        write_arrow(folder / name, rows, seed=seed + 100 * index)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in files], **state}))
    (folder / "dataset_info.json").write_text("{}")


def save_splits(folder: Path, **num_rows: list[int]) -> Path:
    for number, (split, rows) in enumerate(num_rows.items()):
        save(folder / split, rows, seed=1000 * number)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(num_rows)}))
    return folder


def counts(dataset: Dataset) -> dict[str, int]:
    return dict(Counter(f"{item.split}/{dataset.classes[item.label]}" for item in dataset.items))


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        open_dataset(str(path))
    return caught.value


def test_a_saved_dictionary_has_its_splits_classes_and_images(tmp_path: Path) -> None:
    dataset = open_dataset(str(save_splits(tmp_path / "ds", train=[4, 2], validation=[3])))
    assert counts(dataset) == {f"{split}/{name}": n for split, n in (("train", 2), ("val", 1)) for name in NAMES} | {
        "train/cat": 3,
        "train/dog": 2,
        "train/owl": 1,
    }
    assert len({item.name for item in dataset.items}) == 9
    first = next(item for item in dataset.items if item.name == "train/data-00000-of-00002/row000001")
    np.testing.assert_array_equal(np.asarray(first.open()), np.asarray(Image.open(io.BytesIO(png(0)))))


def test_one_split_and_one_file_are_read_alone(tmp_path: Path) -> None:
    save_splits(tmp_path, train=[4, 2], test=[3])
    assert counts(open_dataset(str(tmp_path / "train"))) == {"train/cat": 3, "train/dog": 2, "train/owl": 1}
    assert len(open_dataset(str(tmp_path / "train" / "data-00001-of-00002.arrow")).items) == 2


def test_a_saved_data_set_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))
    save_splits(tmp_path / "ds", train=[3], test=[3])
    with tarfile.open(tmp_path / "ds.tar", "w") as tar:
        tar.add(tmp_path / "ds", "ds")
    assert len(open_dataset(str(tmp_path / "ds.tar")).items) == 6


def test_other_splits_are_noted_and_none_is_an_error(tmp_path: Path) -> None:
    dataset = open_dataset(str(save_splits(tmp_path / "ds", train=[3], unsupervised=[3])))
    assert len(dataset.items) == 3 and any("unsupervised" in note for note in dataset.notes)
    assert "none of its splits" in refused(save_splits(tmp_path / "other", unsupervised=[3])).message


def test_files_of_the_librarys_cache_have_the_splits_of_their_names(tmp_path: Path) -> None:
    for split, rows in (("train", 6), ("test", 3)):
        write_arrow(tmp_path / f"beans-{split}.arrow", rows, seed=rows * 10)
    write_arrow(tmp_path / "cache-0123.arrow", 1)
    assert counts(open_dataset(str(tmp_path)))["test/owl"] == 1
    write_arrow(tmp_path / "more.arrow", 3)
    error = refused(tmp_path)
    assert "several Arrow files" in error.message and error.hint and "beans-test.arrow" in error.hint


def test_feather_files_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    write_arrow(path, 0, as_file=True, img=[png(1), png(2)], fine=["cat", "dog"])
    assert "--label-column" in (refused(path).hint or "")
    assert open_dataset(str(path), DataConfig(label_column="fine")).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("dataset_dict.json", "{"),
        ("dataset_dict.json", "[]"),
        ("dataset_dict.json", '{"splits": ["../train"]}'),
        ("train/state.json", '{"_data_files": [{"filename": "/etc/passwd"}]}'),
        ("train/state.json", '{"_data_files": [{"filename": "missing.arrow"}]}'),
        ("train/state.json", '{"_data_files": null}'),
        ("train/state.json", "[" * 100_000),
        ("train/state.json", '{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}'),
    ],
)
def test_damaged_descriptions_are_errors_that_name_the_file(tmp_path: Path, file: str, text: str) -> None:
    save_splits(tmp_path, train=[3], test=[3])
    (tmp_path / file).write_text(text)
    assert str(tmp_path) in refused(tmp_path).message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("make", ["link", "pipe"])
def test_files_behind_links_that_lead_outside_and_pipes_are_not_opened(tmp_path: Path, make: str) -> None:
    save_splits(tmp_path / "ds", train=[3], test=[3])
    file = next((tmp_path / "ds" / "train").glob("*.arrow"))
    file.rename(tmp_path / "outside.arrow")
    file.symlink_to(tmp_path / "outside.arrow") if make == "link" else os.mkfifo(file)
    error = refused(tmp_path / "ds")
    assert str(file) in error.message and "no such file" in error.message


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("as_file", [True, False])
def test_damaged_arrow_files_raise_only_our_errors(tmp_path: Path, as_file: bool, data: st.DataObject) -> None:
    path = tmp_path / "a.arrow"
    write_arrow(path, 5, as_file=as_file)
    whole = path.read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(broken[: data.draw(st.integers(0, len(whole)))]))
    try:
        open_dataset(str(path))
    except ResnetCliError:
        return


def test_what_the_library_itself_saves_is_read(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})

    def made(rows: int) -> Any:
        images = [{"bytes": png(row), "path": None} for row in range(rows)]
        columns = {"image": images, "label": [row % 3 for row in range(rows)]}
        return datasets.Dataset.from_dict(columns, features=features)

    datasets.DatasetDict(train=made(6).shuffle(seed=1), test=made(3)).save_to_disk(str(tmp_path / "ds"))
    dataset = open_dataset(str(tmp_path / "ds"))
    assert counts(dataset) == {f"{s}/{name}": n for s, n in (("train", 2), ("test", 1)) for name in NAMES}
    shutil.rmtree(tmp_path / "ds")


def test_parquet_shards_as_the_hub_has_them_are_one_data_set_with_its_splits(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("---\n---\n")
    num_rows = {"train-00000-of-00002": 4, "train-00001-of-00002": 2, "test-00000-of-00001": 3}
    for seed, (name, rows) in enumerate(num_rows.items()):
        images = [{"bytes": png(100 * seed + row), "path": None} for row in range(rows)]
        table = pyarrow.table({"image": images, "label": ["cat" if row % 2 else "dog" for row in range(rows)]})
        parquet.write_table(table, tmp_path / "data" / f"{name}.parquet")
    for folder in (tmp_path, tmp_path / "data"):
        dataset = open_dataset(str(folder))
        assert counts(dataset) == {"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 2}
        assert len({item.name for item in dataset.items}) == 9


def write_sets(path: Path, sets: list[Any], feature: Any) -> None:
    """An Arrow file whose labels are lists."""
    images = [{"bytes": png(row), "path": None} for row in range(len(sets))]
    table = pyarrow.table({"image": images, "labels": sets})
    features = {"image": {"_type": "Image"}, "labels": feature}
    with (
        path.open("wb") as sink,
        pyarrow.ipc.new_stream(
            sink,
            schema := table.schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})}),
        ) as writer,
    ):
        writer.write_table(table.cast(schema))


@pytest.mark.parametrize(
    ("sets", "feature"),
    [
        ([[0, 2], [1], []], {"feature": {"_type": "ClassLabel", "names": NAMES}, "_type": "Sequence"}),
        ([[0, 2], [1], []], [{"_type": "ClassLabel", "names": NAMES}]),
        ([["cat", "owl"], ["dog"], []], {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}),
    ],
    ids=["sequence", "short", "names"],
)
def test_lists_of_labels_are_sets(tmp_path: Path, sets: list[Any], feature: Any) -> None:
    write_sets(tmp_path / "data.arrow", sets, feature)
    dataset = open_dataset(str(tmp_path / "data.arrow"))
    assert dataset.task == "multi-label" and dataset.classes == ("cat", "dog", "owl")
    assert sorted(item.labels for item in dataset.items) == [(), (0, 2), (1,)]
