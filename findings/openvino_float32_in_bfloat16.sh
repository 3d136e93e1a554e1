#!/usr/bin/env bash
# openvino 2026.4.1, on processors that have bfloat16 instructions (AVX-512 BF16, AMX).
# One would guess: a model whose weights, inputs and outputs are float32 is computed in float32, and the same file gives the
#   same answers on every machine. If not, the file can say so: models have a place for `runtime_options`.
# Seen: convolutions and matrix products are computed in bfloat16 (8 bits of precision) wherever the processor has it, so the
#   same file gives other answers on a newer machine. INFERENCE_PRECISION_HINT in the model's runtime_options is stored, read
#   back and ignored; only the program that compiles the model can ask for float32.
# Why a user of this field meets it: a comparison with the original model passes on one machine and fails on another by 0.01
#   of a probability, and the exported folder cannot prevent it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "openvino==2026.4.1" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None
import numpy as np
import openvino
import openvino.opset13 as operations

core = openvino.Core()
capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
print(f"openvino {version('openvino')}, this processor: {', '.join(capabilities)}")
rng = np.random.default_rng(0)
weights = rng.normal(size=(64, 64, 3, 3)).astype(np.float32) / 24
images = rng.normal(size=(1, 64, 16, 16)).astype(np.float32)
given = operations.parameter([1, 64, 16, 16], np.float32)
made = operations.convolution(given, operations.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
model = openvino.Model([made], [given])
model.set_rt_info("f32", ["runtime_options", "INFERENCE_PRECISION_HINT"])
openvino.save_model(model, "model.xml", compress_to_fp16=False)
read = core.read_model("model.xml")
print(f"the model asks for {read.get_rt_info(['runtime_options', 'INFERENCE_PRECISION_HINT']).astype(str)}")


def run(options):
    return core.compile_model(read, "CPU", options)(images)[0]


exact = run({"INFERENCE_PRECISION_HINT": "f32"})
differences = {
    name: float(np.abs(run(options) - exact).max())
    for name, options in {"by default": {}, "in bf16": {"INFERENCE_PRECISION_HINT": "bf16"}}.items()
}
for name, difference in differences.items():
    print(f"{name}: largest difference from f32 {difference:.1e}, of values up to {np.abs(exact).max():.1f}")
if "BF16" not in capabilities:
    print("nothing to see: this processor has no bfloat16")
elif not (differences["by default"] == differences["in bf16"] > 1e-3):
    sys.exit("the behavior has changed")
PYTHON
