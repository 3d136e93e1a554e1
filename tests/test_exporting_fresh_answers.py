"""A file counts only if a fresh process gives its answers, and users of other engines learn what these give."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import VerificationError
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting import fresh_answers
from resnet_cli.exporting.decisions import SingleLabelDecisions
from resnet_cli.exporting.fresh_answers import choose, first_answers, other_engines
from resnet_cli.exporting.other_engines import ENGINES, Engine, EngineAnswer, ask
from resnet_cli.exporting.parity_result import Check

pytest_plugins = ["support.exported_model"]

RIGHT = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], dtype=np.float32)
WRONG = np.roll(RIGHT, 1, axis=1)


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((40, 50), (64, 64))]


def test_a_file_that_answers_otherwise_in_a_fresh_process_is_refused(
    made_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OnnxModel.load(made_onnx)
    probs = model.predict_images(images()).probs
    answers: list[EngineAnswer] = []

    def remembered(*arguments: Any, **options: Any) -> EngineAnswer:
        answers.append(answers[0] if answers else ask(*arguments, **options))
        return answers[-1]

    monkeypatch.setattr(fresh_answers, "ask", remembered)

    def checked(own: NDArray[np.float32]) -> Check:
        decisions = SingleLabelDecisions(model.classes, ())
        return first_answers(
            made_onnx, model.metadata, images(), name="onnx", own=own, expected=own, decisions=decisions
        )

    same = checked(probs)
    assert same.passed and same.agreement == 1 and same.num_images == 2
    other = checked(np.roll(probs, 1, axis=1))
    assert not other.passed and other.max_difference > 0.01
    # The first answer alone is wrong: what OpenVINO did with a graph that branches.
    answers[0] = dataclasses.replace(answers[0], first=np.roll(probs, 1, axis=1))
    assert not checked(probs).passed


def test_a_file_that_no_fresh_process_opens_is_refused(made_onnx: Path, tmp_path: Path) -> None:
    metadata = OnnxModel.load(made_onnx).metadata
    damaged = tmp_path / "m.onnx"
    damaged.write_bytes(made_onnx.read_bytes()[:1000])
    with pytest.raises(VerificationError, match=r"onnx cannot be used in a process that has just started.*m\.onnx"):
        first_answers(
            damaged,
            metadata,
            images(),
            name="onnx",
            own=RIGHT,
            expected=RIGHT,
            decisions=SingleLabelDecisions(("a", "b", "c"), ()),
        )


def test_an_engine_with_other_answers_is_named_with_what_helps(
    made_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OnnxModel.load(made_onnx)
    answers = {"openvino": WRONG, "openvino-f32": RIGHT, "opencv": WRONG, "tract": None}

    def answer(engine: Engine, *_: Any, **__: Any) -> EngineAnswer:
        probs = answers[engine.key]
        return EngineAnswer(engine, "1.2", probs, probs, "" if probs is not None else "operator Resize is not known")

    monkeypatch.setattr(fresh_answers, "ask", answer)
    monkeypatch.setattr(fresh_answers, "installed_engines", lambda: iter(ENGINES))
    found = other_engines(
        made_onnx,
        model.metadata,
        images(),
        own=RIGHT,
        expected=RIGHT,
        decisions=SingleLabelDecisions(("a", "b", "c"), ()),
    )
    assert [(one.name, one.passed, one.refused) for one in found] == [
        ("OpenVINO", False, ""),
        ("OpenVINO in f32", True, ""),
        ("OpenCV", False, ""),
        ("tract", False, "operator Resize is not known"),
    ]
    default, exact, opencv, refused = (one.warning() for one in found)
    assert default is not None and default.startswith("OpenVINO 1.2 gives other answers with this file")
    assert "INFERENCE_PRECISION_HINT f32" in default and opencv is not None and "--input tensor" in opencv
    assert exact is None and refused is None


@pytest.mark.parametrize("num", [1, 2, 4, 1000])
def test_the_images_are_the_first_and_others_at_equal_distances(num: int) -> None:
    rows = choose(num)
    assert rows[0] == 0 and rows[-1] == num - 1 and len(rows) == min(num, fresh_answers.NUM_IMAGES)
