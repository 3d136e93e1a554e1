"""What the labels of a data set mean for a model of the same task or the other one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.label_sets import labeled

from resnet_cli.data.dataset import targets_of
from resnet_cli.errors import DataError
from resnet_cli.evaluation.label_alignment import align, alignment_note
from resnet_cli.preprocess import Preprocess
from resnet_cli.task import TaskName

PREPROCESS = Preprocess(resize_size=36, crop_size=32)


@dataclasses.dataclass
class Known:
    """What is known of a model before it predicts."""

    classes: tuple[str, ...]
    task: TaskName = "multi-label"
    path: Path | None = None
    preprocess: Preprocess = PREPROCESS


def test_classes_are_matched_by_name_and_those_that_the_data_do_not_have_are_unknown() -> None:
    data = labeled("ac", "", "c", unknown=("", "a", ""))
    model = Known(("c", "b", "a"))
    targets = targets_of(align(data, model), "multi-label", 3)
    assert targets.tolist() == [[1, -1, 1], [0, -1, -1], [1, -1, 0]]
    assert "the class 'b' of the model is not in the data" in alignment_note(data, model)
    assert alignment_note(data, Known(("c", "a"))) == ""


def test_in_data_with_one_label_per_image_every_other_class_is_a_negative() -> None:
    data = dataclasses.replace(labeled("a", "b"), task="single-label")
    model = Known(("x", "b", "a"))
    assert targets_of(align(data, model), "multi-label", 3).tolist() == [[0, 0, 1], [0, 1, 0]]
    assert "all other classes as negatives" in alignment_note(data, model)


def test_a_class_that_the_model_does_not_have_and_a_model_of_one_label_are_refused() -> None:
    with pytest.raises(DataError, match="the model does not have: c"):
        align(labeled("ac"), Known(("a",)))
    with pytest.raises(DataError, match="any number of labels per image") as refused:
        align(labeled("ac"), Known(("a", "c"), "single-label"))
    assert refused.value.hint and "resnet-cli finetune" in refused.value.hint
