"""Batching, order, errors, top-k and "unknown" are the same for every predictor."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.mean_colours import COLOURS, MeanColours, reliability

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ConfigError, ImageError, ModelError
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import Abstention
from resnet_cli.model.rules import abstention_rule
from resnet_cli.prediction import Prediction, predict


def item(name: str, colour: tuple[int, int, int]) -> Item:
    return Item(name, np.full((4, 5, 3), colour, dtype=np.uint8))


RED, GREY = item("red", COLOURS["red"]), item("grey", (90, 91, 90))


def predictions(items: list[Item], **options: object) -> list[Prediction]:
    return [found.prediction for found in predict(MeanColours(), items, **options)]  # type: ignore[arg-type]


@given(colours=st.lists(st.sampled_from([*COLOURS, "broken"]), max_size=17), batch_size=st.integers(1, 9))
def test_each_image_gets_its_own_answer_at_its_own_place(colours: list[str], batch_size: int) -> None:
    items = [
        Item(f"{index}", b"no image") if colour == "broken" else item(f"{index}", COLOURS[colour])
        for index, colour in enumerate(colours)
    ]
    found = predictions(items, batch_size=batch_size)
    assert [prediction.path for prediction in found] == [one.name for one in items]
    assert ["broken" if prediction.error else prediction.label for prediction in found] == colours
    assert found == predictions(items, batch_size=1) or any(prediction.error for prediction in found)


def test_an_unreadable_image_has_no_label() -> None:
    (found,) = predictions([Item("a.jpg", b"")])
    assert (found.topk, found.unknown, found.novelty) == ((), None, None)
    for name in ("label", "prob"):
        with pytest.raises(ImageError, match=r"a\.jpg: the file is empty"):
            getattr(found, name)


def test_topk_is_sorted_cut_at_the_number_of_classes_and_stable_among_equals() -> None:
    (found,) = predictions([item("", (50, 100, 50))], topk=99)
    assert [name for name, _ in found.topk] == ["green", "red", "blue"]
    (found,) = predictions([item("", (50, 100, 50))], topk=1)
    assert (len(found.topk), found.label) == (1, "green") and found.prob == pytest.approx(0.5)


def test_what_the_network_saw_and_features_come_along() -> None:
    (found,) = predict(MeanColours(), [RED], with_features=True)
    assert found.item is RED and found.prediction.features is not None and found.prepared is not None
    assert found.prediction.features.tolist() == np.repeat(found.prepared, 4).tolist()
    assert predictions([RED])[0].features is None


def test_an_unknown_image_keeps_its_classes_and_says_why() -> None:
    predictor = MeanColours()
    predictor.reliability = reliability()
    rule = Abstention(min_prob=0.5, unfamiliar=True)
    red, grey = (found.prediction for found in predict(predictor, [RED, GREY], rule=rule))
    assert (red.label, red.unknown) == ("red", None)
    assert (grey.label, grey.unknown) == ("unknown", "unlike the training images")
    assert grey.topk[0][0] == "green" and grey.prob == grey.topk[0][1]
    (grey,) = predictions([GREY], rule=Abstention(min_prob=0.5))
    assert grey.unknown == "only 33.6 % sure"


def test_only_a_few_batches_are_taken_ahead_and_the_threads_end() -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield RED

    answers = predict(MeanColours(), endless(), batch_size=2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert taken <= 8


def test_a_batch_without_a_readable_image_is_not_computed() -> None:
    class Never(MeanColours):
        def predict(self, inputs: Sequence[NDArray[np.float32]]) -> ModelOutput:
            raise AssertionError

    assert all(found.prediction.error for found in predict(Never(), [Item("a", b""), Item("b", b"x")]))


def test_rules() -> None:
    known = reliability()
    predictor, other = MeanColours(), MeanColours()
    predictor.reliability, other.has_novelty = known, False
    rule = functools.partial(abstention_rule, predictor)
    assert abstention_rule(other) is None and rule(threshold=0) is None
    assert abstention_rule(other, threshold=0.3) == Abstention(0.3)
    assert rule(abstain=True) == Abstention(0.0, unfamiliar=True)
    promised = rule(target_error=0.1, threshold=0.2)
    assert isinstance(promised, Abstention) and promised.min_prob >= 0.5 and promised.unfamiliar
    with pytest.raises(ModelError, match="the model cannot abstain"):
        abstention_rule(MeanColours(), abstain=True)
    other.reliability = known
    with pytest.raises(ModelError, match="has no exemplars of them"):
        abstention_rule(other, abstain=True)
    with pytest.raises(ConfigError, match="no threshold can guarantee that"):
        rule(target_error=0.0001)
    for wrong in ({"threshold": 1.2}, {"threshold": float("nan")}, {"target_error": 0.0}, {"target_error": 1.0}):
        with pytest.raises(ConfigError, match="must be a share"):
            rule(**wrong)  # type: ignore[arg-type]


def test_predictions_are_compared_without_their_features(tmp_path: Path) -> None:
    one = Prediction("a", (("red", 1.0),), features=np.zeros(3))
    assert one == Prediction("a", (("red", 1.0),)) and "features" not in repr(one)
