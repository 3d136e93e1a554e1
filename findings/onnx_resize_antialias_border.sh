#!/usr/bin/env bash
# onnxruntime 1.32.0 and onnx 1.23.2, operator Resize with antialias=1, half_pixel coordinates, downscaling.
# One would guess: antialias=1 makes Resize the same filter as Pillow's resize and torch's interpolate(antialias=True).
# Seen: this holds only with exclude_outside=1 (the default is 0). Without it the weights that fall outside the image are
#   given to the pixels of the border, so each border row and column differs by up to 9 of 255 gray levels with "linear"; with
#   "cubic" the difference reaches the rows beside it too. The reference implementation of the onnx package does the same.
#   Inside the image all of them agree, so a test on a smooth or centered image passes.
# Why a user of this field meets it: putting the resize of an image classifier into the exported graph, by hand or with a
#   pre-processing tool, lets one file give the same predictions everywhere; the input of the network then differs along its
#   border.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "onnxruntime==1.32.0" "onnx==1.23.2" "pillow==13.0.0" "numpy==2.4.6" 2>/dev/null
ORT_DISABLE_TELEMETRY=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import PIL
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}, pillow {PIL.__version__}")
SIZE, SMALL = 64, 16


def resize_model(mode, exclude_outside):
    attributes = {"mode": mode, "antialias": 1, "coordinate_transformation_mode": "half_pixel"}
    if mode == "cubic":
        attributes["cubic_coeff_a"] = -0.5
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], exclude_outside=exclude_outside, **attributes)
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, SMALL, SMALL])],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, SMALL, SMALL])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def border_and_inside(found, expected):
    difference = np.abs(found - expected)
    inside = difference[1:-1, 1:-1].max()
    difference[1:-1, 1:-1] = 0
    return float(difference.max()), float(inside)


image = np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE)).astype(np.float32)
seen = {}
for mode, resample in (("linear", Image.Resampling.BILINEAR), ("cubic", Image.Resampling.BICUBIC)):
    expected = np.asarray(Image.fromarray(image).resize((SMALL, SMALL), resample))
    for exclude_outside in (0, 1):
        model = resize_model(mode, exclude_outside)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        inputs = {"x": image[None, None]}
        for name, run in (("onnxruntime", session.run), ("onnx reference", ReferenceEvaluator(model).run)):
            border, inside = border_and_inside(run(None, inputs)[0][0, 0], expected)
            seen[mode, exclude_outside, name] = (border > 1, inside > 0.01)
            print(f"{mode}, exclude_outside={exclude_outside}, {name}: differs by {border:.3f} at the border, {inside:.3f} inside")
for (mode, exclude_outside, name), found in seen.items():
    expected = (exclude_outside == 0, exclude_outside == 0 and mode == "cubic")
    if found != expected:
        sys.exit(f"the behavior has changed: {mode}, exclude_outside={exclude_outside}, {name}: {found}, not {expected}")
PYTHON
