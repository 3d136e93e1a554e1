"""Helpers for the tests of remote data."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from resnet_cli.network import retry
from resnet_cli.system.paths import data_dir

S = TypeVar("S", bound=http.server.ThreadingHTTPServer)


def allow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is used, and retries do not wait."""
    monkeypatch.delenv("RESNET_CLI_OFFLINE")
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0.001)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers() -> list[str]:
    """Temporary files, which should be removed when a copy ends, successfully or not."""
    return [path.name for path in (data_dir() / "remote").rglob("*.tmp")]


def serving(server: S) -> Iterator[S]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
