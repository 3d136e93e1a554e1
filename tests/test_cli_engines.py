"""``--engine`` names what computes the backbone: the same predictions, and an error where it has no effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.running import run_cli

from resnet_cli.commands.serve import _open_model
from resnet_cli.config.serve import ServeConfig
from resnet_cli.engines import choice
from resnet_cli.engines.choice import installed_engines
from resnet_cli.errors import ConfigError
from resnet_cli.installation import install_command

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow", "no_plots")

SMALL = ("--weights", "none", "--image-size", "32", "--device", "cpu", "--mode", "frozen")
#: Of probabilities; seen: 1e-6.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


def succeeds(*arguments: object) -> str:
    result = run_cli(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object, code: int = 2) -> str:
    result = run_cli(*arguments)
    assert result.exit_code == code and "Traceback" not in result.output, result.output
    return " ".join(result.output.split())


def probs(*arguments: object) -> dict[str, dict[str, float]]:
    rows = (json.loads(line) for line in succeeds("predict", *arguments, "--all-probs", "--json").splitlines())
    return {row["path"]: row["all_probs"] for row in rows}


def difference(one: dict[str, dict[str, float]], other: dict[str, dict[str, float]]) -> float:
    assert one.keys() == other.keys() and one
    return max(abs(one[path][name] - other[path][name]) for path in one for name in one[path])


def test_every_engine_gives_the_same_model_and_predictions(photos: Path) -> None:
    succeeds("finetune", photos, *SMALL, "--out", "run")
    images = (photos / "test", "--model", "run", "--device", "cpu")
    expected = probs(*images, "--engine", "torch")
    found: dict[str, Any] = json.loads(succeeds("eval", "run", "--no-report", "--device", "cpu", "--json"))
    for engine in installed_engines():
        assert difference(probs(*images, "--engine", engine), expected) < TOLERANCE
        flags = ("--no-report", "--device", "cpu", "--engine", engine, "--json")
        scores = json.loads(succeeds("eval", "run", *flags))
        assert scores["top1"] == found["top1"] and abs(scores["loss"] - found["loss"]) < 1e-4
    # The value of version 0.1.0.
    assert difference(probs(*images, "--engine", "local"), expected) < TOLERANCE
    succeeds("finetune", photos, *SMALL, "--engine", "onnxruntime", "--out", "other")
    assert difference(probs(photos / "test", "--model", "other", "--engine", "torch"), expected) < 1e-3


def test_it_is_refused_where_it_has_no_effect(photos: Path) -> None:
    flag = ("--engine", "onnxruntime")
    succeeds("finetune", photos, *SMALL, "--out", "run")
    succeeds("export", "run")
    image = next(photos.rglob("*.png"))
    assert "has no effect" in refused("predict", image, "--model", "run/model.onnx", *flag)
    assert "has no effect" in refused("eval", "run/model.onnx", photos, *flag)
    similar = refused("predict", "--similar", image, "--among", photos, "--model", "run", *flag)
    assert "has no effect with --similar, which computes in torch" in similar
    full = refused("finetune", photos, *SMALL[:-1], "full", *flag)
    assert "--engine onnxruntime has no effect in mode full: torch trains the backbone" in full
    bf16 = refused("predict", image, "--model", "run", "--device", "cpu", "--precision", "bf16", *flag)
    assert "ONNX Runtime does not compute bf16 on CPUs" in bf16


def test_a_missing_engine_is_reported_with_its_command(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed_engines", lambda: {"onnxruntime": "1", "torch": "1"})
    succeeds("finetune", photos, *SMALL, "--out", "run")
    for command in (("predict", next(photos.rglob("*.png")), "--model", "run"), ("finetune", photos, *SMALL)):
        text = refused(*command, "--device", "cpu", "--engine", "openvino", code=4)
        assert "--engine openvino needs OpenVINO, which is not installed" in text
        assert install_command("openvino") in text


def test_a_server_takes_an_engine_that_fits_its_runtime(photos: Path) -> None:
    succeeds("finetune", photos, *SMALL, "--out", "run")
    succeeds("export", "run")
    assert "needs --runtime torch" in refused("serve", "run", "--engine", "torch")
    assert "choose one" in refused("serve", "run", "--engine", "onnxruntime", "--runtime", "torch")
    with pytest.raises(ConfigError, match="has no effect on"):
        _open_model("run/model.onnx", ServeConfig(engine="onnxruntime"))
    if "openvino" not in installed_engines():
        pytest.skip("OpenVINO is not installed")
    image = Image.open(next(photos.rglob("*.jpg"))).convert("RGB")
    expected = _open_model("run", ServeConfig(runtime="torch", device="cpu")).predict_images([image]).probs
    for runtime in ("onnx", "torch"):
        config = ServeConfig.model_validate({"engine": "openvino", "device": "cpu", "runtime": runtime})
        opened = _open_model("run", config)
        assert np.abs(opened.predict_images([image]).probs - expected).max() < TOLERANCE
    with pytest.raises(ConfigError, match="--engine openvino has no effect on"):
        _open_model("run/model.onnx", ServeConfig(engine="openvino"))
