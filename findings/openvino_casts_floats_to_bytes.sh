#!/usr/bin/env bash
# openvino 2026.4.1 (Python API), a model whose input is uint8; onnxruntime 1.32.0 for comparison.
# One would guess: an array of another type is refused, as a wrong shape is, and as onnxruntime refuses the same array for the
#   same file.
# Seen: the array is converted to uint8 as numpy's astype does it. An image in the usual range of 0 to 1 becomes black: all values
#   below 1.0 become 0. In an int32 image, 300 becomes 44. There is no error and no warning.
# Why a user of this field meets it: a model that normalizes by itself takes bytes, and most code around models prepares
#   floats. Each image then gets the same, well-formed answer: that for a black image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "openvino==2026.4.1" "onnxruntime==1.32.0" "onnx==1.23.2" \
    "numpy==2.4.6" 2>/dev/null
cd "$folder"
ORT_DISABLE_TELEMETRY=1 "$folder/venv/bin/python" -W error - <<'PYTHON'
import sys
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

print(f"openvino {version('openvino')}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
graph = helper.make_graph(
    [helper.make_node("Cast", ["pixels"], ["seen"], to=TensorProto.FLOAT)],
    "same",
    [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 4])],
    [helper.make_tensor_value_info("seen", TensorProto.FLOAT, [1, 4])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "same.onnx")
compiled = openvino.Core().compile_model("same.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
session = onnxruntime.InferenceSession("same.onnx", providers=["CPUExecutionProvider"])
given = {
    "bytes": np.array([[0, 100, 200, 255]], np.uint8),
    "from 0 to 1": np.array([[0.1, 0.5, 0.9, 1.0]], np.float32),
    "int32": np.array([[0, 100, 255, 300]], np.int32),
}
seen = {}
for name, pixels in given.items():
    try:
        session.run(None, {"pixels": pixels})
        other = "taken"
    except Exception as error:
        other = type(error).__name__
    found = compiled(pixels)[0].ravel().astype(int).tolist()
    seen[name] = (found, other)
    print(f"{name} {pixels.ravel().astype(float).round(1).tolist()}: in openvino {found}; in onnxruntime {other}")
refused = "InvalidArgument"
expected = {
    "bytes": ([0, 100, 200, 255], "taken"),
    "from 0 to 1": ([0, 0, 0, 1], refused),
    "int32": ([0, 100, 255, 44], refused),
}
if seen != expected:
    sys.exit(f"the behavior has changed; expected {expected}")
PYTHON
