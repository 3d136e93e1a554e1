"""Frozen features of CIFAR-10 at 128 px, for the benchmarks of the studies; cached after the first run."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.engines.features import extract_features
from resnet_cli.heads.logistic import Rows
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import find_weights, load_backbone
from resnet_cli.system.device import Compute
from resnet_cli.training.defaults import choose_preprocess

IMAGE_SIZE_PX, SOURCE_PX = 128, 32


def cifar_features(assets: Path, per_class: Mapping[str, int], compute: Compute) -> dict[str, Rows]:
    """Computes features [n x 2048] and labels [n] of the first images of each class.

    Args:
        assets: The folder of real photos and weights.
        per_class: ``train`` or ``test`` -> number of images per class.
        compute: Device and precision.
    """
    found = find_weights(str(next((assets / "weights").glob("*.safetensors"))), mode="frozen")
    network = ResNet50(2)
    load_backbone(network, found)
    preprocess = choose_preprocess(found.preprocess, IMAGE_SIZE_PX, SOURCE_PX)
    parts = {}
    with tempfile.TemporaryDirectory() as name, tarfile.open(assets / "cifar10-jpeg.tar.gz") as tar:
        tar.extractall(name, filter="data")
        for split, count in per_class.items():
            for folder in (Path(name) / split).iterdir():
                for path in sorted(folder.iterdir())[count:]:
                    path.unlink()
            items = read_folder(Path(name) / split).items
            rows = extract_features(network, items, preprocess, compute)
            parts[split] = rows, torch.tensor([item.label for item in items])
    return parts


def take(rows: Rows, index: torch.Tensor) -> Rows:
    """Selects rows."""
    return rows[0][index], rows[1][index]
