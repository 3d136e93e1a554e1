"""The same images are unlike the training images in every command, format and language: there is one rule."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.live_server import ask, post, serving
from support.narrow_network import make_narrow
from support.running import command_environment, run_cli
from support.synthetic_models import images, telling_model

import resnet_cli
from resnet_cli.config.export import ExportConfig
from resnet_cli.data.dataset import Item
from resnet_cli.evaluation.evaluate import evaluate_predictor
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.hub.exported_file import Exported
from resnet_cli.exporting.hub.usage import how_to_use
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import UNLIKE, is_unfamiliar
from resnet_cli.predictor import TorchPredictor, open_predictor
from resnet_cli.system.device import REFERENCE

CPU = ("--device", "cpu", "--precision", "fp32")
EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_predict.py"
Answers = list[bool | None]


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its exports and images, of which some are unlike its training images."""
    folder = tmp_path_factory.mktemp("unfamiliar")
    (folder / "images").mkdir()
    for number, image in enumerate(images()):
        image.save(folder / "images" / f"{number}.png")
    model = telling_model()
    model.save(folder / "model.safetensors")
    dataclasses.replace(model, exemplars=None, reliability=None).save(folder / "old.safetensors")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return resnet_cli.load(folder / "model.safetensors")


@pytest.fixture(scope="module")
def expected(model: Model) -> list[bool]:
    found = is_unfamiliar(TorchPredictor(model, REFERENCE).predict_images(images()).novelty, model.reliability)
    assert found is not None and 0 < found.sum() < len(found)
    return [bool(one) for one in found]


def exported(folder: Path, name: str, **options: Any) -> Path:
    path = folder / name
    if not path.exists():
        job = Job(resnet_cli.load(folder / "model.safetensors"), ExportConfig(**options))
        if job.is_folder:
            path.mkdir()
        job.write(path)
    return path


def predicted(folder: Path, *flags: object, model: Path | None = None) -> str:
    own = model or folder / "model.safetensors"
    result = run_cli("predict", folder / "images", "--model", own, *flags, *(() if model else CPU))
    assert result.exit_code == 0, result.output
    return result.stdout


def from_json(text: str) -> Answers:
    return [json.loads(line)["unfamiliar"] for line in text.splitlines()]


def from_tabs(text: str) -> Answers:
    return [line.split("\t")[-1] == UNLIKE for line in text.splitlines()]


def from_csv(text: str) -> Answers:
    return [{"True": True, "False": False, "": None}[row["unfamiliar"]] for row in csv.DictReader(io.StringIO(text))]


def from_export(folder: Path, name: str, **options: Any) -> Answers:
    trust = ["--trust"] if name.endswith("pt2") else []
    return from_json(predicted(folder, "--json", *trust, model=exported(folder, name, **options)))


def from_openvino(folder: Path) -> Answers:
    pytest.importorskip("openvino", reason="openvino is not installed")
    return from_export(folder, "openvino", format="openvino")


def from_files(folder: Path) -> Answers:
    predicted(folder, "--output", folder / "out.csv", "--embeddings", folder / "features.npy")
    found = from_csv((folder / "out.csv").read_text())
    assert from_csv((folder / "features.npy.names.csv").read_text()) == found
    return found


def from_parquet(folder: Path) -> Answers:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    predicted(folder, "--output", folder / "out.parquet", "--embeddings", folder / "features.parquet")
    found: Answers = parquet.read_table(folder / "out.parquet")["unfamiliar"].to_pylist()
    assert parquet.read_table(folder / "features.parquet")["unfamiliar"].to_pylist() == found
    return found


def from_python(folder: Path) -> Answers:
    files = sorted((folder / "images").iterdir())
    found = resnet_cli.predict(folder / "model.safetensors", files, device="cpu", precision="fp32")
    return [prediction.is_unfamiliar for prediction in found]


def from_eval(folder: Path) -> Answers:
    items = [Item(path.name, path, (0,)) for path in sorted((folder / "images").iterdir())]
    of_model, of_file = (
        evaluate_predictor(open_predictor(path, device="cpu", precision="fp32"), items).is_unfamiliar
        for path in (folder / "model.safetensors", exported(folder, "model.onnx"))
    )
    assert of_model is not None and of_file is not None and of_model.tolist() == of_file.tolist()
    return [bool(one) for one in of_model]


def from_server(folder: Path) -> Answers:
    pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")
    data = [path.read_bytes() for path in sorted((folder / "images").iterdir())]
    with serving(exported(folder, "model.onnx"), cwd=folder) as server:
        answers = post(server, *data).json["predictions"]
        metrics = ask(server, "GET", "/metrics").data.decode()
    with serving(exported(folder, "model.onnx"), "--abstain", cwd=folder) as server:
        abstained = post(server, *data).json["predictions"]
    found = [answer["unfamiliar"] for answer in answers]
    assert [answer["label"] == "unknown" for answer in abstained] == found
    # Without the flag the label is kept.
    assert all(answer["unknown"] is None and answer["label"] == answer["topk"][0]["label"] for answer in answers)
    assert f"resnet_cli_unfamiliar_images_total {sum(found):.1f}" in metrics
    return found


def from_example(folder: Path) -> Answers:
    files = map(str, sorted((folder / "images").iterdir()))
    command = [sys.executable, str(EXAMPLE), *files]
    # The example opens model.onnx of the current folder.
    cwd = exported(folder, "model.onnx").parent
    done = subprocess.run(command, cwd=cwd, env=command_environment(), capture_output=True, text=True, check=True)
    return from_tabs(done.stdout)


SOURCES: dict[str, Callable[[Path], Answers]] = {
    "predict --json": lambda folder: from_json(predicted(folder, "--json")),
    "predict --csv": lambda folder: from_csv(predicted(folder, "--csv")),
    "predict in a pipe": lambda folder: from_tabs(predicted(folder)),
    "predict --abstain": lambda folder: from_json(predicted(folder, "--json", "--abstain")),
    "predict --output": from_files,
    "predict --output, parquet": from_parquet,
    "an ONNX file": lambda folder: from_export(folder, "model.onnx"),
    "an ONNX file that takes tensors": lambda folder: from_export(folder, "tensor.onnx", input="tensor"),
    "a pt2 file": lambda folder: from_export(folder, "model.pt2", format="pt2"),
    "an OpenVINO folder": from_openvino,
    "Python": from_python,
    "eval": from_eval,
    "serve": from_server,
    "onnxruntime without this package": from_example,
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_images_are_unlike_the_training_images_everywhere(
    folder: Path, expected: list[bool], source: str
) -> None:
    assert SOURCES[source](folder) == expected


@pytest.mark.parametrize("name", ["old.safetensors", "without.onnx", "timm"])
def test_a_model_that_cannot_tell_says_so_and_marks_nothing(folder: Path, name: str) -> None:
    options: dict[str, Any] = {"without.onnx": {"novelty": False}, "timm": {"format": "safetensors"}}
    path = exported(folder, name, **options.get(name, {}))
    result = run_cli("predict", folder / "images", "--model", path, "--json")
    assert result.exit_code == 0, result.output
    assert from_json(result.stdout) == [None] * len(images())
    assert "this model cannot tell which images are unlike its training images" in result.stderr
    assert run_cli("predict", folder / "images", "--model", path, "--abstain").exit_code == 3


def test_the_card_of_an_upload_says_how_to_tell(folder: Path, model: Model) -> None:
    assert model.reliability is not None

    def told(kind: str, *, novelty: bool) -> str:
        metadata = Job(model, ExportConfig(format="onnx", novelty=novelty)).metadata
        about = {"repo": "me/it", "files": ("model",), "num_bytes": 1, "sha256": "", "license": None, "parity": None}
        return how_to_use(Exported(format=kind, metadata=metadata, **about))  # type: ignore[arg-type]

    assert f"`novelty` [b] says how unlike the training images an image is. Above {model.reliability.most_novel!r}" in (
        told("onnx", novelty=True)
    )
    assert "The second output says how unlike" in told("pt2", novelty=True)
    assert "unlike the training images" not in told("onnx", novelty=False)


def test_other_programs_find_the_limit_in_the_metadata(folder: Path, model: Model) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")

    def metadata(name: str, **options: Any) -> dict[str, str]:
        session = onnxruntime.InferenceSession(exported(folder, name, **options))
        return dict(session.get_modelmeta().custom_metadata_map)

    assert model.reliability is not None
    assert float(metadata("model.onnx")["most_novel"]) == model.reliability.most_novel
    # Where there is no novelty to compare it with, a limit would only mislead.
    assert "most_novel" not in metadata("without.onnx", novelty=False)
    assert "most_novel" not in json.loads(
        (exported(folder, "timm", format="safetensors") / "resnet_cli.json").read_text()
    )
