"""Several processes at once: each keeps to the run that was named when it started, and none disturbs another."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import http.client
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.command_server import CommandServer
from support.narrow_network import make_narrow
from support.running import TINY, TINY_FLAGS, run_cli

from resnet_cli import finetune
from resnet_cli.model.weights import load_model
from resnet_cli.system.latest import mark_latest
from resnet_cli.system.paths import LATEST, sha256_of

pytest_plugins = ["support.command_server", "support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

#: Two trainings whose models differ; flags of the command, and values of the same fields for Python.
TRAININGS: dict[str, dict[str, Any]] = {
    "a": {"mode": "frozen", "seed": 1},
    "b": {"mode": "full", "seed": 2, "epochs": 2, "batch_size": 8},
}


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data as an archive, and the runs ``a`` and ``b``, trained one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        patch.chdir(folder)
        patch.setenv("RESNET_CLI_CACHE", str(folder / "cache"))
        patch.setattr("resnet_cli.reporting.single_label_report.overlays", lambda *_, **__: {})
        shutil.make_archive("colours", "zip", photos.parent, photos.name)
        for name, values in TRAININGS.items():
            finetune(data="colours.zip", out=Path("runs", name), **TINY | values)
    return folder


@pytest.fixture
def runs(alone: Path, here: Path) -> Path:
    """Copies of both runs, ``a`` the latest."""
    shutil.copytree(alone / "runs", here / "runs", symlinks=True)
    shutil.copy(alone / "colours.zip", here)
    mark_latest(here / "runs" / "a")
    return here / "runs"


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_an_export_stays_with_the_run_that_was_the_latest_when_it_started(runs: Path, commands: CommandServer) -> None:
    command = commands.stopped("evaluate", "export", "--json")
    before = content(runs / "b")
    mark_latest(runs / "b")
    assert command.finish() == 0, command.stderr
    result = json.loads(command.stdout)
    assert (result["model"], result["path"]) == ("runs/a/model.safetensors", "runs/a/model.onnx")
    assert result["source_sha256"] == sha256_of(runs / "a" / "model.safetensors")
    assert result["sha256"] == sha256_of(runs / "a" / "model.onnx")
    assert content(runs / "b") == before


def test_an_evaluation_stays_with_the_run_that_was_the_latest_when_it_started(
    runs: Path, commands: CommandServer
) -> None:
    command = commands.stopped("evaluate", "eval", "--json", "--save-predictions", "saved.csv")
    before = content(runs / "b")
    mark_latest(runs / "b")
    assert command.finish() == 0, command.stderr
    result = json.loads(command.stdout)
    assert (result["model"], result["report"]) == ("runs/a/model.safetensors", "runs/a/eval/colours-test/report.html")
    assert "resnet-cli eval runs/a --save-predictions saved.csv" in Path(result["report"]).read_text(encoding="utf-8")
    assert content(runs / "b") == before
    assert run_cli("eval", "--from-predictions", "saved.csv", "--json").stdout


def test_a_comparison_opens_the_run_that_was_the_latest_when_it_started(runs: Path, commands: CommandServer) -> None:
    command = commands.stopped("evaluate", "eval", "runs/b", "runs/latest", "--json")
    mark_latest(runs / "b")
    assert command.finish() == 0, command.stderr
    models = [found["model"] for found in json.loads(command.stdout)["models"]]
    assert models == ["runs/b/model.safetensors", "runs/a/model.safetensors"]


def test_predictions_are_those_of_the_run_that_was_the_latest_when_the_command_started(
    runs: Path, photos: Path, commands: CommandServer
) -> None:
    outputs = ("--output", "switched.csv", "--embeddings", "switched.npy")
    command = commands.stopped("Status", "predict", photos / "test", *outputs)
    mark_latest(runs / "b")
    assert command.finish() == 0, command.stderr
    command = commands.start("predict", photos / "test", "--model", "runs/a", "--output", "plain.csv")
    assert command.wait() == 0, command.stderr
    assert read_rows(Path("switched.csv")) == read_rows(Path("plain.csv"))


def test_a_training_starts_from_the_run_that_was_the_latest_when_the_command_started(
    runs: Path, commands: CommandServer
) -> None:
    flags = ("--mode", "frozen", "--out", "next", "--quiet", "--device", "cpu")
    command = commands.stopped("check", "finetune", "colours.zip", "--weights", "runs/latest", *flags)
    mark_latest(runs / "b")
    assert command.finish() == 0, command.stderr
    config = yaml.safe_load(Path("next/config.yaml").read_text(encoding="utf-8"))
    assert config["weights"] == str(runs / "a" / "model.safetensors")
    trained = load_file("next/model.safetensors")
    assert torch.equal(trained["conv1.weight"], load_file(runs / "a" / "model.safetensors")["conv1.weight"])


def test_a_training_does_not_start_from_two_states_of_a_run(runs: Path, commands: CommandServer) -> None:
    flags = ("--mode", "frozen", "--out", "next", "--device", "cpu")
    command = commands.stopped("PlanMade", "finetune", "colours.zip", "--weights", "runs/a", *flags)
    # Another process trains that run, and has just written its next best epoch.
    model = runs / "a" / "model.safetensors"
    (runs / "other").write_bytes(model.read_bytes())
    os.replace(runs / "other", model)
    assert command.finish() == 3
    assert "runs/a/model.safetensors: the file was replaced or removed" in " ".join(command.stderr.split())
    assert not Path("next").exists()


def test_a_server_names_and_serves_the_run_that_was_the_latest_when_it_started(
    runs: Path, photos: Path, commands: CommandServer
) -> None:
    pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")
    command = commands.stopped("first batch", "serve", "--runtime", "torch", "--port", "0")
    mark_latest(runs / "b")
    command.send_signal(signal.SIGCONT)
    try:
        deadline = time.monotonic() + 120
        while not command.stdout.endswith("\n"):
            assert time.monotonic() < deadline, command.stderr
            time.sleep(0.05)
        # It answers from memory, whatever becomes of the runs.
        sha256 = sha256_of(runs / "a" / "model.safetensors")
        shutil.rmtree(runs)
        connection = http.client.HTTPConnection("127.0.0.1", int(command.stdout.rpartition(":")[2]), timeout=60)
        with contextlib.closing(connection):
            image = next((photos / "test" / "red").glob("*.png")).read_bytes()
            connection.request("POST", "/predict", image, {"Content-Type": "image/png"})
            response = connection.getresponse()
            reply = json.loads(response.read())
        assert response.status == 200
        assert (reply["model"]["name"], reply["model"]["sha256"]) == ("a", sha256)
    finally:
        command.send_signal(signal.SIGTERM)
        assert command.wait() == 143


def test_a_run_that_is_removed_while_commands_use_it_does_not_come_back_in_part(
    runs: Path, commands: CommandServer
) -> None:
    export, evaluation = commands.stopped("evaluate", "export"), commands.stopped("evaluate", "eval", "--json")
    training = commands.stopped("EpochDone", "finetune", "colours.zip", *TINY_FLAGS, "--mode", "full", "--epochs", "3",
                                "--checkpoint-every", "0.001s", "--out", "runs/c")  # fmt: skip
    shutil.rmtree(runs / "a")
    shutil.rmtree(runs / "c")
    assert export.finish() == 6
    assert "runs/a" in export.stderr and "--out" in export.stderr
    assert evaluation.finish() == 0 and json.loads(evaluation.stdout)["report"] is None
    assert "no report was written: runs/a/model.safetensors was removed in the meantime" in evaluation.stderr
    assert training.finish() == 6 and "runs/c" in training.stderr
    assert sorted(path.name for path in runs.iterdir()) == ["b", "latest"]
    result = run_cli("export", "--json")
    assert result.exit_code == 2
    assert "it points to runs/a, which has no model" in json.loads(result.stderr)["error"]["message"]


def test_a_run_that_is_being_trained_cannot_be_resumed(runs: Path, commands: CommandServer) -> None:
    flags = ("--mode", "full", "--epochs", "2", "--out", "runs/c")
    training = commands.stopped("EpochDone", "finetune", "colours.zip", *TINY_FLAGS, *flags)
    before = content(runs / "c")
    result = run_cli("finetune", "--resume", "runs/c", "--json")
    error = json.loads(result.stderr.splitlines()[-1])["error"]
    assert result.exit_code == 2 and error["message"] == "runs/c: another process is training it"
    result = run_cli("finetune", "--resume")
    assert result.exit_code == 2 and "no run in runs was interrupted" in result.stderr
    assert content(runs / "c") == before
    assert training.finish() == 0
    result = run_cli("finetune", "--resume", "runs/c")
    assert result.exit_code == 2 and "runs/c is finished: 2 epochs" in result.stderr


@pytest.mark.usefixtures("narrow")
def test_everything_at_once_gives_what_each_gives_alone(
    runs: Path, commands: CommandServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is in the caches yet: the archive is unpacked, and images and features are stored, by all at once.
    monkeypatch.setenv("RESNET_CLI_CACHE", str(runs.parent / "cache"))
    requests: dict[str, list[object]] = {
        "eval a": ["eval", "runs/a", "--json"],
        "eval b": ["eval", "runs/b", "--json"],
        "export a": ["export", "runs/a", "--format", "safetensors", "--json"],
    }
    for name, values in TRAININGS.items():
        flags = [word for key, value in values.items() for word in (f"--{key.replace('_', '-')}", value)]
        requests[f"finetune {name}"] = ["finetune", "colours.zip", *TINY_FLAGS, *flags, "--out", f"runs/new-{name}"]
    before = {name: content(runs / name) for name in TRAININGS}
    started = {name: commands.start(*arguments) for name, arguments in requests.items()}
    for name, command in started.items():
        assert command.wait() == 0 and "Traceback" not in command.stderr, (name, command.stderr)
    for name in TRAININGS:
        one, other = runs / name, runs / f"new-{name}"
        assert tensors_differ(one, other) == []
        metrics = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in (one, other)]
        assert metrics[0]["val"] == metrics[1]["val"] and metrics[0]["test"] == metrics[1]["test"]
        after = content(one)
        assert {path: after.get(path) for path in before[name]} == before[name]
        folders = {path.partition("/")[0] for path in after.keys() - before[name].keys()}
        assert folders == ({"eval", "timm"} if name == "a" else {"eval"})
    assert LATEST.resolve().name in {"new-a", "new-b"}
    assert load_model(LATEST).classes == load_model(runs / "a").classes
    assert not [path for path in runs.rglob(".*") if path.name.endswith(".tmp")]
    # What they have left in the caches is right.
    result = run_cli("finetune", "colours.zip", *TINY_FLAGS, "--mode", "frozen", "--seed", "1", "--out", "runs/cached")
    assert result.exit_code == 0, result.stderr
    assert tensors_differ(runs / "a", runs / "cached") == []


def test_two_exports_into_one_folder_leave_one_whole_folder(runs: Path, commands: CommandServer) -> None:
    flags = ("export", "--format", "safetensors", "--json")
    first, second = commands.stopped("evaluate", *flags), commands.stopped("evaluate", *flags)
    assert (first.finish(), second.finish()) == (0, 2)
    assert "runs/a/timm: exists already" in json.loads(second.stderr.splitlines()[-1])["error"]["message"]
    assert not list((runs / "a").glob(".*"))
    found = hashlib.sha256((runs / "a" / "timm" / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads(first.stdout)["sha256"] == found


def tensors_differ(one: Path, other: Path) -> list[str]:
    first, second = (load_file(run / "model.safetensors") for run in (one, other))
    return [name for name in first.keys() | second.keys() if not torch.equal(first[name], second[name])]
