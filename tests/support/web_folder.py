"""Folders of ``export --format web``, and the static server that anybody would use for them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from resnet_cli.config.export import ExportConfig
from resnet_cli.exported.opening import open_exported
from resnet_cli.exported.web import WebModel
from resnet_cli.exporting.export import Job
from resnet_cli.model import network as models
from resnet_cli.model.model_file import Model
from resnet_cli.network import web_runtime
from resnet_cli.network.remote_file import RemoteFile


def real_runtime() -> Path:
    """The package of onnxruntime-web on this machine; tests that need it skip without."""
    given = os.environ.get("RESNET_CLI_TEST_ORT_WEB")
    # Not `cache_folder`: tests have caches of their own.
    usual = Path(platformdirs.user_cache_dir("resnet-cli")) / "runtimes" / web_runtime.PACKAGE.name
    path = Path(given) if given else usual
    if not path.is_file():
        pytest.skip("onnxruntime-web is not here: set RESNET_CLI_TEST_ORT_WEB to the package's file, or download it")
    return path


def stand_in(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A package with the files that an export takes, each of them its own name; no browser can run them."""
    path = folder / web_runtime.PACKAGE.name
    with tarfile.open(path, "w:gz") as archive:
        for files in web_runtime.ENGINES.values():
            for member in files.values():
                info = tarfile.TarInfo(member)
                info.size = len(member)
                archive.addfile(info, io.BytesIO(member.encode()))
    patch.setattr(web_runtime, "PACKAGE", RemoteFile(name=path.name, url=web_runtime.PACKAGE.url))
    return path


def export_narrow(make: Callable[[], Model], folder: Path, package: Path, **options: Any) -> WebModel:
    """Exports a model with narrow layers, without the parity check."""
    from support.narrow_network import stage

    config = ExportConfig.model_validate({"format": "web", "web_runtime": package} | options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_stage", stage)
        job = Job(make(), config)
        job.check()
        folder.mkdir()
        job.write(folder)
    opened = open_exported(folder)
    assert isinstance(opened, WebModel)
    return opened


@contextlib.contextmanager
def static_server(folder: Path) -> Iterator[str]:
    """``python -m http.server``; the address. A browser grants service workers and cameras to localhost only."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().partition(" port ")[2].split()[0]
            yield f"http://localhost:{port}/"
        finally:
            server.kill()
