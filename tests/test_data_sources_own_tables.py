"""Tables that this tool wrote into a data folder never label its images unnoticed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planted_faults import write, write_folder

from resnet_cli.config.data import DataConfig
from resnet_cli.config.inspect import InspectConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.own_tables import own_kind
from resnet_cli.errors import DataError
from resnet_cli.outputs.schema import FILE_COLUMNS


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that is the working folder too."""
    root = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12})
    monkeypatch.chdir(root)
    return root


def fix(data: str = ".", **options: Any) -> Path:
    from resnet_cli.commands.inspect import inspect

    table = inspect(data, InspectConfig(fix=True, **options)).table
    assert table
    return table


def counts(dataset: Dataset) -> dict[str, int]:
    return dict(zip(dataset.classes, dataset.counts()["train"], strict=True))


def test_a_cleaned_table_in_the_data_folder_is_named_and_not_read(pets: Path) -> None:
    before = open_dataset(".")
    (pets / "dog" / "empty.jpg").touch()
    table = fix()
    after = open_dataset(".")
    assert [item.name for item in after.items if item.name != "dog/empty.jpg"] == [item.name for item in before.items]
    (note,) = after.notes
    assert "pets-clean.csv (a table that inspect --fix wrote)" in note and note.endswith("as DATA: pets-clean.csv")
    cleaned = open_dataset(str(table))
    assert counts(cleaned) == {"cat": 12, "dog": 12} and cleaned.notes == ()


def test_a_class_that_is_added_later_is_seen(pets: Path) -> None:
    fix(out="mine.csv")
    write(pets / "owl" / "000.jpg", 99)
    assert counts(open_dataset(".")) == {"cat": 12, "dog": 12, "owl": 1}
    assert counts(open_dataset(str(pets))) == {"cat": 12, "dog": 12, "owl": 1}
    assert counts(open_dataset("mine.csv")) == {"cat": 12, "dog": 12}


def test_results_and_the_cleaned_table_change_nothing_of_a_data_folder(pets: Path) -> None:
    before = open_dataset(".")
    fix()
    run = pets / "runs" / "pets-20260101-000000"
    write(run / "plots" / "confusion.jpg", 98)
    for name in ("config.yaml", "split.csv", "model.safetensors"):
        (run / name).touch()
    (pets / "runs" / "latest").symlink_to(run.name, target_is_directory=True)
    after = open_dataset(".")
    assert (after.classes, after.items) == (before.classes, before.items)
    assert not any("link" in note for note in after.notes)
    results, table = after.notes
    assert "results of this tool (runs)" in results and "pets-clean.csv" in table
    # A plot of a run is no image of DATA, and has no wrong name either.
    with pytest.raises(DataError, match="contains no images"):
        open_dataset("runs")


def test_the_table_of_the_labels_is_read_beside_its_cleaned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "pets", {"images": 24})
    monkeypatch.chdir(root)
    rows = [f"images/{n:03d}.jpg,{'cat' if n % 2 else 'dog'}" for n in range(24)]
    (root / "labels.csv").write_text("\n".join(["image,label", *rows]))
    before = open_dataset(".")
    fix()
    after = open_dataset(".")
    assert (after.classes, after.items) == (before.classes, before.items)
    assert "pets-clean.csv" in " ".join(after.notes)


def test_a_folder_with_nothing_but_a_cleaned_table_says_how_to_use_it(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    fix("../pets")
    with pytest.raises(DataError) as caught:
        open_dataset(".")
    assert "give it as DATA: pets-clean.csv" in (caught.value.hint or "")
    assert counts(open_dataset("pets-clean.csv")) == {"cat": 12, "dog": 12}


def test_a_cleaned_table_is_known_after_a_spreadsheet_saved_it(pets: Path) -> None:
    table = fix()
    text = table.read_text(encoding="utf-8")
    for changed in (text.replace(",", ";"), "\ufeff" + text, text.replace("image,", '"image",')):
        table.write_text(changed, encoding="utf-8")
        assert own_kind(table) == "a table that inspect --fix wrote"


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_predictions_are_no_labels(pets: Path, name: str) -> None:
    row: dict[str, Any] = dict.fromkeys(FILE_COLUMNS, "x") | {"path": "cat/000.jpg", "label": "dog"}
    if name.endswith(".csv"):
        with Path(name).open("w", newline="") as file:
            csv.writer(file).writerows([list(row), list(row.values())])
    elif name.endswith(".jsonl"):
        Path(name).write_text(json.dumps(row) + "\n")
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
        arrow = pytest.importorskip("pyarrow")
        parquet.write_table(arrow.table({key: [value] for key, value in row.items()}), name)
    found = open_dataset(".")
    assert counts(found) == {"cat": 12, "dog": 12}
    assert f"{name} (predictions of a model)" in " ".join(found.notes)


def test_other_tables_are_not_taken_for_tables_of_this_tool(pets: Path) -> None:
    # A museum says who made what.
    rows = [f"{kind}/{n:03d}.jpg,{'ab'[n % 2]},Rembrandt" for kind in ("cat", "dog") for n in range(12)]
    Path("labels.csv").write_text("\n".join(["path,label,made_by", *rows]))
    assert own_kind(Path("labels.csv")) == ""
    assert counts(open_dataset(".", DataConfig())) == {"a": 12, "b": 12}


@given(data=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".jsonl", ".parquet"]))
def test_any_other_bytes_are_not_a_table_of_this_tool(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"strange{suffix}"
    path.write_bytes(data)
    assert own_kind(path) == ""
    assert own_kind(path.with_name("missing.csv")) == ""
