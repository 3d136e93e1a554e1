"""The peers that the training benchmark measures: each installed into a venv of its own, and run as its docs say.

A peer gets the images, weights and number of epochs that we get, at 224 px and 32 images a step, its own
defaults for the rest, and a process of its own. Each one finds the weights where it would have downloaded them.
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
    """One of the others.

    Attributes:
        package: What pip installs.
        driver: A script that trains and leaves ``top1``.
        shares_torch: Whether it runs with this Python's torch; else it brings another one, of gigabytes.
        note: What it does otherwise than it is asked to.
    """

    package: str
    driver: str
    shares_torch: bool = True
    note: str = ""


#: Can all that is asked of them: ``frozen`` and ``full``.
PEERS = (
    Peer("ultralytics", ULTRALYTICS),
    Peer("fastai", FASTAI),
    Peer("timm", TIMM),
    Peer("torchvision", TORCHVISION),
)
WHOLE_ONLY = Peer("autogluon.multimodal", AUTOGLUON, shares_torch=False, note="trains the whole network")


@dataclasses.dataclass(frozen=True)
class PeerRun:
    """What a peer reached on the validation images, and its wall time, start-up included."""

    version: str
    top1: float
    seconds: float


class PeerError(Exception):
    """A peer that could not be installed or did not run to its end; the text is its last lines."""


def install(peer: Peer, folder: Path) -> Path:
    """A Python that has the peer, and this Python's torch where it can.

    Args:
        peer: Which one.
        folder: Holds the venvs; one that is there is used as it is.

    Raises:
        PeerError: It does not install here.
    """
    import torch
    import torchvision

    if peer.package == "torchvision":
        # It is what we stand on.
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
    """Puts weights where torchvision would have downloaded its own; it checks hashes of downloads only.

    Args:
        weights: ``.safetensors`` in torchvision's layout.
        home: Becomes ``TORCH_HOME``.
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
        peer: Which one.
        python: From :func:`install`.
        data: ``train`` and ``val``; the peer may write into it.
        mode: ``frozen`` or ``full``.
        epochs: One or more; ``full`` of fastai takes two.
        precision: ``fp32`` or ``bf16``, for those who can on a CPU.
        scratch: Holds ``torch_home`` of :func:`write_checkpoints`, and what the peer writes.

    Raises:
        PeerError: It did not run to its end.
    """
    arguments = (data, mode, epochs, IMAGE_SIZE, BATCH_SIZE, precision, checkpoint(scratch))
    seconds, text = drive(python, peer.driver + ANSWER, *map(str, arguments), scratch=scratch)
    answer: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return PeerRun(version_of(peer, python), answer["top1"], seconds)


def drive(python: Path, script: str, *arguments: str, scratch: Path) -> tuple[float, str]:
    """Runs a peer's script in an empty folder; returns wall seconds, start-up included, and stdout.

    Raises:
        PeerError: It did not run to its end.
    """
    place = Path(tempfile.mkdtemp(dir=scratch))
    driver = place / "driver.py"
    # Workers of a data loader may be started by importing the script again.
    driver.write_text("if __name__ == '__main__':\n" + textwrap.indent(script, "    "))
    began = time.perf_counter()
    text = _checked([str(python), str(driver), *arguments], cwd=place, env=peer_env(scratch))
    return time.perf_counter() - began, text


def peer_env(scratch: Path) -> dict[str, str]:
    """Neither settings nor calls home: a peer must leave this machine as it is."""
    return os.environ | {
        "TORCH_HOME": str(scratch / "torch_home"),
        "HF_HUB_OFFLINE": "1",
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "FASTAI_HOME": str(scratch / "fastai"),
    }


def checkpoint(scratch: Path) -> Path:
    """One of the files of :func:`write_checkpoints`; they hold the same."""
    return next((scratch / "torch_home" / "hub" / "checkpoints").iterdir())


def version_of(peer: Peer, python: Path) -> str:
    """Of the peer's package."""
    find = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return _checked([str(python), "-c", find, peer.package]).strip()


def _checked(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns its stdout."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise PeerError(f"ended with {done.returncode}: {last}")
    return done.stdout
