"""What a multi-label model stores and chooses: its labels follow its thresholds, or those that a target asks for."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from support.synthetic_models import CLASSES, labels_model, made_up_model
from torch import Tensor

from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.model.facts import METADATA_KEY
from resnet_cli.model.label_reliability import MAX_CELLS, LabelReliability, LabelRule, LabelScaling, is_predicted
from resnet_cli.model.model_file import Model, model_from_tensors
from resnet_cli.model.rules import Rule, abstention_rule
from resnet_cli.model.tensor_files import read_tensors
from resnet_cli.model.weights import load_model
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE
from resnet_cli.task import TaskName

pytest_plugins = ["support.narrow_network"]


@dataclasses.dataclass
class Known:
    """What a rule depends on."""

    task: TaskName = "multi-label"
    classes: tuple[str, ...] = ("cat", "dog", "rare")
    thresholds: tuple[float, ...] = (0.3, 0.4, 0.5)
    reliability: Any = None
    has_novelty: bool = True


def results(num: int = 200) -> LabelReliability:
    """Two classes that are easy to tell, and one with four positives."""
    rng = np.random.default_rng(0)
    targets = (rng.random((num, 3)) < 0.5).astype(np.int8)
    targets[:, 2] = np.arange(num) < 4
    probs = np.clip(0.7 * targets + 0.3 * rng.random((num, 3)), 0, 1).astype(np.float32)
    return LabelReliability(probs, targets, rng.random(num).astype(np.float32))


def test_nothing_requested_leaves_the_models_own_labels() -> None:
    assert abstention_rule(Known()) is None
    assert abstention_rule(Known(reliability=results()), abstain=True) == LabelRule((0.3, 0.4, 0.5), unfamiliar=True)
    assert abstention_rule(Known(), threshold=0.0) == LabelRule((0.0, 0.0, 0.0))


@pytest.mark.parametrize(("target", "then", "needed"), [("precision", None, 39), ("recall", 0.0, 29)])
def test_a_class_without_a_bound_is_named_with_what_happens_to_it(target: str, then: float | None, needed: int) -> None:
    wanted: dict[str, Any] = {f"target_{target}": 0.9}
    rule = abstention_rule(Known(reliability=results()), **wanted)
    assert isinstance(rule, LabelRule) and rule.caveat is not None and not rule.unfamiliar
    assert rule.thresholds[2] == then and all(0.2 < x < 0.75 for x in rule.thresholds[:2] if x is not None)
    assert f"rare (4 in validation, {needed} needed)" in rule.caveat and "cat" not in rule.caveat
    assert ("never predicted" if then is None else "predicted for every image") in rule.caveat
    chosen = is_predicted(np.ones((2, 3), np.float32), rule.thresholds)
    assert chosen.tolist() == [[True, True, then is not None]] * 2


def test_what_cannot_be_promised_for_any_class_is_refused_with_the_number_that_is_needed() -> None:
    few = Known(reliability=results(30))
    with pytest.raises(
        ConfigError, match=r"--target-precision 90%: no threshold of any class .* '(cat|dog)' has the most"
    ) as caught:
        abstention_rule(few, target_precision=0.9)
    assert caught.value.hint is not None and "at least 39 validation images that have it" in caught.value.hint
    known = results()
    random = dataclasses.replace(known, probs=np.random.default_rng(1).random(known.probs.shape, np.float32))
    with pytest.raises(ConfigError, match="with these results") as caught:
        abstention_rule(Known(reliability=random), target_precision=0.9)
    assert caught.value.hint is not None and "train a better model" in caught.value.hint


def test_each_task_names_the_target_of_the_other_one() -> None:
    multi, single = Known(reliability=results()), Known(task="single-label", thresholds=())
    rule = functools.partial(abstention_rule, multi)
    with pytest.raises(ConfigError, match=r"--target-error is for single-label models") as caught:
        rule(target_error=0.1)
    assert caught.value.hint == "use --target-precision or --target-recall"
    for_labels: list[dict[str, Any]] = [{"target_precision": 0.9}, {"target_recall": 0.9}]
    for wanted in for_labels:
        with pytest.raises(ConfigError, match="for multi-label models") as caught:
            abstention_rule(single, **wanted)
        assert caught.value.hint == "use --target-error"
    wrong: list[dict[str, Any]] = [
        {"target_precision": 0.9, "target_recall": 0.9},
        {"target_precision": 0.9, "threshold": 0.5},
        {"target_recall": 1.0},
        {"threshold": 1.5},
    ]
    for wanted in wrong:
        with pytest.raises(ConfigError):
            rule(**wanted)
    without: list[dict[str, Any]] = [{"target_recall": 0.9}, {"abstain": True}]
    for wanted in without:
        with pytest.raises(ModelError, match=r"has no validation|cannot abstain"):
            abstention_rule(Known(), **wanted)
    with pytest.raises(ModelError, match="no exemplars"):
        abstention_rule(Known(reliability=results(), has_novelty=False), abstain=True)


def test_an_unknown_image_says_why_and_no_label_is_an_answer() -> None:
    rule: Rule = LabelRule((0.5,), unfamiliar=True)
    assert rule.reason(0.9, True) == "unlike the training images"
    assert rule.reason(0.1, False) is rule.reason(0.1, None) is LabelRule((0.5,)).reason(0.1, True) is None


def test_a_probability_at_the_threshold_is_enough_also_in_float32() -> None:
    assert is_predicted(np.array([[0.7, 0.3]], np.float32), (0.7, 0.3)).all()
    assert not is_predicted(np.array([[0.0]], np.float32), (None,)).any()


def test_results_of_very_many_images_are_a_sample() -> None:
    num = MAX_CELLS // 3 + 5
    many = LabelReliability(
        np.zeros((num, 3), np.float32), np.zeros((num, 3), np.int8), np.arange(num, dtype=np.float32)
    )
    kept = many.sample(seed=0)
    assert len(kept.probs) == len(kept.targets) == len(kept.novelty) == MAX_CELLS // 3 and kept.is_sound(3)
    assert results().sample(seed=0).probs.shape == (200, 3)


@pytest.fixture
def model(narrow: None) -> Model:
    scaling = LabelScaling((1.0, 0.5, 2.0), (0.0, -1.0, 0.25))
    return dataclasses.replace(labels_model(), scaling=scaling)


def test_the_model_file_holds_all_of_it_and_an_older_version_refuses_it(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    found = load_model(path)
    assert (found.task, found.thresholds, found.scaling) == ("multi-label", model.thresholds, model.scaling)
    assert isinstance(found.reliability, LabelReliability) and isinstance(model.reliability, LabelReliability)
    for name, values in model.reliability.arrays().items():
        assert (found.reliability.arrays()[name] == values).all()
    assert found.exemplars is not None and model.exemplars is not None
    assert torch.equal(found.exemplars.labels, model.exemplars.labels)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()[METADATA_KEY])
    # Version 0.1.0 reads files of schema 1 alone; it would apply softmax to these logits.
    assert about["schema_version"] == 2
    # Also after something of it was computed.
    assert found.reliability.most_novel >= 0
    found.save(path)


def test_a_model_that_was_not_calibrated_predicts_from_one_half_on(tmp_path: Path, narrow: None) -> None:
    path = tmp_path / "model.safetensors"
    dataclasses.replace(made_up_model(remembers=False), task="multi-label", temperature=1.0).save(path)
    found = load_model(path)
    assert found.thresholds == (0.5,) * len(CLASSES) and found.scaling is None
    assert TorchPredictor(found, REFERENCE).thresholds == found.thresholds


DAMAGED: dict[str, list[Any]] = {
    "task": [None, "single-label", "both", 1],
    "thresholds": [None, [], [0.5], [0.5, 0.5, 1.5], [0.5, 0.5, math.nan], [0.5, 0.5, "0.5"], 0.5],
    "scaling": [{}, [1, 2], {"scale": [1, 1, 1]}, {"scale": [1, 1, 0], "shift": [0, 0, 0]}, {"scale": 1, "shift": 0}],
    "schema_version": [1, 3],
}


@pytest.mark.usefixtures("narrow")
def test_damaged_metadata_is_a_model_error(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()[METADATA_KEY])
    model_from_tensors(tensors, about, path)
    for name, values in DAMAGED.items():
        for value in values:
            with pytest.raises(ModelError):
                model_from_tensors(tensors, about | {name: value}, path)
        with pytest.raises(ModelError):
            model_from_tensors(tensors, {key: value for key, value in about.items() if key != name}, path)
    changes: list[tuple[str, Tensor | None]] = [
        ("reliability.probs", tensors["reliability.probs"][:, :2]),
        ("reliability.probs", tensors["reliability.probs"] + 1),
        ("reliability.targets", tensors["reliability.targets"] * 2),
        ("reliability.targets", tensors["reliability.targets"].float()),
        ("reliability.novelty", tensors["reliability.novelty"][:1]),
        ("reliability.novelty", None),
        ("memory.labels", tensors["memory.labels"].argmax(dim=1)),
        ("memory.labels", tensors["memory.labels"] - 2),
    ]
    for name, tensor in changes:
        damaged = {key: value for key, value in tensors.items() if key != name}
        with pytest.raises(ModelError, match="damaged"):
            model_from_tensors(damaged if tensor is None else damaged | {name: tensor}, about, path)
