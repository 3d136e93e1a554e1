#!/usr/bin/env bash
# pnnx 20261020 and ncnn 1.0.20261020 (Python packages), a model from ONNX; onnx 1.23.2.
# One would guess: a converter for ncnn fails, or at least warns, if a model needs an operator that ncnn does not have.
# Seen: pnnx ends with exit code 0 and writes the operators as layers all the same: ArgMax, which ncnn's packages are built
#   without, and Tensor.to, which is an operator of torch. ncnn then returns -1 from load_param; its Python package raises
#   nothing, and the reason is on stderr alone.
# Why a user of this field meets it: the number of the most probable class is a common second output of a classifier, and the
#   folder looks complete.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "ncnn==1.0.20261020" "onnx==1.23.2" "numpy==2.4.6" 2>/dev/null
# The program of pnnx does not need torch, its Python package does.
"$folder/venv/bin/python" -m pip install --quiet --no-deps "pnnx==20261020" 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import importlib.util
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import ncnn
import onnx
from onnx import TensorProto, helper

print(f"pnnx {version('pnnx')}, ncnn {ncnn.__version__}, onnx {onnx.__version__}")
graph = helper.make_graph(
    [
        helper.make_node("Softmax", ["x"], ["probs"], axis=1),
        helper.make_node("ArgMax", ["probs"], ["index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["index"], ["best"], to=TensorProto.FLOAT),
    ],
    "classifier",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
    [
        helper.make_tensor_value_info("probs", TensorProto.FLOAT, [1, 8]),
        helper.make_tensor_value_info("best", TensorProto.FLOAT, [1]),
    ],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), "model.onnx")
program = Path(importlib.util.find_spec("pnnx").origin).with_name("pnnx")
done = subprocess.run([program, "model.onnx", "inputshape=[1,8]f32"], capture_output=True)
layers = [line.split()[0] for line in Path("model.ncnn.param").read_text().splitlines()[2:]]
print(f"pnnx: exit code {done.returncode}, layers {layers}")
loaded = ncnn.Net().load_param("model.ncnn.param")
print(f"ncnn: load_param returned {loaded}")
if done.returncode or "ArgMax" not in layers or loaded != -1:
    sys.exit("the behavior has changed")
PYTHON
