"""Two small finished runs as fixtures; a test module asks for them by ``pytest_plugins``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_cli import finetune
from support.running import CLASSES, PER_CLASS, TINY, Trained


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    # Small batches gain nothing by two, and lose tenfold where another process wants the same cores.
    torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the test stands in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thirds of the time of so small a run; the session's runs draw theirs."""
    monkeypatch.setattr("resnet_cli.reporting.single_label_report.overlays", lambda *_, **__: {})
    monkeypatch.setattr("resnet_cli.training.report.write_report_files", lambda *_, **__: None)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with splits, in several sizes, formats and colour modes; one is rotated by its EXIF."""
    root = tmp_path_factory.mktemp("data") / "colours"
    for split, count in PER_CLASS.items():
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                write_image(folder, split, label, index)
    return root


def write_image(folder: Path, split: str, label: int, index: int) -> None:
    """Noise around one of the primary colours, as PNG, RGBA, rotated or plain JPEG."""
    rng = np.random.default_rng((sum(split.encode()), label, index))
    height, width = rng.integers(20, 90, 2)
    colour = np.full(3, 90)
    colour[2 - label] = 170
    pixels = np.clip(colour + rng.normal(0, 40, (height, width, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    if index % 4 == 1:
        image.save(folder / f"{index}.png")
    elif index % 4 == 2:
        image.putalpha(200)
        image.save(folder / f"{index}.png")
    else:
        exif = Image.Exif()
        exif[0x0112] = 6 if index % 4 == 3 else 1
        image.save(folder / f"{index}.jpg", quality=85, exif=exif)


def _finetune(folder: Path, name: str, photos: Path, **values: Any) -> Trained:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RESNET_CLI_CACHE", str(folder / "cache"))
        result = finetune(data=str(photos), out=folder / name, **TINY | values)
    return Trained(result, folder / name, photos)


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Trained:
    """The whole network, from random weights."""
    folder = tmp_path_factory.mktemp("full")
    return _finetune(folder, "full", photos, mode="full", epochs=3, batch_size=8, lr=0.001, head_lr=0.0003)


@pytest.fixture(scope="session")
def frozen_run(tmp_path_factory: pytest.TempPathFactory, full_run: Trained) -> Trained:
    """A new MLP head on the frozen backbone of ``full_run``."""
    folder = tmp_path_factory.mktemp("frozen")
    values = {"weights": str(full_run.run), "mode": "frozen", "head": "16", "epochs": 6, "head_lr": 0.03}
    return _finetune(folder, "frozen", full_run.photos, **values)
