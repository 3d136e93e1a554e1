"""The validation split calibrates each class of a multi-label model, and its head then gives these probabilities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.synthetic_models import CLASSES, labels_model

from resnet_cli.data.dataset import Dataset, Item, targets_of
from resnet_cli.evaluation.label_calibration import label_calibration, unscaled
from resnet_cli.model.label_reliability import LabelReliability
from resnet_cli.model.model_file import Model
from resnet_cli.model.thresholds import DEFAULT_THRESHOLD, best_f1_thresholds
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE
from resnet_cli.task import YES
from resnet_cli.training.calibrate import calibrate_model, missing_thresholds

pytest_plugins = ["support.narrow_network"]

NUM = 160


@pytest.fixture(scope="module")
def items() -> list[Item]:
    """Noise of many brightnesses, so that the logits of a random network differ."""
    rng = np.random.default_rng(0)
    return [
        Item(str(row), (rng.integers(0, 256, (20, 20, 3)) * rng.random(3)).astype(np.uint8), (), "val")
        for row in range(NUM)
    ]


def labeled(model: Model, items: list[Item], *, scale: float, shift: float) -> Dataset:
    """The images with labels as likely as if the logits were scaled and shifted; the last class has no positives."""
    probs = TorchPredictor(model, REFERENCE).predict_images([item.open() for item in items]).probs.astype(np.float64)
    logits = np.log(probs / (1 - probs))
    true = 1 / (1 + np.exp(-(scale * logits + shift)))
    has = np.random.default_rng(1).random(true.shape) < true
    has[:, -1] = False
    named = [
        dataclasses.replace(item, labels=tuple(np.flatnonzero(row).tolist()), unknown=(0,) if index % 10 == 0 else ())
        for index, (item, row) in enumerate(zip(items, has, strict=True))
    ]
    kept = tuple(dataclasses.replace(item, labels=tuple(set(item.labels) - set(item.unknown))) for item in named)
    return Dataset(name="noise", spec="noise", classes=CLASSES, items=kept, task="multi-label")


@pytest.mark.usefixtures("narrow")
def test_a_head_that_is_calibrated_gives_the_probabilities_by_itself(items: list[Item]) -> None:
    model = labels_model()
    dataset = labeled(model, items, scale=3.0, shift=-1.0)
    found = calibrate_model(model, dataset, REFERENCE, seed=0)
    targets = targets_of(items=dataset.items, task="multi-label", num_classes=len(CLASSES)).astype(np.int8)
    before, after = (
        TorchPredictor(one, REFERENCE).predict_images([item.open() for item in items]).probs for one in (model, found)
    )
    assert found.temperature == 1 and found.scaling is not None
    # Of three classes, the one without positives stays as it is.
    assert found.scaling.scale[2] == 1 and found.scaling.shift[2] == 0
    np.testing.assert_allclose(after[:, 2], before[:, 2], atol=1e-6)
    scores = [label_calibration(probs[:, :2], targets[:, :2]) for probs in (before, after)]
    assert scores[1].loss < scores[0].loss and scores[1].ece < scores[0].ece
    np.testing.assert_allclose(unscaled(after, *found.scaling), before, atol=1e-5)
    known = found.reliability
    assert isinstance(known, LabelReliability)
    np.testing.assert_allclose(known.probs, after, atol=1e-6)
    assert (known.targets == targets).all() and len(known.novelty) == NUM
    assert found.thresholds == tuple(one.threshold for one in best_f1_thresholds(known.probs, targets))
    # The model that was given is not changed.
    again = TorchPredictor(model, REFERENCE).predict_images([items[0].open()]).probs
    np.testing.assert_allclose(again, before[:1], atol=1e-6)


@pytest.mark.usefixtures("narrow")
def test_a_class_that_no_validation_image_has_is_named(items: list[Item]) -> None:
    model = labels_model()
    found = calibrate_model(model, labeled(model, items, scale=1.0, shift=0.0), REFERENCE, seed=0)
    assert isinstance(found.reliability, LabelReliability) and not (found.reliability.targets[:, 2] == YES).any()
    assert found.thresholds[2] == DEFAULT_THRESHOLD
    said = missing_thresholds(found)
    assert said is not None and CLASSES[2] in said and CLASSES[0] not in said and "50.0 %" in said
    # A threshold of another origin is none that is missing.
    assert missing_thresholds(dataclasses.replace(found, thresholds=(0.2, 0.3, 0.4))) is None
