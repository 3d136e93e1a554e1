"""``predict`` with a model that gives an image any number of labels; and the probabilities of all classes."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.mean_colours import CLASSES, ManyColours, MeanColours, paint, reliability
from support.running import run_cli
from support.synthetic_models import images, labels_model
from typer.testing import Result

from resnet_cli.api.models import load
from resnet_cli.cli.predict_rows import labels_tab_cells
from resnet_cli.commands import predict
from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.prediction import Prediction

pytest_plugins = ["support.narrow_network"]

#: Image -> color and labels, most probable first.
IMAGES: dict[str, tuple[tuple[int, int, int], list[str]]] = {
    "in/black.png": ((0, 10, 0), []),
    "in/red.png": ((204, 20, 20), ["red"]),
    "in/white.png": ((230, 240, 250), ["blue", "green", "red"]),
    "in/yellow.png": ((204, 255, 0), ["green", "red"]),
}
ODD = ("red, dark", 'green;\n"x"', "none")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model of every command, in a current folder with images."""
    folder = tmp_path / "here"
    for name, (color, _) in IMAGES.items():
        paint(folder / name, color)
    (folder / "model").write_bytes(b"weights")
    monkeypatch.chdir(folder)
    return use(ManyColours(), monkeypatch)


def use(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    predictor.path, predictor.reliability = Path("model").absolute(), reliability()
    monkeypatch.setattr(predict, "open_model", lambda *_, **__: predictor)
    return predictor


def run(*arguments: object, exit_code: int = 0) -> Result:
    result = run_cli("predict", *arguments)
    assert result.exit_code == exit_code, result.output
    return result


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_json_has_the_labels_and_their_probabilities(model: Any) -> None:
    rows = [json.loads(line) for line in run("in", "--json").stdout.splitlines()]
    assert {row["path"]: row["labels"] for row in rows} == {name: labels for name, (_, labels) in IMAGES.items()}
    assert list(rows[0]) == ["path", "labels", "probs", "topk", "unknown", "novelty", "unfamiliar"]
    assert rows[3]["probs"] == pytest.approx([1, 0.8])
    assert [one["label"] for one in rows[0]["topk"]] == ["green", "red", "blue"]


def test_one_threshold_can_replace_those_of_the_model(model: Any) -> None:
    (row,) = map(json.loads, run("in/white.png", "--json", "--threshold", "95%").stdout.splitlines())
    assert row["labels"] == ["blue"] and row["unknown"] is None
    assert "--target-precision" in run("in", "--target-error", "1%", exit_code=2).stderr


def test_csv_is_read_back_as_data(model: Any) -> None:
    result = run("in", "--output", "found.csv")
    assert "  found.csv  4 predictions, 1 of them without a label\n" in result.stderr
    rows = csv_rows(Path("found.csv").read_text())
    assert [row["labels"] for row in rows] == ["", "red", "blue;green;red", "green;red"]
    assert rows[3]["probs"] == "1.000000;0.800000"
    dataset = open_dataset("found.csv", DataConfig())
    names = {item.name: {dataset.classes[index] for index in item.labels} for item in dataset.items}
    assert dataset.task == "multi-label"
    assert {Path(name).name: labels for name, labels in names.items()} == {
        Path(name).name: set(labels) for name, (_, labels) in IMAGES.items()
    }


def test_an_unknown_image_is_not_one_without_labels(model: Any) -> None:
    unlike = [ManyColours.predict(model, [np.zeros(3, np.float32)])]
    model.predict = lambda inputs: unlike[0]._replace(novelty=np.ones(1, np.float32))
    (row,) = map(json.loads, run("in/red.png", "--json", "--abstain").stdout.splitlines())
    assert (row["labels"], row["probs"], row["unknown"]) == (None, None, "unlike the training images")
    (Path("in") / "broken.png").write_text("no image")
    run("in/red.png", "in/broken.png", "-o", "a.csv", "--abstain", exit_code=3)
    assert [row["labels"] for row in csv_rows(Path("a.csv").read_text())] == ["unknown"] * 2
    run("in/red.png", "--abstain", "--sort-into", "sorted")
    assert [path.name for path in Path("sorted").iterdir()] == ["unknown"]


@pytest.mark.parametrize("kind", [ManyColours, MeanColours])
def test_all_probabilities_are_written_under_the_names_of_their_classes(
    model: Any, kind: type[MeanColours], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = use(kind(), monkeypatch)
    predictor.classes = ODD
    (Path("in") / "broken.png").write_text("no image")
    flags = ("in", "--all-probs", "--topk", 1)
    for name in ("a.jsonl", "a.csv"):
        run(*flags, "-o", name, exit_code=3)
    objects = [json.loads(line)["all_probs"] for line in Path("a.jsonl").read_text().splitlines()]
    assert objects[1] is None and all(list(one) == [*ODD] for one in objects if one)
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, probs in zip(rows, objects, strict=True):
        assert [row[f"prob_{name}"] for name in ODD] == [f"{probs[name]:.6f}" if probs else "" for name in ODD]
    for name in ("a.csv", "a.jsonl"):
        whole = Path(name).read_bytes()
        Path(name).write_bytes(whole[: len(whole) * 3 // 4])
        run(*flags, "-o", name, "--resume", exit_code=3)
        assert Path(name).read_bytes() == whole
        assert "--all-probs" in run("in", "--topk", 1, "-o", name, "--resume", exit_code=2).stderr
        assert Path(name).read_bytes() == whole


def test_parquet_has_lists_and_the_names_of_the_classes(model: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    (Path("in") / "broken.png").write_text("no image")
    run("in", "--all-probs", "-o", "a.parquet", exit_code=3)
    table = parquet.read_table("a.parquet")
    rows = {row["path"]: row for row in table.to_pylist()}
    assert json.loads(table.schema.metadata[b"classes"]) == list(CLASSES)
    assert rows["in/yellow.png"]["labels"] == ["green", "red"] and rows["in/black.png"]["labels"] == []
    assert rows["in/yellow.png"]["all_probs"] == pytest.approx([0.8, 1, 0])
    assert (rows["in/broken.png"]["labels"], rows["in/broken.png"]["all_probs"]) == (None, None)


def test_an_image_is_copied_into_the_folder_of_each_label(model: Any) -> None:
    model.classes = ODD
    run("in", "--sort-into", "sorted")
    found = sorted(path.relative_to("sorted").as_posix() for path in Path("sorted").rglob("*.png"))
    # The folder of images without a label is not the folder of a class.
    assert found == sorted(
        [
            "none/black.png",
            *(f"red, dark/{name}.png" for name in ("red", "white", "yellow")),
            *(f"green;__x_/{name}.png" for name in ("white", "yellow")),
            "none-2/white.png",
        ]
    )
    assert Path("sorted/red, dark/yellow.png").read_bytes() == Path("in/yellow.png").read_bytes()
    run("in", "--sort-into", "linked", "--link")
    assert os.path.samefile("linked/red, dark/yellow.png", "in/yellow.png")


def test_every_label_is_drawn_and_explained(model: Any) -> None:
    run("in", "--annotate", "drawn", "--explain", "why")
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["black.jpg", "red.jpg", "white.jpg", "yellow.jpg"]
    assert sorted(path.name for path in Path("why").iterdir()) == [
        *("black.none.jpg", "red.red.jpg", "white.blue.jpg", "white.green.jpg", "white.red.jpg"),
        *("yellow.green.jpg", "yellow.red.jpg"),
    ]
    with Image.open("why/yellow.red.jpg") as image:
        assert image.width >= 8


def test_off_a_terminal_labels_come_before_classes_and_probabilities() -> None:
    topk = (("scab", 0.97), ("rust", 0.81), ("frog eye", 0.2))
    cells = list(labels_tab_cells(Prediction("a.jpg", topk, labels=("scab", "rust"), label_probs=(0.97, 0.81))))
    assert cells == ["a.jpg", "scab; rust", "scab", "0.9700", "rust", "0.8100", "frog eye", "0.2000"]
    assert list(labels_tab_cells(Prediction("a.jpg", topk[:1], labels=())))[:2] == ["a.jpg", "none"]


def test_all_probs_without_a_format_has_no_effect(model: Any) -> None:
    assert "--all-probs has no effect" in run("in", "--all-probs", exit_code=2).stderr


def test_python_gives_labels_and_all_probabilities(narrow: None) -> None:
    made = labels_model()
    found = load(made).predict(images(), all_probs=True, precision="fp32")
    assert {len(one.labels or ()) for one in found} == {0, 1, 2, 3}
    for one in found:
        assert one.all_probs is not None
        probs = dict(zip(made.classes, one.all_probs.tolist(), strict=True))
        least = dict(zip(made.classes, made.thresholds, strict=True))
        assert set(one.labels or ()) == {name for name in made.classes if probs[name] >= least[name]}
        assert one.label_probs == tuple(probs[name] for name in one.labels or ())
    assert found[3].labels == () and found[3].label == "none"
    (all_of_them,) = load(made).predict(images()[0], threshold=0.0, precision="fp32")
    assert len(all_of_them.labels or ()) == len(made.classes)
