"""The peers that the training benchmark measures: each installed into a venv of its own, and run as its docs say.

A peer gets the pictures, weights and number of epochs that we get, at 224 px and 32 pictures a step, its own
defaults for the rest, and a process of its own. Each one finds the weights where it would have downloaded them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path
from typing import Any

IMAGE_SIZE = 224
BATCH_SIZE = 32

#: torchvision's backbone as one layer of a classifier of ultralytics.
ULTRALYTICS_YAML = """
import pathlib, sys
from ultralytics import YOLO
yaml = pathlib.Path("resnet50-cls.yaml")
yaml.write_text('''
nc: 1000
backbone:
  - [-1, 1, TorchVision, [2048, "resnet50", "DEFAULT", True, 2, False]]
head:
  - [-1, 1, Classify, [nc]]
''')
"""
#: freeze=1 is the backbone: it is the YAML's only layer before the head.
ULTRALYTICS = f"""{ULTRALYTICS_YAML}
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
result = YOLO(yaml, task="classify").train(
    data=folder, epochs=int(epochs), imgsz=int(size), batch=int(batch), freeze=1 if mode == "frozen" else None,
    device="cpu", workers=2, plots=False, project=str(pathlib.Path("runs").absolute()),
)
top1 = result.top1
"""
#: vision_learner starts with a frozen backbone; fine_tune(n) is one frozen epoch and n of the whole network.
FASTAI = """
import sys
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, resnet50, set_seed, vision_learner
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
set_seed(0)
dls = ImageDataLoaders.from_folder(
    folder, train="train", valid="val", item_tfms=Resize(460), batch_tfms=aug_transforms(size=int(size)), bs=int(batch)
)
learn = vision_learner(dls, resnet50, metrics=accuracy)
learn.fit_one_cycle(int(epochs)) if mode == "frozen" else learn.fine_tune(int(epochs) - 1)
top1 = float(learn.validate()[1])
"""
#: The steps and defaults of timm's train.py, which its package does not hold: SGD at 0.1 for 256 pictures, cosine, no
#: warm-up (its five epochs are longer than the budget), smoothing 0.1, crops from 8 % of the area, colour jitter.
TIMM = """
import pathlib, sys, timm, torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import freeze
folder, mode, epochs, size, batch, precision, weights = sys.argv[1:]
torch.manual_seed(0)
classes = list(pathlib.Path(folder, "train").iterdir())
model = timm.create_model(
    "resnet50.tv_in1k", pretrained=True, num_classes=len(classes), pretrained_cfg_overlay={"file": weights}
).to(memory_format=torch.channels_last)
if mode == "frozen":
    freeze(model, [name for name, _ in model.named_children() if name != "fc"])
config = resolve_data_config({}, model=model) | {"input_size": (3, int(size), int(size))}
shared = dict(
    input_size=config["input_size"], batch_size=int(batch), mean=config["mean"], std=config["std"], num_workers=2,
    device=torch.device("cpu"), use_prefetcher=False,
)
train = create_loader(create_dataset("", folder, split="train"), is_training=True, interpolation="random", **shared)
shared |= dict(interpolation=config["interpolation"], crop_pct=config["crop_pct"])
val = create_loader(create_dataset("", folder, split="val"), **shared)
optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1 * int(batch) / 256, weight_decay=2e-5)
scheduler, _ = create_scheduler_v2(
    optimizer, "cosine", num_epochs=int(epochs), step_on_epochs=False, updates_per_epoch=len(train)
)
autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
loss_of, updates, top1 = LabelSmoothingCrossEntropy(0.1), 0, 0.0
for epoch in range(int(epochs)):
    model.train()
    for images, labels in train:
        with autocast:
            loss = loss_of(model(images.contiguous(memory_format=torch.channels_last)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        updates += 1
        scheduler.step_update(updates)
    model.eval()
    right = 0
    with torch.inference_mode(), autocast:
        for images, labels in val:
            right += int((model(images.contiguous(memory_format=torch.channels_last)).argmax(1) == labels).sum())
    top1 = max(top1, right / len(val.dataset))
"""
#: What each driver ends with.
ANSWER = """
import json
print("\\n" + json.dumps({"top1": top1}))
"""


@dataclasses.dataclass(frozen=True)
class Peer:
    """One of the others: the name of its package, and a script that trains and leaves ``top1``."""

    package: str
    driver: str


PEERS = (Peer("ultralytics", ULTRALYTICS), Peer("fastai", FASTAI), Peer("timm", TIMM))


@dataclasses.dataclass(frozen=True)
class PeerRun:
    """What a peer reached on the validation pictures, and its wall time, start-up included."""

    version: str
    top1: float
    seconds: float


class PeerError(Exception):
    """A peer that could not be installed or did not run to its end; the text is its last lines."""


def install(peer: Peer, folder: Path) -> Path:
    """A Python that has the peer and this Python's torch.

    Args:
        peer: Which one.
        folder: Holds the venvs; one that is there is used as it is.

    Raises:
        PeerError: It does not install beside this torch.
    """
    import torch
    import torchvision

    venv = folder / peer.package
    python = venv / "bin" / "python"
    done = venv / "installed"
    if done.exists():
        return python
    _checked([sys.executable, "-m", "venv", "--clear", str(venv)])
    site = next((venv / "lib").glob("python*/site-packages"))
    # Five gigabytes of torch once, and not once a peer. A .pth file, since the parent of a venv's venv is the system.
    (site / "shared_torch.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    constraints = venv / "constraints.txt"
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    constraints.write_text("".join(f"{name}=={version.split('+')[0]}\n" for name, version in versions.items()))
    _checked([str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints), peer.package])
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
        epochs: Two or more.
        precision: ``fp32`` or ``bf16``, for those who can on a CPU.
        scratch: Holds ``torch_home`` of :func:`write_checkpoints`, and what the peer writes.

    Raises:
        PeerError: It did not run to its end.
    """
    home = scratch / "torch_home"
    # Neither settings nor calls home: a peer must leave this machine as it is.
    env = os.environ | {
        "TORCH_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "FASTAI_HOME": str(scratch / "fastai"),
    }
    weights = next((home / "hub" / "checkpoints").iterdir())
    arguments = [data, mode, epochs, IMAGE_SIZE, BATCH_SIZE, precision, weights]
    place = scratch / f"{peer.package}-{mode}"
    place.mkdir()
    driver = place / "driver.py"
    # Workers of a data loader may be started by importing the script again.
    driver.write_text("if __name__ == '__main__':\n" + textwrap.indent(peer.driver + ANSWER, "    "))
    began = time.perf_counter()
    text = _checked([str(python), str(driver), *map(str, arguments)], cwd=place, env=env)
    seconds = time.perf_counter() - began
    answer: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    find = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    version = _checked([str(python), "-c", find, peer.package]).strip()
    return PeerRun(version, answer["top1"], seconds)


def _checked(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns its stdout."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise PeerError(f"ended with {done.returncode}: {last}")
    return done.stdout
