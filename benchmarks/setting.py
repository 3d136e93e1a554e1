"""Where a benchmark finds its images and weights, and an empty folder to work in."""

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
    """Folders and options of a benchmark.

    Attributes:
        assets: Folder of real photos and weights; CONTRIBUTING.md describes it.
        scratch: Empty folder, removed at the end.
        quick: Whether only to check that everything runs; the figures mean little.
        peers_dir: Folder of the peers' virtual environments.
        device: Device for measurements on a GPU; ``cpu`` tries them without one.
    """

    assets: Path
    scratch: Path
    quick: bool
    peers_dir: Path | None = None
    device: str = "cuda"

    @property
    def weights(self) -> Path:
        """The file of ImageNet weights."""
        return next((self.assets / "weights").glob("*.safetensors"))

    @property
    def photos(self) -> Path:
        """The folder of ants and bees, with ``train`` and ``val``."""
        return self.assets / "photos" / "ants_bees"

    def empty(self) -> Path:
        """A free name in the scratch folder."""
        return Path(tempfile.mkdtemp(dir=self.scratch)) / "new"

    def cifar(self, **splits: tuple[str, slice]) -> Path:
        """Unpacks a part of CIFAR-10: split -> (split of the archive, images per class)."""
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
            # In the archive's order, since going back means unpacking it from the start.
            for member in members:
                if (target := targets.get(member.name)) and (file := archive.extractfile(member)):
                    (target / member.name.split("/")[-1]).write_bytes(file.read())
        return folder

    def arrange(self, splits: Iterable[str]) -> Path:
        """Copies ants and bees, in a fixed random order, one image to each named split."""
        folder = self.empty()
        images = sorted(self.photos.glob("*/*/*"))
        random.Random(0).shuffle(images)
        for path, split in zip(images, splits, strict=False):
            target = folder / split / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return folder

    def few_photos(self, count: int) -> Path:
        """Copies this many of them, three quarters for training and the others for validation."""
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
        SystemExit: ``RESNET_CLI_ASSETS`` is not set.
    """
    if not os.environ.get("RESNET_CLI_ASSETS"):
        raise SystemExit("RESNET_CLI_ASSETS must name the folder of photos and weights that CONTRIBUTING.md describes")
    return Path(os.environ["RESNET_CLI_ASSETS"]).resolve()


@contextlib.contextmanager
def work_in_scratch(setting: Setting) -> Iterator[Setting]:
    """The same in an empty working folder, which is removed; folder and environment are restored afterwards."""
    before, place = dict(os.environ), Path.cwd()
    # An installed package has its bytecode beside it.
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
    """The setting of a benchmark that is run by its own name, in an empty folder that is removed afterwards.

    Args:
        quick: Whether only to check that it runs.
        keeps_cache: Whether to use the user's cache instead of an empty one, so that features are kept for next time.
    """
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(find_assets(), Path(name).resolve(), quick)
        with work_in_scratch(setting) as inner:
            if not keeps_cache:
                os.environ["RESNET_CLI_CACHE"] = str(setting.scratch / "cache")
            yield inner
