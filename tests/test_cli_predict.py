"""``resnet-cli predict``: files, folders, patterns and stdin in; rows that scripts can rely on out."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.running import CLASSES, COMMAND, IMPORTED, Trained, command_environment, lines_until, run_cli, spawn
from support.terminal import on_terminal

pytest_plugins = ["support.small_runs"]


@pytest.fixture(autouse=True)
def images(here: Path, photos: Path) -> Path:
    """Three images and a text file in a subfolder of the current folder."""
    folder = here / "images"
    folder.mkdir()
    for name in CLASSES:
        shutil.copy(photos / "val" / name / "0.jpg", folder / f"{name}.jpg")
    (folder / "notes.txt").write_text("not to be looked at")
    return folder


def rows(*arguments: object, exit_code: int = 0, stdin: bytes | None = None) -> list[dict[str, Any]]:
    result = run_cli("predict", *arguments, "--json", stdin=stdin)
    assert result.exit_code == exit_code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def paths(*arguments: object) -> list[str]:
    return [row["path"] for row in rows(*arguments)]


def test_json_lines_have_the_promised_keys(full_run: Trained) -> None:
    for row in rows("images", "--model", full_run.run, "--topk", 2):
        assert list(row) == ["path", "label", "prob", "topk", "unknown", "novelty", "unfamiliar"]
        assert [set(top) for top in row["topk"]] == [{"label", "prob"}] * 2
        assert (row["label"], row["prob"]) == (row["topk"][0]["label"], row["topk"][0]["prob"])
        assert row["label"] in CLASSES


def test_csv_has_the_same_columns(full_run: Trained) -> None:
    result = run_cli("predict", "images", "--model", full_run.run, "--csv")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(table[0]) == ["path", "label", "prob", "topk", "unknown", "novelty", "unfamiliar"]
    expected = rows("images", "--model", full_run.run)
    assert [row["label"] for row in table] == [row["label"] for row in expected]
    assert [float(row["prob"]) for row in table] == pytest.approx([row["prob"] for row in expected], abs=1e-6)
    assert list(json.loads(table[0]["topk"])) == [top["label"] for top in expected[0]["topk"]]


def test_off_a_terminal_each_image_is_one_line_with_tabs(full_run: Trained) -> None:
    result = run_cli("predict", "images", "--model", full_run.run)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [len(line) for line in lines] == [7, 7, 7]
    assert all(
        {*line[1::2]} == {*CLASSES} and sum(map(float, line[2::2])) == pytest.approx(1, abs=1e-3) for line in lines
    )


def test_rows_appear_on_a_terminal_with_the_model_and_what_was_written(full_run: Trained) -> None:
    flags = ("--model", full_run.run, "--annotate", "drawn")
    screen = on_terminal("predict", "images", *flags, env={"TERM": "dumb"})
    assert screen.code == 0, screen.stderr
    rows = screen.text.splitlines()
    assert rows[0].startswith("class") and [row.split()[-1] for row in rows[1:]] == [
        f"images/{name}.jpg" for name in ("blue", "green", "red")
    ]
    told = screen.stderr.decode()
    assert f"model: {full_run.run}, 3 classes" in told and "Written" in told and "  drawn  the images with" in told


def test_files_folders_and_patterns_are_taken_in_the_order_given(full_run: Trained) -> None:
    model = ("--model", full_run.run)
    every = [f"images/{name}.jpg" for name in CLASSES]
    assert paths("images/red.jpg", "images/blue.jpg", *model) == ["images/red.jpg", "images/blue.jpg"]
    assert paths("images", *model) == every
    assert paths("images/*.jpg", *model) == every
    assert paths("images/[gr]*.jpg", "images/blue.jpg", *model) == [*every[1:], every[0]]
    assert paths("**/*e*.jpg", *model) == every


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(full_run: Trained) -> None:
    shutil.copy("images/red.jpg", "images/a[1].jpg")
    assert paths("images/a[1].jpg", "--model", full_run.run) == ["images/a[1].jpg"]


def test_a_dash_is_one_image_on_stdin(full_run: Trained) -> None:
    data = Path("images/red.jpg").read_bytes()
    (found,) = rows("-", "--model", full_run.run, stdin=data)
    (expected,) = rows("images/red.jpg", "--model", full_run.run)
    assert found["path"] == "-"
    assert {**found, "path": ""} == {**expected, "path": ""}
    assert rows("-", "--model", full_run.run, stdin=b"", exit_code=3) == []


def test_unreadable_files_are_reported_and_the_rest_are_answered(full_run: Trained, images: Path) -> None:
    (images / "empty.jpg").touch()
    (images / "text.png").write_text("no image")
    (images / "cut.jpg").write_bytes((images / "red.jpg").read_bytes()[:200])
    result = run_cli("predict", "images", "gone.jpg", "--model", full_run.run, "--json", "--batch-size", 2)
    assert result.exit_code == 3
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert found == [
        {
            **row,
            "prob": pytest.approx(row["prob"], abs=1e-5),
            "topk": row["topk"] and found[index]["topk"],
            "novelty": pytest.approx(row["novelty"], abs=1e-5),
        }
        for index, row in enumerate(rows(*(f"images/{name}.jpg" for name in CLASSES), "--model", full_run.run))
    ]
    for reason in (
        "images/empty.jpg: the file is empty",
        "images/text.png: not an image",
        "images/cut.jpg: damaged",
        "gone.jpg: No such file",
        "4 of 7 images could not be read",
    ):
        assert reason in result.stderr


def test_the_latest_run_is_the_default(full_run: Trained) -> None:
    Path("runs").mkdir()
    Path("runs/latest").symlink_to(full_run.run)
    assert len(rows("images")) == 3


def test_without_a_run_and_without_weights_it_says_what_to_type() -> None:
    result = run_cli("predict", "images")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no run in runs" in result.stderr and "no ImageNet weights" in result.stderr
    assert "resnet-cli finetune DATA" in result.stderr and "--model RUN" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "named"),
    [
        (["nothing/*.jpg"], 3, "nothing/*.jpg: no images found"),
        (["."], 0, ""),
        (["images", "--csv", "--json"], 2, "--csv and --json: choose one"),
        (["images", "--topk", "0"], 2, "--topk"),
        (["images", "--batch-size", "0"], 2, "--batch-size"),
        (["images", "--device", "gpu"], 2, "--device gpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_named(full_run: Trained, arguments: list[str], exit_code: int, named: str) -> None:
    result = run_cli("predict", *arguments, "--model", full_run.run)
    assert result.exit_code == exit_code, result.output
    assert named in result.stderr
    assert bool(result.stdout) == (exit_code == 0)


def test_an_empty_folder_is_named(full_run: Trained) -> None:
    Path("empty").mkdir()
    result = run_cli("predict", "empty", "--model", full_run.run)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "empty: no images found" in result.stderr


def installed(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    # Strict error handling is the default of most locales.
    env = command_environment() | {"PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run([str(COMMAND), *arguments], env=env, capture_output=True, check=False)


def test_the_installed_command_lets_any_file_name_through(full_run: Trained, images: Path) -> None:
    odd = [b"caf\xe9.jpg", "\N{FOX FACE}.jpg".encode(), b"new\nline.jpg", b"[red]:smile:.jpg"]
    for name in odd:
        shutil.copy(images / "red.jpg", images / os.fsdecode(name))
    done = installed("predict", "images", "--model", str(full_run.run), "--json")
    assert done.returncode == 0, done.stderr.decode()
    names = {os.path.basename(os.fsencode(json.loads(line)["path"])) for line in done.stdout.decode().splitlines()}
    assert names >= set(odd)
    done = installed("predict", "images", "--model", str(full_run.run))
    assert done.returncode == 0, done.stderr.decode()
    assert all(name in done.stdout for name in odd)


def test_a_reader_that_leaves_early_ends_it_quietly(full_run: Trained) -> None:
    command = '"$0" predict images --model "$1" --json | true'
    done = subprocess.run(
        ["sh", "-c", command, str(COMMAND), str(full_run.run)],
        env=command_environment(),
        capture_output=True,
        check=True,
    )
    assert b"Traceback" not in done.stderr


def test_an_exported_model_answers_the_same_without_torch(full_run: Trained, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from resnet_cli.config.export import ExportConfig
    from resnet_cli.exporting.export import Job

    model = full_run.result.model
    exported = tmp_path / "model.onnx"
    Job(model, ExportConfig()).write(exported)
    flags = ["images", "--json", "--abstain", "--sort-into", "sorted", "--annotate", "drawn"]
    command = [sys.executable, "-c", IMPORTED, "predict", *flags, "--model", str(exported)]
    done = subprocess.run(command, env=command_environment(), capture_output=True, text=True, check=True)
    code, imported = json.loads(done.stderr.rpartition("\n")[2])
    assert code == 0 and "onnxruntime" in imported, done.stderr
    assert not {"torch", "torchvision", "sklearn"} & set(imported)
    expected = rows("images", "--abstain", "--model", full_run.run, "--precision", "fp32")
    for row, other in zip((json.loads(line) for line in done.stdout.splitlines()), expected, strict=True):
        assert (row["path"], row["label"], row["unknown"]) == (other["path"], other["label"], other["unknown"])
        assert row["prob"] == pytest.approx(other["prob"], abs=1e-3)
        assert row["novelty"] == pytest.approx(other["novelty"], abs=1e-3)


def test_features_have_a_row_for_each_readable_image(full_run: Trained, images: Path) -> None:
    (images / "broken.jpg").write_text("no image")
    flags = ("--model", full_run.run, "--precision", "fp32", "--embeddings")
    assert run_cli("predict", "images", *flags, "f.npy", "--batch-size", 2).exit_code == 3
    assert run_cli("predict", "images", *flags, "f.safetensors").exit_code == 3
    found = np.load("f.npy")
    assert found.shape == (3, 2048) and found.dtype == np.float32
    assert load_file("f.safetensors")["features"] == pytest.approx(found, abs=1e-5)
    names = list(csv.DictReader(io.StringIO(Path("f.npy.names.csv").read_text())))
    assert [row["path"] for row in names] == [f"images/{name}.jpg" for name in CLASSES]
    expected = rows("images", *flags[:-1], exit_code=3)
    assert [row["unfamiliar"] for row in names] == [str(row["unfamiliar"]) for row in expected]
    assert [float(row["novelty"]) for row in names] == pytest.approx([row["novelty"] for row in expected], abs=1e-5)


def test_what_spoke_for_an_answer_is_drawn(full_run: Trained) -> None:
    assert run_cli("predict", "images", "--model", full_run.run, "--explain", "why").exit_code == 0
    assert sorted(path.name for path in Path("why").iterdir()) == [f"{name}.jpg" for name in CLASSES]
    with Image.open("why/red.jpg") as image:
        assert image.size == (32, 32)


def test_similar_images_are_ranked(full_run: Trained, images: Path) -> None:
    shutil.copy("images/red.jpg", "images/again.jpg")
    flags = ("predict", "--similar", "images/red.jpg", "--among", "images", "--model", full_run.run, "--topk", 2)
    found = [json.loads(line) for line in run_cli(*flags, "--json").stdout.splitlines()]
    assert [(row["rank"], row["query"]) for row in found] == [(1, "images/red.jpg"), (2, "images/red.jpg")]
    assert found[0]["path"] == "images/again.jpg" and found[0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert run_cli(*flags).stdout.splitlines()[0].split("\t")[1:3] == ["1", "images/again.jpg"]
    assert len(list(csv.DictReader(io.StringIO(run_cli(*flags, "--csv").stdout)))) == 2
    (images / "broken.jpg").write_text("no image")
    assert run_cli(*flags).exit_code == 3


def test_a_model_that_knows_no_limits_cannot_abstain(full_run: Trained, tmp_path: Path) -> None:
    old = tmp_path / "old.safetensors"
    dataclasses.replace(full_run.result.model, exemplars=None, reliability=None).save(old)
    result = run_cli("predict", "images", "--model", old, "--abstain")
    assert (result.exit_code, result.stdout) == (3, "") and "the model cannot abstain" in result.stderr
    assert rows("images/red.jpg", "--model", old, "--threshold", 1)[0]["unknown"]


def test_a_watched_folder_is_answered_until_ctrl_c(full_run: Trained, images: Path) -> None:
    flags = ["--model", full_run.run, "--output", "a.jsonl", "--embeddings", "f.npy"]
    process = spawn(["predict", "--watch", "images", *flags], Path.cwd())
    assert process.stderr
    # What the folder contains already was recorded before this line.
    lines_until(iter(process.stderr), "watching images")
    shutil.copy("images/red.jpg", "new.jpg")
    os.rename("new.jpg", "images/new.jpg")
    until = time.monotonic() + 60
    while not Path("a.jsonl").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    assert [json.loads(line)["path"] for line in Path("a.jsonl").read_text().splitlines()] == ["images/new.jpg"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted; the predictions so far are in a.jsonl" in errors and "Traceback" not in errors
    assert np.load("f.npy").shape == (1, 2048)
