"""Where a benchmark finds its images and weights, and an empty place to work in."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import random
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from . import processes


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where things are.

    Attributes:
        assets: See CONTRIBUTING.md.
        scratch: Removed at the end.
        quick: Only a look that everything runs; the figures mean little.
        peers_dir: Venvs of the peers, where some are measured.
        device: What a measurement on a GPU takes in its place, to try it where there is none.
    """

    assets: Path
    scratch: Path
    quick: bool
    peers_dir: Path | None = None
    device: str = "cuda"

    @property
    def weights(self) -> Path:
        """ImageNet weights."""
        return next((self.assets / "weights").glob("*.safetensors"))

    @property
    def photos(self) -> Path:
        """Ants and bees: train and val."""
        return self.assets / "photos" / "ants_bees"

    def empty(self) -> Path:
        """A name in the scratch folder that is free."""
        return Path(tempfile.mkdtemp(dir=self.scratch)) / "new"

    def cifar(self, **splits: tuple[str, slice]) -> Path:
        """Unpacks a part of CIFAR-10: split -> (split of the archive, images of each class)."""
        folder = self.empty()
        parts: dict[tuple[str, str], list[str]] = {}
        with tarfile.open(self.assets / "cifar10-jpeg.tar.gz") as archive:
            members = [member for member in archive if member.isfile()]
            for name in sorted(member.name for member in members):
                of_split, class_name = name.split("/")[-3:-1]
                parts.setdefault((of_split, class_name), []).append(name)
            targets: dict[str, Path] = {}
            for split, (source, chosen) in splits.items():
                for (of_split, class_name), names in parts.items():
                    if of_split == source:
                        targets |= dict.fromkeys(names[chosen], folder / split / class_name)
            for parent in {*targets.values()}:
                parent.mkdir(parents=True)
            # In the archive's order: going back in it means to unpack it from the start.
            for member in members:
                if (target := targets.get(member.name)) and (file := archive.extractfile(member)):
                    (target / member.name.split("/")[-1]).write_bytes(file.read())
        return folder

    def arrange(self, splits: Iterable[str]) -> Path:
        """Copies ants and bees, in a shuffled order that is always the same, one to each split that is named."""
        folder = self.empty()
        images = sorted(self.photos.glob("*/*/*"))
        random.Random(0).shuffle(images)
        for path, split in zip(images, splits, strict=False):
            target = folder / split / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return folder

    def few_photos(self, count: int) -> Path:
        """So many of them, three quarters to train and the others to choose by."""
        return self.arrange(itertools.islice(itertools.cycle(("train", "train", "train", "val")), count))

    def run(self, data: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
        """Runs our command with the given weights and an empty cache; returns wall seconds and its summary."""
        env = os.environ | {"RESNET_CLI_CACHE": str(self.empty())}
        chosen = ("--weights", str(self.weights), *arguments)
        seconds, _, summary = processes.finetune(data, *chosen, env=env, out=self.empty())
        return seconds, summary


def find_assets() -> Path:
    """The folder of real photos and weights.

    Raises:
        SystemExit: It is not named.
    """
    if not os.environ.get("RESNET_CLI_ASSETS"):
        raise SystemExit("RESNET_CLI_ASSETS must name the folder of photos and weights that CONTRIBUTING.md describes")
    return Path(os.environ["RESNET_CLI_ASSETS"]).resolve()


@contextlib.contextmanager
def work_in_scratch(setting: Setting) -> Iterator[Setting]:
    """The same in an empty working folder that goes away; folder and environment are then as they were."""
    before, place = dict(os.environ), Path.cwd()
    # What is installed has its bytecode beside it, wherever it is measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as name:
        os.chdir(name)
        try:
            yield dataclasses.replace(setting, scratch=Path(name))
        finally:
            os.chdir(place)
            os.environ.clear()
            os.environ.update(before)


@contextlib.contextmanager
def alone(*, quick: bool = False, keeps_cache: bool = False) -> Iterator[Setting]:
    """The setting of a benchmark that is run by its own name, in an empty folder that goes away.

    Args:
        quick: Only a look that it runs.
        keeps_cache: The user's cache rather than an empty one: features that it makes are there the next time.
    """
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(find_assets(), Path(name).resolve(), quick)
        with work_in_scratch(setting) as inner:
            if not keeps_cache:
                os.environ["RESNET_CLI_CACHE"] = str(setting.scratch / "cache")
            yield inner
