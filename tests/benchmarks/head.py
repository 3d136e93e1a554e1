"""Where the linear probe's defaults come from: a grid over rate, batch size and weight decay on real features.

    RESNET_CLI_ASSETS=... python -m tests.benchmarks.head

CIFAR-10, 500 a class at 128 px to train, 200 of test a class to judge; ants/bees at 224 px in four folds; and five
pictures a class of CIFAR-10. Features come from the cache after the first run (about four minutes on two cores).
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import tarfile
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.data.folders import read_folder
from resnet_cli.evaluation import head_probs, loss_and_top1
from resnet_cli.features import extract_features
from resnet_cli.model import ResNet50, make_head
from resnet_cli.training import probe
from resnet_cli.training.defaults import choose_preprocess
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.weights import find_weights, load_backbone


def features(folder: Path, image_size: int, source_px: int, weights: str) -> tuple[Tensor, Tensor]:
    """Features [n x 2048] and labels [n] of a folder of class folders."""
    found = find_weights(weights, mode="frozen")
    network = ResNet50(2)
    load_backbone(network, found)
    dataset = read_folder(folder)
    plan = make_plan(resolve(FinetuneConfig, {"data": "digits", "weights": "none"}))
    preprocess = choose_preprocess(found.preprocess, image_size, source_px)
    rows = extract_features(network, dataset.items, preprocess, plan.compute)
    return rows, torch.tensor([item.label for item in dataset.items])


def top1(plan: Plan, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], num_classes: int) -> float:
    """Top-1 on test of the best epoch's head."""
    heads: list[nn.Module] = []
    probe.fit_head(
        plan,
        make_head(num_classes, ()),
        train,
        test,
        on_best=lambda _, head: heads.append(head),
        on_event=lambda _: None,
    )
    return loss_and_top1(head_probs(heads[-1], test[0]), test[1])[1]


def main() -> None:
    """Prints one row a setting."""
    assets = Path(os.environ["RESNET_CLI_ASSETS"])
    weights = str(next((assets / "weights").glob("*.safetensors")))
    base = make_plan(resolve(FinetuneConfig, {"data": "digits", "weights": "none", "mode": "frozen"}))
    with tempfile.TemporaryDirectory() as name, tarfile.open(assets / "cifar10-jpeg.tar.gz") as archive:
        archive.extractall(name, filter="data")
        parts = {}
        for split, count in (("train", 500), ("test", 200)):
            for folder in (Path(name) / split).iterdir():
                for path in sorted(folder.iterdir())[count:]:
                    path.unlink()
            parts[split] = features(Path(name) / split, 128, 32, weights)
    photos = [features(assets / "photos" / "ants_bees" / split, 224, 500, weights) for split in ("train", "val")]
    both = torch.cat([photos[0][0], photos[1][0]]), torch.cat([photos[0][1], photos[1][1]])
    shuffled = torch.randperm(len(both[0]), generator=torch.Generator().manual_seed(0))
    print("rate    batch  decay  CIFAR-10  ants/bees  5 a class")
    for lr, batch_size, decay in itertools.product((0.001, 0.003, 0.01), (16, 64), (0.01, 0.1, 0.3)):
        probe.WEIGHT_DECAY = decay
        plan = dataclasses.replace(base, head_lr=lr, batch_size=batch_size)
        cifar = top1(plan, parts["train"], parts["test"], 10)
        folds = []
        for fold in range(4):
            test = shuffled[fold::4]
            train = torch.tensor(sorted(set(shuffled.tolist()) - set(test.tolist())))
            folds.append(top1(plan, (both[0][train], both[1][train]), (both[0][test], both[1][test]), 2))
        few = [
            top1(plan, (parts["train"][0][start::100], parts["train"][1][start::100]), parts["test"], 10)
            for start in range(3)
        ]
        print(
            f"{lr:<7} {batch_size:<6} {decay:<6} {cifar:.4f}    {sum(folds) / 4:.4f}     {sum(few) / 3:.4f}", flush=True
        )


if __name__ == "__main__":
    main()
