#!/usr/bin/env bash
# openvino 2026.4.1, CPU, on a processor with bfloat16 (AVX-512 bf16 or AMX), in its default precision; onnx 1.23.2.
# One would guess: the default precision rounds activations and weights of the layers to bfloat16, so that results differ in
#   their third digit; a position that the graph computes in float32 (or float64), casts to int64 and reads with Gather
#   stays what it is.
# Seen: all float operations before the last convolution or matrix product are computed in bfloat16, positions among them.
#   Of the positions 250.375, 751.125, 1251.875 and 1752.625 in a row of 2,003 elements, Gather reads two wrong ones, and
#   nothing says so. The same graph without the matrix product, or with INFERENCE_PRECISION_HINT f32, is right.
# Why a user of this field meets it: a graph that crops or resizes the image itself computes such positions from the size of
#   the image. Integer operations are not affected.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then
    echo "this processor has no bfloat16: nothing to see"
    exit 0
fi
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "openvino==2026.4.1" "onnx==1.23.2" "numpy==2.4.6" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None
import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

print(f"openvino {version('openvino')}, onnx {onnx.__version__}")
LENGTH, TAKEN = 2003, 4


def model(multiplies):
    # The element in the middle of each quarter: positions (i + 0.5) * length / 4, computed from the length.
    constants = {
        "steps": np.arange(TAKEN, dtype=np.float32) + np.float32(0.5),
        "four": np.float32(TAKEN),
        "one": np.array([1]),
        "weights": np.eye(TAKEN, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Cast", ["length"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["number", "four"], ["step"]),
        helper.make_node("Mul", ["steps", "step"], ["places"]),
        helper.make_node("Cast", ["places"], ["indices"], to=TensorProto.INT64),
        helper.make_node("Gather", ["x", "indices"], ["taken"], axis=1),
        helper.make_node("MatMul", ["taken", "weights"], ["y"]) if multiplies else helper.make_node("Relu", ["taken"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "places",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", TAKEN])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


places = ((np.arange(TAKEN, dtype=np.float32) + np.float32(0.5)) * np.float32(LENGTH / TAKEN)).astype(int)
x = np.zeros((1, LENGTH), dtype=np.float32)
x[0, places] = 1  # what is read must be ones, which bfloat16 holds exactly
seen = {}
for multiplies in (False, True):
    onnx.save(model(multiplies), "places.onnx")
    for options in ({}, {"INFERENCE_PRECISION_HINT": "f32"}):
        found = openvino.Core().compile_model("places.onnx", "CPU", options)(x)[0]
        seen[multiplies, bool(options)] = bool((found == 1).all())
        print(f"{'with' if multiplies else 'without'} a matrix product, {options or 'default'}: {found.tolist()}")
expected = {(False, False): True, (False, True): True, (True, False): False, (True, True): True}
if seen != expected:
    sys.exit("the behavior has changed")
PYTHON
