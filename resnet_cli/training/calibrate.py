"""Calibration after the training: temperature, exemplars and reliability, from the validation split alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from resnet_cli.data.dataset import Dataset, targets_of
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.heads.temperature import fit_temperature
from resnet_cli.model.features import extract_features
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import Reliability, novelty
from resnet_cli.system.device import Compute
from resnet_cli.system.events import Progress
from resnet_cli.training import exemplars


def calibrate_model(
    model: Model, dataset: Dataset, compute: Compute, *, seed: int, on_progress: Progress | None = None
) -> Model:
    """Returns the model with a temperature, exemplars, and its confidence on the validation split.

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
    new = [] if stored else exemplars.sample(dataset.split("train"), len(model.classes), seed=seed)
    features = extract_features(model.network, [*val, *new], model.preprocess, compute, on_progress=on_progress)
    val_rows = features[: len(val)], torch.from_numpy(targets_of(val, dataset.task, len(model.classes)))
    if stored is None:
        train_rows = features[len(val) :], torch.from_numpy(targets_of(new, dataset.task, len(model.classes)))
        stored = exemplars.choose_exemplars(train_rows, val_rows, num_classes=len(model.classes), seed=seed)
    probs = head_probs(model.network.fc, val_rows[0]).double()
    labels = val_rows[1].numpy()
    logits = probs.clamp_min(torch.finfo(torch.float32).tiny).log()
    temperature = fit_temperature(logits.numpy(), labels)
    confidence, predicted = torch.softmax(logits / temperature, dim=1).max(dim=1)
    known = dataclasses.replace(model, temperature=temperature, exemplars=stored)
    assert known.reference is not None
    return dataclasses.replace(
        known,
        reliability=Reliability(
            confidence.float().numpy(),
            np.asarray(predicted.numpy() == labels),
            novelty(val_rows[0].numpy(), known.reference),
        ),
    )
