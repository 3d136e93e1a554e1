"""An exported ONNX file answers as the model does, says what it is, and needs neither torch nor onnx to be run."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.running import FP32
from support.synthetic_models import CLASSES, PREPROCESS, images, made_up_model

from resnet_cli.config.export import ExportConfig
from resnet_cli.data.loading import stack
from resnet_cli.engines import int8
from resnet_cli.engines.explain import GradCam
from resnet_cli.engines.graph import IR_VERSION, OPSET
from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.exported.metadata import IMAGES, ExportMetadata, FilePrecision, InputKind
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting import serving_model
from resnet_cli.exporting.export import Job
from resnet_cli.exporting.formats.timm import TimmFormat
from resnet_cli.exporting.onnx_writer.file import finish, take_images, to_onnx
from resnet_cli.model.heatmap import heat_maps
from resnet_cli.model.model_file import Model
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE

pytest_plugins = ["support.narrow_network"]


def about(model: Model, *, takes: InputKind = "picture", precision: FilePrecision = "fp32") -> ExportMetadata:
    return ExportMetadata(
        classes=model.classes,
        preprocess=model.preprocess.to_dict(),
        temperature=model.temperature,
        input_kind=takes,
        precision=precision,
        provenance=model.provenance,
        licence="CC0",
        source_sha256="ab" * 32,
        version="0.1.0",
        reliability=model.reliability,
    )


def written(
    model: Model,
    path: Path,
    *,
    takes: InputKind = "picture",
    precision: FilePrecision = "fp32",
    with_novelty: bool = True,
) -> OnnxModel:
    proto = to_onnx(model, precision=precision, with_novelty=with_novelty)
    if precision == "int8":
        squares = (model.preprocess(image) for image in images())
        proto = int8.quantize(proto, squares, model.preprocess, images=IMAGES)
    if takes == "picture":
        proto = take_images(proto, model.preprocess)
    path.write_bytes(finish(proto, about(model, takes=takes, precision=precision)))
    return OnnxModel.load(path, threads=1)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("takes", ["picture", "tensor"])
@pytest.mark.parametrize("hidden", [(), (16, 8)], ids=["linear", "mlp"])
def test_it_answers_as_the_model_does(tmp_path: Path, takes: InputKind, hidden: tuple[int, ...]) -> None:
    model = made_up_model(hidden)
    probs, novelty, *_ = written(model, tmp_path / "m.onnx", takes=takes).predict_images(images())
    expected_probs, expected_novelty, *_ = TorchPredictor(model, REFERENCE).predict_images(images())
    assert probs.dtype == np.float32 and probs.shape == (7, 3)
    np.testing.assert_allclose(probs, expected_probs, atol=1e-5)
    assert novelty is not None and expected_novelty is not None
    # The remembered images are kept in float16.
    np.testing.assert_allclose(novelty, expected_novelty, atol=1e-4)
    assert np.ptp(probs, axis=0).max() > 0.01


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)], ids=["linear", "mlp", "deep mlp"])
def test_its_heat_is_that_of_the_model(tmp_path: Path, hidden: tuple[int, ...]) -> None:
    model = made_up_model(hidden)
    heat = written(model, tmp_path / "m.onnx").predict(images()).heatmap
    assert heat is not None and heat.max() > 0
    expected = GradCam(model.network, PREPROCESS, FP32).maps(stack([model.preprocess(image) for image in images()]))
    maps = heat_maps(heat, height=PREPROCESS.crop_size, width=PREPROCESS.crop_size)
    np.testing.assert_allclose(maps, expected, atol=1e-3)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_without_its_preprocessing_it_answers_the_same(tmp_path: Path, precision: FilePrecision) -> None:
    path = tmp_path / "m.onnx"
    whole = written(made_up_model(), path, precision=precision).predict(images())
    cut = OnnxModel.load(path, threads=1, without_preprocessing=True)
    assert cut.metadata.input_kind == "tensor"
    squares = [cut.prepare(image) for image in images()]
    for name, expected in whole._asdict().items():
        found = getattr(cut.predict(squares), name)
        assert (found is None) is (expected is None)
        if found is not None:
            np.testing.assert_allclose(found, expected, atol=1e-5 if precision == "fp32" else 1e-3)


def test_a_whole_resnet50_does_too(tmp_path: Path) -> None:
    model = made_up_model(remembers=False)
    found = written(model, tmp_path / "m.onnx")
    probs, novelty, *_ = found.predict_images(images())
    assert novelty is None and not found.has_novelty
    np.testing.assert_allclose(probs, TorchPredictor(model, REFERENCE).predict_images(images())[0], atol=1e-3)


@pytest.mark.usefixtures("narrow")
def test_neither_order_nor_company_changes_an_answer(tmp_path: Path) -> None:
    found = written(made_up_model(), tmp_path / "m.onnx")
    together, *_ = found.predict_images(images())
    backwards, *_ = found.predict_images(images()[::-1])
    np.testing.assert_allclose(together, backwards[::-1], atol=1e-6)
    for image, row in zip(images(), together, strict=True):
        np.testing.assert_allclose(found.predict_images([image])[0][0], row, atol=1e-6)


@pytest.mark.usefixtures("narrow")
def test_no_images_get_no_answers(tmp_path: Path) -> None:
    probs, novelty, *_ = written(made_up_model(), tmp_path / "m.onnx").predict_images([])
    assert probs.shape == (0, 3) and novelty is not None and novelty.shape == (0,)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("precision", "tolerance", "share"), [("fp16", 0.01, 0.6), ("int8", 0.1, 0.5)])
def test_fewer_digits_take_less_room_and_answer_nearly_the_same(
    tmp_path: Path, precision: FilePrecision, tolerance: float, share: float
) -> None:
    model = made_up_model()
    full = written(model, tmp_path / "full.onnx")
    small = written(model, tmp_path / "small.onnx", precision=precision)
    for found, expected in zip(small.predict_images(images())[:2], full.predict_images(images())[:2], strict=True):
        assert found is not None and expected is not None
        np.testing.assert_allclose(found, expected, atol=tolerance)
    assert small.precision == precision
    # What is not weights stays: the preprocessing and the metadata.
    fixed = len(finish(take_images(to_onnx(model), PREPROCESS), about(model))) - weight_bytes(tmp_path / "full.onnx")
    assert (tmp_path / "small.onnx").stat().st_size - fixed < share * weight_bytes(tmp_path / "full.onnx") + 60_000


def weight_bytes(path: Path) -> int:
    return sum(len(tensor.raw_data) for tensor in onnx.load(path).graph.initializer)


@pytest.mark.usefixtures("narrow")
def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    model = made_up_model()
    found = written(model, tmp_path / "m.onnx")
    assert found.classes == CLASSES
    assert found.preprocess == PREPROCESS
    assert found.sha256 == "ab" * 32
    assert found.reliability is not None and model.reliability is not None
    for name, values in vars(model.reliability).items():
        assert (getattr(found.reliability, name) == values).all()
    proto = onnx.load(tmp_path / "m.onnx")
    assert (proto.ir_version, proto.opset_import[0].version) == (IR_VERSION, OPSET)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(texts["classes"]) == list(CLASSES)
    assert (texts["licence"], texts["temperature"], texts["resnet_cli_version"]) == ("CC0", "1.7", "0.1.0")
    (image,) = proto.graph.input
    sizes = [size.dim_param or size.dim_value for size in image.type.tensor_type.shape.dim]
    assert (image.name, sizes) == ("pictures", ["b", "h", "w", 3])
    assert [output.name for output in proto.graph.output] == ["probs", "novelty", "heat"]


@pytest.mark.usefixtures("narrow")
def test_the_same_model_is_the_same_bytes() -> None:
    model = made_up_model()
    first, second = (finish(take_images(to_onnx(model), PREPROCESS), about(model)) for _ in range(2))
    assert first == second


@pytest.mark.usefixtures("narrow")
def test_without_novelty_no_image_travels(tmp_path: Path) -> None:
    model = made_up_model()
    with_them = written(model, tmp_path / "with.onnx").path.stat().st_size
    found = written(model, tmp_path / "without.onnx", with_novelty=False)
    assert found.predict_images(images())[1] is None
    assert with_them - found.path.stat().st_size > 18 * NUM_FEATURES * 2


@pytest.mark.usefixtures("narrow")
def test_timms_resnet50_has_no_hidden_layers() -> None:
    model = made_up_model((16, 8))
    with pytest.raises(ConfigError, match=r"hidden layers \(16, 8\)"):
        TimmFormat().require(model, ExportConfig(format="safetensors"))


@pytest.fixture
def whole(tmp_path: Path, narrow: None) -> Path:
    written(made_up_model(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x08\x08", b"PK\x03\x04"], ids=["empty", "page", "stub", "zip"])
def test_what_is_no_onnx_file_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX file that can be run"):
        OnnxModel.load(path)


def test_a_cut_file_is_a_model_error(whole: Path) -> None:
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="not an ONNX file that can be run"):
        OnnxModel.load(whole)


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx"):
        OnnxModel.load(tmp_path / "none.onnx")


def test_a_file_of_another_program_is_refused_with_the_way_out(whole: Path) -> None:
    proto = onnx.load(whole)
    proto.producer_name = "pytorch"
    onnx.save(proto, whole)
    with pytest.raises(ModelError, match=r"not one that this program wrote \(its producer is pytorch\)") as caught:
        OnnxModel.load(whole)
    assert caught.value.hint == "export one: resnet-cli export RUN"


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": "2"},
        {"schema_version": None},
        {"classes": None},
        {"classes": "[1, 2, 3]"},
        {"classes": '["a", "a", "b"]'},
        {"classes": '["a", "b"]'},
        {"classes": "{"},
        {"classes": "[" * 100_000},
        {"preprocess": "[]"},
        {"temperature": "0"},
        {"temperature": "nan"},
        {"takes": "tensor"},
        {"number": "fp8"},
        {"outputs": '["probs"]'},
        {"outputs": '["novelty", "heat"]'},
        {"outputs": '["probs", []]'},
        {"outputs": "5"},
        {"reliability": '{"confidence": "?", "is_right": "", "novelty": ""}'},
        {"reliability": '{"confidence": "AAAA", "is_right": "", "novelty": ""}'},
        {"reliability": "[]"},
        {
            "reliability": json.dumps(
                dict.fromkeys(("confidence", "is_right", "novelty"), base64.b64encode(b"\xff" * 4).decode())
            )
        },
    ],
    ids=str,
)
def test_damaged_metadata_are_a_model_error(whole: Path, change: dict[str, Any]) -> None:
    proto = onnx.load(whole)
    texts = {entry.key: entry.value for entry in proto.metadata_props} | change
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {key: value for key, value in texts.items() if value is not None})
    onnx.save(proto, whole)
    with pytest.raises(ModelError, match=r"m\.onnx: (damaged|its schema version|its metadata were changed)"):
        OnnxModel.load(whole)


@pytest.mark.usefixtures("narrow")
def test_a_file_computes_and_names_the_outputs_that_were_asked_for(tmp_path: Path) -> None:
    model = made_up_model()
    for wanted in ("probs", "probs,novelty", "probs,heat", "probs,novelty,heat"):
        job = Job(model, ExportConfig.model_validate({"outputs": wanted}))
        job.check()
        found = job.write(tmp_path / "m.onnx")
        assert isinstance(found, OnnxModel)
        assert ",".join(found.metadata.outputs) == wanted
        assert (found.has_novelty, found.has_heatmap) == ("novelty" in wanted, "heat" in wanted)
        assert (found.metadata.most_novel is not None) == ("novelty" in wanted)
        # A server that finds the file beside a run uses it only if it computes everything.
        complete = Job(model, ExportConfig()).metadata
        assert serving_model._is_of(tmp_path / "m.onnx", complete) == (wanted == "probs,novelty,heat")


@pytest.mark.usefixtures("narrow")
def test_novelty_is_refused_for_a_model_without_training_features() -> None:
    job = Job(made_up_model(remembers=False), ExportConfig.model_validate({"outputs": "novelty"}))
    with pytest.raises(ConfigError, match="holds no training features"):
        job.check()
    assert Job(job.model, ExportConfig()).metadata.outputs == ("probs", "heat")


#: Forbids what an exported file must not need, answers an image, and says what was imported all the same.
BLOCKED = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "onnx", "sklearn", "typer"}:
            raise ImportError(name)
sys.meta_path.insert(0, Forbid())
from pathlib import Path
from PIL import Image
from resnet_cli.exported.onnx import OnnxModel
model = OnnxModel.load(Path(sys.argv[1]), threads=1)
probs, novelty, *_ = model.predict_images([Image.new("RGB", (50, 40), "red")])
print(probs.shape, novelty.shape, model.reliability.most_novel >= 0)
"""


def test_it_runs_without_torch_and_without_onnx(whole: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, whole], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 3) (1,) True"


def test_about_survives_its_texts() -> None:
    model = made_up_model(remembers=True)
    first = about(model)
    again = ExportMetadata.from_texts(first.to_texts(), "m.onnx")
    assert again.to_texts() == first.to_texts()
    assert (again.classes, again.input_kind, again.precision) == (CLASSES, "picture", "fp32")
    without = dataclasses.replace(first, reliability=None)
    assert ExportMetadata.from_texts(without.to_texts(), "m.onnx").reliability is None
