"""The parity check accepts a file whose predictions match the model's, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.errors import VerificationError
from resnet_cli.exported.metadata import FilePrecision
from resnet_cli.exporting.decisions import SingleLabelDecisions
from resnet_cli.exporting.parity import BATCHES, ODD_SIZES, compare
from resnet_cli.exporting.parity_result import Parity
from resnet_cli.exporting.verification_data import spread
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.prediction import Predictor
from resnet_cli.preprocess import Preprocess

Change = Callable[[NDArray[np.float32], Sequence[Image.Image]], NDArray[np.float32]]


class Colours(Predictor[Image.Image]):
    """Answers with the share of each colour, changed as a test wants it."""

    classes = ("red", "green", "blue")
    preprocess = Preprocess(resize_size=8, crop_size=8)

    def __init__(self, change: Change | None = None) -> None:
        self._change = change
        self.batches: list[int] = []

    def prepare(self, image: Image.Image) -> Image.Image:
        return image

    def predict(self, inputs: Sequence[Image.Image]) -> ModelOutput:
        self.batches.append(len(inputs))
        means = np.stack([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) + 1 for image in inputs])
        probs = (means / means.sum(axis=1, keepdims=True)).astype(np.float32)
        novelty = (means[:, 0] / 255).astype(np.float32)
        return ModelOutput(probs if self._change is None else self._change(probs, inputs), novelty)

    def square(self, prepared: Image.Image) -> Pixels:
        raise NotImplementedError

    def heatmap(self, prepared: Image.Image, output: ModelOutput, target: int | None = None) -> NDArray[np.float32]:
        raise NotImplementedError


def items(count: int = 40) -> list[Item]:
    """Images of mostly one colour; every tenth is labelled wrongly."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        pixels = rng.integers(0, 100, (8, 9, 3), dtype=np.uint8)
        pixels[..., index % 3] += 100
        label = (index + (index % 10 == 9)) % 3
        made.append(Item(f"{index}.png", pixels, (label,)))
    return made


def compared(
    change: Change | None = None,
    *,
    precision: FilePrecision = "fp32",
    max_drop: float = 0.0,
    max_shift: float = 1.0,
    num_images: int = 40,
) -> Parity:
    images = items(num_images)
    expected = Colours().predict_images([item.open() for item in images])
    return compare(
        Colours(),
        Colours(change),
        images,
        classes=("red", "green", "blue"),
        expected=expected,
        precision=precision,
        max_drop=max_drop,
        max_shift=max_shift,
        data="made-up images",
    )


def test_the_same_answers_pass() -> None:
    found = compared()
    found.require("onnx")
    assert found.passed and not found.differences
    assert found.model_accuracy == found.file_accuracy
    assert found.model_accuracy.value == 0.9
    assert found.max_novelty_difference == 0
    assert len(found.checks) == 1 + len(BATCHES) + len(ODD_SIZES)
    assert set(found.file_ms) == {1, 32}


def test_every_batch_size_is_tried_also_with_few_images() -> None:
    file = Colours()
    images = items(3)
    compare(
        Colours(), file, images, classes=("r", "g", "b"), expected=Colours().predict_images([x.open() for x in images])
    )
    assert set(BATCHES) <= set(file.batches)


def test_a_difference_below_the_tolerance_passes() -> None:
    assert compared(lambda probs, images: probs + np.float32(0.0009)).passed


def test_a_difference_above_it_fails() -> None:
    found = compared(lambda probs, images: probs + np.float32(0.0011))
    with pytest.raises(VerificationError, match=r"largest difference 0\.0011") as caught:
        found.require("onnx")
    assert "was not written" in caught.value.message and "bug" in str(caught.value.hint)


def test_a_difference_only_in_batches_fails_and_is_named() -> None:
    found = compared(lambda probs, images: probs[::-1] if len({i.size for i in images}) == 1 else probs)
    assert not found.passed
    assert {check.name for check in found.checks if not check.passed} >= {"a batch of 7"}


def test_a_difference_only_in_small_images_fails_and_is_named() -> None:
    found = compared(lambda probs, images: probs if images[0].width > 1 else probs + np.float32(0.1))
    assert [check.name for check in found.checks if not check.passed] == ["1 x 1 pixels"]


def test_no_number_at_all_fails() -> None:
    assert not compared(lambda probs, images: np.full_like(probs, np.nan)).passed


def test_images_between_two_classes_may_go_either_way() -> None:
    expected = np.array([[0.50002, 0.49998], [0.6, 0.4]], dtype=np.float32)
    found = np.array([[0.49999, 0.50001], [0.6, 0.4]], dtype=np.float32)
    decisions = SingleLabelDecisions(("red", "green"), ())
    assert decisions.are_same(expected, found).all()
    assert decisions.are_same(expected, expected[:, ::-1]).tolist() == [True, False]


def wrong_for_one(probs: NDArray[np.float32], images: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Another answer to the fourth image of the first batch."""
    if len(images) > 3 and images[0].size == (9, 8) and len(images) != 7:
        probs = probs.copy()
        probs[3] = np.roll(probs[3], 1)
    return probs


def test_int8_may_lose_what_it_is_allowed_and_names_what_it_answers_otherwise() -> None:
    found = compared(wrong_for_one, precision="int8", max_drop=0.05)
    found.require("onnx int8")
    assert found.drop == pytest.approx(2 / 40)
    assert [difference.name for difference in found.differences][:1] == ["3.png"] or len(found.differences) == 2
    difference = found.differences[0]
    assert difference.expected != difference.found and difference.expected_prob > 0.4


def test_int8_may_not_lose_more() -> None:
    reason = r"accuracy falls by 5\.00 points on 40 images; the limit is 2\.5 points, one image"
    with pytest.raises(VerificationError, match=reason) as caught:
        compared(wrong_for_one, precision="int8", max_drop=0.01).require("onnx int8")
    assert "--max-drop" in str(caught.value.hint)


def test_one_image_of_few_is_not_a_loss_of_accuracy_unless_nothing_may_be_lost() -> None:
    found = compared(wrong_for_one, precision="int8", max_drop=0.01, num_images=30)
    assert found.drop == pytest.approx(1 / 30) and found.passed
    assert "30 images cannot show a loss of 1 point" in str(found.few_images())
    for stricter in (dataclasses.replace(found, max_drop=0.0), dataclasses.replace(found, drops={"accuracy": 2 / 30})):
        assert not stricter.passed
    assert compared(precision="int8", max_drop=0.05).few_images() is None and compared().few_images() is None


def test_a_loss_of_exactly_what_is_allowed_passes() -> None:
    decisions = SingleLabelDecisions(("red", "green"), ())
    assert not decisions.exceeded({"accuracy": 0.9 - 0.88}, 0.02, 200)
    assert decisions.exceeded({"accuracy": 0.025}, 0.01, 200) == [
        "accuracy falls by 2.50 points on 200 images; the limit is 1 point"
    ]


def test_the_figures_are_json() -> None:
    found = compared().to_dict()
    assert found["passed"] and found["checks"][0]["num_images"] == 40
    assert set(found["file_ms"]) == {"1", "32"}
    assert found["model_accuracy"]["value"] == 0.9


@pytest.mark.parametrize("num", [1, 2, 5, 12, 100])
def test_chosen_images_arespread_over_the_classes(num: int) -> None:
    many = [Item(str(index), b"", (label,)) for index, label in enumerate([0] * 30 + [1] * 5 + [2] * 3)]
    chosen = spread(many, num)
    counts = np.bincount([item.label for item in chosen], minlength=3)
    assert len(chosen) == min(num, 38)
    # No class goes short while a larger one has more than its share.
    assert all(counts[label] >= min(size, counts.max() - 1) for label, size in enumerate((30, 5, 3)))
    assert chosen == spread(many, num)
    assert [int(item.name) for item in chosen] == sorted(int(item.name) for item in chosen)


def test_int8_may_not_change_probabilities_by_more_than_it_is_allowed() -> None:
    flatter = compared(lambda probs, images: 0.8 * probs + np.float32(0.2 / 3), precision="int8", max_shift=0.02)
    assert not flatter.differences and flatter.drop == 0
    assert 0.02 < flatter.mean_difference < flatter.max_difference
    with pytest.raises(
        VerificationError, match=r"probabilities change by .* points on average; at most 2 are"
    ) as caught:
        flatter.require("onnx int8")
    assert "--max-shift" in str(caught.value.hint) and "--calibrate-with" in str(caught.value.hint)
    assert "--max-drop" not in str(caught.value.hint)
    assert dataclasses.replace(flatter, max_shift=flatter.mean_difference).passed
    assert not dataclasses.replace(flatter, mean_difference=float("nan")).passed


def test_half_precision_may_differ_by_what_rounding_explains() -> None:
    assert compared(lambda probs, images: probs + np.float32(0.004), precision="fp16").passed
    assert not compared(lambda probs, images: probs + np.float32(0.006), precision="fp16").passed


@pytest.mark.parametrize(
    ("what", "allowed", "hint"),
    [
        ("onnx", 1.0, "please report a bug"),
        ("onnx fp16", 1.0, "export without --fp16; if that fails too, please report a bug"),
        ("onnx fp16", 0.001, "allow more with --max-shift, or export without --fp16"),
    ],
)
def test_the_hint_names_only_options_that_were_given_or_have_an_effect(what: str, allowed: float, hint: str) -> None:
    by = 0.02 if allowed == 1 else 0.004
    found = compared(lambda probs, images: probs + np.float32(by), precision="fp16", max_shift=allowed)
    with pytest.raises(VerificationError) as caught:
        found.require(what)
    assert caught.value.hint == hint
