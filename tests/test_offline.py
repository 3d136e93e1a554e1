"""No command sends anything: its system calls reach no other machine, look up no name, and write nothing elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.live_server import post, serving
from support.running import ASKED_HERE, COMMAND, NARROW, TINY_FLAGS, Trained
from support.system_calls import calls, contacts, created, require_strace, watched
from test_system_no_telemetry import plain_environment

pytest_plugins = ["support.exported_model", "support.small_runs"]

#: Runs commands one after the other, and prints the exit code and errors of each.
COMMANDS_IN_TURN = f"""{NARROW}{ASKED_HERE}
import json
from support.running import run_cli
for words in json.loads(sys.argv[1]):
    result = run_cli(*words)
    print(json.dumps([result.exit_code, result.stderr[-2000:]]), flush=True)
"""
FINETUNE = ("finetune", "PHOTOS", "--epochs", "1", *TINY_FLAGS)
#: Commands on local files, in an order in which each finds what it needs, and their exit codes.
LOCAL: dict[str, int] = {
    "inspect PHOTOS": 0,
    " ".join([*FINETUNE, "--mode", "frozen", "--out", "run"]): 0,
    " ".join([*FINETUNE, "--mode", "full", "--batch-size", "8", "--out", "full"]): 0,
    "finetune --resume run --epochs 2": 0,
    "eval run": 0,
    "eval run full PHOTOS": 0,
    "eval run --label-audit": 0,
    "predict PHOTOS/test --model run --explain seen --parquet --output found.parquet": 0,
    "export run --format onnx --out made.onnx": 0,
    "export run --int8 --out small.onnx --verify-with PHOTOS": 0,
    "export run --format pt2 --out made.pt2": 0,
    "export run --format safetensors --out made": 0,
    "export run --format openvino --out folder": 0,
    "predict PHOTOS/test --model made.onnx --csv --output found.csv": 0,
    "predict PHOTOS/test --model small.onnx --sort-into sorted": 0,
    "eval made.onnx PHOTOS": 0,
    "inspect digits": 0,
}
#: Those that are also watched without ``--offline``.
USUAL = {
    command for command in LOCAL if not command.startswith("eval") and "small" not in command and "pt2" not in command
}
#: Commands that would need a network.
REMOTE: dict[str, int] = {
    "download imagenet-v1": 5,
    "download hf:owner/name": 5,
    "inspect hf:owner/name": 5,
    "inspect s3://bucket/photos": 5,
    "inspect https://example.invalid/photos.zip": 5,
    "finetune PHOTOS --weights imagenet-v2": 5,
    "predict https://example.invalid/a.jpg --model run": 5,
    "predict PHOTOS/test --model imagenet-v1": 5,
}


def environment_in(folder: Path) -> dict[str, str]:
    """The environment of a user whose home and temporary files are in a folder, beside an empty one to work in."""
    for name in ("here", "home", "tmp"):
        (folder / name).mkdir()
    places = {"RESNET_CLI_CACHE": "cache", "TMPDIR": "tmp", "TORCH_HOME": "torch"}
    places = {name: str(folder / place) for name, place in places.items()}
    return plain_environment(folder / "home") | places | {"RESNET_CLI_OFFLINE": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def run_in_turn(commands: dict[str, int], photos: Path, folder: Path, *, offline: bool) -> tuple[list[str], list[str]]:
    """The calls of commands in a new process with an empty home folder, and those commands that ended otherwise."""
    environment, log = environment_in(folder), folder / "calls"
    flags = ["--offline"] if offline else []
    words = [[word.replace("PHOTOS", str(photos)) for word in command.split()] + flags for command in commands]
    process = subprocess.Popen(
        [*watched(log), sys.executable, "-c", COMMANDS_IN_TURN, json.dumps(words)],
        cwd=folder / "here", env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stdout, stderr = process.communicate(timeout=500)
    assert process.returncode == 0, stderr
    ended = [json.loads(line) for line in stdout.splitlines() if line.startswith("[")]
    otherwise = [
        f"{command}: {code} {error}"
        for (command, expected), (code, error) in zip(commands.items(), ended, strict=True)
        # Some extras may not be installed.
        if code != expected and not (code == 4 and "not installed" in error)
    ]
    return calls(log, process.pid), otherwise


def elsewhere(lines: list[str], folder: Path) -> set[str]:
    """Files created outside of a folder, without those that vanish with the process."""
    found = {path.as_posix() for path in created(lines, folder / "here") if not path.is_relative_to(folder)}
    return {path for path in found if not path.startswith(("/dev/", "/proc/"))}


@pytest.mark.parametrize("offline", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "--offline"])
def test_commands_on_local_data_keep_to_themselves(offline: bool, photos: Path, tmp_path: Path) -> None:
    require_strace()
    usual = {command: code for command, code in LOCAL.items() if command in USUAL} | {"download --list": 0}
    commands = LOCAL | REMOTE if offline else usual
    lines, otherwise = run_in_turn(commands, photos, tmp_path, offline=offline)
    assert not otherwise
    assert not contacts(lines)
    assert not elsewhere(lines, tmp_path)
    # Matplotlib keeps its list of fonts where it does for every program.
    folders = {path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").glob(".*/*")}
    assert folders <= {".cache/matplotlib", ".config/matplotlib"}
    # torch makes an empty folder for its compiler when that is imported.
    assert not [path for path in (tmp_path / "tmp").iterdir() if not path.name.startswith("torchinductor")]


@pytest.mark.parametrize("kind", ["run", "onnx"])
def test_a_server_speaks_to_nobody_but_those_who_ask(
    kind: str, full_run: Trained, made_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
    require_strace()
    environment = environment_in(tmp_path)
    monkeypatch.setattr("support.running.command_environment", lambda: environment)
    model, log = full_run.run if kind == "run" else made_onnx, tmp_path / "calls"
    image = next((full_run.photos / "test" / "red").glob("*.png"))
    with serving(model, cwd=tmp_path / "here", within=watched(log)) as server:
        assert post(server, image.read_bytes()).status == 200
    lines = calls(log, server.process.pid)
    assert not contacts(lines)
    assert not elsewhere(lines, tmp_path)
    assert not list(tmp_path.glob("*/*"))


def test_the_tour_looks_for_no_weights_if_it_may_not(tmp_path: Path) -> None:
    require_strace()
    environment, log = environment_in(tmp_path), tmp_path / "calls"
    code = "from resnet_cli.cli import demo; assert demo._starting_weights(offline=True) == 'none'"
    process = subprocess.Popen([*watched(log), sys.executable, "-c", code], cwd=tmp_path / "here", env=environment)
    assert process.wait(60) == 0
    assert not contacts(calls(log, process.pid))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_cluster_on_this_machine_asks_no_cloud_and_leaves_no_secret(
    made_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    require_strace()
    environment, log = environment_in(tmp_path), tmp_path / "calls"
    # Ray puts sockets there, whose paths must be short.
    del environment["TMPDIR"]
    words = ["predict", photos / "test", "--model", made_onnx, "--engine", "ray", "--output", "found", "--offline"]
    process = subprocess.Popen([*watched(log), str(COMMAND), *map(str, words)], cwd=tmp_path / "here", env=environment)
    assert process.wait(200) == 0
    lines = calls(log, process.pid)
    # Ray's processes talk to each other on an address of this machine, and one of them reads which server to ask.
    assert not [line for line in lines if "169.254." in line or r"metadata\6google" in line]
    assert not list((tmp_path / "home").rglob("*"))


def test_a_look_up_and_a_file_elsewhere_are_noticed(tmp_path: Path) -> None:
    require_strace()
    code = "import socket, os\ntry: socket.getaddrinfo('name.invalid', 80)\nexcept OSError: pass\nos.mkdir('../new')"
    (tmp_path / "here").mkdir()
    log = tmp_path / "calls"
    process = subprocess.Popen([*watched(log), sys.executable, "-c", code], cwd=tmp_path / "here")
    assert process.wait(60) == 0
    lines = calls(log, process.pid)
    assert contacts(lines)
    assert tmp_path / "new" in set(created(lines, tmp_path / "here"))
