"""Several processes at once: each keeps to the run that was named when it started, and none disturbs another."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.live_server import Server, ask, post
from support.narrow_network import make_narrow
from support.running import NARROW, TINY, TINY_FLAGS, command_environment, run_cli

from resnet_cli import finetune
from resnet_cli.model.weights import load_model
from resnet_cli.system.latest import mark_latest
from resnet_cli.system.paths import LATEST, sha256_of

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

#: Two trainings whose models differ; flags of the command, and values of the same fields for Python.
TRAININGS: dict[str, dict[str, Any]] = {
    "a": {"mode": "frozen", "seed": 1},
    "b": {"mode": "full", "seed": 2, "epochs": 2, "batch_size": 8},
}
#: The command as it is.
PLAIN = f"""{NARROW}
from resnet_cli.cli import main
main()
"""
#: The command, which stops itself, as SIGSTOP would, where the event or the task comes that its first argument names.
STOPPING = f"""{NARROW}
import importlib, os, signal
name = sys.argv.pop(1)
def stop():
    global name
    name = None
    os.kill(os.getpid(), signal.SIGSTOP)
for module, view in (("progress", "ProgressView"), ("predict", "PredictView")):
    found = getattr(importlib.import_module("resnet_cli.cli." + module), view)
    def show(self, event, show=found.__call__):
        show(self, event)
        if name is not None and name in (type(event).__name__, getattr(event, "task", None)):
            stop()
    found.__call__ = show
from resnet_cli.predictor import TorchPredictor
predict = TorchPredictor.predict
def first(self, inputs):
    if name == "open":
        stop()
    return predict(self, inputs)
TorchPredictor.predict = first
from resnet_cli.cli import main
main()
"""


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data as an archive, and the runs ``a`` and ``b``, trained one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        patch.chdir(folder)
        patch.setenv("RESNET_CLI_CACHE", str(folder / "cache"))
        patch.setattr("resnet_cli.training.report.overlays", lambda *_, **__: {})
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


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(at: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts the command and waits until it has stopped itself."""
    process = start(STOPPING, at, *arguments)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), process.communicate()
    return process


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Lets a process that stopped itself go on to its end."""
    process.send_signal(signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=300)
    assert "Traceback" not in stderr, stderr
    return process.returncode, stdout, stderr


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_export_stays_with_the_run_that_was_the_latest_when_it_started(runs: Path) -> None:
    process = stopped("evaluate", "export", "--json")
    before = content(runs / "b")
    mark_latest(runs / "b")
    code, stdout, stderr = finished(process)
    assert code == 0, stderr
    result = json.loads(stdout)
    assert (result["model"], result["path"]) == ("runs/a/model.safetensors", "runs/a/model.onnx")
    assert result["source_sha256"] == sha256_of(runs / "a" / "model.safetensors")
    assert result["sha256"] == sha256_of(runs / "a" / "model.onnx")
    assert content(runs / "b") == before


def test_an_evaluation_stays_with_the_run_that_was_the_latest_when_it_started(runs: Path) -> None:
    process = stopped("evaluate", "eval", "--json", "--save-predictions", "saved.csv")
    before = content(runs / "b")
    mark_latest(runs / "b")
    code, stdout, stderr = finished(process)
    assert code == 0, stderr
    result = json.loads(stdout)
    assert (result["model"], result["report"]) == ("runs/a/model.safetensors", "runs/a/eval/colours-test/report.html")
    assert "resnet-cli eval runs/a --save-predictions saved.csv" in Path(result["report"]).read_text(encoding="utf-8")
    assert content(runs / "b") == before
    assert run_cli("eval", "--from-predictions", "saved.csv", "--json").stdout


def test_a_comparison_opens_the_run_that_was_the_latest_when_it_started(runs: Path) -> None:
    process = stopped("evaluate", "eval", "runs/b", "runs/latest", "--json")
    mark_latest(runs / "b")
    code, stdout, stderr = finished(process)
    assert code == 0, stderr
    models = [found["model"] for found in json.loads(stdout)["models"]]
    assert models == ["runs/b/model.safetensors", "runs/a/model.safetensors"]


def test_predictions_are_those_of_the_run_that_was_the_latest_when_the_command_started(
    runs: Path, photos: Path
) -> None:
    outputs = ("--output", "switched.csv", "--embeddings", "switched.npy")
    process = stopped("Loading", "predict", photos / "test", *outputs)
    mark_latest(runs / "b")
    code, _, stderr = finished(process)
    assert code == 0, stderr
    with start(PLAIN, "predict", photos / "test", "--model", "runs/a", "--output", "plain.csv") as process:
        assert process.wait(timeout=300) == 0
    assert read_rows(Path("switched.csv")) == read_rows(Path("plain.csv"))


def test_a_training_starts_from_the_run_that_was_the_latest_when_the_command_started(runs: Path) -> None:
    flags = ("--mode", "frozen", "--out", "next", "--quiet", "--device", "cpu")
    process = stopped("check", "finetune", "colours.zip", "--weights", "runs/latest", *flags)
    mark_latest(runs / "b")
    code, _, stderr = finished(process)
    assert code == 0, stderr
    config = yaml.safe_load(Path("next/config.yaml").read_text(encoding="utf-8"))
    assert config["weights"] == str(runs / "a" / "model.safetensors")
    trained = load_file("next/model.safetensors")
    assert torch.equal(trained["conv1.weight"], load_file(runs / "a" / "model.safetensors")["conv1.weight"])


@pytest.fixture
def server(runs: Path) -> Iterator[Server]:
    """A server of the latest run, which is another one before it has opened it."""
    pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")
    process = stopped("open", "serve", "--runtime", "torch", "--port", "0")
    mark_latest(runs / "b")
    process.send_signal(signal.SIGCONT)
    try:
        assert process.stdout and process.stderr
        url = process.stdout.readline().strip()
        assert url, process.stderr.read()
        yield Server(process, int(url.rpartition(":")[2]))
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_server_names_and_serves_the_run_that_was_the_latest_when_it_started(
    server: Server, runs: Path, photos: Path
) -> None:
    for _ in range(2):
        reply = post(server, next((photos / "test" / "red").glob("*.png")).read_bytes())
        assert reply.status == 200
        assert reply.json["model"]["name"] == "a"
        assert reply.json["model"]["sha256"] == sha256_of(runs / "a" / "model.safetensors")
        # It answers from memory, whatever becomes of the run.
        shutil.rmtree(runs / "b", ignore_errors=True)
    assert ask(server, "GET", "/healthz").status == 200


def test_a_run_that_is_removed_while_a_command_uses_it_does_not_come_back_in_part(runs: Path) -> None:
    export, evaluation = stopped("evaluate", "export"), stopped("evaluate", "eval", "--json")
    training = stopped("EpochDone", "finetune", "colours.zip", *TINY_FLAGS, "--mode", "full", "--epochs", "3",
                       "--checkpoint-every", "0.001s", "--out", "runs/c")  # fmt: skip
    shutil.rmtree(runs / "a")
    shutil.rmtree(runs / "c")
    code, _, stderr = finished(export)
    assert code == 6 and "runs/a" in stderr and "--out" in stderr
    code, stdout, stderr = finished(evaluation)
    assert code == 0 and json.loads(stdout)["report"] is None
    assert "no report is written: runs/a/model.safetensors was removed meanwhile" in stderr
    code, _, stderr = finished(training)
    assert code == 6 and "runs/c" in stderr
    assert sorted(path.name for path in runs.iterdir()) == ["b", "latest"]
    result = run_cli("export", "--json")
    assert result.exit_code == 2
    assert "it points to runs/a, which has no model" in json.loads(result.stderr)["error"]["message"]


@pytest.mark.usefixtures("narrow")
def test_everything_at_once_gives_what_each_gives_alone(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is in the caches yet: the archive is unpacked, and images and features are stored, by all at once.
    monkeypatch.setenv("RESNET_CLI_CACHE", str(runs.parent / "cache"))
    commands: dict[str, list[object]] = {
        "eval a": ["eval", "runs/a", "--json"],
        "eval b": ["eval", "runs/b", "--json"],
        "export a": ["export", "runs/a", "--format", "safetensors", "--json"],
    }
    for name, values in TRAININGS.items():
        flags = [word for key, value in values.items() for word in (f"--{key.replace('_', '-')}", value)]
        commands[f"finetune {name}"] = ["finetune", "colours.zip", *TINY_FLAGS, *flags, "--out", f"runs/new-{name}"]
    before = {name: content(runs / name) for name in TRAININGS}
    processes = {name: start(PLAIN, *arguments) for name, arguments in commands.items()}
    for name, process in processes.items():
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0 and "Traceback" not in stderr, (name, stderr)
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


def test_two_exports_into_one_folder_leave_one_whole_folder(runs: Path) -> None:
    flags = ("export", "--format", "safetensors", "--json")
    first, second = stopped("evaluate", *flags), stopped("evaluate", *flags)
    outcomes = [finished(process) for process in (first, second)]
    assert [code for code, _, _ in outcomes] == [0, 2]
    assert "runs/a/timm: exists already" in json.loads(outcomes[1][2].splitlines()[-1])["error"]["message"]
    assert not list((runs / "a").glob(".*"))
    found = hashlib.sha256((runs / "a" / "timm" / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads(outcomes[0][1])["sha256"] == found


def tensors_differ(one: Path, other: Path) -> list[str]:
    first, second = (load_file(run / "model.safetensors") for run in (one, other))
    return [name for name in first.keys() | second.keys() if not torch.equal(first[name], second[name])]
