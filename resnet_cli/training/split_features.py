"""Features of the splits that a head trains on; several processes share the work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from resnet_cli.data.dataset import Item, Split, targets_of
from resnet_cli.engines.feature_rows import Features
from resnet_cli.engines.features import compute_features
from resnet_cli.heads.block_path import fits_in_memory
from resnet_cli.heads.logistic import AnyRows
from resnet_cli.model.network import NUM_FEATURES, ResNet50
from resnet_cli.system.events import Progress
from resnet_cli.training.distributed import Distributed
from resnet_cli.training.plan import Plan


def split_features(
    plan: Plan, network: ResNet50, splits: Sequence[Split], *, distributed: Distributed, on_progress: Progress
) -> dict[Split, AnyRows]:
    """Computes the features of some splits, or reads them from the cache.

    Args:
        plan: Gives the images and their preprocessing.
        network: Its backbone computes the features.
        splits: The splits.
        distributed: The processes that share the work.
        on_progress: Called with (images done, images in all).

    Returns:
        Features [n x 2048] and targets of each split; empty in all processes but the main one. Targets are int64 [n] of
        single-label data, and int8 [n x k] of multi-label data. Features are in memory if those of training and
        validation fit, except those of test images, which no head needs.
    """
    dataset = plan.dataset
    rows = {split: np.flatnonzero(dataset.packed.in_split(split)) for split in splits}
    all_items = dataset.packed.take(np.concatenate(list(rows.values())))

    def compute(items: Sequence[Item]) -> Features:
        return compute_features(network, items, plan.preprocess, plan.compute, on_progress=on_progress)

    if distributed.size > 1:
        # Each process brings its share into the cache, and the main process finds all of them there.
        compute(distributed.share(all_items))
        distributed.wait()
    if not distributed.is_main:
        return {}
    parts = dict(zip(splits, compute(all_items).split([len(rows[split]) for split in splits]), strict=True))
    in_memory = fits_in_memory(sum(len(part) for split, part in parts.items() if split != "test"), NUM_FEATURES)
    return {
        split: (
            part.tensor() if in_memory and split != "test" else part,
            torch.from_numpy(targets_of(dataset.split(split), dataset.task, len(dataset.classes))),
        )
        for split, part in parts.items()
    }
