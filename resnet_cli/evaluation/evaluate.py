"""A model asked about labeled images, and its answers scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from resnet_cli.data.dataset import Item
from resnet_cli.evaluation.scores import Evaluation, Tta, score
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.features import extract_features
from resnet_cli.model.network import Model
from resnet_cli.model.reliability import novelty
from resnet_cli.system.device import Compute
from resnet_cli.system.events import Progress


def evaluate(
    model: Model, items: Sequence[Item], compute: Compute, *, tta: Tta = "none", on_progress: Progress | None = None
) -> Evaluation:
    """Answers labelled images and scores the answers.

    Args:
        model: Its classes are what the items' labels index.
        items: At least one.
        compute: Device and precision.
        tta: ``flip`` also looks at the mirror images: two passes.
        on_progress: Called with (images done, images in all); of two passes each image counts twice.

    Raises:
        DataError: Images that cannot be read; all are named.
    """
    passes = (False, True) if tta == "flip" else (False,)
    probs, novel = [], None
    for index, mirrored in enumerate(passes):

        def of_all(done: int, total: int, before: int = index * len(items)) -> None:
            if on_progress:
                on_progress(before + done, len(passes) * total)

        features = extract_features(
            model.network, items, model.preprocess, compute, mirrored=mirrored, on_progress=of_all
        )
        probs.append(head_probs(model.network.fc, features, model.temperature))
        if not mirrored and model.reference is not None:
            novel = novelty(features.numpy(), model.reference)
    mean = torch.stack(probs).mean(dim=0)
    labels = np.array([item.label for item in items], dtype=np.int64)
    scores = score(mean.numpy(), labels, model.classes, [item.name for item in items])
    unfamiliar = None
    if novel is not None and model.reliability is not None:
        unfamiliar = novel > model.reliability.most_novel
    return dataclasses.replace(scores, tta=tta, novelty=novel, temperature=model.temperature, is_unfamiliar=unfamiliar)
