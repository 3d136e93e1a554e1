"""What every test shares: an environment of its own, the real assets where they are, small photo folders."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# Before any library that would report: the tests send nothing either.
import resnet_cli  # noqa: F401

# The same examples on every machine, and none refused for being slow on a busy one.
settings.register_profile("law", derandomize=True, deadline=None, database=None)
settings.load_profile("law")

# Before torch is imported: threads of networks this small wait for each other longer than they compute, most
# of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where the suite runs in the background of a script (as in cron and some CI), SIGINT is ignored, and so it would be in
# every command that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Modules of tests import these before pytest loads them as plugins.
pytest.register_assert_rewrite("support.command_server", "support.narrow_network", "support.small_runs")

PHOTO_SIZE = (48, 40)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also what takes long and is proved on a smaller case too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long: make check-all runs it"))


@pytest.fixture(autouse=True, scope="session")
def isolated_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fixtures of a whole module compute goes there too: the user may have no home to write in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESNET_CLI_CACHE", str(tmp_path_factory.mktemp("session") / "cache"))
        yield


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that does not exist yet, for each test: pytest would list all the others for every new one."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, homes: Iterator[Path]) -> None:
    """No test sees the caches, mirrors or terminal of who runs it, or reaches for the network by accident."""
    home = next(homes)
    monkeypatch.setenv("RESNET_CLI_CACHE", str(home / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(home / "torch"))
    monkeypatch.setenv("RESNET_CLI_OFFLINE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    # A process warns once.
    monkeypatch.setattr("resnet_cli.system.caches._has_warned", False)
    for name in ("RESNET_CLI_MIRROR", "FORCE_COLOR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def new_threads() -> Callable[..., list[str]]:
    """``new_threads(prefix="")``: the running threads that are of this test alone; others may still be ending."""
    before = set(threading.enumerate())

    def names(prefix: str = "") -> list[str]:
        found = [thread.name for thread in threading.enumerate() if thread not in before]
        return [name for name in found if name.startswith(prefix)]

    return names


@pytest.fixture
def assets() -> Path:
    """The folder of real photos and weights; tests that need it skip without."""
    folder = os.environ.get("RESNET_CLI_ASSETS")
    if not folder:
        pytest.skip("RESNET_CLI_ASSETS is not set: real photos and weights are not here")
    return Path(folder)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a photo folder: ``make_folder({"cat": 3, "dog": 2})``, or the same under names of splits.

    ``make_folder({"train": {"cat": 3}, "val": {"cat": 1}}, name="pets")`` nests one level more. Each class
    has a colour of its own under noise, so that a network can learn it; no two files are the same.
    """

    def make(layout: Mapping[str, int | Mapping[str, int]], name: str = "photos") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for key, value in layout.items():
            per_class = {key: value} if isinstance(value, int) else value
            parent = folder if isinstance(value, int) else folder / key
            for class_name, count in per_class.items():
                (parent / class_name).mkdir(parents=True)
                for index in range(count):
                    write_photo(parent / class_name / f"{index:03d}.jpg")
        return folder

    return make


def write_photo(path: Path) -> None:
    """A JPEG of noise around the colour of its folder's name."""
    colour = _rng(path.parent.name).integers(40, 216, 3)
    width, height = PHOTO_SIZE
    noisy = colour + _rng(*path.parts[-3:]).normal(0, 25, (height, width, 3))
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=90)


def _rng(*names: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(os.fsencode("/".join(names))))
