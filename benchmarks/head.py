"""The source of the linear probe's defaults: L-BFGS beside SGD on real features, each chosen on a validation split.

    RESNET_CLI_ASSETS=... python -m benchmarks.head [--sgd]

CIFAR-10 at 128 px: 500, 50 and 5 images per class for training, 100, 10 and 1 others per class for validation, and 200
test images per class; ants/bees at 224 px in four folds, with 30 of the remaining images for validation. ``--sgd`` adds
a grid over SGD's rate, batch size and weight decay. Features are cached after the first run (about four minutes on two
cores).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.engines.features import extract_features
from resnet_cli.heads import logistic, standardization
from resnet_cli.heads.logistic import Candidate, Rows
from resnet_cli.heads.objectives import loss_and_top1
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.network import ResNet50, make_head
from resnet_cli.model.weights import find_weights, load_backbone
from resnet_cli.system.device import Compute, choose_compute
from resnet_cli.training import task_head
from resnet_cli.training.defaults import choose_preprocess
from resnet_cli.training.optimizers import Rates
from resnet_cli.training.plan import make_plan

from .setting import Setting, alone
from .table import Row, show


@dataclasses.dataclass(frozen=True)
class Task:
    """Images for training, validation and test."""

    name: str
    train: Rows
    val: Rows
    test: Rows
    num_classes: int


def features(folder: Path, image_size: int, source_px: int, weights: str, compute: Compute) -> Rows:
    """Computes features [n x 2048] and labels [n] of a folder of class folders."""
    found = find_weights(weights, mode="frozen")
    network = ResNet50(2)
    load_backbone(network, found)
    items = read_folder(folder).items
    preprocess = choose_preprocess(found.preprocess, image_size, source_px)
    rows = extract_features(network, items, preprocess, compute)
    return rows, torch.tensor([item.label for item in items])


def take(rows: Rows, index: torch.Tensor) -> Rows:
    """Selects rows."""
    return rows[0][index], rows[1][index]


def cifar_tasks(archive: Path, weights: str, compute: Compute) -> Iterator[Task]:
    """Tasks of 500, 50 and 5 images per class."""
    with tempfile.TemporaryDirectory() as name, tarfile.open(archive) as tar:
        tar.extractall(name, filter="data")
        parts = []
        for split, start, stop in (("train", 0, 500), ("train", 500, 600), ("test", 0, 200)):
            part = Path(name) / f"{split}-{start}"
            for folder in (Path(name) / split).iterdir():
                (part / folder.name).mkdir(parents=True)
                for path in sorted(folder.iterdir())[: stop - start]:
                    path.rename(part / folder.name / path.name)
            parts.append(features(part, 128, 32, weights, compute))
    train, val, test = parts
    yield Task("500 per class", train, val, test, 10)
    for start in range(3):
        yield Task(
            "50 per class",
            take(train, torch.arange(start, 5000, 10)),
            take(val, torch.arange(start, 1000, 10)),
            test,
            10,
        )
    for start in range(3):
        few = torch.arange(start, 5000, 100)
        yield Task("5 per class", take(train, few), take(val, torch.arange(start, 1000, 100)), test, 10)


def photo_tasks(folder: Path, weights: str, compute: Compute) -> Iterator[Task]:
    """Tasks from four folds of ants and bees."""
    halves = [features(folder / split, 224, 500, weights, compute) for split in ("train", "val")]
    both = torch.cat([half[0] for half in halves]), torch.cat([half[1] for half in halves])
    order = torch.randperm(len(both[0]), generator=torch.Generator().manual_seed(0))
    for fold in range(4):
        rest = torch.cat([order[other::4] for other in range(4) if other != fold])
        yield Task("ants/bees", take(both, rest[30:]), take(both, rest[:30]), take(both, order[fold::4]), 2)


def top1(head: nn.Module, rows: Rows) -> float:
    """Top-1 accuracy."""
    return loss_and_top1(head_probs(head, rows[0]), rows[1])[1]


def to_row(what: str, tasks: list[Task], scores: list[float], seconds: float) -> Row:
    """The mean over all tasks, and over each kind of task."""
    details: dict[str, Any] = {}
    for name in dict.fromkeys(task.name for task in tasks):
        of_kind = [100 * score for task, score in zip(tasks, scores, strict=True) if task.name == name]
        details[name] = statistics.mean(of_kind)
    mean = statistics.mean(details.values())
    return Row(f"head: {what}, test top-1", mean, "%", details=details | {"seconds": seconds})


def by_lbfgs(tasks: list[Task], device: str) -> Iterator[Row]:
    """Three ways to choose a penalty, for three lower limits; the last uses the test images and is only a bound."""
    kept = standardization.VARIANCE_FLOOR
    for floor in (0.03, kept, 0.3):
        standardization.VARIANCE_FLOOR = floor
        began = time.perf_counter()
        paths: list[list[Candidate]] = [
            list(logistic.fit_path(task.train, task.val, task.num_classes, device=device)) for task in tasks
        ]
        seconds = time.perf_counter() - began
        chosen = [logistic.choose(path) for path in paths]
        coarse = [max(path, key=lambda found: (found.val_score, -found.val_loss)) for path in paths]
        for name, heads in (("val loss", chosen), ("val top1", coarse)):
            scores = [top1(found.head, task.test) for found, task in zip(heads, tasks, strict=True)]
            yield to_row(f"L-BFGS, floor {floor:g}, by {name}", tasks, scores, seconds)
        scores = [max(top1(found.head, task.test) for found in path) for path, task in zip(paths, tasks, strict=True)]
        yield to_row(f"L-BFGS, floor {floor:g}, best on test", tasks, scores, seconds)
    standardization.VARIANCE_FLOOR = kept


def by_sgd(tasks: list[Task]) -> Iterator[Row]:
    """The epoch that the validation split chooses, one row per setting."""
    values = {"data": "digits", "weights": "none", "mode": "frozen", "solver": "sgd", "epochs": 10}
    base = make_plan(resolve(FinetuneConfig, values))
    for lr, batch_size, decay in itertools.product((0.001, 0.003, 0.01), (16, 64), (0.01, 0.1, 0.3)):
        plan = dataclasses.replace(
            base, rates=Rates("sgd", None, lr, decay), batch_size=batch_size, micro_batch=batch_size
        )
        began = time.perf_counter()
        heads = [
            task_head.fit_head_by_steps(plan, make_head(task.num_classes, ()), task.train, task.val)[0]
            for task in tasks
        ]
        scores = [top1(head, task.test) for head, task in zip(heads, tasks, strict=True)]
        yield to_row(f"SGD {lr:g}, batch {batch_size}, decay {decay:g}", tasks, scores, time.perf_counter() - began)


def measure(setting: Setting, *, sgd: bool = False) -> Iterator[Row]:
    """One row per setting of the solver."""
    weights, compute = str(setting.weights), choose_compute()
    tasks = [
        *cifar_tasks(setting.assets / "cifar10-jpeg.tar.gz", weights, compute),
        *photo_tasks(setting.photos, weights, compute),
    ]
    yield from by_lbfgs(tasks, compute.device)
    if sgd:
        yield from by_sgd(tasks)


def main() -> None:
    """Prints one row per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sgd", action="store_true", help="also the grid over SGD")
    chosen = parser.parse_args()
    with alone(keeps_cache=True) as setting:
        show(measure(setting, sgd=chosen.sgd))


if __name__ == "__main__":
    main()
