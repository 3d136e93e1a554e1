#!/usr/bin/env bash
# MNN 3.6.1, a model converted from ONNX with opset 18; onnx 1.23.2.
# One would guess: ReduceL2 with the axes [1] computes a length per row, as ReduceSum and ReduceMean compute a sum and a mean
#   per row.
# Seen: since opset 18 (13 for ReduceSum) the axes are an input. For ReduceL2 and ReduceSumSquare, MNN ignores it and reduces
#   the whole tensor, batch included; there is no warning, and a batch of one gives the right result.
# Why a user of this field meets it: features are divided by their length before they are compared, and a check with single
#   images passes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "mnn==3.6.1" "onnx==1.23.2" "numpy==2.4.6" 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import _tools
import MNN
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

print(f"MNN {MNN.version()}, onnx {onnx.__version__}")


def compute(operator, rows):
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "axes"], ["y"], keepdims=1)],
        "reduce",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 1])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), "model.onnx")
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn"])
    module = MNN.nn.load_module_from_file("model.mnn", ["x"], ["y"])
    (found,) = module.forward([MNN.expr.const(rows, list(rows.shape), MNN.expr.NCHW, MNN.expr.float)])
    return np.array(found.read())


rows = np.array([[3, 4, 0], [0, 6, 8]], dtype=np.float32)
seen = {operator: compute(operator, rows).round(3).tolist() for operator in ("ReduceSum", "ReduceL2", "ReduceSumSquare")}
seen["ReduceL2, one row"] = compute("ReduceL2", rows[:1]).round(3).tolist()
for name, result in seen.items():
    print(f"{name}: {result}")
print("right would be: ReduceL2 [[5], [10]], ReduceSumSquare [[25], [100]]")
expected = {
    "ReduceSum": [[7], [14]],
    "ReduceL2": [[11.18]],
    "ReduceSumSquare": [[125]],
    "ReduceL2, one row": [[5]],
}
same = all(np.allclose(seen[name], expected[name], atol=1e-3) and np.shape(seen[name]) == np.shape(expected[name]) for name in seen)
if not same:
    sys.exit(f"the behavior has changed; expected {expected}")
PYTHON
