"""Every engine computes torch's features from the same file, from the first batch on; damaged files are not used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.narrow_network import narrow_model
from support.running import FP32

from resnet_cli.data.loading import stack
from resnet_cli.engines import measuring
from resnet_cli.engines.backbone_file import describe, path_of
from resnet_cli.engines.backbone_writer import keep_backbone
from resnet_cli.engines.choice import Engine, here, installed_engines
from resnet_cli.engines.features import cache_key, frozen_backbone
from resnet_cli.engines.measuring import measure
from resnet_cli.engines.opening import find_file, open_file
from resnet_cli.engines.rates import read_rates
from resnet_cli.errors import ModelError
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import backbone_hash
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.processor import this_processor

pytest_plugins = ["support.narrow_network"]
pytestmark = pytest.mark.usefixtures("narrow")

SIDE = 32


@pytest.fixture
def model(narrow: None) -> Model:
    return narrow_model(("a", "b"), Preprocess(resize_size=SIDE, crop_size=SIDE))


@pytest.fixture
def file(model: Model) -> Path:
    path = keep_backbone(model.network, model.preprocess)
    assert path is not None
    return path


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest) -> Engine:
    name: Engine = request.param
    if name not in installed_engines():
        pytest.skip(f"{name} is not installed")
    return name


def squares(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def of_torch(model: Model, pixels: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
    return frozen_backbone(model.network, model.preprocess, FP32)(stack(list(pixels))).numpy()


def test_the_first_and_every_later_batch_has_the_features_of_torch(model: Model, file: Path, engine: Engine) -> None:
    backbone = open_file(file, engine, "fp32")
    assert (backbone.engine, backbone.precision) == (engine, "fp32")
    for count in (3, 1, 5, 3):
        expected, found = of_torch(model, squares(count)), backbone(squares(count))
        assert found.shape == (count, 2048) and found.dtype == np.float32
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    # Later batches are not written into the memory of earlier results.
    first = backbone(squares(2))
    kept = first.copy()
    backbone(squares(4)[:2])
    assert np.array_equal(first, kept)


def test_openvino_computes_bfloat16_only_on_request(model: Model, file: Path) -> None:
    pytest.importorskip("openvino")
    if not this_processor().multiplies_bf16:
        pytest.skip("this processor does not multiply bfloat16")
    expected = of_torch(model, squares(4))
    error = np.abs(open_file(file, "openvino", "bf16")(squares(4)) - expected).max() / np.abs(expected).max()
    assert 1e-5 < error < 3e-2


def test_cached_features_come_from_the_engine_that_was_chosen(model: Model, engine: Engine) -> None:
    by_engine = dataclasses.replace(FP32, engine=engine)
    pixels = squares(3)
    found = frozen_backbone(model.network, model.preprocess, by_engine)(stack(list(pixels)))
    expected = of_torch(model, pixels)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < 1e-5 * np.abs(expected).max()
    keys = {cache_key(model.network, model.preprocess, compute) for compute in (FP32, by_engine)}
    assert len(keys) == 2


def test_an_engine_works_without_a_cache_folder(
    model: Model, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="cannot be written"):
        backbone = frozen_backbone(model.network, model.preprocess, dataclasses.replace(FP32, engine=engine))
    pixels = squares(2)
    assert np.allclose(backbone(stack(list(pixels))).numpy(), of_torch(model, pixels), atol=1e-5)


def test_damaged_and_foreign_files_are_deleted(model: Model, file: Path) -> None:
    about = describe(backbone_hash(model.network), model.preprocess)
    assert find_file(about) == file
    # A whole file, of other weights.
    other = describe("0" * 64, model.preprocess)
    file_of_other = path_of(other)
    file_of_other.write_bytes(file.read_bytes())
    assert find_file(other) is None and not file_of_other.exists()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert find_file(about) is None and not file.exists()
    assert find_file(about) is None


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, engine: Engine) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"no graph")
    with pytest.raises(ModelError, match="cannot read it"):
        open_file(wrong, engine, "fp32")


@pytest.mark.slow
def test_engines_are_measured_in_processes_of_their_own_and_those_that_fail_are_left_out(
    file: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "NUM_PIECES", 2)
    conditions = here("fp32", SIDE)
    assert measure(conditions, [engine], file.with_name("missing.onnx")) == {} == read_rates(conditions)
    found = measure(conditions, [engine], file)
    assert set(found) == {engine}
    assert found[engine].per_s > 0 and found[engine].start_s > 0
    assert read_rates(conditions) == found
