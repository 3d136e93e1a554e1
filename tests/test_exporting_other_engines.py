"""Files in other engines: each in a fresh process, and whatever happens there is a result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting.other_engines import ENGINES, OWN, Engine, EngineAnswer, ask, installed_engines

pytest_plugins = ["support.exported_model"]

#: What stands in for a package that is installed: the name of the file decides what it does.
STAND_IN = """
import os, sys, time
print("a banner"), print("a warning", file=sys.stderr)

def onnx():
    return sys.modules[__name__]

def load(path):
    if "slow" in path:
        time.sleep(60)
    if "ended" in path:
        os.kill(os.getpid(), 9)
    raise RuntimeError("operator If\\n  is not known Stack backtrace: 0: main")
"""


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((40, 50), (64, 64))]


def engine(key: str) -> Engine:
    return next(found for found in ENGINES if found.key == key)


def require_same(answer: EngineAnswer, model: OnnxModel, images: list[Image.Image], tolerance: float) -> None:
    assert not answer.refused and answer.load_s > 0 and len(answer.ms) == 2
    assert answer.difference(model.predict_images(images).probs) <= tolerance


@pytest.mark.parametrize("asked", [OWN, engine("onnxruntime")], ids=lambda one: one.key)
def test_the_first_answers_of_a_fresh_process_are_those_of_this_one(
    asked: Engine, made_onnx: Path, images: list[Image.Image], capfd: pytest.CaptureFixture[str]
) -> None:
    model = OnnxModel.load(made_onnx)
    require_same(ask(asked, made_onnx, model.metadata, images, num_timed=2), model, images, 1e-6)
    assert capfd.readouterr() == ("", "")


def test_what_an_engine_does_instead_of_an_answer_is_a_result(
    made_onnx: Path, images: list[Image.Image], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tract.py").write_text(STAND_IN)
    (tmp_path / "tract-9.8.dist-info").mkdir()
    (tmp_path / "tract-9.8.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tract\nVersion: 9.8\n")
    metadata = OnnxModel.load(made_onnx).metadata
    expected = {
        "refused.onnx": "operator If is not known",
        "ended.onnx": "the process was ended by signal 9",
        "slow.onnx": "no answer within 0.5 s",
    }
    for name, refused in expected.items():
        longest_s = 0.5 if name == "slow.onnx" else 60.0
        answer = ask(engine("tract"), tmp_path / name, metadata, images[:1], packages=tmp_path, longest_s=longest_s)
        assert answer.refused == refused and answer.version == "9.8" and answer.first is None
    assert capfd.readouterr() == ("", "")


def test_an_engine_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_such_module").mkdir()
    # A mere folder, such as that of an export, is no engine.
    monkeypatch.syspath_prepend(tmp_path)
    found = {one.key for one in installed_engines()}
    assert "onnxruntime" in found
    assert Engine("none", "None", "no_such_module", ("no-such-package",)).version() is None


@pytest.mark.parametrize("key", [one.key for one in ENGINES if one.key != "onnxruntime"])
def test_an_installed_engine_has_the_same_answers(key: str, made_onnx: Path, images: list[Image.Image]) -> None:
    asked = engine(key)
    if asked not in installed_engines():
        pytest.skip(f"{asked.name} is not installed")
    model = OnnxModel.load(made_onnx)
    answer = ask(asked, made_onnx, model.metadata, images, num_timed=2)
    if answer.refused:
        pytest.skip(f"{asked.name} {answer.version} does not load files that take whole images: {answer.refused}")
    # Sums of many products may round some pixels to the next level, which this network of noise magnifies.
    require_same(answer, model, images, max(asked.tolerance, 1e-2))
