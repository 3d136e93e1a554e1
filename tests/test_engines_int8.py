"""A quantized backbone computes nearly the same features, on every processor, and always from the same bytes."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.synthetic_models import PREPROCESS, images, made_up_model

from resnet_cli.engines.features import FrozenBackbone
from resnet_cli.engines.int8_file import describe_int8, open_int8
from resnet_cli.engines.int8_writer import quantize_backbone, write_int8
from resnet_cli.engines.onnx_backbone import load_session
from resnet_cli.errors import ConfigError
from resnet_cli.model.network import backbone_hash
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE, Quantized

pytest_plugins = ["support.narrow_network"]
pytestmark = pytest.mark.usefixtures("narrow")


def written(path: Path, about: str = "about") -> onnx.ModelProto:
    model = made_up_model()
    proto = quantize_backbone(model.network, (PREPROCESS(image) for image in images()), PREPROCESS)
    write_int8(proto, path, about, {"note": "kept"})
    return proto


def test_features_are_nearly_those_of_the_model_and_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    about = describe_int8("hash", PREPROCESS, "model")
    written(tmp_path / "b.onnx", about)
    found = open_int8(tmp_path / "b.onnx", about)
    assert found is not None and found.texts["note"] == "kept" and found.backbone.precision == "int8"
    squares = np.stack([PREPROCESS(image) for image in images()])
    features = found.backbone(squares)
    expected = TorchPredictor(made_up_model(), REFERENCE).predict(list(squares)).features
    assert expected is not None
    cosines = (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.98
    # Whole numbers are added in any order.
    np.testing.assert_array_equal(np.concatenate([found.backbone(one[None]) for one in squares]), features)


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_is_damaged_or_of_another_model_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "b.onnx"
    written(path)
    assert open_int8(path, "about") is not None
    assert open_int8(path, "another") is None and open_int8(tmp_path / "none", "about") is None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert open_int8(path, "about") is None


def test_features_are_only_computed_by_the_graph_whose_features_are_wanted(tmp_path: Path) -> None:
    """A file that was replaced since it was found would give features under the key of another one."""
    path, model = tmp_path / "b.onnx", made_up_model()
    about = describe_int8(backbone_hash(model.network), PREPROCESS, "model")
    written(path, about)
    found = open_int8(path, about)
    assert found is not None
    for sha256, fits in ((found.sha256, True), ("0" * 64, False)):
        compute = dataclasses.replace(REFERENCE, precision="int8", quantized=Quantized(path, sha256))
        with contextlib.nullcontext() if fits else pytest.raises(ConfigError, match="no quantized backbone"):
            FrozenBackbone(model.network, PREPROCESS, compute)


def test_nothing_but_the_average_pooling_is_computed_in_float(tmp_path: Path) -> None:
    """In a network without BatchNorms of its own, which the narrow one has."""
    proto = written(tmp_path / "b.onnx")
    kinds = [node.op_type for node in proto.graph.node]
    first = kinds.index("Conv")
    assert {"Cast", "Sub", "Div", "Mul"}.isdisjoint(kinds[:first])
    assert kinds[: kinds.index("Split")] == ["Transpose"]
    assert load_session(tmp_path / "b.onnx").get_inputs()[0].type == "tensor(uint8)"


def test_sums_of_two_products_fit_into_16_bits_whichever_weights_are_neighbors(tmp_path: Path) -> None:
    proto = written(tmp_path / "b.onnx")
    checked = 0
    for one in proto.graph.initializer:
        levels = numpy_helper.to_array(one)
        if one.name.endswith(".weight.levels"):
            for order in (levels, levels.transpose(0, 2, 3, 1)):
                flat = order.reshape(len(levels), -1).astype(int)
                pairs = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2))).reshape(len(levels), -1, 2)
                for sign in (1, -1):
                    assert 255 * np.maximum(sign * pairs, 0).sum(axis=2).max() < 2**15
            # As fine as that allows: some weights use more than 7 bits, unless all neighbors are as large.
            checked += 1
            assert np.abs(levels).max() > 60
    assert checked == 5
