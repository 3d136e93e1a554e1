"""``resnet-cli export``: a file that answers as the model does, or no file; and what runs it elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import CLASSES, IMPORTED, Trained, command_environment, run_cli

from resnet_cli.errors import SetupError
from resnet_cli.exporting import openvino_folder, parity
from resnet_cli.exporting.export import export_model, sha256_of
from resnet_cli.exporting.onnx_model import OnnxModel
from resnet_cli.exporting.pt2 import Pt2Runtime
from resnet_cli.exporting.runtimes import Answers, TorchRuntime
from resnet_cli.weights import load_model

pytest_plugins = ["small_runs"]

EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_predict.py"
RESULT_KEYS = {
    "schema_version", "model", "path", "format", "number", "num_bytes", "sha256", "source_sha256", "parity", "seconds",
}  # fmt: skip
#: Runs a program that must not import torch, whatever is installed.
BLOCKED = """
import runpy, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "onnx", "resnet_cli"}:
            raise ImportError(name)
sys.meta_path.insert(0, Forbid())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
#: The command, which stops for a minute when the file is written and about to be checked.
WAITING = """
import sys, time
from resnet_cli.exporting import export
check = export.check
def wait(*arguments):
    print("written", file=sys.stderr, flush=True)
    time.sleep(60)
    return check(*arguments)
export.check = wait
from resnet_cli.cli import main
main()
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


@pytest.fixture(autouse=True)
def short_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's own tests try every batch and size."""
    monkeypatch.setattr(parity, "BATCHES", (1, 3))
    monkeypatch.setattr(parity, "ODD_SIZES", ((1, 1), (97, 31)))
    monkeypatch.setattr(parity, "NUM_TIMED", {1: 1})


@pytest.fixture(scope="module")
def exported(full_run: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as an ONNX file."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "NUM_TIMED", {1: 1})
        patch.setattr(parity, "BATCHES", (1,))
        export_model(load_model(full_run.run), out=path)
    return path


def test_it_says_what_was_written_and_what_the_gate_saw(full_run: Trained) -> None:
    result = run_cli("export", full_run.run, "--out", "made/m.onnx", "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    assert set(found) == RESULT_KEYS
    assert (found["schema_version"], found["path"], found["number"]) == (1, str(Path("made/m.onnx")), "fp32")
    assert found["sha256"] == sha256_of(Path("made/m.onnx"))
    assert found["source_sha256"] == sha256_of(full_run.run / "model.safetensors")
    assert found["parity"]["passed"] and found["parity"]["data"] == "all 15 validation pictures of colours"
    assert all(check["agreement"] == 1 and check["max_difference"] < 1e-3 for check in found["parity"]["checks"])
    assert "The file against the model" in result.stderr
    assert os.listdir("made") == ["m.onnx"]


def test_the_file_lies_beside_the_model_unless_told_otherwise(full_run: Trained) -> None:
    result = run_cli("export", full_run.run, "--quiet")
    path = full_run.run / "model.onnx"
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{path}\n" and result.stderr == ""
    path.unlink()


def test_a_file_that_answers_otherwise_is_not_written(full_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = OnnxModel.answers

    def turned(self: OnnxModel, images: Sequence[Image.Image]) -> Answers:
        probs, novelty = answers(self, images)
        return np.roll(probs, 1, axis=1), novelty

    monkeypatch.setattr(OnnxModel, "answers", turned)
    Path("m.onnx").write_text("the old file")
    result = run_cli("export", full_run.run, "--out", "m.onnx")
    assert result.exit_code == 10
    assert result.stdout == ""
    assert "onnx does not answer as the model does, and was not written" in result.stderr
    assert "differs" in result.stderr and "Answered differently" in result.stderr
    assert Path("m.onnx").read_text() == "the old file" and os.listdir() == ["m.onnx"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "kill"])
def test_a_killed_export_leaves_the_old_file(full_run: Trained, end: signal.Signals) -> None:
    Path("m.onnx").write_text("the old file")
    command = [sys.executable, "-c", WAITING, "export", str(full_run.run), "--out", "m.onnx"]
    process = subprocess.Popen(command, env=command_environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line == "written\n":
            break
    process.send_signal(end)
    process.stderr.read()
    assert process.wait() == (-9 if end == signal.SIGKILL else 143)
    assert Path("m.onnx").read_text() == "the old file"
    if end == signal.SIGTERM:
        assert os.listdir() == ["m.onnx"]


def test_int8_is_small_and_knows_its_own_answers(full_run: Trained) -> None:
    # Of a network of three epochs on 24 pictures, the answers are close calls.
    result = run_cli("export", full_run.run, "--int8", "--out", "m.onnx", "--json", "--max-drop", "100%")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["number"] == "int8" and found["num_bytes"] < 27e6
    model = OnnxModel.load(Path("m.onnx"))
    assert model.reliability is not None
    assert model.reliability.is_right.mean() == pytest.approx(found["parity"]["file_accuracy"]["value"])


def test_pictures_to_check_with_can_be_named(full_run: Trained) -> None:
    test_split = full_run.photos / "test"
    result = run_cli("export", full_run.run, "--out", "m.onnx", "--verify-with", test_split, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["parity"]["data"] == "all 9 pictures of test"


def test_without_a_run_pictures_must_be_named(full_run: Trained) -> None:
    Path("alone.safetensors").write_bytes((full_run.run / "model.safetensors").read_bytes())
    result = run_cli("export", "alone.safetensors", "--out", "m.onnx")
    assert result.exit_code == 2
    assert "no pictures to work with" in result.stderr and "--verify-with DATA" in result.stderr


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--format", "torchscript"], "torch has deprecated it"),
        (["--format", "coreml"], "--format coreml"),
        (["--int8", "--fp16"], "choose one"),
        (["--format", "pt2", "--int8"], "--int8 has no effect on --format pt2"),
        (["--format", "openvino", "--input", "tensor"], "--input has no effect on --format openvino"),
        (["--format", "safetensors", "--no-novelty"], "--no-novelty has no effect"),
        (["--max-drop", "0.1"], "--max-drop has no effect without --int8 or --fp16"),
        (["--int8", "--max-drop", "2"], "--max-drop 2"),
        (["--int8", "--max-drop", "x%"], "must be a share"),
        (["--calibrate-with", "x"], "--calibrate-with has no effect without --int8"),
        (["--benchmark", "--out", "x"], "--out has no effect with --benchmark"),
        (["--benchmark", "--no-novelty"], "--no-novelty has no effect with --benchmark"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_before_torch_is_loaded(flags: list[str], reason: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "export", *flags], capture_output=True, text=True, check=True
    )
    code, names = json.loads(done.stderr.rpartition("\n")[2])
    assert code == 2 and reason in " ".join(done.stderr.split())
    assert not set(names) & {"torch", "onnxruntime", "numpy"}


def test_pt2_answers_as_the_model_does(full_run: Trained) -> None:
    result = run_cli("export", full_run.run, "--format", "pt2", "--out", "m.pt2", "--json")
    assert result.exit_code == 0, result.output
    model = load_model(full_run.run)
    pictures = [Image.new("RGB", (50, 40), colour) for colour in ("red", "green", "blue", "white", "black")]
    for found, expected in zip(
        Pt2Runtime(Path("m.pt2"), model).answers(pictures), TorchRuntime(model).answers(pictures), strict=True
    ):
        assert found is not None and expected is not None
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_timm_folder_is_one_that_timm_reads(full_run: Trained) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    result = run_cli("export", full_run.run, "--format", "safetensors", "--out", "made", "--json")
    assert result.exit_code == 0, result.output
    import torch

    network = timm.create_model("local-dir:made", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    model = load_model(full_run.run)
    paths = sorted((full_run.photos / "test").rglob("*.jpg"))
    pictures = [Image.open(path).convert("RGB") for path in paths]
    with torch.inference_mode():
        probs = torch.softmax(network(torch.stack([transform(picture) for picture in pictures])), dim=1)
    np.testing.assert_allclose(probs.numpy(), TorchRuntime(model).answers(pictures)[0], atol=1e-3)
    assert network.pretrained_cfg["label_names"] == list(CLASSES)


def test_a_timm_folder_has_its_files_and_never_replaces_one(full_run: Trained) -> None:
    first = run_cli("export", full_run.run, "--format", "safetensors", "--out", "made")
    assert first.exit_code == 0, first.output
    assert sorted(os.listdir("made")) == ["config.json", "model.safetensors"]
    config = json.loads(Path("made/config.json").read_text())
    assert (config["architecture"], config["num_classes"], config["label_names"]) == ("resnet50", 3, list(CLASSES))
    second = run_cli("export", full_run.run, "--format", "safetensors", "--out", "made")
    assert second.exit_code == 2 and "exists already" in second.stderr


def test_timms_resnet50_has_no_hidden_layers(frozen_run: Trained) -> None:
    result = run_cli("export", frozen_run.run, "--format", "safetensors", "--out", "made")
    assert result.exit_code == 2
    assert "hidden layers (16)" in result.stderr and os.listdir() == []


def test_without_openvino_the_way_to_get_it_is_named(full_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    result = run_cli("export", full_run.run, "--format", "openvino", "--out", "made")
    assert result.exit_code == SetupError.exit_code
    assert "resnet-cli[openvino]" in result.stderr and os.listdir() == []


def test_an_openvino_folder_answers_as_the_model_does(full_run: Trained) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    result = run_cli("export", full_run.run, "--format", "openvino", "--out", "made", "--json")
    assert result.exit_code == 0, result.output
    assert sorted(os.listdir("made")) == ["model.bin", "model.xml", openvino_folder.ABOUT_FILE]


def test_the_example_gives_the_same_labels_without_torch(full_run: Trained, exported: Path) -> None:
    pictures = sorted((full_run.photos / "test").rglob("*.jpg"))
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, EXAMPLE, exported, *pictures],
        capture_output=True, text=True, check=False, env=command_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    probs, _ = TorchRuntime(load_model(full_run.run)).answers([_upright(path) for path in pictures])
    labels = [CLASSES[index] for index in probs.argmax(axis=1)]
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [
        [str(path), label] for path, label in zip(pictures, labels, strict=True)
    ]


@pytest.mark.slow
def test_the_example_runs_where_torch_is_not_installed(full_run: Trained, exported: Path, tmp_path: Path) -> None:
    """A real environment with only onnxruntime, numpy and Pillow; needs an index or their wheels."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "onnxruntime", "pillow"]
    if subprocess.run(install, capture_output=True, check=False).returncode != 0:
        pytest.skip("onnxruntime and Pillow cannot be installed here: no index")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 1
    (picture, *_) = sorted((full_run.photos / "test").rglob("*.jpg"))
    done = subprocess.run([python, EXAMPLE, exported, picture], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    probs, _ = TorchRuntime(load_model(full_run.run)).answers([_upright(picture)])
    assert done.stdout.split("\t")[1] == CLASSES[probs[0].argmax()]


def _upright(path: Path) -> Image.Image:
    from resnet_cli.images import read_image

    return read_image(path)


def test_python_writes_the_same_file(full_run: Trained, exported: Path) -> None:
    seen: list[Any] = []
    result = export_model(load_model(full_run.run), out=Path("again.onnx"), on_parity=seen.append)
    assert result.path.read_bytes() == exported.read_bytes()
    assert seen == [result.parity] and result.parity.passed


@pytest.mark.slow
def test_the_benchmark_has_a_row_for_each_format_and_keeps_nothing(full_run: Trained) -> None:
    result = run_cli("export", full_run.run, "--benchmark", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["formats"]
    assert [row["name"] for row in rows][:2] == ["the model, in torch", "onnx"]
    assert all(row["accuracy"] is not None or row["note"] for row in rows)
    assert os.listdir() == []
