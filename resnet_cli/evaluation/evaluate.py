"""Predictions of a model for labeled images, and their scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.dataset import Item, Items, targets_of
from resnet_cli.data.inspection.scan import leave_out_unreadable, raise_unreadable, scan
from resnet_cli.data.prefetch import decode_ahead
from resnet_cli.engines.feature_rows import blocks
from resnet_cli.engines.features import compute_features
from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.scores import Tta
from resnet_cli.evaluation.scoring import Scores, score_task
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.model_file import Model
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import NoveltyScorer, is_unfamiliar
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import Compute
from resnet_cli.system.events import Progress

#: Images that an exported model gets at once.
EXPORTED_BATCH = 32


def evaluate(
    model: Model, items: Sequence[Item], compute: Compute, *, tta: Tta = "none", on_progress: Progress | None = None
) -> Scores:
    """Scores a model in torch on labeled images; features come from the cache where they are known.

    Args:
        model: The model; the labels of the items index its classes.
        items: At least one image.
        compute: Device and precision.
        tta: Test-time augmentation; ``flip`` takes a second pass over the mirror images.
        on_progress: Called with (images done, images in all); with two passes each image counts twice.

    Raises:
        DataError: Images cannot be read; all of them are named.
    """
    passes = (False, True) if tta == "flip" else (False,)
    total, novel, rows = None, None, None
    for index, mirrored in enumerate(passes):

        def of_all(done: int, total: int, before: int = index * len(items)) -> None:
            if on_progress:
                on_progress(before + done, len(passes) * total)

        features = compute_features(
            model.network, items, model.preprocess, compute, mirrored=mirrored, on_progress=of_all
        )
        probs = head_probs(model.network.fc, features, model.temperature, task=model.task)
        total = probs if total is None else total + probs
        rows = rows if mirrored else features
        if not mirrored and model.reference is not None:
            scorer = NoveltyScorer(model.reference)
            novel = np.concatenate([scorer.novelty(block.numpy()) for block in blocks(features)])
    assert total is not None
    scores = _score(model, items, (total / len(passes)).numpy(), novel, tta=tta)
    return dataclasses.replace(scores, features=rows)


def evaluate_predictor(
    predictor: Predictor[Any], items: Sequence[Item], *, tta: Tta = "none", on_progress: Progress | None = None
) -> Scores:
    """Scores any opened model on labeled images.

    Args:
        predictor: The model; the labels of the items index its classes.
        items: At least one image.
        tta: Test-time augmentation; exported models have none.
        on_progress: Called with (images done, images in all).

    Raises:
        ConfigError: Test-time augmentation is asked for of an exported model.
        DataError: Images cannot be read; all of them are named.
    """
    if isinstance(predictor, TorchPredictor):
        return evaluate(predictor.model, items, predictor.compute, tta=tta, on_progress=on_progress)
    if tta != "none":
        raise ConfigError(
            f"--tta {tta} has no effect on {predictor.name}: an exported model sees each image once",
            hint="evaluate the model that it was exported from",
        )
    bit_depth = predictor.preprocess.bit_depth
    leave_out_unreadable(items, scan(items, signatures=False, bit_depth=bit_depth), "error")
    outputs: list[ModelOutput] = []
    num_done = 0
    for group in decode_ahead(items, lambda item: item.open(bit_depth), batch_size=EXPORTED_BATCH):
        # It was readable a moment ago: the file was changed or removed in between.
        raise_unreadable(list(group.errors.values()), len(items))
        outputs.append(predictor.predict_images(group.decoded))
        num_done += len(group.decoded)
        if on_progress:
            on_progress(num_done, len(items))
    probs = np.concatenate([output.probs for output in outputs])
    found = [output.novelty for output in outputs if output.novelty is not None]
    novel = np.concatenate(found) if len(found) == len(outputs) else None
    return _score(predictor, items, probs, novel)


def _score(
    model: Model | Predictor[Any],
    items: Sequence[Item],
    probs: NDArray[np.float32],
    novel: NDArray[np.float32] | None,
    *,
    tta: Tta = "none",
) -> Scores:
    scores = score_task(
        model.task,
        probs,
        targets_of(items, model.task, len(model.classes)),
        model.classes,
        names=Items.of(items).names,
        calibrated=model,
    )
    return dataclasses.replace(scores, tta=tta, novelty=novel, is_unfamiliar=is_unfamiliar(novel, model.reliability))
