"""``resnet-cli eval`` with several labels per image: tables, targets, files of predictions, comparison, other data."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from support.label_sets import write_label_table
from support.narrow_network import make_narrow
from support.running import TINY, TINY_FLAGS, run_cli
from support.small_runs import write_image

from resnet_cli import finetune
from resnet_cli.cli.label_tables import label_tables
from resnet_cli.evaluation.predictions_file import SUFFIXES
from resnet_cli.evaluation.scoring import score_labels
from resnet_cli.text import display_width

CLASSES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a multi-label run and its data; every network of the module is narrow."""
    folder = tmp_path_factory.mktemp("labels")
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        patch.chdir(folder)
        patch.setenv("RESNET_CLI_CACHE", str(folder / "cache"))
        patch.setattr("resnet_cli.training.report.write_report_files", lambda *_, **__: None)
        write_label_table(folder / "lights")
        finetune(data="lights/labels.csv", out="run", mode="frozen", **TINY)
        yield folder


@pytest.fixture(autouse=True)
def beside_the_run(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(labels)


def evaluated(*arguments: object) -> Any:
    result = run_cli("eval", *arguments, "--no-report", "--json", *TINY_FLAGS[4:])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: object, code: int = 2) -> str:
    result = run_cli("eval", *arguments, "--no-report", *TINY_FLAGS[4:])
    assert result.exit_code == code, result.output
    return " ".join(result.stderr.split())


def test_the_tables_of_a_run_show_every_class_and_say_what_is_unknown() -> None:
    result = run_cli("eval", "run", "--slice", "parent", "--target-recall", "30%", "--no-report", "-v", *TINY_FLAGS[4:])
    assert result.exit_code == 0, result.output
    for text in ("mAP", "exact match", "Hamming loss", "1 of 36 values", "Per class, lowest AP first", "threshold"):
        assert text in result.stdout, text
    for title in ("Per group", "Wrong labels", "Recall of at least 30 % per class", "use it: predict --target-recall"):
        assert title in result.stdout, title
    short = run_cli("eval", "run", "--target-recall", "30%", "--no-report", *TINY_FLAGS[4:]).stdout
    assert "Recall of at least 30 % per class" in short and "Hamming loss" not in short
    assert all(f"\n {name} " in short for name in ("mAP", "micro F1", "exact match", "ECE"))
    assert run_cli("eval", "run", "--no-report", "-q", *TINY_FLAGS[4:]).stdout.endswith(" %\n")


def test_in_80_columns_a_class_takes_one_line() -> None:
    probs = np.array([[0.9, 0.2], [0.1, 0.9], [0.8, 0.8]], dtype=np.float32)
    targets = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.int8)
    names = ("a class with a name of forty characters.", "b")
    scores = score_labels(probs, targets, names, ("1.jpg", "2.jpg", "3.jpg"), thresholds=(0.5, 0.5))
    console = Console(width=80, file=io.StringIO())
    console.print(*label_tables(scores, width=80), sep="\n")
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(display_width, lines)) <= 80
    start = next(i for i, line in enumerate(lines) if line.startswith("Per class"))
    assert [line.split()[0] for line in lines[start + 4 : start + 10] if line.strip()] == [
        *("a", "b", "macro", "micro", "weighted")
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_saved_predictions_give_the_same_metrics_again(suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    file = f"answers{suffix}"
    found = evaluated("run", "--slice", "parent", "--save-predictions", file)
    again = json.loads(run_cli("eval", "--from-predictions", file, "--json").stdout)
    about = {"model", "data", "precision", "split", "seen", "report"}
    assert {k: v for k, v in again.items() if k not in about} == {k: v for k, v in found.items() if k not in about}
    assert found["num_unknown_values"] == 1 and found["calibration"]["before"] is not None
    one = json.loads(run_cli("eval", "--from-predictions", file, "--threshold", "0", "--json").stdout)
    assert one["macro"]["recall"] == 1 and one["map"] == found["map"]


def test_a_table_of_another_program_needs_labels_and_probabilities_alone() -> None:
    rows = ["path,labels,prob:a,prob:b", "1.jpg,a;b,0.9,0.8", "2.jpg,,0.7,0.1", '3.jpg,"[""b""]",0.2,0.6']
    Path("others.csv").write_text("\n".join(rows) + "\n")
    found = json.loads(run_cli("eval", "--from-predictions", "others.csv", "--json").stdout)
    assert (found["exact_match"], found["num_negatives"]) == (pytest.approx(2 / 3), 1)
    assert found["per_class"]["a"]["threshold"] == 0.5
    faults = {
        "1.jpg,c,0.9,0.8": "'c' is not a class",
        "1.jpg,a,1.5,0.8": "not a number from 0 to 1",
        '1.jpg,"[1]",0.9,0.8': "not a list of names",
    }
    for row, reason in faults.items():
        Path("others.csv").write_text(f"{rows[0]}\n{row}\n")
        result = run_cli("eval", "--from-predictions", "others.csv")
        assert result.exit_code == 3 and reason in result.stderr, result.stderr
    Path("others.csv").write_text("path,labels,thresholds,prob:a,prob:b\n1.jpg,a,[0.5],0.9,0.8\n")
    assert "one list of 2 numbers" in run_cli("eval", "--from-predictions", "others.csv").stderr


def test_a_target_is_checked_class_by_class_on_images_that_did_not_choose_it() -> None:
    found = evaluated("run", "--target-precision", "25%")["target"]
    assert found["target_precision"] == 0.25 and set(found["per_class"]) == set(CLASSES)
    for row in found["per_class"].values():
        assert row["validation"]["bound"] is None or row["validation"]["bound"] >= 0.25
        assert row["held"] is (None if row["observed"] is None else row["observed"] >= 0.25)
    result = run_cli("eval", "run", "--split", "val", "--target-recall", "30%", "--no-report", *TINY_FLAGS[4:])
    assert "found on these very images" in result.stderr


def test_flags_of_the_other_task_are_refused_with_the_right_one() -> None:
    assert "use --target-precision or --target-recall" in refused("run", "--target-error", "5%")
    assert "--target-precision" in refused("run", "--target-precision", "5%", "--target-recall", "5%")
    assert "below --fail-under" in refused("run", "--fail-under", "100%", code=10)
    assert "mAP" in refused("run", "--fail-under", "100%", code=10)
    Path("single.csv").write_text("path,label,prob:a,prob:b\n1.jpg,a,0.9,0.1\n")
    result = run_cli("eval", "--from-predictions", "single.csv", "--threshold", "50%")
    assert result.exit_code == 2 and "is for multi-label models" in result.stderr


def test_images_with_one_label_are_the_negatives_of_all_other_classes() -> None:
    for index, name in enumerate(CLASSES[:2]):
        folder = Path("singles") / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(4):
            write_image(folder, "new", index, number)
    result = run_cli("eval", "run", "singles", "--no-report", "--json", *TINY_FLAGS[4:])
    found = json.loads(result.stdout)
    assert "all other classes as negatives" in result.stderr
    assert (found["num_unknown_values"], found["per_class"]["blue"]["negatives"]) == (0, 8)


def test_a_class_that_the_data_do_not_have_is_unknown() -> None:
    lines = Path("lights/labels.csv").read_text().splitlines()
    Path("lights/fewer.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines if "train" not in line))
    result = run_cli("eval", "run", "lights/fewer.csv", "--seen", "include", "--no-report", "--json", *TINY_FLAGS[4:])
    found = json.loads(result.stdout)
    assert "the class 'blue' of the model is not in the data" in result.stderr
    blue = found["per_class"]["blue"]
    assert (blue["support"], blue["negatives"], blue["average_precision"]) == (0, 0, None)
    assert blue["unknown"] == found["num_images"]


def test_several_models_are_compared_by_map_and_seen_images_scored_apart() -> None:
    result = run_cli("eval", "run", "run", *TINY_FLAGS[4:])
    assert result.exit_code == 0, result.output
    assert "their mAP is the same" in " ".join(result.stdout.split()) and "McNemar" in result.stdout
    (one,) = json.loads(run_cli("eval", "run", "run", "--json", *TINY_FLAGS[4:]).stdout)["comparisons"]
    assert (one["difference"], one["p_value"], one["is_distinguishable"]) == (0, 1, False)
    rows = (line.split(",") for line in Path("lights/labels.csv").read_text().splitlines())
    Path("lights/plain.csv").write_text("\n".join(",".join([name, *cells]) for name, _, *cells in rows))
    seen = evaluated("run", "lights/plain.csv", "--split", "all", "--seen", "separate")["seen"]
    assert seen["scores"]["num_images"] > 0 and 0 <= seen["scores"]["map"] <= 1
