"""Outputs of predict: files that can be resumed, folders, and flags that exclude each other; no network is used."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.full_disk import fill, largest_file, small_disk
from support.mean_colours import CLASSES, COLOURS, MeanColours, paint, reliability
from support.running import command_environment, run_cli
from typer.testing import Result

from resnet_cli.commands import predict
from resnet_cli.model.reliability import Reliability


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; its subfolder holds an image of each color, a grey and a broken one."""
    folder = tmp_path / "here"
    for name, colour in COLOURS.items():
        paint(folder / "in" / f"{name}.png", colour)
    paint(folder / "in" / "grey.png", (90, 91, 90))
    (folder / "in" / "broken.png").write_text("no image")
    (folder / "model").write_bytes(b"weights")
    monkeypatch.chdir(folder)
    predictor = MeanColours()
    predictor.path, predictor.reliability = folder / "model", reliability()
    monkeypatch.setattr(predict, "open_model", lambda *_, **__: predictor)
    return folder


GOOD = ["in/blue.png", "in/green.png", "in/grey.png", "in/red.png"]
ALL = sorted([*GOOD, "in/broken.png"])


def run(*arguments: object, exit_code: int = 0, stdin: bytes | None = None) -> Result:
    result = run_cli("predict", *arguments, stdin=stdin)
    assert result.exit_code == exit_code, result.output
    return result


def json_rows(path: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_file_holds_every_image_in_order_and_stdout_nothing(here: Path) -> None:
    result = run("in", "--output", "a.jsonl", exit_code=3)
    rows = json_rows("a.jsonl")
    assert result.stdout == "" and "  a.jsonl  4 predictions\n" in result.stderr
    assert [row["path"] for row in rows] == ALL
    assert [row["error"] is None for row in rows] == [name != "in/broken.png" for name in ALL]
    assert "warning: in/broken.png: not an image" in result.stderr and "1 of 5 images" in result.stderr
    assert len({row["made_by"] for row in rows}) == 1


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_resume_adds_what_is_missing_and_ends_as_uninterrupted(name: str) -> None:
    run("in", "-o", "whole.jsonl" if name.endswith("l") else "whole.csv", exit_code=3)
    whole = Path("whole" + name[1:]).read_bytes()
    Path(name).write_bytes(whole[: len(whole) // 2])
    result = run("in", "--output", name, "--resume", exit_code=3)
    assert Path(name).read_bytes() == whole
    assert "1 of 5 images" in result.stderr
    run("in", "--output", name, "--resume", exit_code=3)
    assert Path(name).read_bytes() == whole


def test_resume_begins_a_file_that_is_not_there() -> None:
    run(*GOOD, "--output", "a.csv", "--resume")
    assert len(Path("a.csv").read_text().splitlines()) == 5


def test_resume_refuses_another_models_file(here: Path) -> None:
    run(*GOOD, "--output", "a.csv")
    before = Path("a.csv").read_bytes()
    assert "with other settings" in run(*GOOD, "-o", "a.csv", "--resume", "--topk", 1, exit_code=2).stderr
    assert "with other settings" in run(*GOOD, "-o", "a.csv", "--resume", "--threshold", 0.4, exit_code=2).stderr
    (here / "model").write_bytes(b"other")
    assert "by another model" in run(*GOOD, "-o", "a.csv", "--resume", exit_code=2).stderr
    assert Path("a.csv").read_bytes() == before


def test_an_output_that_is_there_is_never_overwritten() -> None:
    for name in ("a.csv", "a.parquet"):
        Path(name).write_text("mine")
        assert f"--out {name}: exists already" in run("in", "-o", name, exit_code=2).stderr
        assert Path(name).read_text() == "mine"
    refused = run("in", "-o", "no such/a.csv", exit_code=6).stderr
    assert "there is no folder no such" in refused and "mkdir -p 'no such'" in refused


def mean_colours(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command with a model that classifies by mean colors, and its environment."""
    command = [sys.executable, str(Path(__file__).parent / "support" / "mean_colours.py"), "model", *arguments]
    return command, command_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_killed_process_leaves_rows_that_are_gone_on_with(here: Path) -> None:
    for number in range(3000):
        os.link(here / "in" / "red.png", here / "in" / f"{number:04d}.png")
    (here / "in" / "broken.png").unlink()
    command, environment = mean_colours("predict", "in", "--batch-size", "2", "--output", "a.jsonl", "--resume")
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while (not Path("a.jsonl").exists() or not Path("a.jsonl").stat().st_size) and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    num_bytes = Path("a.jsonl").stat().st_size
    assert num_bytes
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"  a.jsonl  " in done.stderr and b" predictions\n" in done.stderr
    rows = json_rows("a.jsonl")
    assert [row["path"] for row in rows] == sorted(str(path) for path in Path("in").iterdir())


def test_a_terminated_process_says_how_to_go_on(here: Path) -> None:
    command, environment = mean_colours("predict", "--files-from", "-", "--output", "a.jsonl")
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin
    until = time.monotonic() + 60
    while (not Path("a.jsonl").exists() or not Path("a.jsonl").stat().st_size) and time.monotonic() < until:
        # Rows are written to the disk as further ones come.
        process.stdin.write(b"in/red.png\n" * 4)
        process.stdin.flush()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"the predictions so far are in a.jsonl; continue with --resume" in errors
    assert len(json_rows("a.jsonl")) >= 4


def test_csv_and_parquet_hold_what_json_holds() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        run("in", "-o", name, "--abstain", exit_code=3)
    rows = json_rows("a.jsonl")
    with open("a.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["path"], row["label"] or None, row["unknown"] or None) for row in table] == [
        (row["path"], row["label"], row["unknown"]) for row in rows
    ]
    found = parquet.read_table("a.parquet").to_pylist()
    assert [(row["path"], row["label"], row["error"]) for row in found] == [
        (row["path"], row["label"], row["error"]) for row in rows
    ]


def test_unknown_is_an_answer_with_a_reason_everywhere() -> None:
    flags = ("in/grey.png", "in/red.png", "--abstain")
    (grey, red) = (json.loads(line) for line in run(*flags, "--json").stdout.splitlines())
    assert (grey["label"], grey["unknown"]) == ("unknown", "unlike the training images")
    assert (red["label"], red["unknown"]) == ("red", None) and red["novelty"] < grey["novelty"]
    table = list(csv.DictReader(io.StringIO(run(*flags, "--csv").stdout)))
    assert [row["label"] for row in table] == ["unknown", "red"] and table[0]["unknown"]
    lines = [line.split("\t") for line in run(*flags).stdout.splitlines()]
    assert lines[0][:4] == ["in/grey.png", "unknown", "unlike the training images", "green"]
    assert lines[1][:2] == ["in/red.png", "red"] and len(lines[1]) == 7
    assert run("in/red.png", "--threshold", 0.99).stdout.split("\t")[1:3] == ["unknown", "only 80.0 % sure"]
    assert run("in/red.png", "--target-error", "10%").stdout.split("\t")[1] == "red"


def test_an_image_unlike_the_training_images_keeps_its_label_and_is_marked() -> None:
    result = run(*GOOD, "--json")
    rows = {row["path"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert [name for name, row in rows.items() if row["unfamiliar"]] == ["in/grey.png"]
    assert rows["in/grey.png"]["label"] == "green" and rows["in/grey.png"]["unknown"] is None
    told = "1 of 4 images is unlike the training images (it keeps its label; --abstain labels it"
    assert told in result.stderr
    assert run(*GOOD, "--json", "--no-abstain").stdout == result.stdout
    cells = [line.split("\t") for line in run(*GOOD).stdout.splitlines()]
    assert [row[7:] for row in cells] == [["unlike the training images"] if row[0] == GOOD[2] else [] for row in cells]
    assert [row[:2] for row in cells] == [[name, row["label"]] for name, row in rows.items()]
    # Another reason for "unknown" does not hide it.
    (line,) = run("in/grey.png", "--threshold", 0.9, "--quiet").stdout.splitlines()
    assert line.split("\t")[1:3] == ["unknown", "only 33.6 % sure"] and line.endswith("\tunlike the training images")
    abstained = run("in", "--abstain", "--output", "a.jsonl", exit_code=3)
    assert '1 of 4 images is unlike the training images (it gets the label "unknown")' in abstained.stderr
    assert "unlike" not in run("in/red.png").stderr


def test_images_are_sorted_into_unknown_only_if_it_abstains() -> None:
    run("in/grey.png", "--sort-into", "kept")
    run("in/grey.png", "--sort-into", "sorted", "--abstain")
    assert (os.listdir("kept"), os.listdir("sorted")) == (["green"], ["unknown"])


def test_few_validation_images_mark_familiar_ones_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, known = MeanColours(), reliability()
    predictor.path = here / "model"
    predictor.reliability = Reliability(known.confidence[:4], known.is_right[:4], known.novelty[:4])
    monkeypatch.setattr(predict, "open_model", lambda *_, **__: predictor)
    result = run("in/grey.png")
    assert "1 of 1 images is unlike" in result.stderr
    assert "about 1 in 5 images like the training images is marked too" in result.stderr


def test_inputs_come_from_lists_too() -> None:
    data = b"in/red.png\nin/grey.png\n"
    Path("list").write_bytes(data)
    expected = ["in/blue.png", "in/red.png", "in/grey.png"]
    for source, stdin in (("list", None), ("-", data)):
        out = run("in/blue.png", "--files-from", source, "--json", stdin=stdin).stdout
        assert [json.loads(line)["path"] for line in out.splitlines()] == expected
    out = run("--files-from", "-", "-0", "--json", stdin=b"in/red.png\0in/blue.png\0").stdout
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["red", "blue"]
    assert "no paths there" in run("--files-from", "-", stdin=b"\n", exit_code=3).stderr
    assert "No such file" in run("--files-from", "none", exit_code=3).stderr


def test_images_are_sorted_and_drawn_on(here: Path) -> None:
    run("in", "--sort-into", "sorted", "--annotate", "drawn", "--abstain", exit_code=3)
    assert sorted(path.relative_to("sorted").as_posix() for path in Path("sorted").rglob("*.png")) == [
        "blue/blue.png",
        "green/green.png",
        "red/red.png",
        "unknown/grey.png",
    ]
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["blue.jpg", "green.jpg", "grey.jpg", "red.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_sorted_links() -> None:
    run("in/red.png", "--sort-into", "sorted", "--link")
    assert Path("sorted/red/red.png").resolve() == Path("in/red.png").resolve()


def test_quiet_says_nothing_but_errors() -> None:
    result = run("in", "-o", "a.csv", "--quiet", exit_code=3)
    assert result.stdout == ""
    line, count = result.stderr.splitlines()
    assert count.startswith("1 of 4 images is unlike the training images")
    assert line.startswith("warning: in/broken.png: not an image in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF, ")


WRONG: list[tuple[list[str], str]] = [
    ([], "no images to classify"),
    (["in", "--csv", "--json"], "--csv and --json: choose one"),
    (["in", "--csv", "--json", "--parquet"], "choose one"),
    (["in", "--parquet"], "--out predictions.parquet"),
    (["in", "--output", "a.txt"], "its extension says nothing"),
    (["in", "--output", "a.csv", "--json"], "its extension says csv"),
    (["in", "--resume"], "--resume has no effect"),
    (["in", "--resume", "--output", "a.parquet"], "written whole or not at all"),
    (["in", "--resume", "--output", "a.csv", "--embeddings", "f.npy"], "--embeddings, which are written whole"),
    (["-", "--resume", "--output", "a.csv"], "stdin has no name"),
    (["in", "--link"], "--link has no effect"),
    (["in", "--null"], "--null has no effect"),
    (["-", "--files-from", "-"], "stdin can be only one"),
    (["in/red.png", "--no-recursive"], "--no-recursive has no effect"),
    (["in/red.png", "--recursive"], "--recursive has no effect"),
    (["in/red.png", "--image-column", "path"], "--image-column has no effect"),
    (["--files-from", "-", "--image-column", "path"], "--image-column path has no effect"),
    (["--similar", "in/red.png"], "needs --among"),
    (["--among", "in"], "needs --similar"),
    (["in", "--similar", "in/red.png", "--among", "in"], "IMAGES in has no effect"),
    (["--similar", "in/red.png", "--among", "in", "--abstain"], "--abstain has no effect"),
    (["--similar", "in/red.png", "--among", "in", "--threshold", "0"], "--threshold 0 has no effect"),
    (["--similar", "in/red.png", "--among", "in", "-o", "a.csv"], "--out a.csv has no effect"),
    (["in", "--threshold", "1.5"], "--threshold 1.5"),
    (["in", "--threshold", "nan"], "--threshold"),
    (["in", "--target-error", "much"], "must be a share such as 1%"),
    (["in", "--target-error", "100%"], "--target-error 100%: must be less than 1"),
    (["in", "--target-error", "10%", "--no-abstain"], "--no-abstain and --target-error: choose one"),
    (["in", "--target-error", "0.01%"], "no threshold can guarantee that"),
    (["in", "--embeddings", "f.txt"], "no known kind of file"),
    (["in", "--sort-into", "model"], "--sort-into model: not a folder"),
    (["--watch", "none"], "--watch none: no such folder"),
]


@pytest.mark.parametrize(
    ("arguments", "named"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_cannot_be_or_has_no_effect_is_named(arguments: list[str], named: str) -> None:
    before = sorted(os.listdir())
    result = run(*arguments, exit_code=2, stdin=b"")
    assert named in result.stderr and result.stdout == "" and sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [["--device", "cpu"], ["--precision", "fp32"], ["--explain", "e"], ["--embeddings", "f.npy"]],
    ids=" ".join,
)
def test_an_exported_model_refuses_what_it_cannot_do(arguments: list[str]) -> None:
    assert arguments[0] in run("in", "--model", "m.onnx", *arguments, exit_code=2).stderr
    similar = ("--similar", "in/red.png", "--among", "in")
    assert "--similar" in run(*similar, "--model", "m.onnx", exit_code=2).stderr


def test_features_are_refused_a_second_time(here: Path) -> None:
    np.save("f.npy", np.zeros(3))
    assert "exists already" in run("in", "--embeddings", "f.npy", exit_code=2).stderr
    assert CLASSES == MeanColours.classes


# Full disks


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_on_a_full_disk_the_file_says_how_many_images_it_has_and_is_continued(here: Path, name: str) -> None:
    run("in", "--output", f"whole-{name}", exit_code=3)
    whole = Path(f"whole-{name}").read_bytes()
    first_two = len(b"".join(whole.splitlines(keepends=True)[: 2 + (name == "a.csv")]))
    with largest_file(first_two + 1):
        result = run("in", "--output", name, exit_code=6)
    assert result.stdout == "" and result.stderr.count("error: ") == 1
    assert f"cannot write {name}: File too large; {name} has the predictions for 2 images" in result.stderr
    assert "try: free some space, then run the same command with --resume" in result.stderr
    assert Path(name).read_bytes() == whole[:first_two]
    run("in", "--output", name, "--resume", exit_code=3)
    assert Path(name).read_bytes() == whole


@pytest.mark.parametrize("flag", ["--sort-into", "--annotate"])
def test_an_image_that_did_not_fit_into_a_folder_has_no_row(here: Path, flag: str) -> None:
    run("in", flag, "whole", exit_code=3)
    files = {path.relative_to("whole"): path.read_bytes() for path in Path("whole").rglob("*") if path.is_file()}
    with small_disk(here / "small", 65536) as disk:
        ballast = fill(disk)
        result = run("in", flag, "small/out", "--output", "a.csv", exit_code=6)
        assert result.stderr.count("error: ") == 1
        assert len(Path("a.csv").read_text().splitlines()) <= 2
        ballast.unlink()
        run("in", flag, "small/out", "--output", "a.csv", "--resume", exit_code=3)
        found = {path.relative_to(disk / "out"): path.read_bytes() for path in disk.rglob("*") if path.is_file()}
        assert found == files
    assert len(Path("a.csv").read_text().splitlines()) == 1 + len(ALL)


@pytest.mark.parametrize("flags", [("--output", "a.parquet"), ("--embeddings", "a.npy"), ("--embeddings", "a.parquet")])
def test_a_file_that_is_whole_or_absent_is_absent_on_a_full_disk(here: Path, flags: tuple[str, str]) -> None:
    if "a.parquet" in flags:
        pytest.importorskip("pyarrow")
    before = sorted(here.iterdir())
    with largest_file(64):
        result = run("in", *flags, exit_code=6)
    assert result.stderr.count("error: ") == 1 and "free some space" in result.stderr
    assert sorted(here.iterdir()) == before
