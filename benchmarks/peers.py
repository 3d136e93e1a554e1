"""The peers of the training benchmark: each is installed into its own virtual environment and run as its docs say.

A peer gets the same images, weights and number of epochs, at 224 px and 32 images per step, its own defaults for
everything else, and its own process. Each finds the weights where it would have downloaded them to.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

from .peer_scripts import ANSWER, AUTOGLUON, FASTAI, TIMM, TORCHVISION, ULTRALYTICS

IMAGE_SIZE = 224
BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another library.

    Attributes:
        package: Name that pip installs.
        driver: Script that trains and sets ``top1``.
        shares_torch: Whether it runs with this Python's torch; otherwise it brings its own, of gigabytes.
        note: How it deviates from the task.
    """

    package: str
    driver: str
    shares_torch: bool = True
    note: str = ""


#: Peers that can do both modes: ``frozen`` and ``full``.
PEERS = (
    Peer("ultralytics", ULTRALYTICS),
    Peer("fastai", FASTAI),
    Peer("timm", TIMM),
    Peer("torchvision", TORCHVISION),
)
WHOLE_ONLY = Peer("autogluon.multimodal", AUTOGLUON, shares_torch=False, note="trains the whole network")


@dataclasses.dataclass(frozen=True)
class PeerRun:
    """A peer's top-1 on the validation images, and its wall time, start-up included."""

    version: str
    top1: float
    seconds: float


class PeerError(Exception):
    """A peer that could not be installed or did not finish; the text is its last lines."""


def install(peer: Peer, folder: Path) -> Path:
    """Makes a Python that has the peer, and this Python's torch if possible.

    Args:
        peer: The peer.
        folder: Folder of the virtual environments; an existing one is used as it is.

    Raises:
        PeerError: It cannot be installed here.
    """
    import torch
    import torchvision

    if peer.package == "torchvision":
        # resnet-cli itself depends on torchvision: it is installed.
        return Path(sys.executable)
    venv = folder / peer.package
    python = venv / "bin" / "python"
    done = venv / "installed"
    if done.exists():
        return python
    _checked([sys.executable, "-m", "venv", "--clear", str(venv)])
    limits: list[str] = []
    if peer.shares_torch:
        site = next((venv / "lib").glob("python*/site-packages"))
        # Five gigabytes of torch once, and not once a peer. A .pth file: the parent of a venv's venv is the system.
        (site / "shared_torch.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        constraints = venv / "constraints.txt"
        versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        constraints.write_text("".join(f"{name}=={version.split('+')[0]}\n" for name, version in versions.items()))
        limits = ["--constraint", str(constraints)]
    _checked([str(python), "-m", "pip", "install", "--quiet", *limits, peer.package])
    done.touch()
    return python


def write_checkpoints(weights: Path, home: Path) -> None:
    """Writes weights where torchvision would have downloaded its own; it only checks the hashes of downloads.

    Args:
        weights: A ``.safetensors`` file in torchvision's layout.
        home: The later ``TORCH_HOME``.
    """
    import safetensors.torch
    import torch
    import torchvision

    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    state = {name: tensor.float() for name, tensor in safetensors.torch.load_file(weights).items()}
    for known in torchvision.models.ResNet50_Weights:
        torch.save(state, folder / Path(known.url).name)


def run_peer(peer: Peer, python: Path, data: Path, *, mode: str, epochs: int, precision: str, scratch: Path) -> PeerRun:
    """Trains once.

    Args:
        peer: The peer.
        python: The Python of :func:`install`.
        data: Folder with ``train`` and ``val``; the peer may write into it.
        mode: ``frozen`` or ``full``.
        epochs: Number of epochs; at least two for fastai's ``full``.
        precision: ``fp32`` or ``bf16``, for peers that support it on a CPU.
        scratch: Folder that contains ``torch_home`` of :func:`write_checkpoints`, and for what the peer writes.

    Raises:
        PeerError: It did not finish.
    """
    arguments = (data, mode, epochs, IMAGE_SIZE, BATCH_SIZE, precision, checkpoint(scratch))
    seconds, text = drive(python, peer.driver + ANSWER, *map(str, arguments), scratch=scratch)
    answer: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return PeerRun(version_of(peer, python), answer["top1"], seconds)


def drive(python: Path, script: str, *arguments: str, scratch: Path) -> tuple[float, str]:
    """Runs a peer's script in an empty folder; returns wall seconds, start-up included, and stdout.

    Raises:
        PeerError: It did not finish.
    """
    place = Path(tempfile.mkdtemp(dir=scratch))
    driver = place / "driver.py"
    # Workers of a data loader may be started by importing the script again.
    driver.write_text("if __name__ == '__main__':\n" + textwrap.indent(script, "    "))
    began = time.perf_counter()
    text = _checked([str(python), str(driver), *arguments], cwd=place, env=peer_env(scratch))
    return time.perf_counter() - began, text


def peer_env(scratch: Path) -> dict[str, str]:
    """An environment without user settings and telemetry: a peer must not change this machine."""
    return os.environ | {
        "TORCH_HOME": str(scratch / "torch_home"),
        "HF_HUB_OFFLINE": "1",
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "FASTAI_HOME": str(scratch / "fastai"),
    }


def checkpoint(scratch: Path) -> Path:
    """One of the files of :func:`write_checkpoints`; their content is the same."""
    return next((scratch / "torch_home" / "hub" / "checkpoints").iterdir())


def version_of(peer: Peer, python: Path) -> str:
    """The version of the peer's package."""
    find = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return _checked([str(python), "-c", find, peer.package]).strip()


def _checked(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns its stdout."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise PeerError(f"ended with {done.returncode}: {last}")
    return done.stdout
