"""Coarser answers are asked for by name, named beside every figure, and never mixed with others in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.running import TINY_FLAGS, run_cli

from resnet_cli.system import device

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow", "no_plots")

SMALL = ("--weights", "none", "--image-size", "32", "--device", "cpu")
CONFLICT = "temperature and thresholds were computed in bf16, these predictions in fp32"


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


def succeeds(*arguments: object) -> tuple[str, str]:
    """What the command says on stdout, and on stderr in one line."""
    result = run_cli(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout, " ".join(result.stderr.replace("│", " ").split())


def made(photos: Path, *flags: str, out: str = "run", mode: str = "frozen") -> dict[str, Any]:
    stdout, _ = succeeds("finetune", photos, *SMALL, "--mode", mode, *flags, "--out", out, "--json")
    found: dict[str, Any] = json.loads(stdout)
    return found


@pytest.mark.parametrize("has_bf16", [False, True])
def test_figures_and_answers_are_float32_whatever_the_processor_has(
    photos: Path, monkeypatch: pytest.MonkeyPatch, has_bf16: bool
) -> None:
    monkeypatch.setattr(device, "_bf16_is_native", lambda name: (has_bf16, "as the test wants it"))
    assert made(photos, "--epochs", "1", mode="full")["precision"] == "fp32"
    steps = "step_precision: bf16" in Path("run/config.yaml").read_text()
    assert steps == has_bf16 and "\nprecision: fp32" in Path("run/config.yaml").read_text()
    stdout, stderr = succeeds("eval", "run", "--no-report", "--json")
    assert json.loads(stdout)["precision"] == "fp32"
    assert "computed in" not in stderr


def test_bf16_is_named_beside_every_figure_that_it_made(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_bf16_is_native", lambda name: (True, "as the test wants it"))
    stdout, stderr = succeeds("finetune", photos, *SMALL, "--mode", "frozen", "--precision", "bf16", "--out", "run")
    assert "computed in bf16, less precise than float32" in " ".join(stdout.split())
    assert "all metrics are computed in it" in stderr
    assert json.loads(Path("run/metrics.json").read_text())["precision"] == "bf16"
    stdout, stderr = succeeds("eval", "run", "--no-report", "--precision", "bf16", "--json")
    assert json.loads(stdout)["precision"] == "bf16"
    assert "computed in bf16, less precise than float32" in stderr and "warning" not in stderr
    # On the validation images of its run, in the words in which int8 says it.
    assert re.search(r"bf16: the same class on \d+\.\d % of 15 validation images; accuracy \d", stderr)
    image = next(photos.rglob("*.jpg"))
    _, stderr = succeeds("predict", image, "--model", "run", "--precision", "bf16")
    assert "predictions are computed in bf16, which is less precise than float32" in stderr and "warning" not in stderr


def test_it_is_said_where_a_model_got_to_know_its_limits_in_another_precision(photos: Path) -> None:
    made(photos, "--precision", "bf16")
    image = next(photos.rglob("*.jpg"))
    assert CONFLICT in succeeds("eval", "run", "--no-report")[1]
    assert CONFLICT in succeeds("predict", image, "--model", "run")[1]
    assert CONFLICT in succeeds("export", "run")[1]
    for command in (
        ("eval", "run/model.onnx", photos, "--no-report"),
        ("predict", image, "--model", "run/model.onnx"),
    ):
        assert CONFLICT in succeeds(*command)[1]
    succeeds("eval", "run", "--out", "report")
    assert CONFLICT in " ".join(Path("report/report.html").read_text().split())
    made(photos, "--precision", "fp32", out="exact")
    assert "computed in" not in succeeds("eval", "exact", "--no-report")[1]
    assert "computed in" not in succeeds("predict", image, "--model", "exact")[1]
    assert "computed in" not in succeeds("export", "exact")[1]


def test_rows_of_two_precisions_are_never_in_one_file(photos: Path) -> None:
    made(photos)
    images = photos / "test" / "red"
    succeeds("predict", images, "--model", "run", "--precision", "bf16", "--output", "answers.jsonl")
    result = run_cli("predict", images, "--model", "run", "--output", "answers.jsonl", "--resume")
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_classes_are_added_in_the_precision_of_what_is_remembered(photos: Path) -> None:
    made(photos, "--precision", "bf16")
    add = (
        "finetune",
        photos,
        "--weights",
        "run",
        "--add",
        "--device",
        "cpu",
        "--mode",
        "frozen",
        "--dry-run",
        "--json",
    )
    stdout, _ = succeeds(*add)
    (row,) = [row for row in json.loads(stdout)["plan"] if row["name"] == "precision"]
    assert (row["value"], row["why"]) == ("bf16", "as in that model")
    result = run_cli(*add, "--precision", "fp32")
    assert result.exit_code == 2 and "use --precision bf16" in result.output


def test_the_plan_and_the_metrics_say_how_many_threads_work(photos: Path) -> None:
    result = made(photos, "--threads", "1", "--epochs", "1", mode="full")
    assert result["threads"] == [[0, 1]] == json.loads(Path("run/metrics.json").read_text())["threads"]
    assert "\nthreads: 1\n" in Path("run/config.yaml").read_text()
    stdout, _ = succeeds("finetune", photos, *TINY_FLAGS, "--dry-run", "--json")
    (row,) = [row for row in json.loads(stdout)["plan"] if row["name"] == "threads"]
    assert int(row["value"]) >= 1 and row["origin"] == "auto"
    for refused in ("0", "many"):
        assert run_cli("finetune", photos, *SMALL, "--threads", refused).exit_code == 2
