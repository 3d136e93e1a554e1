"""Answers in a file: the same figures again, without torch; a damaged or hostile file is named, never believed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.running import IMPORTED, run_cli

from resnet_cli.errors import ConfigError, DataError, DiskError
from resnet_cli.evaluation.predictions_file import SUFFIXES, read_predictions, regroup
from resnet_cli.evaluation.predictions_writing import write_predictions
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.scoring import score

#: What folders and files of strangers are called.
CLASSES = ("cat", "a,b;c", 'with "quotes"', "100 %", "prob:x", "Ünïcode")


@pytest.fixture
def scores() -> Evaluation:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(len(CLASSES), 0.3), size=80).astype(np.float32)
    labels = rng.integers(len(CLASSES), size=80)
    names = [f"folder/{index}\r, {index}.jpg" for index in range(80)]
    return dataclasses.replace(
        score(probs, labels, CLASSES, names),
        temperature=1.37,
        novelty=rng.random(80).astype(np.float32),
        is_unfamiliar=rng.random(80) > 0.9,
        groups=tuple(("north", "", "south")[index % 3] for index in range(80)),
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_figure_and_answer_comes_back_bit_for_bit(scores: Evaluation, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answers{suffix}"
    write_predictions(path, scores)
    found = read_predictions(path)
    assert np.array_equal(found.probs, scores.probs) and found.probs.dtype == np.float32
    assert np.array_equal(found.novelty, scores.novelty)  # type: ignore[arg-type]
    assert (found.names, found.classes, found.groups) == (scores.names, scores.classes, scores.groups)
    assert json.dumps(found.to_dict()) == json.dumps(scores.to_dict())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_model_without_memory_and_groups_comes_back_too(scores: Evaluation, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answers{suffix}"
    plain = dataclasses.replace(scores, novelty=None, is_unfamiliar=None, groups=None, temperature=1.0, tta="flip")
    write_predictions(path, plain)
    found = read_predictions(path)
    assert (found.novelty, found.is_unfamiliar, found.groups, found.tta) == (None, None, None, "flip")
    assert found.to_dict() == plain.to_dict()


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=5))
def test_any_probability_survives(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    total = sum(values) or 1.0
    probs = np.array([[value / total for value in values] if sum(values) else [1.0] + [0.0] * (len(values) - 1)])
    path = tmp_path_factory.mktemp("answers") / "a.csv"
    names = [str(index) for index in range(len(values))]
    write_predictions(path, score(probs.astype(np.float32), np.array([0]), names, ["x"]))
    assert np.array_equal(read_predictions(path).probs, probs.astype(np.float32))


def test_what_another_program_wrote_needs_three_kinds_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("path,label,prob:cat,prob:dog\n1.jpg,cat,0.7,0.3\n2.jpg,dog,0.6,0.4\n", encoding="utf-8-sig")
    found = read_predictions(path)
    assert (found.classes, found.top1, found.temperature, found.uncalibrated) == (("cat", "dog"), 0.5, 1.0, None)


HEAD = "path,label,prob:cat,prob:dog\n"
BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "no predictions"),
    "header alone": (HEAD, "no predictions"),
    "no classes": ("path,label\n1.jpg,cat\n", "no column 'prob:CLASS'"),
    "no label": ("path,prob:cat\n1.jpg,1\n", "no column 'label'"),
    "unknown label": (HEAD + "1.jpg,bird,0.5,0.5\n", "'bird' is not a class"),
    "a word": (HEAD + "1.jpg,cat,much,0.5\n", "'much', not a number"),
    "nan": (HEAD + "1.jpg,cat,nan,0.5\n", "'nan', not a number"),
    "infinite": (HEAD + "1.jpg,cat,inf,0.5\n", "not a number"),
    "negative": (HEAD + "1.jpg,cat,-0.5,1\n", "not a number"),
    "not adding up": (HEAD + "1.jpg,cat,0.5,0.5\n2.jpg,cat,0.5,0.1\n", "image 2 have the sum 0.6"),
    "cells missing": (HEAD + "1.jpg,cat,1\n", "3 cells under 4 columns"),
    "a class twice": ("path,label,prob:cat,prob:cat\n1.jpg,cat,0.5,0.5\n", "'prob:cat' occurs twice"),
    "an open quote": (HEAD + '"1.jpg,cat,0.5,0.5\n', "not a row"),
    "binary": (b"\x00\xff\xfe" * 50, ""),
    "temperatures": (HEAD.replace("path", "temperature,path") + "1,1.jpg,cat,1,0\n2,2.jpg,cat,1,0\n", "temperature"),
    "tta": (HEAD.replace("path", "tta,path") + "spin,1.jpg,cat,1,0\n", "'tta'"),
    "unfamiliar": (HEAD.replace("path", "unfamiliar,path") + "maybe,1.jpg,cat,1,0\n", "neither True nor False"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    text, reason = BAD[name]
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"bad\.csv") as refused:
        read_predictions(path)
    assert reason in refused.value.message


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".jsonl", b"{}\n"),
        (".jsonl", b"[1]\n"),
        (".jsonl", b'{"path": "x", "label": "cat", "prob:cat": true}\n'),
        (".jsonl", b'{"path": "x", "label": "cat", "prob:cat": 1e999}\n'),
        (".jsonl", b'{"a":' * 5000 + b"\n"),
        (".parquet", b"PAR1 not at all PAR1"),
        (".parquet", b""),
    ],
)
def test_damaged_json_and_parquet_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="bad"):
        read_predictions(path)


def test_names_and_places_that_cannot_be_are_refused(scores: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.txt"):
        write_predictions(tmp_path / "x.txt", scores)
    with pytest.raises(DataError, match=r"gone\.csv"):
        read_predictions(tmp_path / "gone.csv")
    with pytest.raises(DiskError):
        write_predictions(tmp_path / "no such folder" / "x.csv", scores)


def test_names_that_are_not_utf8_come_back_or_are_refused(scores: Evaluation, tmp_path: Path) -> None:
    odd = dataclasses.replace(scores, names=("\udcff.jpg", *scores.names[1:]))
    for suffix in (".csv", ".tsv", ".jsonl"):
        write_predictions(tmp_path / f"a{suffix}", odd)
        assert read_predictions(tmp_path / f"a{suffix}").names == odd.names
    with pytest.raises(DataError, match="not UTF-8"):
        write_predictions(tmp_path / "a.parquet", odd)
    assert not (tmp_path / "a.parquet").exists()


def test_groups_are_the_files_own_or_come_from_names(scores: Evaluation) -> None:
    assert regroup(scores, "group") is scores
    assert {one.group for one in regroup(scores, r"(\d)\.jpg").slices} == set("0123456789")
    assert [one.group for one in regroup(scores, "parent").slices] == ["folder"]
    with pytest.raises(ConfigError, match="--slice group"):
        regroup(dataclasses.replace(scores, groups=None), "group")
    with pytest.raises(DataError, match="--slice camera"):
        regroup(scores, "camera")


def test_scoring_a_file_loads_no_torch(scores: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    write_predictions(path, scores)
    command = [sys.executable, "-c", IMPORTED, "eval", "--from-predictions", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, names = json.loads(done.stderr.rpartition("\n")[2])
    assert code == 0 and not set(names) & {"torch", "torchvision"}
    assert f"{100 * scores.top1:.1f} %" in done.stdout and "Per group" in done.stdout


def test_the_command_scores_a_file_again(scores: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "answers.parquet"
    write_predictions(path, scores)
    result = run_cli("eval", "--from-predictions", path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {name: found[name] for name in scores.to_dict()} == json.loads(json.dumps(scores.to_dict()))
    assert (found["model"], found["data"], found["target"]) == (None, str(path), None)
    assert run_cli("eval", "--from-predictions", path, "--fail-under", "99%").exit_code == 10


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["runs/x"], "runs/x"),
        (["--split", "val"], "--split val"),
        (["--no-report"], "--no-report"),
        (["--target-error", "1%"], "--target-error 0.01"),
    ],
)
def test_what_needs_the_model_has_no_effect_on_a_file(tmp_path: Path, words: list[str], named: str) -> None:
    result = run_cli("eval", *words, "--from-predictions", tmp_path / "x.csv")
    assert result.exit_code == 2
    assert f"{named} has no effect with --from-predictions" in result.stderr


def test_a_long_line_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.evaluation.predictions_file.MAX_LINE_CHARS", 100)
    path = tmp_path / "bad.csv"
    path.write_text("x" * 101)
    with pytest.raises(DataError, match="longer than 100"):
        read_predictions(path)
