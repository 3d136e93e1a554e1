"""The images, runs and undisturbed results of ``benchmarks.stress``."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .stress_commands import BASE, JOBS, SMALL, words_of
from .stress_server import Command, Server

SPLITS = {"train": 12, "val": 6, "test": 6}
COLORS = {"blue": (90, 90, 170), "green": (90, 170, 90), "red": (170, 90, 90)}
#: A server runs until it is told to stop.
SERVE_S = 3.0
#: Jobs whose model is `runs/latest` if it is switched.
SWITCHED = ("predict CSV", "eval", "eval --save-predictions", "export onnx")


@dataclasses.dataclass
class World:
    """What all runs share.

    Attributes:
        root: The scratch folder.
        folders: What ``DATA`` and ``IMAGES`` stand for.
        seconds: How long each job takes undisturbed.
    """

    root: Path
    folders: dict[str, Path]
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def reference(self, name: str, model: str = "base") -> Path:
        """Folder of the undisturbed run of a job."""
        return self.root / "reference" / model / name.replace(" ", "-")


def make_world(root: Path, server: Server, env: dict[str, str]) -> World:
    """Draws the images, trains two runs and runs every job undisturbed."""
    rng = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for name, color in COLORS.items():
            folder = root / "data" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(color + rng.normal(0, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}-{index}.png")
    world = World(root, {"DATA": root / "data", "IMAGES": root / "data" / "test"})
    for model, seed in (("base", "1"), ("other", "2")):
        flags = (*SMALL[:-1], seed, "--weights", "none", "--mode", "full", "--epochs", "2", "--batch-size", "12")
        words = words_of(("finetune", "DATA", "--out", f"runs/{model}", *flags), world.folders)
        _must_succeed(Command(words, root, name=model, env=env, server=server))
    for name, job in JOBS.items():
        for model in ("base", *(["other"] if name in SWITCHED else [])):
            folder = world.reference(name, model)
            copy_runs(world, folder, [model])
            words = [f"runs/{model}" if word == BASE else word for word in words_of(job.words, world.folders)]
            began = time.perf_counter()
            command = Command(words, folder, name="undisturbed", env=env, server=server)
            if job.words[0] == "serve":
                time.sleep(SERVE_S)
                command.send(signal.SIGTERM)
                command.wait()
            else:
                _must_succeed(command)
            world.seconds[name] = time.perf_counter() - began
    return world


def _must_succeed(command: Command) -> None:
    code = command.wait()
    if code:
        raise SystemExit(f"{' '.join(command.words)} ended with {code} undisturbed:\n{command.errors()}")


def copy_runs(world: World, folder: Path, names: Sequence[str]) -> None:
    """Copies runs into a folder; ``runs/latest`` is the first of them."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copytree(world.root / "runs" / name, folder / "runs" / name)
    (folder / "runs" / "latest").symlink_to(names[0])
