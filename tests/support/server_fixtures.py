"""Fixtures: servers on the loopback interface, with and without TLS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from resnet_cli.network import retry
from support.file_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl command: no certificate can be made")
    folder = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def https_server(certificate: Path) -> Iterator[Server]:
    with Server(certificate) as server:
        yield server


@pytest.fixture
def quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is allowed, no proxy is used, and retries do not wait."""
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    for name in ("RESNET_CLI_MIRROR", "RESNET_CLI_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
