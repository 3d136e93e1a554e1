"""Calibration after the training: probabilities, thresholds, exemplars and reliability.

All of it comes from the validation split alone, except for the exemplars.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_cli.data.dataset import Dataset, Items, targets_of
from resnet_cli.engines.feature_rows import blocks
from resnet_cli.engines.features import compute_features
from resnet_cli.heads.block_path import judged_rows
from resnet_cli.heads.logistic import AnyRows
from resnet_cli.heads.platt import fit_scaling
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.heads.temperature import TINY, fit_temperature
from resnet_cli.model.label_reliability import LabelReliability, LabelScaling
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import NoveltyScorer, Reliability
from resnet_cli.model.thresholds import DEFAULT_THRESHOLD, best_f1_thresholds
from resnet_cli.system.device import Compute
from resnet_cli.system.events import Progress
from resnet_cli.task import YES, TaskName
from resnet_cli.text import first_of, percent
from resnet_cli.training import exemplars

#: Precision of the prior of scales around 1 and shifts around 0. In simulations of classes with 1 to 5 positives among
#: 500 images it lowers the loss on new images by up to a tenth; with 20 or more it changes nothing.
PRIOR = 1.0


def calibrate_model(
    model: Model, dataset: Dataset, compute: Compute, *, seed: int, on_progress: Progress | None = None
) -> Model:
    """Returns the model with exemplars, its results on the validation split, and what its task fits there.

    That is a temperature, or a scale, a shift and a threshold of each class.

    Args:
        model: The trained model; exemplars that it already has are kept.
        dataset: Data set whose ``val`` calibrates the model; only a sample of ``train`` is used, and only if there are
            no exemplars yet.
        compute: Device and precision.
        seed: Random seed for the choice of exemplars.
        on_progress: Called with (images done, images in all).

    Raises:
        DataError: An image can no longer be read.
    """
    val = dataset.split("val")
    stored = model.exemplars
    new = Items.of(()) if stored else exemplars.sample(dataset.split("train"), len(model.classes), seed=seed)
    features = compute_features(
        model.network, val + new if new else val, model.preprocess, compute, on_progress=on_progress
    )
    of_val, of_new = features.split([len(val), len(new)])
    targets = torch.from_numpy(targets_of(val, dataset.task, len(model.classes)))
    val_rows = of_val, targets
    if stored is None:
        train_rows = of_new, torch.from_numpy(targets_of(new, dataset.task, len(model.classes)))
        stored = exemplars.choose_exemplars(train_rows, val_rows, num_classes=len(model.classes), seed=seed)
    known = dataclasses.replace(model, exemplars=stored)
    assert known.reference is not None
    return _CALIBRATIONS[model.task](known, judged_rows(val_rows, len(model.classes)), known.reference, seed)


def _scale_all(model: Model, val: AnyRows, reference: NDArray[Any], seed: int) -> Model:
    """Fits the temperature of a single-label model."""
    probs = head_probs(model.network.fc, val[0]).double()
    labels = val[1].numpy()
    logits = probs.clamp_min(torch.finfo(torch.float32).tiny).log()
    temperature = fit_temperature(logits.numpy(), labels)
    confidence, predicted = torch.softmax(logits / temperature, dim=1).max(dim=1)
    reliability = Reliability(
        confidence.float().numpy(), np.asarray(predicted.numpy() == labels), _novelty(val, reference)
    )
    return dataclasses.replace(model, temperature=temperature, reliability=reliability)


def _scale_each(model: Model, val: AnyRows, reference: NDArray[Any], seed: int) -> Model:
    """Fits a scale and a shift of each class of a multi-label model, which become part of its head, and a threshold."""
    features, targets = val[0], val[1].numpy()
    probs = head_probs(model.network.fc, features, task=model.task).double()
    logits = torch.logit(probs.clamp(TINY, 1 - torch.finfo(torch.float32).eps / 2))
    scale, shift = fit_scaling(logits.numpy(), targets, prior=PRIOR)
    network = copy.deepcopy(model.network)
    scale_head(network.fc, scale, shift)
    # The probabilities of the head as it is stored, which `predict` compares with the thresholds.
    calibrated = head_probs(network.fc, features, task=model.task).numpy()
    return dataclasses.replace(
        model,
        network=network,
        thresholds=tuple(one.threshold or 0.0 for one in best_f1_thresholds(calibrated, targets)),
        scaling=LabelScaling(tuple(scale.tolist()), tuple(shift.tolist())),
        reliability=LabelReliability(calibrated, targets, _novelty(val, reference)).sample(seed=seed),
    )


def _novelty(val: AnyRows, reference: NDArray[Any]) -> NDArray[np.float32]:
    scorer = NoveltyScorer(reference)
    return np.concatenate([scorer.novelty(rows.numpy()) for rows in blocks(val[0])])


_CALIBRATIONS: Mapping[TaskName, Callable[[Model, AnyRows, NDArray[Any], int], Model]] = {
    "single-label": _scale_all,
    "multi-label": _scale_each,
}


def scale_head(head: nn.Module, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
    """Multiplies each logit by its class's scale and adds the shift, in place: both become part of the last layer.

    Args:
        head: Head from :func:`~resnet_cli.model.network.make_head`.
        scale: Factors [k].
        shift: What is added afterwards, [k].
    """
    last = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
    factors, added = (torch.from_numpy(x).to(last.weight.device) for x in (scale, shift))
    with torch.no_grad():
        last.weight.copy_(last.weight.double() * factors[:, None])
        last.bias.copy_(last.bias.double() * factors + added)


def missing_thresholds(model: Model) -> str | None:
    """A sentence about classes without positives in the validation split; None if there are none.

    Args:
        model: A calibrated model.
    """
    if not isinstance(model.reliability, LabelReliability):
        return None
    has_positives = (model.reliability.targets == YES).any(axis=0).tolist()
    found = zip(model.classes, has_positives, model.thresholds, strict=True)
    names = [name for name, is_seen, least in found if not is_seen and least == DEFAULT_THRESHOLD]
    if not names:
        return None
    what = "its threshold" if len(names) == 1 else "their thresholds"
    used = percent(DEFAULT_THRESHOLD)
    return f"no validation image has {first_of(names, 5)}: {what} cannot be fitted, and {used} is used instead"
