"""``resnet-cli download``: lists, downloads and verifies weights and data sets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.file_server import BODY, CUT, Server, cut, stall, status
from support.hub_server import COMMIT, HubServer
from support.running import COMMAND, command_environment, run_cli

from resnet_cli.installation import install_command
from resnet_cli.network import known_sets, registry, web_runtime
from resnet_cli.network.remote_file import RemoteFile
from resnet_cli.system.paths import checkpoints_dir, data_dir

pytest_plugins = ["support.server_fixtures"]
pytestmark = pytest.mark.usefixtures("quick_and_direct")

NAME = "weights.pth"


@pytest.fixture(autouse=True)
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server has the weights ``imagenet-v1`` and the data set ``cifar10``, both of them made up."""
    made = {"url": f"{server.url}/{NAME}", "num_bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
    weights: Callable[..., RemoteFile] = RemoteFile
    monkeypatch.setitem(registry.WEIGHTS, "imagenet-v1", weights(name=NAME, **made))
    cifar = dataclasses.replace(known_sets.DATASETS["cifar10"], files=(weights(name="cifar.tar.gz", **made),))
    monkeypatch.setitem(known_sets.DATASETS, "cifar10", cifar)
    return server


def items(*arguments: object) -> list[dict[str, Any]]:
    result = run_cli("download", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["schema_version"] == 1
    listed: list[dict[str, Any]] = found["items"]
    return listed


def test_what_is_asked_for_lands_where_other_tools_look(published: Server) -> None:
    result = run_cli("download", "imagenet-v1", "cifar10")
    weights, archive = checkpoints_dir() / NAME, data_dir() / "cifar.tar.gz"
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"imagenet-v1: {weights} (downloaded, verified)",
        f"cifar10: {archive} (downloaded, verified)",
    ]
    assert weights.read_bytes() == archive.read_bytes() == BODY
    assert f"downloading {NAME}: 0.7 of 0.7 MB" in result.stderr and "MB/s" in result.stderr


def test_the_second_time_it_is_there_already_and_is_verified_again(published: Server) -> None:
    run_cli("download", "imagenet-v1")
    num_requests = len(published.requests)
    again = run_cli("download", "imagenet-v1")
    path = checkpoints_dir() / NAME
    assert again.stdout == f"imagenet-v1: {path} (already here, verified)\n"
    assert again.stderr == "" and len(published.requests) == num_requests
    path.write_bytes(bytes(len(BODY)))
    assert run_cli("download", "imagenet-v1").stdout == f"imagenet-v1: {path} (downloaded, verified)\n"
    assert path.read_bytes() == BODY


def test_json_says_the_same(published: Server) -> None:
    (got,) = items("imagenet-v1")
    path = str(checkpoints_dir() / NAME)
    expected = {"name": "imagenet-v1", "kind": "weights", "path": path, "num_bytes": len(BODY), "is_verified": True}
    assert got == {**expected, "already_here": False}
    assert items("imagenet-v1", "imagenet-v1") == [{**expected, "already_here": True}]


def test_quiet_prints_the_path_and_nothing_else(published: Server) -> None:
    result = run_cli("download", "imagenet-v1", "digits", "--quiet")
    assert result.stdout == f"{checkpoints_dir() / NAME}\n"
    assert result.stderr == ""


def test_what_a_library_brings_along_needs_no_download(published: Server) -> None:
    assert run_cli("download", "digits", "--offline").stdout == "digits: part of scikit-learn\n"
    assert items("digits") == [
        {"name": "digits", "kind": "data", "path": None, "num_bytes": 0, "already_here": True, "is_verified": False}
    ]
    assert published.requests == []


def test_the_list_has_every_name_and_uses_no_network(published: Server) -> None:
    listed = {item["name"]: item for item in items("--list")}
    assert set(listed) == {*registry.WEIGHTS, *registry.HUB_WEIGHTS, *known_sets.DATASETS, web_runtime.NAME}
    assert {item["kind"] for item in listed.values()} == {"weights", "data", "runtime"}
    assert listed["imagenet-v1"]["is_here"] is False and listed["digits"]["is_here"] is True
    assert listed["timm-a1"]["extra"] == "hub" and listed["imagenet-v2"]["extra"] is None
    assert all(item["licence"] and item["description"] for name, item in listed.items() if name != "imagenet-v1")
    assert published.requests == []
    run_cli("download", "imagenet-v1")
    (listed_one,) = items("--list", "imagenet-v1")
    assert listed_one["is_here"] is True and listed_one["path"] == str(checkpoints_dir() / NAME)


def test_a_runtime_is_verified_by_the_hash_of_its_registry(published: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    sha512 = hashlib.sha512(BODY).hexdigest()
    package = dataclasses.replace(
        web_runtime.PACKAGE, url=f"{published.url}/{NAME}", num_bytes=len(BODY), sha512=sha512
    )
    monkeypatch.setattr(web_runtime, "PACKAGE", package)
    (got,) = items(web_runtime.NAME)
    assert (got["kind"], got["is_verified"]) == ("runtime", True)
    assert web_runtime.find_package(offline=True) == Path(got["path"])
    monkeypatch.setattr(web_runtime, "PACKAGE", dataclasses.replace(package, sha512="0" * 128))
    assert run_cli("download", web_runtime.NAME).exit_code == 5


def test_the_list_looks_at_lengths_and_not_at_bytes(published: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints_dir().mkdir(parents=True)
    (checkpoints_dir() / NAME).write_bytes(bytes(len(BODY)))
    monkeypatch.delattr(RemoteFile, "mismatch")
    assert items("--list", "imagenet-v1")[0]["is_here"] is True
    (checkpoints_dir() / NAME).write_bytes(b"short")
    assert items("--list", "imagenet-v1")[0]["is_here"] is False


def test_the_list_reads_well(published: Server) -> None:
    run_cli("download", "cifar10")
    shown = run_cli("download", "--list").stdout
    assert all(text in shown for text in ("imagenet-v1", "timm-a1", "digits", "103 MB", "5.0 GB"))
    assert f"needs the extra hub: {install_command('hub')}" in " ".join(shown.split())
    assert "here:" in shown and "BSD-3-Clause" in shown


@pytest.mark.parametrize(
    ("name", "close"), [("imagenet-v3", "imagenet-v1"), ("CIFAR10", "cifar10"), ("flowers", "flowers102"), ("x", "")]
)
def test_an_unknown_name_is_refused_before_anything_is_fetched(published: Server, name: str, close: str) -> None:
    result = run_cli("download", "imagenet-v1", name)
    assert result.exit_code == 2
    assert name in result.stderr and close in result.stderr and "resnet-cli download --list" in result.stderr
    assert ("did you mean" in result.stderr) == bool(close)
    assert published.requests == []


def test_no_name_leads_to_the_list() -> None:
    result = run_cli("download")
    assert result.exit_code == 2 and "resnet-cli download --list" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--list", "--offline"],
        ["--list", "--mirror", "https://host"],
        ["imagenet-v1", "--mirror", "https://host", "--offline"],
        ["timm-a1", "--mirror", "https://host"],
        ["imagenet-v1", "--mirror", "host/files"],
        ["hf:nonsense"],
    ],
)
def test_what_cannot_be_meant_is_refused(published: Server, arguments: list[str]) -> None:
    assert run_cli("download", *arguments).exit_code == 2
    assert published.requests == []


def test_offline_only_looks(published: Server) -> None:
    missing = run_cli("download", "imagenet-v1", "--offline", "--json")
    assert missing.exit_code == 5
    error = json.loads(missing.stderr)["error"]
    assert error["code"] == "network" and NAME in error["message"] and "curl" in error["hint"]
    run_cli("download", "imagenet-v1")
    published.requests.clear()
    assert items("imagenet-v1", "--offline")[0]["already_here"] is True
    assert published.requests == []


def test_a_mirror_wins_over_the_environment_and_is_forgotten_afterwards(
    published: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_CLI_MIRROR", "http://127.0.0.1:9/closed")
    with Server() as mirror:
        assert run_cli("download", "imagenet-v1", "--mirror", f"{mirror.url}/files/").exit_code == 0
        assert [path for path, _ in mirror.requests] == [f"/files/{NAME}"]
    assert published.requests == []
    (checkpoints_dir() / NAME).unlink()
    monkeypatch.delenv("RESNET_CLI_MIRROR")
    assert run_cli("download", "imagenet-v1").exit_code == 0
    assert len(published.requests) == 1


def test_a_refusal_leaves_what_came_before_it(published: Server) -> None:
    published.script = [cut, cut, status(404)]
    result = run_cli("download", "imagenet-v1", "cifar10")
    assert result.exit_code == 5 and "HTTP 404" in result.stderr
    assert (checkpoints_dir() / f"{NAME}.part").stat().st_size == CUT
    assert run_cli("download", "imagenet-v1").exit_code == 0
    assert published.ranges()[-1] == f"bytes={CUT}-"


WITHOUT_TORCH = f"""
import sys
from resnet_cli.network import registry
from resnet_cli.network.remote_file import RemoteFile
url, sha256, num_bytes, *arguments = sys.argv[1:]
registry.WEIGHTS["imagenet-v1"] = RemoteFile(name="{NAME}", url=url, num_bytes=int(num_bytes), sha256=sha256)
sys.argv[1:] = arguments
from resnet_cli.cli import main
try:
    main()
finally:
    assert not {{"torch", "torchvision", "sklearn"}} & set(sys.modules)
"""


def start(server: Server, *arguments: str) -> subprocess.Popen[str]:
    known = [f"{server.url}/{NAME}", hashlib.sha256(BODY).hexdigest(), str(len(BODY))]
    command = [sys.executable, "-c", WITHOUT_TORCH, *known, "download", *arguments]
    return subprocess.Popen(
        command, env=command_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("arguments", [["--list"], ["imagenet-v1"], ["digits"]])
def test_torch_is_never_loaded(published: Server, arguments: list[str]) -> None:
    process = start(published, *arguments)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_says_that_what_came_is_kept(published: Server) -> None:
    published.script = [stall]
    part = checkpoints_dir() / f"{NAME}.part"
    process = start(published, "imagenet-v1")
    while not (part.exists() and part.stat().st_size > CUT // 2):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "received so far are kept" in stderr and "Traceback" not in stderr
    num_kept = part.stat().st_size
    assert CUT // 2 < num_kept <= CUT
    assert run_cli("download", "imagenet-v1").exit_code == 0
    assert published.ranges() == [None, f"bytes={num_kept}-"]


def test_weights_of_the_hub_land_in_its_own_cache(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    config = {"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, 224, 224]}}
    with HubServer() as hub:
        hub.files["a/b"] = {"config.json": json.dumps(config).encode(), "model.safetensors": BODY}
        environment = command_environment() | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [str(COMMAND), "download", *arguments]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

        first = run("hf:a/b", "--json")
        assert first.returncode == 0, first.stderr
        (item,) = json.loads(first.stdout)["items"]
        path = tmp_path / "hf" / "hub" / "models--a--b" / "snapshots" / COMMIT / "model.safetensors"
        assert item["path"] == str(path) and not item["already_here"] and item["is_verified"]
        assert path.read_bytes() == BODY
        assert "downloading hf:a/b: 0.7 of 0.7 MB" in first.stderr
        hub.requests.clear()
        again = run("hf:a/b", "--offline")
        assert again.stdout == f"hf:a/b: {path} (already here, verified)\n"
        assert hub.requests == []
        assert run("hf:a/c", "--offline").returncode == 5
        assert run("hf:a/c").returncode == 2
