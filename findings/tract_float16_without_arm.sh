#!/usr/bin/env bash
# tract 0.23.9 on x86-64.
# One would guess: a network in half precision is as fast as in float32, since such processors convert between the two in one
#   instruction (F16C) and ONNX Runtime and OpenVINO do so, or it is refused.
# Seen: a convolution in float16 takes hundreds of times as long as the same in float32, without a warning: each product is
#   emulated in software. tract has float16 kernels for ARM only. model.transform("f16_to_f32") before it is run helps.
# Why a user of this field meets it: half precision halves the file, and a model that was tried on a phone then takes minutes
#   per image on a server or in a test, which looks as if the program hung.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "tract==0.23.9" "onnx==1.23.2" "numpy" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import platform
import sys
import time
from importlib.metadata import version

import numpy as np
import onnx
import tract
from onnx import TensorProto, helper, numpy_helper

print(f"tract {version('tract')}, {platform.machine()}")
rng = np.random.default_rng(0)
seconds = {}
for dtype, kind in ((np.float32, TensorProto.FLOAT), (np.float16, TensorProto.FLOAT16)):
    weights = numpy_helper.from_array((rng.normal(size=(64, 64, 3, 3)) / 24).astype(dtype), "weights")
    images, made = (helper.make_tensor_value_info(name, kind, [1, 64, 56, 56]) for name in ("images", "made"))
    node = helper.make_node("Conv", ["images", "weights"], ["made"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "one", [images], [made], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "one.onnx")
    program = tract.onnx().load("one.onnx").into_model().into_runnable()
    pixels = rng.normal(size=(1, 64, 56, 56)).astype(dtype)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        program.run([pixels])
        times.append(time.perf_counter() - began)
    seconds[dtype.__name__] = min(times)
    print(f"{dtype.__name__}: {1000 * min(times):.1f} ms for a convolution of a ResNet-50")
if platform.machine() not in {"x86_64", "AMD64"}:
    print("nothing to see: not an x86-64 processor")
elif seconds["float16"] < 20 * seconds["float32"]:
    sys.exit("the behavior has changed")
PYTHON
