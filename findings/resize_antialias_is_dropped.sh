#!/usr/bin/env bash
# openvino 2026.4.1 and opencv-python-headless 5.0.0.93, reading the ONNX operator Resize with antialias=1; onnxruntime 1.32.0.
# One would guess: an engine that has no antialiased Resize refuses the file, as it refuses operators that it does not know.
# Seen: both read the file without an error or a warning and resize as if antialias were 0: of 64 x 64 pixels reduced to
#   16 x 16, only the four pixels in the middle of each 4 x 4 block are read. On noise the result is up to 77 of 255 gray
#   levels off; ONNX Runtime averages over all pixels.
# Why a user of this field meets it: an exported classifier that resizes its own input should give the same probabilities
#   everywhere. Without the averaging, fine structures turn into false patterns, and predictions change while all looks well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "openvino==2026.4.1" "opencv-python-headless==5.0.0.93" "onnxruntime==1.32.0" \
    "onnx==1.23.2" "numpy==2.4.6" 2>/dev/null
cd "$folder"
ORT_DISABLE_TELEMETRY=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None
import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

print(f"openvino {version('openvino')}, OpenCV {cv2.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
SIZE, SMALL = 64, 16


def write(name, antialias):
    more = {"antialias": 1, "exclude_outside": 1} if antialias else {}
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel", **more
    )
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, SMALL, SMALL])],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, SMALL, SMALL])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, name)
    return name


def by_opencv(path, x):
    net = cv2.dnn.readNetFromONNX(path)
    net.setInput(x)
    return net.forward()


x = np.random.default_rng(0).uniform(0, 255, (1, 1, SIZE, SIZE)).astype(np.float32)
smooth, plain = write("smooth.onnx", True), write("plain.onnx", False)
expected, sampled = (onnxruntime.InferenceSession(path).run(None, {"x": x})[0] for path in (smooth, plain))
found = {
    "openvino": openvino.Core().compile_model(smooth, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0],
    "OpenCV": by_opencv(smooth, x),
}
for name, result in found.items():
    off, as_without = float(np.abs(result - expected).max()), float(np.abs(result - sampled).max())
    print(f"{name} with antialias=1: {off:.1f} levels from onnxruntime, {as_without:.4f} from onnxruntime without antialias")
    if off < 50 or as_without > 0.01:
        sys.exit(f"the behavior has changed: {name}")
PYTHON
