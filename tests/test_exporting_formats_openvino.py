"""OpenVINO's folder: what a full disk does to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.full_disk import largest_file

from resnet_cli.errors import DiskError
from resnet_cli.exporting.formats.openvino import write_openvino


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    pixels, same = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in ("pixels", "y")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["pixels"], ["y"])], "same", [pixels], [same])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    metadata: Any = None
    with pytest.raises(DiskError, match="OpenVINO cannot write to") as caught, largest_file(1000):
        write_openvino(model.SerializeToString(), tmp_path, metadata)
    assert caught.value.hint == "free some space"
